"""LimitRange: bounds and defaults of what pods, containers and claims of a namespace request."""

from __future__ import annotations

from typing import Any

from navarch.api.columns import NAME
from navarch.api.kind import Column, Kind, Version
from navarch.api.podspec import checks
from navarch.api.podspec.quantities import is_overcommitable
from navarch.api.resourcenames import validate_limit_resource
from navarch.machinery import names
from navarch.machinery.errors import FieldErrors
from navarch.machinery.quantity import Quantity
from navarch.machinery.types import Obj

TYPES = ("Container", "PersistentVolumeClaim", "Pod")
ORDER = (
    ("min", "max", "min", "min", "min value {} is greater than max value {}"),
    ("min", "defaultRequest", "defaultRequest", "defaultRequest", "min value {} is greater than default request value {}"),
    ("defaultRequest", "max", "defaultRequest", "defaultRequest", "default request value {} is greater than max value {}"),
    (
        "defaultRequest", "default", "defaultRequest", "defaultRequest",
        "default request value {} is greater than default limit value {}",
    ),
    ("min", "default", "default", "min", "min value {} is greater than default value {}"),
    ("default", "max", "default", "max", "default value {} is greater than max value {}"),
)  # fmt: skip
"""Pairs of which the first may not be more; the field that is wrong, the value that is shown, and why."""
FIELDS = ("max", "min", "default", "defaultRequest", "maxLimitRequestRatio")


def defaults(obj: Obj) -> None:
    """A container's default limit is its maximum; its default request the default limit, else the minimum."""
    for limit in (obj.get("spec") or {}).get("limits") or ():
        if limit.get("type") != "Container":
            continue
        chosen = {**(limit.get("max") or {}), **(limit.get("default") or {})}
        requested = {**(limit.get("min") or {}), **chosen, **(limit.get("defaultRequest") or {})}
        if chosen:
            limit["default"] = chosen
        if requested:
            limit["defaultRequest"] = requested


def prepare_create(obj: Obj) -> None:
    """A range without a name is named by its uid."""
    metadata = obj["metadata"]
    if not metadata.get("name"):
        metadata["name"] = metadata["uid"]


def validate(obj: Obj, errs: FieldErrors) -> None:
    seen: set[str] = set()
    for index, limit in enumerate((obj.get("spec") or {}).get("limits") or ()):
        at, kind = f"spec.limits[{index}]", limit.get("type", "")
        if kind in seen:
            errs.duplicate(f"{at}.type", kind)
        if wrong := names.qualified_name(kind):
            checks.each(errs, f"{at}.type", kind, wrong)
        elif "/" not in kind and kind not in TYPES:
            errs.invalid(f"{at}.type", kind, "must be a standard limit type or fully qualified")
        seen.add(kind)
        _validate_limit(limit, kind, at, errs)


def _validate_limit(limit: Obj, kind: str, at: str, errs: FieldErrors) -> None:
    given = {field: {k: Quantity.of(v) for k, v in (limit.get(field) or {}).items()} for field in FIELDS}
    for field in ("max", "min", "maxLimitRequestRatio"):
        for name in given[field]:
            validate_limit_resource(kind, name, f"{at}.{field}[{name}]", errs)
    if kind == "Pod":
        for field in ("default", "defaultRequest"):
            if given[field]:
                errs.forbidden(f"{at}.{field}", "may not be specified when `type` is 'Pod'")
                given[field] = {}
    else:
        for field in ("default", "defaultRequest"):
            for name in given[field]:
                validate_limit_resource(kind, name, f"{at}.{field}[{name}]", errs)
    if kind == "PersistentVolumeClaim" and not ("storage" in given["min"] or "storage" in given["max"]):
        errs.required(f"{at}.limits", "either minimum or maximum storage value is required, but neither was provided")
    for name in sorted({key for field in FIELDS for key in given[field]}):
        _validate_order(name, {field: given[field].get(name) for field in FIELDS}, at, errs)


def _validate_order(name: str, value: dict[str, Quantity | None], at: str, errs: FieldErrors) -> None:
    """min <= defaultRequest <= default <= max."""
    for low, high, blamed, shown, message in ORDER:
        a, b = value[low], value[high]
        if a is not None and b is not None and a > b:
            errs.invalid(f"{at}.{blamed}[{name}]", str(value[shown]), message.format(a, b))
    ratio, low_value, high_value = value["maxLimitRequestRatio"], value["min"], value["max"]
    if ratio is not None and ratio.nano < 10**9:
        errs.invalid(f"{at}.maxLimitRequestRatio[{name}]", str(ratio), f"ratio {ratio} is less than 1")
    if ratio is not None and low_value is not None and high_value is not None and low_value.nano:
        most = high_value.nano / low_value.nano
        if ratio.nano / 1e9 > most:
            message = f"ratio {ratio} is greater than max/min = {most:f}"
            errs.invalid(f"{at}.maxLimitRequestRatio[{name}]", str(ratio), message)
    default, request = value["default"], value["defaultRequest"]
    if default is not None and request is not None and default != request and not is_overcommitable(name):
        message = f"default value {default} must equal to defaultRequest value {request} in {name}"
        errs.invalid(f"{at}.defaultRequest[{name}]", str(request), message)


def row(obj: Obj, now: float) -> list[Any]:
    return [obj["metadata"]["name"], obj["metadata"].get("creationTimestamp")]


KIND = Kind(
    kind="LimitRange",
    plural="limitranges",
    short_names=("limits",),
    versions=(Version(group="", version="v1", definition="io.k8s.api.core.v1.LimitRange"),),
    defaults=defaults,
    prepare_create=prepare_create,
    validate=validate,
    allow_create_on_update=True,
    columns=(NAME, Column(name="Created At", type="date", description="When the object was created.")),
    row=row,
)
