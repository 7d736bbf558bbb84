"""PersistentVolumeClaim: storage that somebody asks for. Source: apis/core defaults and validation."""

from __future__ import annotations

from typing import Any

from navarch.api.kind import Column, Kind, Version, status_of
from navarch.api.podspec import checks
from navarch.api.podspec.claims import basic_amount, validate_spec
from navarch.api.podspec.printing import AGE, NAME
from navarch.api.resourcenames import is_native
from navarch.machinery import names
from navarch.machinery.errors import FieldErrors
from navarch.machinery.quantity import Quantity
from navarch.machinery.tables import age_of
from navarch.machinery.types import Obj

SHORT_MODES = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}
CLASS_ANNOTATION = "volume.beta.kubernetes.io/storage-class"
CLASS_WARNING = 'deprecated since v1.8; use "storageClassName" attribute instead'
LEGACY_SOURCES = (("PersistentVolumeClaim", ""), ("VolumeSnapshot", "snapshot.storage.k8s.io"))
RESIZING = (
    "ControllerResizeInProgress", "ControllerResizeInfeasible", "NodeResizeInProgress", "NodeResizeInfeasible",
    "NodeResizePending",
)  # fmt: skip


def modes_cell(modes: list[str] | None) -> str:
    present = set(modes or ())
    return ",".join(short for mode, short in SHORT_MODES.items() if mode in present)


def class_of(obj: Obj) -> str:
    annotations = obj["metadata"].get("annotations") or {}
    return annotations.get(CLASS_ANNOTATION) or (obj.get("spec") or {}).get("storageClassName") or ""


def defaults(obj: Obj) -> None:
    spec = obj.setdefault("spec", {})
    if spec.get("volumeMode") is None:
        spec["volumeMode"] = "Filesystem"
    status = obj.setdefault("status", {})
    if not status.get("phase"):
        status["phase"] = "Pending"


def prepare_create(obj: Obj) -> None:
    _sources(obj["spec"], {})
    obj["status"] = {"phase": "Pending"}


def prepare_update(new: Obj, old: Obj) -> None:
    _sources(new["spec"], old["spec"])


def _sources(spec: Obj, old: Obj) -> None:
    """KEP-1495: `dataSource` names claims and snapshots only, all else is dropped; `dataSourceRef` says the same. Other
    namespaces are not there yet: upstream's gate CrossNamespaceVolumeDataSource is closed."""
    if (spec.get("dataSourceRef") or {}).get("namespace") and old.get("dataSourceRef") is None:
        del spec["dataSourceRef"]
    source, reference = spec.get("dataSource"), spec.get("dataSourceRef")
    fresh = all(tree is None for tree in (old.get("dataSource"), old.get("dataSourceRef"), reference))
    if fresh and source is not None and (source.get("kind"), source.get("apiGroup") or "") not in LEGACY_SOURCES:
        del spec["dataSource"]
        source = None
    if source is not None and reference is None:
        spec["dataSourceRef"] = dict(source)
    elif reference is not None and source is None and not reference.get("namespace"):
        spec["dataSource"] = {k: v for k, v in reference.items() if k != "namespace"}


def validate(obj: Obj, errs: FieldErrors) -> None:
    validate_spec(obj["spec"], "spec", errs)


