"""NodeAffinity: nodeSelector, and required and preferred node affinity."""

from __future__ import annotations

from typing import Any

from navarch.api.podspec.placement import required_terms, selects, term_matches
from navarch.machinery.trees import get
from navarch.machinery.types import Obj
from navarch.scheduler.terms import PREFERRED


class NodeAffinity:
    """`added` is the nodeAffinity of its arguments, which holds for every pod of the profile besides the pod's own."""

    name = "NodeAffinity"
    filters = True
    reason = "node(s) didn't match Pod's node affinity/selector"
    normalise = "max"

    def __init__(self, weight: int = 2, added: Obj | None = None) -> None:
        self.weight = weight
        self._required = required_terms({"affinity": {"nodeAffinity": added or {}}})
        self._preferred: list[Obj] = (added or {}).get(PREFERRED) or []

    def prepare(self, pod: Obj) -> Any:
        spec = pod["spec"]
        preferred = get(spec, "affinity", "nodeAffinity", PREFERRED, default=[])
        return spec.get("nodeSelector") or {}, required_terms(spec), [*preferred, *self._preferred]

    def passes(self, prepared: Any, node: Obj) -> bool:
        selector, required, _ = prepared
        return selects(selector, required, node) and (self._required is None or selects({}, self._required, node))

    def score(self, prepared: Any, node: Obj) -> int:
        return sum(p["weight"] for p in prepared[2] if p.get("weight") and term_matches(p["preference"], node))
