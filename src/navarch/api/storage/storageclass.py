"""StorageClass: how volumes of a kind are made. Source: apis/storage defaults and validation."""

from __future__ import annotations

from typing import Any

from navarch.api.columns import AGE, NAME
from navarch.api.kind import Column, Kind, Version
from navarch.api.podspec import checks
from navarch.machinery import names
from navarch.machinery.errors import FieldErrors
from navarch.machinery.tables import age_of
from navarch.machinery.types import Obj

IS_DEFAULT = ("storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class")
MAX_PARAMETERS, MAX_PARAMETERS_BYTES = 512, 256 * 1024
MAX_PROVISIONER = 253


def defaults(obj: Obj) -> None:
    if obj.get("reclaimPolicy") is None:
        obj["reclaimPolicy"] = "Delete"
    if obj.get("volumeBindingMode") is None:
        obj["volumeBindingMode"] = "Immediate"


def validate(obj: Obj, errs: FieldErrors) -> None:
    provisioner = obj.get("provisioner", "")
    if not provisioner:
        errs.required("provisioner", "")
    else:
        checks.named(errs, "provisioner", provisioner.lower(), names.qualified_name)
    parameters: dict[str, str] = obj.get("parameters") or {}
    if len(parameters) > MAX_PARAMETERS:
        errs.too_long("parameters", MAX_PARAMETERS)
    if "" in parameters:
        errs.invalid("parameters", "", "field can not be empty.")
    if sum(len(k) + len(v) for k, v in parameters.items()) > MAX_PARAMETERS_BYTES:
        errs.too_long("parameters", MAX_PARAMETERS_BYTES)
    checks.one_of(errs, "reclaimPolicy", obj.get("reclaimPolicy"), ("Delete", "Retain"))
    checks.one_of(errs, "volumeBindingMode", obj.get("volumeBindingMode"), ("Immediate", "WaitForFirstConsumer"))
    for index, term in enumerate(obj.get("allowedTopologies") or []):
        _topology(term, f"allowedTopologies[{index}]", errs)


def _topology(term: Obj, path: str, errs: FieldErrors) -> None:
    keys: set[str] = set()
    for index, wanted in enumerate(term.get("matchLabelExpressions") or []):
        at = f"{path}.matchLabelExpressions[{index}]"
        key, values = wanted.get("key", ""), wanted.get("values") or []
        checks.named(errs, f"{at}.key", key, names.qualified_name)
        if not values:
            errs.required(f"{at}.values")
        for position, value in enumerate(values):
            if value in values[:position]:
                errs.duplicate(f"{at}.values[{position}]", value)
        if key in keys:
            errs.duplicate(f"{at}.key", key)
        keys.add(key)


def validate_update(new: Obj, old: Obj, errs: FieldErrors) -> None:
    if (new.get("parameters") or {}) != (old.get("parameters") or {}):
        errs.forbidden("parameters", "updates to parameters are forbidden.")
    if new.get("provisioner") != old.get("provisioner"):
        errs.forbidden("provisioner", "updates to provisioner are forbidden.")
    if new.get("reclaimPolicy") != old.get("reclaimPolicy"):
        errs.forbidden("reclaimPolicy", "updates to reclaimPolicy are forbidden.")
    checks.immutable(errs, "volumeBindingMode", new.get("volumeBindingMode"), old.get("volumeBindingMode"))


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
    versions=(Version(group="storage.k8s.io", version="v1", definition="io.k8s.api.storage.v1.StorageClass"),),
    defaults=defaults,
    validate=validate,
    validate_update=validate_update,
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
