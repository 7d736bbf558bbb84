"""PersistentVolumeClaim: storage that somebody asks for. Source: apis/core defaults and validation."""

from __future__ import annotations

from typing import Any

from navarch.api.kind import Column, Kind, Version, status_of
from navarch.api.podspec import checks
from navarch.api.podspec.printing import AGE, NAME
from navarch.machinery import names
from navarch.machinery.errors import FieldErrors
from navarch.machinery.quantity import Quantity
from navarch.machinery.tables import age_of
from navarch.machinery.types import Obj

MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
SHORT_MODES = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}
CLASS_ANNOTATION = "volume.beta.kubernetes.io/storage-class"


def modes_cell(modes: list[str] | None) -> str:
    present = set(modes or ())
    return ",".join(short for mode, short in SHORT_MODES.items() if mode in present)


def class_of(obj: Obj) -> str:
    annotations = obj["metadata"].get("annotations") or {}
    return annotations.get(CLASS_ANNOTATION) or (obj.get("spec") or {}).get("storageClassName") or ""


def default_spec(spec: Obj) -> None:
    if spec.get("volumeMode") is None:
        spec["volumeMode"] = "Filesystem"
    reference = spec.get("dataSourceRef")
    source = spec.get("dataSource")
    if source is not None and reference is None:
        spec["dataSourceRef"] = dict(source)
    elif reference is not None and source is None and not reference.get("namespace"):
        spec["dataSource"] = {k: v for k, v in reference.items() if k != "namespace"}


def defaults(obj: Obj) -> None:
    default_spec(obj.setdefault("spec", {}))
    status = obj.setdefault("status", {})
    if not status.get("phase"):
        status["phase"] = "Pending"


def prepare_create(obj: Obj) -> None:
    _drop_source(obj["spec"])
    obj["status"] = {"phase": "Pending"}


def _drop_source(spec: Obj) -> None:
    """A source of no kind is none."""
    source = spec.get("dataSource")
    if source is not None and not source.get("kind"):
        del spec["dataSource"]
        spec.pop("dataSourceRef", None)


def validate_modes(spec: Obj, path: str, errs: FieldErrors) -> None:
    modes = spec.get("accessModes") or []
    if not modes:
        errs.required(f"{path}.accessModes", "at least 1 access mode is required")
    for mode in modes:
        if mode not in MODES:
            errs.not_supported(f"{path}.accessModes", mode, MODES)
    if "ReadWriteOncePod" in modes and len(modes) > 1:
        errs.forbidden(f"{path}.accessModes", "may not use ReadWriteOncePod with other access modes")


def validate_spec(spec: Obj, path: str, errs: FieldErrors) -> None:
    if spec.get("selector") is not None:
        checks.label_selector(errs, f"{path}.selector", spec["selector"])
    validate_modes(spec, path, errs)
    storage = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    if storage is None:
        errs.required(f"{path}.resources[storage]", "")
    elif Quantity.of(storage).sign <= 0:
        errs.invalid(f"{path}.resources[storage]", str(storage), "must be greater than zero")
    if spec.get("storageClassName"):
        checks.named(errs, f"{path}.storageClassName", spec["storageClassName"], names.dns1123_subdomain)
    if (mode := spec.get("volumeMode")) is not None and mode not in ("Block", "Filesystem"):
        errs.not_supported(f"{path}.volumeMode", mode, ("Block", "Filesystem"))
    source, reference = spec.get("dataSource"), spec.get("dataSourceRef")
    for field, found in (("dataSource", source), ("dataSourceRef", reference)):
        if found is not None:
            checks.required(errs, f"{path}.{field}", found, "name", "kind")
            if not found.get("apiGroup") and found.get("kind") != "PersistentVolumeClaim":
                errs.invalid(
                    f"{path}.{field}",
                    found.get("kind", ""),
                    "must be 'PersistentVolumeClaim' when referencing the default apiGroup",
                )


def validate(obj: Obj, errs: FieldErrors) -> None:
    validate_spec(obj["spec"], "spec", errs)


def validate_update(new: Obj, old: Obj, errs: FieldErrors) -> None:
    """All but the requested size (which may grow) and the attributes class stays as it was, once it is bound."""
    spec, before = dict(new["spec"]), dict(old["spec"])
    for tree in (spec, before):
        tree.pop("volumeAttributesClassName", None)
    if not before.get("volumeName"):
        before["volumeName"] = spec.get("volumeName")
    if before.get("storageClassName") is None and spec.get("storageClassName"):
        before["storageClassName"] = spec["storageClassName"]
    wanted, had = (((t.get("resources") or {}).get("requests") or {}).get("storage") for t in (spec, before))
    bound = (old.get("status") or {}).get("phase") == "Bound"
    if bound and wanted is not None and had is not None:
        floor = ((old.get("status") or {}).get("capacity") or {}).get("storage", had)
        if Quantity.of(wanted) < Quantity.of(floor) and Quantity.of(wanted) < Quantity.of(had):
            errs.forbidden("spec.resources.requests.storage", "field can not be less than status.capacity")
        before["resources"] = spec.get("resources")
    if {k: v for k, v in spec.items() if v is not None} != {k: v for k, v in before.items() if v is not None}:
        errs.forbidden(
            "spec",
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims",
        )


def row(obj: Obj, now: float) -> list[Any]:
    spec, status = obj["spec"], obj.get("status") or {}
    phase = "Terminating" if "deletionTimestamp" in obj["metadata"] else status.get("phase", "")
    bound = bool(spec.get("volumeName"))
    return [
        obj["metadata"]["name"],
        phase,
        spec.get("volumeName", ""),
        (status.get("capacity") or {}).get("storage", "0") if bound else "",
        modes_cell(status.get("accessModes")) if bound else "",
        class_of(obj),
        spec.get("volumeAttributesClassName") or "<unset>",
        age_of(obj, now),
        spec.get("volumeMode") or "<unset>",
    ]


KIND = Kind(
    kind="PersistentVolumeClaim",
    plural="persistentvolumeclaims",
    short_names=("pvc",),
    versions=(Version(group="", version="v1", definition="io.k8s.api.core.v1.PersistentVolumeClaim"),),
    subresources=(status_of("PersistentVolumeClaim"),),
    defaults=defaults,
    prepare_create=prepare_create,
    validate=validate,
    validate_update=validate_update,
    columns=(
        NAME,
        Column(name="Status", description="How far the claim has come."),
        Column(name="Volume", description="The volume that is bound to it."),
        Column(name="Capacity", description="How large the volume is."),
        Column(name="Access Modes", description="How the volume may be mounted."),
        Column(name="StorageClass", description="The class of the volume."),
        Column(name="VolumeAttributesClass", description="The class of the volume's attributes."),
        AGE,
        Column(name="VolumeMode", description="A file system or a block device.", priority=1),
    ),
    row=row,
)
