"""VolumeAttachment: that a volume is to be attached to a node. Source: apis/storage validation."""

from __future__ import annotations

from typing import Any

from navarch.api.columns import AGE, NAME
from navarch.api.kind import Column, Kind, status_of
from navarch.api.meta import keep_metadata
from navarch.api.podspec import checks
from navarch.api.storage.rules import beta, driver_name, version
from navarch.machinery import names
from navarch.machinery.errors import FieldErrors
from navarch.machinery.tables import age_of
from navarch.machinery.types import Obj

MAX_METADATA_BYTES, MAX_MESSAGE_BYTES = 256 * 1024, 1024
ONE_SOURCE = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"


def validate(obj: Obj, errs: FieldErrors) -> None:
    spec = obj.get("spec") or {}
    driver_name(errs, "spec.attacher", spec.get("attacher", ""))
    source = spec.get("source") or {}
    inline, volume = source.get("inlineVolumeSpec"), source.get("persistentVolumeName")
    if inline is None and volume is None:
        errs.required("spec.source", ONE_SOURCE)
    elif inline is not None and volume is not None:
        errs.forbidden("spec.source", ONE_SOURCE)
    elif volume == "":
        errs.required("spec.source.persistentVolumeName", "must specify non empty persistentVolumeName")
    checks.named(errs, "spec.nodeName", spec.get("nodeName", ""), names.dns1123_subdomain)
    _status(obj.get("status") or {}, errs)
    if volume is not None:
        checks.named(errs, "spec.source.persistentVolumeName", volume, names.dns1123_subdomain)


def _status(status: Obj, errs: FieldErrors) -> None:
    metadata: dict[str, str] = status.get("attachmentMetadata") or {}
    if sum(len(k.encode()) + len(v.encode()) for k, v in metadata.items()) > MAX_METADATA_BYTES:
        errs.too_long("status.attachmentMetadata", MAX_METADATA_BYTES)
    for field in ("attachError", "detachError"):
        error = status.get(field) or {}
        if names.longer_than(error.get("message", ""), MAX_MESSAGE_BYTES):
            errs.too_long(f"status.{field}.message", MAX_METADATA_BYTES)
        if (code := error.get("errorCode") or 0) < 0:
            errs.invalid(f"status.{field}.errorCode", code, f"must be between 0 and {checks.MAX_INT32}, inclusive")


def validate_update(new: Obj, old: Obj, errs: FieldErrors) -> None:
    checks.immutable(errs, "spec", new.get("spec"), old.get("spec"))


def validate_status_update(new: Obj, old: Obj, errs: FieldErrors) -> None:
    validate(new, errs)


def row(obj: Obj, now: float) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    return [
        obj["metadata"]["name"],
        spec.get("attacher", ""),
        (spec.get("source") or {}).get("persistentVolumeName") or "",
        spec.get("nodeName", ""),
        bool(status.get("attached")),
        age_of(obj, now),
    ]


KIND = Kind(
    kind="VolumeAttachment",
    plural="volumeattachments",
    namespaced=False,
    versions=(version("VolumeAttachment"), beta("VolumeAttachment", "1.19", "1.22")),
    subresources=(status_of("VolumeAttachment"),),
    prepare_status_update=keep_metadata,
    validate=validate,
    validate_update=validate_update,
    validate_status_update=validate_status_update,
    allow_unconditional_update=False,
    columns=(
        NAME,
        Column(name="Attacher", format="name", description="The driver."),
        Column(name="PV", description="The volume."),
        Column(name="Node", description="The node."),
        Column(name="Attached", type="boolean", description="Whether it is attached."),
        AGE,
    ),
    row=row,
)
