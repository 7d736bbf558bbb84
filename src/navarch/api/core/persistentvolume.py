"""PersistentVolume: storage that the cluster has. Source: apis/core defaults and validation."""

from __future__ import annotations

from posixpath import normpath
from typing import Any

from navarch.api.core.persistentvolumeclaim import (
    CLASS_ANNOTATION,
    CLASS_WARNING,
    class_of,
    modes_cell,
)
from navarch.api.core.volumesources import SOURCES, validate_source
from navarch.api.kind import Column, Kind, Version, status_of
from navarch.api.nodelabels import selector_warnings
from navarch.api.podspec import checks
from navarch.api.podspec.claims import basic_amount, validate_modes
from navarch.api.podspec.defaults import default_sources
from navarch.api.podspec.printing import AGE, NAME
from navarch.api.podspec.scheduling import validate_node_selector
from navarch.machinery import names
from navarch.machinery.errors import FieldErrors
from navarch.machinery.quantity import Quantity
from navarch.machinery.tables import age_of
from navarch.machinery.types import Obj

MOUNTABLE = frozenset(
    (
        "gcePersistentDisk", "awsElasticBlockStore", "glusterfs", "nfs", "rbd", "quobyte", "iscsi", "cinder", "cephfs",
        "azureFile", "vsphereVolume", "azureDisk", "photonPersistentDisk",
    )
)  # fmt: skip
"""Sources that mount options in an annotation are for."""
MOUNT_OPTIONS = "volume.beta.kubernetes.io/mount-options"
GA_LABELS = {
    "beta.kubernetes.io/arch": "kubernetes.io/arch",
    "beta.kubernetes.io/os": "kubernetes.io/os",
    "failure-domain.beta.kubernetes.io/region": "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone": "topology.kubernetes.io/zone",
    "beta.kubernetes.io/instance-type": "node.kubernetes.io/instance-type",
}
WARNED_SOURCES = {
    "cephfs": "spec.cephfs: deprecated in v1.28, non-functional in v1.31+",
    "photonPersistentDisk": "spec.photonPersistentDisk: deprecated in v1.11, non-functional in v1.16+",
    "scaleIO": "spec.scaleIO: deprecated in v1.16, non-functional in v1.22+",
    "storageos": "spec.storageOS: deprecated in v1.22, non-functional in v1.25+",
    "glusterfs": "spec.glusterfs: deprecated in v1.25, non-functional in v1.26+",
    "rbd": "spec.rbd: deprecated in v1.28, non-functional in v1.31+",
}
WARNED_ANNOTATIONS = {
    CLASS_ANNOTATION: CLASS_WARNING,
    MOUNT_OPTIONS: 'deprecated since v1.31; use "mountOptions" attribute instead',
}


def defaults(obj: Obj) -> None:
    spec = obj.setdefault("spec", {})
    if not spec.get("persistentVolumeReclaimPolicy"):
        spec["persistentVolumeReclaimPolicy"] = "Retain"
    if spec.get("volumeMode") is None:
        spec["volumeMode"] = "Filesystem"
    default_sources(spec)
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
        basic_amount(amount, f"spec.capacity[{name}]", errs)
        if Quantity.of(amount).sign <= 0:
            errs.invalid(f"spec.capacity[{name}]", str(amount), "must be greater than zero")
    policy = spec.get("persistentVolumeReclaimPolicy", "")
    if policy not in ("Delete", "Recycle", "Retain"):
        errs.not_supported("spec.persistentVolumeReclaimPolicy", policy, ("Delete", "Recycle", "Retain"))
    if (affinity := spec.get("nodeAffinity")) is not None:
        if (required := affinity.get("required")) is not None:
            validate_node_selector(required, "spec.nodeAffinity.required", errs)
        else:
            errs.required("spec.nodeAffinity.required", "must specify required node constraints")
    validate_source(spec, obj["metadata"].get("name", ""), errs)
    alone = not any(spec.get(source) is not None for source in SOURCES if source != "local")
    if spec.get("local") is not None and affinity is None and alone:
        errs.required("spec.nodeAffinity", "Local volume requires node affinity")
    if policy == "Recycle" and normpath((spec.get("hostPath") or {}).get("path") or ".") == "/":
        errs.forbidden("spec.persistentVolumeReclaimPolicy", "may not be 'recycle' for a hostPath mount of '/'")
    if name := spec.get("storageClassName"):
        checks.named(errs, "spec.storageClassName", name, names.dns1123_subdomain)
    if (mode := spec.get("volumeMode")) is not None and mode not in ("Block", "Filesystem"):
        errs.not_supported("spec.volumeMode", mode, ("Block", "Filesystem"))
    _attributes(spec, errs)
    annotations = obj["metadata"].get("annotations") or {}
    if MOUNT_OPTIONS in annotations and not any(spec.get(source) is not None for source in MOUNTABLE):
        message = "may not specify mount options for this volume type"
        errs.forbidden(f"metadata.annotations.{MOUNT_OPTIONS}", message)


