"""ConfigMap: configuration for programs, as text or bytes under keys. Source: core validation."""

from __future__ import annotations

from typing import Any

from navarch.api.columns import AGE, NAME
from navarch.api.kind import Column, Kind, Version
from navarch.api.podspec import checks
from navarch.machinery import names
from navarch.machinery.errors import FieldErrors
from navarch.machinery.tables import age_of
from navarch.machinery.types import Obj

MAX_BYTES = 1 << 20
FROZEN = "field is immutable when `immutable` is set"


def decoded_bytes(text: str) -> int:
    """How many bytes a base64 text stands for."""
    return len(text) // 4 * 3 - text.count("=", -2) if len(text) > 1 else 0


def validate(obj: Obj, errs: FieldErrors) -> None:
    data: dict[str, str] = obj.get("data") or {}
    binary: dict[str, str] = obj.get("binaryData") or {}
    size = 0
    for key, value in data.items():
        if wrong := names.config_map_key(key):
            checks.each(errs, f"data[{key}]", key, wrong)
        if key in binary:
            errs.invalid(f"data[{key}]", key, "duplicate of key present in binaryData")
        size += len(value) if value.isascii() else len(value.encode())
    for key, value in binary.items():
        if wrong := names.config_map_key(key):
            checks.each(errs, f"binaryData[{key}]", key, wrong)
        size += decoded_bytes(value)
    if size > MAX_BYTES:
        errs.too_long("[]", MAX_BYTES)  # so upstream names the whole


def frozen(new: Obj, old: Obj, errs: FieldErrors, *fields: str) -> None:
    """What is marked immutable stays so, with its content."""
    if not old.get("immutable"):
        return
    if not new.get("immutable"):
        errs.forbidden("immutable", FROZEN)
    for field in fields:
        if (new.get(field) or {}) != (old.get(field) or {}):
            errs.forbidden(field, FROZEN)


def validate_update(new: Obj, old: Obj, errs: FieldErrors) -> None:
    frozen(new, old, errs, "data", "binaryData")


def row(obj: Obj, now: float) -> list[Any]:
    return [obj["metadata"]["name"], len(obj.get("data") or ()) + len(obj.get("binaryData") or ()), age_of(obj, now)]


KIND = Kind(
    kind="ConfigMap",
    plural="configmaps",
    short_names=("cm",),
    versions=(Version(group="", version="v1", definition="io.k8s.api.core.v1.ConfigMap"),),
    validate=validate,
    validate_update=validate_update,
    columns=(NAME, Column(name="Data", description="How many keys there are."), AGE),
    row=row,
)
