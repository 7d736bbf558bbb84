"""The plugins of volumes: a default class for claims, and protection of claims and volumes in use."""

from __future__ import annotations

from navarch.apiserver.admission.chain import BasePlugin, refuse
from navarch.apiserver.admission.interface import AdmissionRequest, add_finalizer
from navarch.apiserver.watchcache import CacheSet
from navarch.machinery import trees
from navarch.machinery.quantity import Quantity
from navarch.machinery.types import GroupResource, Obj

CLAIMS = GroupResource("", "persistentvolumeclaims")
VOLUMES = GroupResource("", "persistentvolumes")
CLASSES = GroupResource("storage.k8s.io", "storageclasses")
ATTRIBUTES = GroupResource("storage.k8s.io", "volumeattributesclasses")
PROTECTION = {
    CLAIMS: "kubernetes.io/pvc-protection",
    VOLUMES: "kubernetes.io/pv-protection",
    ATTRIBUTES: "kubernetes.io/vac-protection",
}
IS_DEFAULT = "storageclass.kubernetes.io/is-default-class"
IS_DEFAULT_BETA = "storageclass.beta.kubernetes.io/is-default-class"
CLASS_ANNOTATION = "volume.beta.kubernetes.io/storage-class"


class StorageObjectInUseProtection(BasePlugin):
    """A finalizer keeps a claim, volume or class of attributes until nothing uses it."""

    name = "StorageObjectInUseProtection"

    def concerns(self, request: AdmissionRequest) -> bool:
        return request.operation == "CREATE" and not request.subresource and request.resource in PROTECTION

    async def admit(self, request: AdmissionRequest) -> None:
        add_finalizer(request, PROTECTION[request.resource])


class PersistentVolumeClaimResize(BasePlugin):
    """Only bound claims of a class that allows it grow."""

    name = "PersistentVolumeClaimResize"

    def __init__(self, caches: CacheSet) -> None:
        self._classes = caches[CLASSES]

    def concerns(self, request: AdmissionRequest) -> bool:
        return request.operation == "UPDATE" and not request.subresource and request.resource == CLAIMS

    async def validate(self, request: AdmissionRequest) -> None:
        new, old = request.object, request.old
        assert new is not None and old is not None
        if _size(new) <= _size(old):
            return
        if trees.get(old, "status", "phase") != "Bound":
            raise refuse(request, "Only bound persistent volume claims can be expanded")
        name = _class_of(new)
        entry = self._classes.get("", name) if name and name == _class_of(old) else None
        if entry is None or not entry.obj.get("allowVolumeExpansion"):
            raise refuse(
                request,
                "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must "
                "support resize",
            )


def _size(claim: Obj) -> Quantity:
    return Quantity.of(trees.get(claim, "spec", "resources", "requests", "storage", default="0"))


def _class_of(claim: Obj) -> str:
    annotations = claim["metadata"].get("annotations") or {}
    return annotations.get(CLASS_ANNOTATION) or claim["spec"].get("storageClassName") or ""


class DefaultStorageClass(BasePlugin):
    """A claim that names no class gets the default one: the newest, where there are several."""

    name = "DefaultStorageClass"

    def __init__(self, caches: CacheSet) -> None:
        self._classes = caches[CLASSES]

    def concerns(self, request: AdmissionRequest) -> bool:
        return request.operation == "CREATE" and not request.subresource and request.resource == CLAIMS

    async def admit(self, request: AdmissionRequest) -> None:
        assert request.object is not None
        claim = request.object
        spec = claim.setdefault("spec", {})
        annotations = claim["metadata"].get("annotations") or {}
        if spec.get("storageClassName") is not None or CLASS_ANNOTATION in annotations:
            return
        defaults = [e.obj["metadata"] for e in self._classes.range() if _is_default(e.obj["metadata"])]
        if defaults:
            newest = max(m["creationTimestamp"] for m in defaults)
            spec["storageClassName"] = min(m["name"] for m in defaults if m["creationTimestamp"] == newest)


def _is_default(metadata: dict[str, object]) -> bool:
    annotations = metadata.get("annotations")
    if not isinstance(annotations, dict):
        return False
    return "true" in (annotations.get(IS_DEFAULT), annotations.get(IS_DEFAULT_BETA))
