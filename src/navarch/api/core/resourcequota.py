"""ResourceQuota: how much a namespace may use altogether."""

from __future__ import annotations

from typing import Any

from navarch.api.columns import AGE, NAME
from navarch.api.kind import Column, Kind, Version, status_of
from navarch.api.resourcenames import is_standard_quota, resource_amount, validate_quota_resource
from navarch.machinery.errors import FieldErrors
from navarch.machinery.tables import age_of
from navarch.machinery.types import Obj

SCOPES = (
    "Terminating",
    "NotTerminating",
    "BestEffort",
    "NotBestEffort",
    "PriorityClass",
    "CrossNamespacePodAffinity",
    "VolumeAttributesClass",
)
EXCLUSIVE = (("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating"))
POD_COMPUTE = frozenset(("pods", "cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory"))
SCOPED = dict.fromkeys(SCOPES, POD_COMPUTE) | {
    "BestEffort": frozenset(("pods",)),
    "VolumeAttributesClass": frozenset(("persistentvolumeclaims", "requests.storage")),
}
"""Which standard resources a scope can be for."""
OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")


def _quantities(errs: FieldErrors, path: str, amounts: Obj | None) -> None:
    for name, amount in (amounts or {}).items():
        validate_quota_resource(name, f"{path}[{name}]", errs)
        resource_amount(name, amount, f"{path}[{name}]", errs)


def validate(obj: Obj, errs: FieldErrors) -> None:
    spec = obj.get("spec") or {}
    hard: Obj = spec.get("hard") or {}
    _quantities(errs, "spec.hard", hard)
    scopes: list[str] = spec.get("scopes") or []
    for scope in scopes:
        if scope not in SCOPES:
            errs.invalid("spec.scopes", scopes, "unsupported scope")
        _applicable(scope, hard, "spec.scopes", scopes, errs)
    _conflicts(scopes, "spec.scopes", scopes, errs)
    if (selector := spec.get("scopeSelector")) is not None:
        at = "spec.scopeSelector.matchExpressions"
        terms: list[Obj] = selector.get("matchExpressions") or []
        fields = {"ScopeName": "scopeName", "Operator": "operator", "Values": "values"}
        shown = {"MatchExpressions": [{name: term.get(field) for name, field in fields.items()} for term in terms]}
        for term in terms:
            _term(term, at, errs)
            _applicable(term.get("scopeName", ""), hard, at, shown, errs)
        _conflicts([term.get("scopeName", "") for term in terms], at, spec.get("scopes"), errs)


def _applicable(scope: str, hard: Obj, path: str, shown: Any, errs: FieldErrors) -> None:
    for name in sorted(hard):
        if is_standard_quota(name) and name not in SCOPED.get(scope, (name,)):
            errs.invalid(path, shown, "unsupported scope applied to resource")


def _conflicts(scopes: list[str], path: str, shown: Any, errs: FieldErrors) -> None:
    for pair in EXCLUSIVE:
        if set(pair) <= set(scopes):
            errs.invalid(path, shown, "conflicting scopes")


def _term(term: Obj, at: str, errs: FieldErrors) -> None:
    scope, operator, values = term.get("scopeName", ""), term.get("operator", ""), term.get("values") or []
    if scope not in SCOPES:
        errs.invalid(f"{at}.scopeName", scope, "unsupported scope")
    elif scope not in ("PriorityClass", "VolumeAttributesClass") and operator != "Exists":
        message = (
            "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, "
            "ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or "
            "ResourceQuotaScopeCrossNamespacePodAffinity"
        )
        errs.invalid(f"{at}.operator", operator, message)
    for_selector = "for scope selector"
    if operator in ("In", "NotIn"):
        if not values:
            message = f"must be at least one value when `operator` is 'In' or 'NotIn' {for_selector}"
            errs.required(f"{at}.values", message)
    elif operator not in OPERATORS:
        errs.invalid(f"{at}.operator", operator, "not a valid selector operator")
    elif values:
        message = f"must be no value when `operator` is 'Exist' or 'DoesNotExist' {for_selector}"
        errs.invalid(f"{at}.values", values, message)


def validate_update(new: Obj, old: Obj, errs: FieldErrors) -> None:
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    if set(spec.get("scopes") or ()) != set(before.get("scopes") or ()):
        errs.invalid("spec.scopes", spec.get("scopes"), "field is immutable")


def validate_status_update(new: Obj, old: Obj, errs: FieldErrors) -> None:
    status = new.get("status") or {}
    for field in ("hard", "used"):
        _quantities(errs, f"status.{field}", status.get(field))


def row(obj: Obj, now: float) -> list[Any]:
    status = obj.get("status") or {}
    used, hard = status.get("used") or {}, status.get("hard") or {}
    requests: list[str] = []
    limits: list[str] = []
    for name in sorted(hard):
        text = f"{name}: {used.get(name, '0')}/{hard[name]}"
        (limits if name.startswith("limits") else requests).append(text)
    return [obj["metadata"]["name"], ", ".join(requests), ", ".join(limits), age_of(obj, now)]


KIND = Kind(
    kind="ResourceQuota",
    plural="resourcequotas",
    short_names=("quota",),
    versions=(Version(group="", version="v1", definition="io.k8s.api.core.v1.ResourceQuota"),),
    subresources=(status_of("ResourceQuota"),),
    validate=validate,
    validate_update=validate_update,
    validate_status_update=validate_status_update,
    columns=(
        NAME,
        Column(name="Request", description="What is requested, of how much."),
        Column(name="Limit", description="What the limits add up to, of how much."),
        AGE,
    ),
    row=row,
)
