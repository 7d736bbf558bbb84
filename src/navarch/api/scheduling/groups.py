"""What workloads and pod groups share: how pods are scheduled together. Source: api/scheduling/v1alpha2, its declarative
validation, and the strategies of registry/scheduling."""

from __future__ import annotations

from typing import Any

from navarch.api import features
from navarch.api.features import Features
from navarch.api.podspec import checks
from navarch.api.scheduling.priorityclass import HIGHEST
from navarch.machinery import names
from navarch.machinery.errors import FieldErrors
from navarch.machinery.types import Obj

GROUP, VERSION = "scheduling.k8s.io", "v1alpha2"
MODES = ("Pod", "PodGroup")
LEAST = -(2**31)
GATED = {
    "schedulingConstraints": features.TOPOLOGY,
    "disruptionMode": features.PREEMPTION,
    "priorityClassName": features.PREEMPTION,
    "priority": features.PREEMPTION,
    "resourceClaims": "DRAWorkloadResourceClaims",
}
"""Fields of features that may be off (the last is not there at all)."""


def drop_disabled(new: Obj, old: Obj, on: Features) -> None:
    """Of a group's spec or a template: `old` is empty where there was none."""
    for name, feature in GATED.items():
        if name in new and not on.has(feature) and not old.get(name):
            del new[name]


def validate_policy(tree: Obj, at: str, errs: FieldErrors) -> None:
    policy: Obj = tree.get("schedulingPolicy") or {}
    chosen = [name for name in ("basic", "gang") if policy.get(name) is not None]
    if not chosen:
        errs.invalid(f"{at}.schedulingPolicy", "", "must specify one of: `basic`, `gang`")
    elif len(chosen) > 1:
        errs.invalid(f"{at}.schedulingPolicy", "{basic, gang}", "must specify exactly one of: `basic`, `gang`")
    if (gang := policy.get("gang")) is not None:
        if not (count := gang.get("minCount") or 0):
            errs.required(f"{at}.schedulingPolicy.gang.minCount")
        elif count < 1:
            errs.invalid(f"{at}.schedulingPolicy.gang.minCount", count, "must be greater than or equal to 1")


def validate_rest(tree: Obj, at: str, errs: FieldErrors) -> None:
    topology: list[Obj] = (tree.get("schedulingConstraints") or {}).get("topology") or []
    if len(topology) > 1:
        errs.too_many(f"{at}.schedulingConstraints.topology", len(topology), 1)
    else:
        for index, constraint in enumerate(topology):
            name(errs, f"{at}.schedulingConstraints.topology[{index}].key", constraint.get("key"), names.qualified_name)
    mode = tree.get("disruptionMode")
    if mode is not None and mode not in MODES:
        errs.not_supported(f"{at}.disruptionMode", mode, MODES)
    if text := tree.get("priorityClassName"):
        checks.named(errs, f"{at}.priorityClassName", text, names.dns1123_subdomain)
    if (priority := tree.get("priority")) is not None and priority > HIGHEST:
        errs.invalid(f"{at}.priority", priority, f"must be less than or equal to {HIGHEST}")


def name(errs: FieldErrors, at: str, value: str | None, rule: Any) -> None:
    """A required name."""
    if not value:
        errs.required(at)
    else:
        checks.named(errs, at, value, rule)


def immutable(new: Obj, old: Obj, errs: FieldErrors, *fields: str) -> None:
    """Of specs; declarative validation shows no value."""
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    for field in fields:
        if spec.get(field) != before.get(field):
            errs.invalid(f"spec.{field}", None, "field is immutable")
