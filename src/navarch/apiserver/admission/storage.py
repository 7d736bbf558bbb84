"""The plugins of volumes: a default class for claims, and protection of claims and volumes in use."""

from __future__ import annotations

from navarch.apiserver.admission.chain import BasePlugin
from navarch.apiserver.admission.interface import AdmissionRequest
from navarch.apiserver.watchcache import CacheSet
from navarch.machinery.types import GroupResource

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
        assert request.object is not None
        finalizer = PROTECTION[request.resource]
        metadata = request.object["metadata"]
        present: list[str] = metadata.get("finalizers") or []
        if finalizer not in present:
            metadata["finalizers"] = [*present, finalizer]


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
