"""PodDisruptionBudget: how many pods must stay when others are evicted. Source: apis/policy validation."""

from __future__ import annotations

from typing import Any

from navarch.api.conditions import validate_conditions
from navarch.api.kind import Column, Kind, Version, status_of
from navarch.api.podspec import checks, workload
from navarch.api.podspec.printing import AGE, NAME
from navarch.api.retired import retired
from navarch.machinery import names
from navarch.machinery.errors import FieldErrors
from navarch.machinery.tables import age_of
from navarch.machinery.types import Obj

POLICIES = ("AlwaysAllow", "IfHealthyBudget")


EMPTY = "pdb.kubernetes.io/deprecated-v1beta1-empty-selector-match"
"""The label that stands for it that v1 and v1beta1 mean opposite things by an empty selector: all pods, and none."""
NONE: Obj = {"matchExpressions": [{"key": EMPTY, "operator": "Exists"}]}
ALL: Obj = {"matchExpressions": [{"key": EMPTY, "operator": "DoesNotExist"}]}


def decode(obj: Obj) -> Obj:
    selector = (obj.get("spec") or {}).get("selector")
    if selector and selector != NONE:
        _without_label(selector)
    return obj


def decode_v1beta1(obj: Obj) -> Obj:
    spec: Obj = obj.get("spec") or {}
    selector = spec.get("selector")
    if selector == {}:
        spec["selector"] = {"matchExpressions": [dict(NONE["matchExpressions"][0])]}
    elif selector == ALL:
        spec["selector"] = {}
    elif selector:
        _without_label(selector)
    return obj


def _without_label(selector: Obj) -> None:
    """The label is for whole selectors only."""
    terms = selector.pop("matchExpressions", None) or ()
    if kept := [term for term in terms if term.get("key") != EMPTY]:
        selector["matchExpressions"] = kept


def encode_v1beta1(obj: Obj) -> Obj:
    selector = (obj.get("spec") or {}).get("selector")
    if selector not in (NONE, {}):
        return obj
    return {**obj, "spec": {**obj["spec"], "selector": ALL if selector == {} else {}}}


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
    status = new.get("status") or {}
    validate_conditions(status.get("conditions") or (), "status.conditions", errs)
    counts = ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods")
    checks.non_negative(errs, "status", status, *counts)


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
    name_is_valid=names.path_segment,
    qualified_finalizers=False,
    short_names=("pdb",),
    versions=(
        Version(group="policy", version="v1", definition="io.k8s.api.policy.v1.PodDisruptionBudget", decode=decode),
        retired(
            "policy",
            "v1beta1",
            "PodDisruptionBudget",
            "1.21",
            "1.25",
            "policy/v1",
            decode=decode_v1beta1,
            encode=encode_v1beta1,
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