def _attributes(spec: Obj, errs: FieldErrors) -> None:
    if (name := spec.get("volumeAttributesClassName")) is None:
        return
    if not name:
        errs.required("spec.volumeAttributesClassName", "an empty string is disallowed")
    else:
        checks.named(errs, "spec.volumeAttributesClassName", name, names.dns1123_subdomain)
    if spec.get("csi") is None:
        errs.required("spec.csi", "has to be specified when using volumeAttributesClassName")


def validate_update(new: Obj, old: Obj, errs: FieldErrors) -> None:
    spec, before = new["spec"], old["spec"]
    if any(_settled(spec, before, name) != before.get(name) for name in SOURCES):
        errs.forbidden("spec.persistentvolumesource", "spec.persistentvolumesource is immutable after creation")
    checks.immutable(errs, "volumeMode", spec.get("volumeMode"), before.get("volumeMode"))
    affinity, was = spec.get("nodeAffinity"), before.get("nodeAffinity")
    if was is not None and affinity != was and affinity != _with_ga_labels(was, affinity):
        errs.invalid("nodeAffinity", affinity, "field is immutable, except for updating from beta label to GA")
    if before.get("volumeAttributesClassName") is not None and spec.get("volumeAttributesClassName") is None:
        errs.forbidden("spec.volumeAttributesClassName", "update from non-nil value to nil is forbidden")


def _settled(spec: Obj, before: Obj, name: str) -> Any:
    """A source without what may still be set: a CSI volume's secret for growing."""
    source, late = spec.get(name), "controllerExpandSecretRef"
    had: Obj | None = before.get(name)
    if name != "csi" or source is None or had is None or had.get(late) is not None:
        return source
    return {k: v for k, v in source.items() if k != late}


def _with_ga_labels(old: Any, new: Any) -> Any:
    """The old affinity, with the keys that the new one has exchanged for their newer names."""
    if isinstance(old, dict) and isinstance(new, dict):
        made = {key: _with_ga_labels(value, new.get(key)) for key, value in old.items()}
        if "key" in made and GA_LABELS.get(made["key"]) == new.get("key"):
            made["key"] = new["key"]
        return made
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return [_with_ga_labels(a, b) for a, b in zip(old, new, strict=True)]
    return old


def warnings(obj: Obj, old: Obj | None) -> list[str]:
    spec, annotations = obj["spec"], obj["metadata"].get("annotations") or {}
    found = [f"metadata.annotations[{key}]: {text}" for key, text in WARNED_ANNOTATIONS.items() if key in annotations]
    if spec.get("persistentVolumeReclaimPolicy") == "Recycle":
        found.append(
            "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended "
            "approach is to use dynamic provisioning."
        )
    terms = ((spec.get("nodeAffinity") or {}).get("required") or {}).get("nodeSelectorTerms") or ()
    for index, term in enumerate(terms):
        found += selector_warnings(term, f"spec.nodeAffinity.required.nodeSelectorTerms[{index}]")
    return found + [text for source, text in WARNED_SOURCES.items() if spec.get(source) is not None]


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
    warnings=warnings,
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
