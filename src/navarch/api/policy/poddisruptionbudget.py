"""PodDisruptionBudget: how many pods must stay when others are evicted. Source: apis/policy validation."""

from __future__ import annotations

from typing import Any

from navarch.api.kind import Column, Kind, Version, status_of
from navarch.api.podspec import checks, workload
from navarch.api.podspec.printing import AGE, NAME
from navarch.machinery.errors import FieldErrors
from navarch.machinery.tables import age_of
from navarch.machinery.types import Obj

POLICIES = ("AlwaysAllow", "IfHealthyBudget")


def validate(obj: Obj, errs: FieldErrors) -> None:
    spec = obj.get("spec") or {}
    least, most = spec.get("minAvailable"), spec.get("maxUnavailable")
    if least is not None and most is not None:
        errs.invalid("spec", spec, "minAvailable and maxUnavailable cannot be both set")
    for field, value in (("minAvailable", least), ("maxUnavailable", most)):
        workload.int_or_percent(errs, f"spec.{field}", value)
        workload.at_most_all(errs, f"spec.{field}", value)
    if spec.get("selector") is not None:
        checks.label_selector(errs, "spec.selector", spec["selector"])
    if (policy := spec.get("unhealthyPodEvictionPolicy")) is not None and policy not in POLICIES:
        errs.not_supported("spec.unhealthyPodEvictionPolicy", policy, POLICIES)


def validate_status_update(new: Obj, old: Obj, errs: FieldErrors) -> None:
    counts = ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods")
    checks.non_negative(errs, "status", new.get("status") or {}, *counts)


def row(obj: Obj, now: float) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    least, most = spec.get("minAvailable"), spec.get("maxUnavailable")
    return [
        obj["metadata"]["name"],
        "N/A" if least is None else str(least),
        "N/A" if most is None else str(most),
        status.get("disruptionsAllowed", 0),
        age_of(obj, now),
    ]


KIND = Kind(
    kind="PodDisruptionBudget",
    plural="poddisruptionbudgets",
    short_names=("pdb",),
    versions=(
        Version(group="policy", version="v1", definition="io.k8s.api.policy.v1.PodDisruptionBudget"),
        Version(
            group="policy",
            version="v1beta1",
            definition="io.k8s.api.policy.v1beta1.PodDisruptionBudget",
            deprecation="policy/v1beta1 PodDisruptionBudget is deprecated in v1.21+, unavailable in v1.25+; "
            "use policy/v1 PodDisruptionBudget",
        ),
    ),
    subresources=(status_of("PodDisruptionBudget"),),
    validate=validate,
    validate_status_update=validate_status_update,
    has_generation=True,
    allow_unconditional_update=False,
    columns=(
        NAME,
        Column(name="Min Available", description="How many pods must stay."),
        Column(name="Max Unavailable", description="How many pods may be missing."),
        Column(name="Allowed Disruptions", type="integer", description="How many pods may be evicted now."),
        AGE,
    ),
    row=row,
)
