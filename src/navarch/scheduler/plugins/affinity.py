"""NodeAffinity: nodeSelector, and required and preferred node affinity."""

from __future__ import annotations

from typing import Any

from navarch.api.podspec.placement import required_terms, selects, term_matches
from navarch.machinery.trees import get
from navarch.machinery.types import Obj


class NodeAffinity:
    name = "NodeAffinity"
    weight = 2
    normalise = "max"

    def prepare(self, pod: Obj) -> Any:
        spec = pod["spec"]
        affinity = get(spec, "affinity", "nodeAffinity", default={})
        return (
            spec.get("nodeSelector") or {},
            required_terms(spec),
            affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or [],
        )

    def filter(self, prepared: Any, node: Obj) -> str:
        selector, required, _ = prepared
        fits = selects(selector, required, node)
        return "" if fits else "node(s) didn't match Pod's node affinity/selector"

    def score(self, prepared: Any, node: Obj) -> int:
        return sum(p["weight"] for p in prepared[2] if p.get("weight") and term_matches(p["preference"], node))