def validate_update(new: Obj, old: Obj, errs: FieldErrors) -> None:
    """A claim keeps what it asked for: it gets its volume and its class once; its size may grow once it is bound."""
    spec, before, status = dict(new["spec"]), dict(old["spec"]), old.get("status") or {}
    if not before.get("volumeName"):
        before["volumeName"] = spec.get("volumeName")
    _class_update(new, old, spec, before, errs)
    wanted, had = _size(spec), _size(before)
    if status.get("phase") == "Bound":
        spec["volumeAttributesClassName"] = before.get("volumeAttributesClassName")
        if (resources := spec.get("resources") or {}).get("requests") is not None:
            requests = {**resources["requests"], "storage": str(had)}
            spec["resources"] = {**resources, "requests": requests}
    if _canonical(spec) != _canonical(before):
        errs.forbidden(
            "spec",
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims",
        )
    if wanted < had and wanted <= Quantity.of((status.get("capacity") or {}).get("storage", "0")):
        errs.forbidden("spec.resources.requests.storage", "field can not be less than status.capacity")
    checks.immutable(errs, "volumeMode", new["spec"].get("volumeMode"), old["spec"].get("volumeMode"))
    attributes = new["spec"].get("volumeAttributesClassName")
    current, path = status.get("currentVolumeAttributesClassName"), "spec.volumeAttributesClassName"
    if not attributes and current is not None and attributes != old["spec"].get("volumeAttributesClassName"):
        what = "nil" if attributes is None else "empty string"
        message = f"update to {what} is forbidden when status.currentVolumeAttributesClassName is not nil"
        errs.forbidden(path, message)


def _size(spec: Obj) -> Quantity:
    return Quantity.of(((spec.get("resources") or {}).get("requests") or {}).get("storage", "0"))


def _canonical(spec: Obj) -> Obj:
    return {k: v for k, v in spec.items() if v is not None and (k != "volumeName" or v)}


def _class_update(new: Obj, old: Obj, spec: Obj, before: Obj, errs: FieldErrors) -> None:
    """The class moves from the annotation of old to its field, or comes to a claim that has none."""
    had: Obj = old["metadata"].get("annotations") or {}
    has: Obj = new["metadata"].get("annotations") or {}
    was, now = before.get("storageClassName"), spec.get("storageClassName")
    annotated = had.get(CLASS_ANNOTATION)
    if annotated is not None and was is None and now == annotated and has.get(CLASS_ANNOTATION, now) == now:
        spec["storageClassName"] = None
        return
    at = f"metadata.annotations.{CLASS_ANNOTATION}"
    checks.immutable(errs, at, has.get(CLASS_ANNOTATION, ""), annotated or "")
    if now is not None and was is None and annotated in (None, now):
        spec["storageClassName"] = None


def validate_status_update(new: Obj, old: Obj, errs: FieldErrors) -> None:
    status = new.get("status") or {}
    for name, amount in (status.get("capacity") or {}).items():
        basic_amount(amount, f"status.capacity[{name}]", errs)
    at = "status.allocatedResourceStatuses"
    for name, state in (status.get("allocatedResourceStatuses") or {}).items():
        _allocated_name(name, at, errs)
        if state not in RESIZING:
            errs.not_supported(at, name, RESIZING)
    for name, amount in (status.get("allocatedResources") or {}).items():
        before, at = len(errs.items), f"status.allocatedResources[{name}]"
        _allocated_name(name, "status.allocatedResources", errs)
        if len(errs.items) == before:
            basic_amount(amount, at, errs)


def _allocated_name(name: str, path: str, errs: FieldErrors) -> None:
    if wrong := names.qualified_name(name):
        checks.each(errs, path, name, wrong)
    elif is_native(name) and name != "storage":
        errs.not_supported(path, name, ("storage",))


def warnings(obj: Obj, old: Obj | None) -> list[str]:
    found: list[str] = []
    if CLASS_ANNOTATION in (obj["metadata"].get("annotations") or {}):
        found.append(f"metadata.annotations[{CLASS_ANNOTATION}]: {CLASS_WARNING}")
    for side in ("requests", "limits"):
        amount = ((obj["spec"].get("resources") or {}).get(side) or {}).get("storage", "0")
        if Quantity.of(amount).milli() % 1000:
            found.append(
                f'spec.resources.{side}[storage]: fractional byte value "{amount}" is invalid, must be an integer'
            )
    return found


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
    prepare_update=prepare_update,
    validate=validate,
    validate_update=validate_update,
    validate_status_update=validate_status_update,
    warnings=warnings,
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
