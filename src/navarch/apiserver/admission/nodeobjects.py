"""What NodeRestriction reads in pods and claims."""

from __future__ import annotations

from collections.abc import Iterator

from navarch.apiserver.auth.node import named_by
from navarch.apiserver.watchcache import CacheSet
from navarch.machinery import trees
from navarch.machinery.types import GroupResource, Obj

CLAIMS = GroupResource("", "persistentvolumeclaims")
VOLUMES = GroupResource("", "persistentvolumes")
DRIVERS = GroupResource("storage.k8s.io", "csidrivers")
ASKING_VOLUMES = {
    "csi": "csidrivers (via CSI volumes)",
    "glusterfs": "endpoints (via glusterFS volumes)",
    "persistentVolumeClaim": "persistentvolumeclaims",
    "ephemeral": "persistentvolumeclaims (via ephemeral volumes)",
    "azureFile": "secrets (via azureFile volumes)",
}
ASKING_SOURCES = {
    "serviceAccountToken": "serviceaccounts (via projected volumes)",
    "clusterTrustBundle": "clustertrustbundles",
    "podCertificate": "podcertificates",
}
NODES_FIELDS = ("capacity", "conditions", "allocatedResources", "allocatedResourceStatuses")
"""What of a claim's status is a node's to write."""


def named_object(pod: Obj) -> str:
    """Which sort of API object a pod refers to, as a refusal names it; empty: none."""
    spec = pod["spec"]
    kinds = {kind for kind, _, _ in named_by(pod)}
    for kind in ("serviceaccounts", "secrets", "configmaps"):
        if kind in kinds:
            return kind
    if spec.get("resourceClaims"):
        return "resourceclaims"
    for volume in spec.get("volumes") or ():
        sources = trees.get(volume, "projected", "sources", default=[])
        for holder, words in ((volume, ASKING_VOLUMES), *((source, ASKING_SOURCES) for source in sources)):
            if found := next((words[field] for field in words if holder.get(field) is not None), ""):
                return found
    return ""


def unchanged_claim(old: Obj, new: Obj) -> bool:
    """Whether a claim's status differs in nothing but what is a node's to write."""
    return _of_others(old) == _of_others(new)


def _of_others(claim: Obj) -> Obj:
    metadata = {k: v for k, v in claim["metadata"].items() if k not in ("resourceVersion", "managedFields")}
    status = {k: v for k, v in (claim.get("status") or {}).items() if k not in NODES_FIELDS}
    return {**claim, "metadata": metadata, "status": status}


def audiences(caches: CacheSet, pod: Obj) -> set[str]:
    """For whom the pod's volumes need tokens: those that are projected, and those that CSI drivers ask for."""
    found: set[str] = set()
    for volume in pod["spec"].get("volumes") or ():
        for source in trees.get(volume, "projected", "sources", default=[]):
            if token := source.get("serviceAccountToken"):
                found.add(token.get("audience", ""))
    for driver in _drivers(caches, pod):
        if entry := caches[DRIVERS].get("", driver):
            found |= {each.get("audience", "") for each in trees.get(entry.obj, "spec", "tokenRequests", default=[])}
    return found


def _drivers(caches: CacheSet, pod: Obj) -> Iterator[str]:
    metadata = pod["metadata"]
    for volume in pod["spec"].get("volumes") or ():
        if driver := trees.get(volume, "csi", "driver"):
            yield driver
        claim = trees.get(volume, "persistentVolumeClaim", "claimName", default="")
        if volume.get("ephemeral"):
            claim = f"{metadata['name']}-{volume['name']}"
        bound = caches[CLAIMS].get(metadata.get("namespace", ""), claim) if claim else None
        name = trees.get(bound.obj, "spec", "volumeName", default="") if bound else ""
        if (
            name
            and (entry := caches[VOLUMES].get("", name))
            and (driver := trees.get(entry.obj, "spec", "csi", "driver"))
        ):
            yield driver
