"""Namespace: what separates the names of most objects. Source: upstream's registry/core/namespace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from navarch.api.columns import AGE, NAME
from navarch.api.kind import Column, Kind, Subresource, Version, status_of
from navarch.api.podspec import checks
from navarch.machinery import names
from navarch.machinery.errors import FieldErrors
from navarch.machinery.tables import age_of
from navarch.machinery.types import Obj

NAME_LABEL = "kubernetes.io/metadata.name"
FINALIZER = "kubernetes"
STANDARD_FINALIZERS = (FINALIZER, "orphan", "foregroundDeletion")


def _label(obj: Obj) -> None:
    """Every namespace carries its name as a label, so that selectors can name it."""
    metadata = obj["metadata"]
    if name := metadata.get("name"):
        labels = metadata.get("labels")
        if not labels or labels.get(NAME_LABEL) != name:
            metadata["labels"] = {**(labels or {}), NAME_LABEL: name}


def defaults(obj: Obj) -> None:
    _label(obj)
    status = obj.setdefault("status", {})
    if not status.get("phase"):
        status["phase"] = "Active"


def prepare_create(obj: Obj) -> None:
    obj["status"] = {"phase": "Active"}
    spec = obj.setdefault("spec", {})
    finalizers = spec.get("finalizers") or []
    if FINALIZER not in finalizers:
        spec["finalizers"] = [*finalizers, FINALIZER]


def prepare_update(new: Obj, old: Obj) -> None:
    """Only `finalize` changes the finalizers."""
    spec = new.setdefault("spec", {})
    spec.pop("finalizers", None)
    if finalizers := (old.get("spec") or {}).get("finalizers"):
        spec["finalizers"] = finalizers


def _finalizer(name: str, path: str, errs: FieldErrors) -> None:
    checks.named(errs, path, name, names.qualified_name)
    if "/" not in name and name not in STANDARD_FINALIZERS:
        errs.invalid(path, name, "name is neither a standard finalizer name nor is it fully qualified")


def validate(obj: Obj, errs: FieldErrors) -> None:
    for name in (obj.get("spec") or {}).get("finalizers") or ():
        _finalizer(name, "spec.finalizers", errs)


def validate_finalize(new: Obj, old: Obj, errs: FieldErrors) -> None:
    """For the subresource `finalize`."""
    for index, name in enumerate((new.get("spec") or {}).get("finalizers") or ()):
        _finalizer(name, f"spec.finalizers[{index}]", errs)


def validate_status_update(new: Obj, old: Obj, errs: FieldErrors) -> None:
    phase = (new.get("status") or {}).get("phase", "")
    if "deletionTimestamp" not in new["metadata"]:
        if phase != "Active":
            errs.invalid("status.Phase", phase, "may only be 'Active' if `deletionTimestamp` is empty")
    elif phase != "Terminating":
        errs.invalid("status.Phase", phase, "may only be 'Terminating' if `deletionTimestamp` is not empty")


def fields(obj: Obj) -> Mapping[str, str]:
    return {
        "status.phase": (obj.get("status") or {}).get("phase", ""),
        "name": obj["metadata"].get("name", ""),
    }


def row(obj: Obj, now: float) -> list[Any]:
    return [obj["metadata"]["name"], (obj.get("status") or {}).get("phase", ""), age_of(obj, now)]


KIND = Kind(
    kind="Namespace",
    plural="namespaces",
    short_names=("ns",),
    namespaced=False,
    versions=(Version(group="", version="v1", definition="io.k8s.api.core.v1.Namespace"),),
    verbs=("create", "delete", "get", "list", "patch", "update", "watch"),
    subresources=(Subresource(name="finalize", kind="Namespace", verbs=("update",)), status_of("Namespace")),
    defaults=defaults,
    prepare_create=prepare_create,
    prepare_update=prepare_update,
    normalise=_label,
    validate=validate,
    validate_status_update=validate_status_update,
    name_is_valid=names.dns1123_label,
    columns=(NAME, Column(name="Status", description="Whether the namespace is in use or going."), AGE),
    row=row,
    fields=fields,
)
