"""StorageClass: how volumes of a kind are made. Source: apis/storage defaults and validation."""

from __future__ import annotations

from typing import Any

from navarch.api.columns import AGE, NAME
from navarch.api.kind import Column, Kind
from navarch.api.nodelabels import DEPRECATED
from navarch.api.podspec import checks
from navarch.api.storage.rules import beta, validate_parameters, validate_provisioner, version
from navarch.machinery import names
from navarch.machinery.errors import FieldErrors
from navarch.machinery.tables import age_of
from navarch.machinery.types import Obj

IS_DEFAULT = ("storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class")
BINDING_MODES = ("Immediate", "WaitForFirstConsumer")


def defaults(obj: Obj) -> None:
    if obj.get("reclaimPolicy") is None:
        obj["reclaimPolicy"] = "Delete"
    if obj.get("volumeBindingMode") is None:
        obj["volumeBindingMode"] = "Immediate"


def validate(obj: Obj, errs: FieldErrors) -> None:
    validate_provisioner(obj.get("provisioner", ""), "provisioner", errs)
    validate_parameters(obj, errs)
    if (policy := obj.get("reclaimPolicy")) and policy not in ("Delete", "Retain"):
        errs.not_supported("reclaimPolicy", policy, ("Delete", "Retain"))
    mode = obj.get("volumeBindingMode")
    if mode is None:
        errs.required("volumeBindingMode")
    elif mode not in BINDING_MODES:
        errs.not_supported("volumeBindingMode", mode, BINDING_MODES)
    terms: list[dict[str, set[str]]] = []
    for index, term in enumerate(obj.get("allowedTopologies") or []):
        wanted = _topology(term, f"allowedTopologies[{index}]", errs)
        if wanted in terms or not wanted:  # upstream compares with terms that are not there, too
            errs.duplicate(f"allowedTopologies[{index}].matchLabelExpressions", "")
        terms.append(wanted)


def _topology(term: Obj, path: str, errs: FieldErrors) -> dict[str, set[str]]:
    """The values wanted of each key."""
    found: dict[str, set[str]] = {}
    for index, wanted in enumerate(term.get("matchLabelExpressions") or []):
        at = f"{path}.matchLabelExpressions[{index}]"
        key, values = wanted.get("key", ""), wanted.get("values") or []
        checks.named(errs, f"{at}.key", key, names.qualified_name)
        if not values:
            errs.required(f"{at}.values")
        for position, value in enumerate(values):
            if value in values[:position]:
                errs.duplicate(f"{at}.values[{position}]", value)
        if key in found:
            errs.duplicate(f"{at}.key", key)
        found[key] = set(values)
    return found


def validate_update(new: Obj, old: Obj, errs: FieldErrors) -> None:
    for field in ("parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"):
        checks.immutable(errs, field, new.get(field) or None, old.get(field) or None)


def warnings(obj: Obj, old: Obj | None) -> list[str]:
    return [
        f"allowedTopologies[{index}].matchLabelExpressions[{position}].key: {DEPRECATED[key]}"
        for index, term in enumerate(obj.get("allowedTopologies") or ())
        for position, wanted in enumerate(term.get("matchLabelExpressions") or ())
        if (key := wanted.get("key", "")) in DEPRECATED
    ]


def row(obj: Obj, now: float) -> list[Any]:
    annotations = obj["metadata"].get("annotations") or {}
    default = any(annotations.get(name) == "true" for name in IS_DEFAULT)
    return [
        obj["metadata"]["name"] + (" (default)" if default else ""),
        obj.get("provisioner", ""),
        obj.get("reclaimPolicy", "Delete"),
        obj.get("volumeBindingMode", "<unset>"),
        bool(obj.get("allowVolumeExpansion")),
        age_of(obj, now),
    ]


KIND = Kind(
    kind="StorageClass",
    plural="storageclasses",
    short_names=("sc",),
    namespaced=False,
    versions=(version("StorageClass"), beta("StorageClass", "1.19", "1.22")),
    defaults=defaults,
    validate=validate,
    validate_update=validate_update,
    warnings=warnings,
    columns=(
        NAME,
        Column(name="Provisioner", description="Who makes the volumes."),
        Column(name="ReclaimPolicy", description="What becomes of a volume that is released."),
        Column(name="VolumeBindingMode", description="When claims are bound: at once, or once a pod needs them."),
        Column(name="AllowVolumeExpansion", description="Whether volumes may grow."),
        AGE,
    ),
    row=row,
)
