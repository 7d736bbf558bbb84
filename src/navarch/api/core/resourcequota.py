"""ResourceQuota: how much a namespace may use altogether."""

from __future__ import annotations

from typing import Any

from navarch.api.columns import AGE, NAME
from navarch.api.kind import Column, Kind, Version, status_of
from navarch.api.resourcenames import validate_quota_resource
from navarch.machinery.errors import FieldErrors
from navarch.machinery.quantity import Quantity
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
COUNTED = frozenset(
    [
        "pods",
        "services",
        "replicationcontrollers",
        "resourcequotas",
        "secrets",
        "configmaps",
        "persistentvolumeclaims",
        "services.nodeports",
        "services.loadbalancers",
    ]
)
"""Of these there are only whole ones."""
OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")


def _quantities(errs: FieldErrors, path: str, amounts: Obj | None) -> None:
    for name, amount in (amounts or {}).items():
        at = f"{path}[{name}]"
        validate_quota_resource(name, at, errs)
        if Quantity.of(amount).sign < 0:
            errs.invalid(at, str(amount), "must be greater than or equal to 0")
        if name in COUNTED and Quantity.of(amount).nano % 10**9:
            errs.invalid(at, str(amount), "must be an integer")


def validate(obj: Obj, errs: FieldErrors) -> None:
    spec = obj.get("spec") or {}
    _quantities(errs, "spec.hard", spec.get("hard"))
    scopes: list[str] = spec.get("scopes") or []
    _scopes(scopes, "spec.scopes", errs)
    if "BestEffort" in scopes and any(name not in ("pods", "count/pods") for name in spec.get("hard") or ()):
        errs.invalid("spec.scopes", scopes, "unsupported scope applied to resource")
    selector = (spec.get("scopeSelector") or {}).get("matchExpressions") or []
    for term in selector:
        _term(term, "spec.scopeSelector.matchExpressions", errs)


def _scopes(scopes: list[str], path: str, errs: FieldErrors) -> None:
    for index, scope in enumerate(scopes):
        if scope not in SCOPES:
            errs.invalid(path, scopes, f"unsupported scope: {scope}") if index == 0 else errs.not_supported(
                f"{path}[{index}]", scope, SCOPES
            )
    for pair in EXCLUSIVE:
        if set(pair) <= set(scopes):
            errs.invalid(path, scopes, "conflicting scopes")


def _term(term: Obj, at: str, errs: FieldErrors) -> None:
    scope, operator, values = term.get("scopeName", ""), term.get("operator", ""), term.get("values") or []
    if scope not in SCOPES:
        errs.invalid(f"{at}.scopeName", scope, "unsupported scope")
    if operator not in OPERATORS:
        errs.invalid(f"{at}.operator", operator, "not a valid selector operator")
    elif operator in ("In", "NotIn") and not values:
        errs.required(
            f"{at}.values", "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"
        )
    elif operator in ("Exists", "DoesNotExist") and values:
        errs.invalid(
            f"{at}.values", values, "must be no value when `operator` is 'Exists' or 'DoesNotExist' for scope selector"
        )
    elif scope not in ("PriorityClass", "VolumeAttributesClass") and operator != "Exists":
        errs.invalid(
            f"{at}.operator",
            operator,
            "must be 'Exist' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity",
        )


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
