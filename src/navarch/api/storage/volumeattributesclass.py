"""VolumeAttributesClass: how volumes perform, to be changed while they live. Source: apis/storage validation."""

from __future__ import annotations

from typing import Any

from navarch.api.columns import AGE, NAME
from navarch.api.kind import Column, Kind
from navarch.api.storage.rules import beta, validate_parameters, validate_provisioner, version
from navarch.machinery.errors import FieldErrors
from navarch.machinery.tables import age_of
from navarch.machinery.types import Obj


def validate(obj: Obj, errs: FieldErrors) -> None:
    validate_provisioner(obj.get("driverName", ""), "driverName", errs)
    validate_parameters(obj, errs)
    if not obj.get("parameters"):
        errs.required("parameters", "must contain at least one key/value pair")


def validate_update(new: Obj, old: Obj, errs: FieldErrors) -> None:
    for field in ("driverName", "parameters"):
        if new.get(field) != old.get(field):
            errs.forbidden(field, f"updates to {field} are forbidden.")


def row(obj: Obj, now: float) -> list[Any]:
    return [obj["metadata"]["name"], obj.get("driverName", ""), age_of(obj, now)]


KIND = Kind(
    kind="VolumeAttributesClass",
    plural="volumeattributesclasses",
    short_names=("vac",),
    namespaced=False,
    versions=(version("VolumeAttributesClass"), beta("VolumeAttributesClass", "1.34", "1.37")),
    validate=validate,
    validate_update=validate_update,
    columns=(NAME, Column(name="DriverName", description="The driver it is for."), AGE),
    row=row,
)
