"""How fast a HorizontalPodAutoscaler scales: the defaults, and the form in which older versions carry it."""

from __future__ import annotations

from typing import Any

from navarch.api.schemas import schema
from navarch.machinery.decode import normalise
from navarch.machinery.errors import StatusError
from navarch.machinery.types import Obj

_RULE_NAMES = {
    "StabilizationWindowSeconds": "stabilizationWindowSeconds",
    "SelectPolicy": "selectPolicy",
    "Policies": "policies",
    "Tolerance": "tolerance",
}
_POLICY_NAMES = {"Type": "type", "Value": "value", "PeriodSeconds": "periodSeconds"}
_FIELDS = {name.lower(): name for name in ("scaleUp", "scaleDown", *_RULE_NAMES.values(), *_POLICY_NAMES.values())}


def _policy(kind: str, value: int) -> Obj:
    return {"type": kind, "value": value, "periodSeconds": 15}


def fill(behavior: Obj) -> None:
    """The defaults of whatever is not said."""
    policies = [_policy("Pods", 4), _policy("Percent", 100)]
    up = {"stabilizationWindowSeconds": 0, "selectPolicy": "Max", "policies": policies}
    down = {"selectPolicy": "Max", "policies": policies[1:]}
    for direction, usual in (("scaleUp", up), ("scaleDown", down)):
        given = {k: v for k, v in (behavior.get(direction) or {}).items() if v is not None}
        behavior[direction] = {**usual, **given}


def written(behavior: Obj) -> Obj:
    """As upstream's unpublished type is written: every field, by its Go name."""

    def rules(tree: Obj | None) -> Obj | None:
        if tree is None:
            return None
        made = {name: tree.get(field) for name, field in _RULE_NAMES.items()}
        if made["Policies"] is not None:
            made["Policies"] = [{n: policy.get(f) for n, f in _POLICY_NAMES.items()} for policy in made["Policies"]]
        return made

    return {"ScaleUp": rules(behavior.get("scaleUp")), "ScaleDown": rules(behavior.get("scaleDown"))}


def read(tree: Any) -> Obj | None:
    """What `written` wrote, filled up; None where nothing can be read. Rules without policies are left as they are:
    validation refuses them."""
    if not isinstance(tree, dict):
        return None
    try:
        found = normalise(schema("io.k8s.api.autoscaling.v2.HorizontalPodAutoscalerBehavior"), _uncapitalised(tree))
    except StatusError:
        return None
    if found and all(rules.get("policies") for rules in found.values()):
        fill(found)
    return found or None


def _uncapitalised(tree: Any) -> Any:
    """Go reads names in any case."""
    if isinstance(tree, list):
        return [_uncapitalised(item) for item in tree]
    if isinstance(tree, dict):
        return {_FIELDS.get(name.lower(), name): _uncapitalised(value) for name, value in tree.items()}
    return tree
