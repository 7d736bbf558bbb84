"""CSIDriver, CSINode, CSIStorageCapacity, VolumeAttachment, VolumeAttributesClass. Source: apis/storage."""

from __future__ import annotations

from typing import Any

from navarch.api.columns import AGE, NAME, NAME_AND_CREATION, creation_row
from navarch.api.kind import Column, Kind, Version, status_of
from navarch.api.meta import keep_metadata
from navarch.api.podspec import checks
from navarch.machinery import names
from navarch.machinery.errors import FieldErrors
from navarch.machinery.quantity import Quantity
from navarch.machinery.tables import NONE, age_of
from navarch.machinery.types import Obj

GROUP = "storage.k8s.io"
UNSET = "<unset>"
MAX_DRIVER = 63
MODES = ("Ephemeral", "Persistent")


def driver_name(errs: FieldErrors, path: str, name: str) -> None:
    if not name:
        errs.required(path, "")
    elif len(name) > MAX_DRIVER:
        errs.too_long(path, MAX_DRIVER)
    else:
        checks.named(errs, path, name.lower(), names.dns1123_subdomain)


# -- drivers


def driver_object_name(name: str) -> list[str]:
    """A driver's object has the driver's name."""
    too_long = len(name) > MAX_DRIVER
    return [f"may not be more than {MAX_DRIVER} bytes"] if too_long else names.dns1123_subdomain(name.lower())


def driver_defaults(obj: Obj) -> None:
    spec = obj.setdefault("spec", {})
    values: dict[str, Any] = {
        "attachRequired": True,
        "podInfoOnMount": False,
        "storageCapacity": False,
        "requiresRepublish": False,
        "seLinuxMount": False,
        "fsGroupPolicy": "ReadWriteOnceWithFSType",
    }
    for field, value in values.items():
        if spec.get(field) is None:
            spec[field] = value
    if not spec.get("volumeLifecycleModes"):
        spec["volumeLifecycleModes"] = ["Persistent"]


def validate_driver(obj: Obj, errs: FieldErrors) -> None:
    spec = obj["spec"]
    policy = spec.get("fsGroupPolicy")
    if policy not in ("File", "None", "ReadWriteOnceWithFSType"):
        errs.not_supported("spec.fsGroupPolicy", policy, ("File", "None", "ReadWriteOnceWithFSType"))
    for index, mode in enumerate(spec.get("volumeLifecycleModes") or ()):
        if mode not in MODES:
            errs.not_supported(f"spec.volumeLifecycleModes[{index}]", mode, MODES)
    audiences: list[str] = []
    for index, request in enumerate(spec.get("tokenRequests") or ()):
        audience, seconds = request.get("audience", ""), request.get("expirationSeconds")
        if audience in audiences:
            errs.duplicate(f"spec.tokenRequests[{index}].audience", audience)
        audiences.append(audience)
        if seconds is not None and seconds < 600:
            errs.invalid(
                f"spec.tokenRequests[{index}].expirationSeconds",
                seconds,
                "may not specify a duration less than 10 minutes",
            )


def validate_driver_update(new: Obj, old: Obj, errs: FieldErrors) -> None:
    for field in ("attachRequired", "volumeLifecycleModes"):
        checks.immutable(errs, f"spec.{field}", new["spec"].get(field), old["spec"].get(field))


def driver_row(obj: Obj, now: float) -> list[Any]:
    spec = obj["spec"]
    tokens = ",".join(request.get("audience", "") for request in spec.get("tokenRequests") or ()) or UNSET
    return [
        obj["metadata"]["name"],
        bool(spec.get("attachRequired", True)),
        bool(spec.get("podInfoOnMount")),
        bool(spec.get("storageCapacity")),
        tokens,
        bool(spec.get("requiresRepublish")),
        ",".join(spec.get("volumeLifecycleModes") or ()) or NONE,
        age_of(obj, now),
    ]


# -- nodes


def validate_node(obj: Obj, errs: FieldErrors) -> None:
    seen: set[str] = set()
    for index, driver in enumerate((obj.get("spec") or {}).get("drivers") or ()):
        at, name = f"spec.drivers[{index}]", driver.get("name", "")
        driver_name(errs, f"{at}.name", name)
        if name in seen:
            errs.duplicate(f"{at}.name", name)
        seen.add(name)
        if not driver.get("nodeID"):
            errs.required(f"{at}.nodeID", "")
        count = (driver.get("allocatable") or {}).get("count")
        if count is not None and count < 0:
            errs.invalid(f"{at}.allocatable.count", count, checks.NOT_NEGATIVE)


def node_row(obj: Obj, now: float) -> list[Any]:
    return [obj["metadata"]["name"], len((obj.get("spec") or {}).get("drivers") or ()), age_of(obj, now)]


# -- capacities


def validate_capacity(obj: Obj, errs: FieldErrors) -> None:
    checks.named(errs, "storageClassName", obj.get("storageClassName", ""), names.dns1123_subdomain)
    if (topology := obj.get("nodeTopology")) is not None:
        checks.label_selector(errs, "nodeTopology", topology)
    for field in ("capacity", "maximumVolumeSize"):
        if (amount := obj.get(field)) is not None and Quantity.of(amount).sign < 0:
            errs.invalid(field, str(amount), checks.NOT_NEGATIVE)


