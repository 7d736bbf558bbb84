"""DeviceClass: devices of a kind, and how they are set up. Source: apis/resource validation."""

from __future__ import annotations

from typing import Any

from navarch.api.columns import AGE, NAME
from navarch.api.kind import Kind
from navarch.api.resource import rules
from navarch.api.resource.selectors import validate_selectors
from navarch.api.resourcenames import is_extended
from navarch.machinery.errors import FieldErrors
from navarch.machinery.tables import age_of
from navarch.machinery.types import Obj


def validate(obj: Obj, errs: FieldErrors) -> None:
    spec = obj.get("spec") or {}
    validate_selectors(spec.get("selectors") or [], "spec.selectors", errs)
    rules.each(errs, "spec.config", spec.get("config") or [], rules.MAX_CONFIG, rules.configuration)
    name = spec.get("extendedResourceName")
    if name is not None and not is_extended(name):
        errs.invalid("spec.extendedResourceName", name, "must be a valid extended resource name")


def row(obj: Obj, now: float) -> list[Any]:
    return [obj["metadata"]["name"], age_of(obj, now)]


KIND = Kind(
    kind="DeviceClass",
    plural="deviceclasses",
    namespaced=False,
    versions=(rules.version("DeviceClass"),),
    validate=validate,
    has_generation=True,
    columns=(NAME, AGE),
    row=row,
)
