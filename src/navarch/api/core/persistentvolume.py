"""PersistentVolume: storage that the cluster has. Source: apis/core defaults and validation."""

from __future__ import annotations

from typing import Any

from navarch.api.core.persistentvolumeclaim import class_of, modes_cell, validate_modes
from navarch.api.kind import Column, Kind, Version, status_of
from navarch.api.podspec import checks
from navarch.api.podspec.printing import AGE, NAME
from navarch.api.podspec.scheduling import validate_node_selector
from navarch.machinery import names
from navarch.machinery.errors import FieldErrors
from navarch.machinery.quantity import Quantity
from navarch.machinery.tables import age_of
from navarch.machinery.types import Obj

SOURCES = (
    "awsElasticBlockStore", "azureDisk", "azureFile", "cephfs", "cinder", "csi", "fc", "flexVolume", "flocker",
    "gcePersistentDisk", "glusterfs", "hostPath", "iscsi", "local", "nfs", "photonPersistentDisk", "portworxVolume",
    "quobyte", "rbd", "scaleIO", "storageos", "vsphereVolume",
)  # fmt: skip


def defaults(obj: Obj) -> None:
    spec = obj.setdefault("spec", {})
    if not spec.get("persistentVolumeReclaimPolicy"):
        spec["persistentVolumeReclaimPolicy"] = "Retain"
    if spec.get("volumeMode") is None:
        spec["volumeMode"] = "Filesystem"
    if (path := spec.get("hostPath")) is not None and path.get("type") is None:
        path["type"] = ""
    status = obj.setdefault("status", {})
    if not status.get("phase"):
        status["phase"] = "Pending"


def prepare_create(obj: Obj) -> None:
    obj["status"] = {"phase": "Pending", "lastPhaseTransitionTime": obj["metadata"]["creationTimestamp"]}


def validate(obj: Obj, errs: FieldErrors) -> None:
    spec = obj["spec"]
    if spec.get("accessModes"):
        validate_modes(spec, "spec", errs)
    else:
        errs.required("spec.accessModes")
    capacity = spec.get("capacity") or {}
    if not capacity:
        errs.required("spec.capacity", "")
    if set(capacity) != {"storage"}:
        errs.not_supported("spec.capacity", capacity or None, ("storage",))
    for name, amount in capacity.items():
        if Quantity.of(amount).sign <= 0:
            errs.invalid(f"spec.capacity[{name}]", str(amount), "must be greater than zero")
    policy = spec.get("persistentVolumeReclaimPolicy", "")
    if policy not in ("Delete", "Recycle", "Retain"):
        errs.not_supported("spec.persistentVolumeReclaimPolicy", policy, ("Delete", "Recycle", "Retain"))
    _source(spec, errs)
    if name := spec.get("storageClassName"):
        checks.named(errs, "spec.storageClassName", name, names.dns1123_subdomain)
    if (mode := spec.get("volumeMode")) is not None and mode not in ("Block", "Filesystem"):
        errs.not_supported("spec.volumeMode", mode, ("Block", "Filesystem"))
    if (required := (spec.get("nodeAffinity") or {}).get("required")) is not None:
        validate_node_selector(required, "spec.nodeAffinity.required", errs)
    elif spec.get("nodeAffinity") is not None:
        errs.required("spec.nodeAffinity.required", "must specify required node constraints")


def _source(spec: Obj, errs: FieldErrors) -> None:
    given = [name for name in SOURCES if spec.get(name) is not None]
    if not given:
        errs.required("spec", "must specify a volume type")
    for name in given[1:]:
        errs.forbidden(f"spec.{name}", "may not specify more than 1 volume type")
    if (path := spec.get("hostPath")) is not None:
        checks.required(errs, "spec.hostPath", path, "path")
        checks.no_backsteps(errs, "spec.hostPath.path", path.get("path", ""))
        if path.get("path") == "/" and spec.get("persistentVolumeReclaimPolicy") == "Recycle":
            errs.forbidden("spec.persistentVolumeReclaimPolicy", "may not be 'recycle' for a hostPath mount of '/'")
    if (local := spec.get("local")) is not None:
        checks.required(errs, "spec.local", local, "path")
        checks.no_backsteps(errs, "spec.local.path", local.get("path", ""))
        if spec.get("nodeAffinity") is None:
            errs.required("spec.nodeAffinity", "Local volume requires node affinity")
    if (csi := spec.get("csi")) is not None:
        checks.required(errs, "spec.csi", csi, "driver", "volumeHandle")
    if (nfs := spec.get("nfs")) is not None:
        checks.required(errs, "spec.nfs", nfs, "server", "path")


def validate_update(new: Obj, old: Obj, errs: FieldErrors) -> None:
    spec, before = new["spec"], old["spec"]
    if any(spec.get(name) != before.get(name) for name in SOURCES):
        errs.forbidden("spec.persistentvolumesource", "spec.persistentvolumesource is immutable after creation")
    checks.immutable(errs, "spec.volumeMode", spec.get("volumeMode"), before.get("volumeMode"))
    if before.get("nodeAffinity") is not None:
        checks.immutable(errs, "spec.nodeAffinity", spec.get("nodeAffinity"), before["nodeAffinity"])


def row(obj: Obj, now: float) -> list[Any]:
    spec, status, claim = obj["spec"], obj.get("status") or {}, obj["spec"].get("claimRef")
    phase = "Terminating" if "deletionTimestamp" in obj["metadata"] else status.get("phase", "")
    return [
        obj["metadata"]["name"],
        (spec.get("capacity") or {}).get("storage", "0"),
        modes_cell(spec.get("accessModes")),
        spec.get("persistentVolumeReclaimPolicy", ""),
        phase,
        f"{claim.get('namespace', '')}/{claim.get('name', '')}" if claim else "",
        class_of(obj),
        spec.get("volumeAttributesClassName") or "<unset>",
        status.get("reason", ""),
        age_of(obj, now),
        spec.get("volumeMode") or "<unset>",
    ]


KIND = Kind(
    kind="PersistentVolume",
    plural="persistentvolumes",
    short_names=("pv",),
    namespaced=False,
    versions=(Version(group="", version="v1", definition="io.k8s.api.core.v1.PersistentVolume"),),
    subresources=(status_of("PersistentVolume"),),
    defaults=defaults,
    prepare_create=prepare_create,
    validate=validate,
    validate_update=validate_update,
    columns=(
        NAME,
        Column(name="Capacity", description="How large the volume is."),
        Column(name="Access Modes", description="How it may be mounted."),
        Column(name="Reclaim Policy", description="What becomes of it when it is released."),
        Column(name="Status", description="Whether it is available, bound or released."),
        Column(name="Claim", description="The claim that has it."),
        Column(name="StorageClass", description="The class it belongs to."),
        Column(name="VolumeAttributesClass", description="The class of its attributes."),
        Column(name="Reason", description="Why it is in its state."),
        AGE,
        Column(name="VolumeMode", description="A file system or a block device.", priority=1),
    ),
    row=row,
)