def validate_capacity_update(new: Obj, old: Obj, errs: FieldErrors) -> None:
    for field in ("nodeTopology", "storageClassName"):
        checks.immutable(errs, field, new.get(field), old.get(field))


# -- attachments


def validate_attachment(obj: Obj, errs: FieldErrors) -> None:
    spec = obj.get("spec") or {}
    driver_name(errs, "spec.attacher", spec.get("attacher", ""))
    source = spec.get("source") or {}
    inline, volume = source.get("inlineVolumeSpec"), source.get("persistentVolumeName")
    if inline is None and volume is None:
        errs.required("spec.source", "must specify exactly one of inlineVolumeSpec and persistentVolumeName")
    elif inline is not None and volume is not None:
        errs.forbidden("spec.source", "must specify exactly one of inlineVolumeSpec and persistentVolumeName")
    elif volume == "":
        errs.required("spec.source.persistentVolumeName", "must specify non empty persistentVolumeName")
    checks.named(errs, "spec.nodeName", spec.get("nodeName", ""), names.dns1123_subdomain)


def validate_attachment_update(new: Obj, old: Obj, errs: FieldErrors) -> None:
    if new.get("spec") != old.get("spec"):
        errs.invalid("spec", new.get("spec"), "field is immutable")


def attachment_row(obj: Obj, now: float) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    source = spec.get("source") or {}
    return [
        obj["metadata"]["name"],
        spec.get("attacher", ""),
        source.get("persistentVolumeName") or "",
        spec.get("nodeName", ""),
        bool(status.get("attached")),
        age_of(obj, now),
    ]


# -- classes of attributes


def validate_attributes(obj: Obj, errs: FieldErrors) -> None:
    if not obj.get("driverName"):
        errs.required("driverName", "")
    else:
        checks.named(errs, "driverName", obj["driverName"].lower(), names.qualified_name)
    if not obj.get("parameters"):
        errs.required("parameters", "must contain at least one key/value pair")


def validate_attributes_update(new: Obj, old: Obj, errs: FieldErrors) -> None:
    for field in ("driverName", "parameters"):
        if new.get(field) != old.get(field):
            errs.forbidden(field, f"updates to {field} are forbidden.")


def attributes_row(obj: Obj, now: float) -> list[Any]:
    default = (obj["metadata"].get("annotations") or {}).get(
        "volumeattributesclass.alpha.kubernetes.io/is-default-class"
    )
    name = obj["metadata"]["name"] + (" (default)" if default == "true" else "")
    return [name, obj.get("driverName", ""), age_of(obj, now)]


def _version(kind: str) -> Version:
    return Version(group=GROUP, version="v1", definition=f"io.k8s.api.storage.v1.{kind}")


KINDS = (
    Kind(
        kind="CSIDriver",
        plural="csidrivers",
        namespaced=False,
        versions=(_version("CSIDriver"),),
        defaults=driver_defaults,
        validate=validate_driver,
        name_is_valid=driver_object_name,
        validate_update=validate_driver_update,
        allow_unconditional_update=False,
        columns=(
            NAME,
            Column(name="AttachRequired", type="boolean", description="Whether volumes are attached to nodes first."),
            Column(name="PodInfoOnMount", type="boolean", description="Whether the driver is told of the pod."),
            Column(name="StorageCapacity", type="boolean", description="Whether scheduling looks at what is free."),
            Column(name="TokenRequests", description="For whom tokens are made."),
            Column(name="RequiresRepublish", type="boolean", description="Whether volumes are published again."),
            Column(name="Modes", description="How long its volumes live."),
            AGE,
        ),
        row=driver_row,
    ),
    Kind(
        kind="CSINode",
        plural="csinodes",
        namespaced=False,
        versions=(_version("CSINode"),),
        validate=validate_node,
        allow_unconditional_update=False,
        columns=(NAME, Column(name="Drivers", type="integer", description="How many drivers the node has."), AGE),
        row=node_row,
    ),
    Kind(
        kind="CSIStorageCapacity",
        plural="csistoragecapacities",
        versions=(_version("CSIStorageCapacity"),),
        validate=validate_capacity,
        validate_update=validate_capacity_update,
        allow_unconditional_update=False,
        columns=NAME_AND_CREATION,
        row=creation_row,
    ),
    Kind(
        kind="VolumeAttachment",
        plural="volumeattachments",
        namespaced=False,
        versions=(_version("VolumeAttachment"),),
        subresources=(status_of("VolumeAttachment"),),
        validate=validate_attachment,
        prepare_status_update=keep_metadata,
        validate_update=validate_attachment_update,
        allow_unconditional_update=False,
        columns=(
            NAME,
            Column(name="Attacher", format="name", description="The driver."),
            Column(name="PV", description="The volume."),
            Column(name="Node", description="The node."),
            Column(name="Attached", type="boolean", description="Whether it is attached."),
            AGE,
        ),
        row=attachment_row,
    ),
    Kind(
        kind="VolumeAttributesClass",
        plural="volumeattributesclasses",
        short_names=("vac",),
        namespaced=False,
        versions=(_version("VolumeAttributesClass"),),
        validate=validate_attributes,
        validate_update=validate_attributes_update,
        columns=(NAME, Column(name="DriverName", description="The driver it is for."), AGE),
        row=attributes_row,
    ),
)
