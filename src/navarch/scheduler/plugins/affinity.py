"""NodeAffinity: nodeSelector, and required and preferred node affinity."""

from __future__ import annotations

from typing import Any

from navarch.machinery.trees import get
from navarch.machinery.types import Obj


def requirement_matches(requirement: Obj, values: dict[str, str]) -> bool:
    """A NodeSelectorRequirement against labels (or fields)."""
    key, operator = requirement["key"], requirement["operator"]
    wanted = requirement.get("values") or []
    actual = values.get(key)
    match operator:
        case "In":
            return actual in wanted
        case "NotIn":
            return actual not in wanted
        case "Exists":
            return actual is not None
        case "DoesNotExist":
            return actual is None
        case "Gt" | "Lt":
            try:
                return int(actual or "") > int(wanted[0]) if operator == "Gt" else int(actual or "") < int(wanted[0])
            except ValueError:
                return False
        case _:
            return False


def term_matches(term: Obj, node: Obj) -> bool:
    """A NodeSelectorTerm: all of its requirements; one without any matches nothing."""
    expressions, fields = term.get("matchExpressions") or [], term.get("matchFields") or []
    if not expressions and not fields:
        return False
    labels = node["metadata"].get("labels") or {}
    own = {"metadata.name": node["metadata"]["name"]}
    return all(requirement_matches(r, labels) for r in expressions) and all(requirement_matches(r, own) for r in fields)


class NodeAffinity:
    name = "NodeAffinity"
    weight = 2
    normalise = "max"

    def prepare(self, pod: Obj) -> Any:
        spec = pod["spec"]
        affinity = get(spec, "affinity", "nodeAffinity", default={})
        required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
        return (
            spec.get("nodeSelector") or {},
            None if required is None else required.get("nodeSelectorTerms") or [],
            affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or [],
        )

    def filter(self, prepared: Any, node: Obj) -> str:
        selector, required, _ = prepared
        labels = node["metadata"].get("labels") or {}
        fits = all(labels.get(key) == value for key, value in selector.items())
        if fits and required is not None:
            fits = any(term_matches(term, node) for term in required)
        return "" if fits else "node(s) didn't match Pod's node affinity/selector"

    def score(self, prepared: Any, node: Obj) -> int:
        return sum(p["weight"] for p in prepared[2] if p.get("weight") and term_matches(p["preference"], node))
