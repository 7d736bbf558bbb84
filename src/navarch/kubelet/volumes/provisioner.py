"""Volumes made on demand: a folder of the node that the scheduler chose for a claim's first consumer.

An external provisioner as upstream knows them, one per node and for the claims of its node only: it finds claims by the
annotations that the binder and the scheduler put on them, makes the folder and the volume, grows it when the claim does
(a folder has no size), and removes both when the volume is released. Source: sig-storage-lib-external-provisioner.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from navarch.api.core.persistentvolumeclaim import class_of
from navarch.api.storage import matching
from navarch.client.resources import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, STORAGE_CLASSES
from navarch.controlloop.plan import Action, Caches, Call, Create, Delete, Emit, Patch, Plan, Watch
from navarch.kubelet.volumes import mounting
from navarch.kubelet.volumes.manager import remove
from navarch.machinery.quantity import Quantity
from navarch.machinery.types import Key, Obj, key_of

PROVISIONER = "navarch.io/local"
NODE = "navarch.io/node"
"""The annotation of a volume that names its node."""
FINALIZER = "external-provisioner.volume.kubernetes.io/finalizer"
NOWHERE = Path("/nonexistent/volumes")


@dataclass(frozen=True, slots=True)
class ObservedClaim:
    claim: Obj
    storage_class: Obj | None
    volume: Obj | None
    """The claim's, or the one that has been made for it."""


Observed: TypeAlias = "ObservedClaim | Obj"


def volume_name(claim: Obj) -> str:
    return f"pvc-{claim['metadata']['uid']}"


class LocalProvisioner:
    """Acts for `nodes`. Folders are made below `root`; without one (hollow nodes) there are none."""

    name = PROVISIONER

    def __init__(self, nodes: Collection[str], root: Path | None) -> None:
        self._nodes, self._root = nodes, root
        self.watches: Sequence[Watch] = (
            Watch(PERSISTENT_VOLUME_CLAIMS, _present),
            Watch(PERSISTENT_VOLUMES, _present),
            Watch(STORAGE_CLASSES, lambda old, new, caches: ()),
        )

    def observe(self, key: Key, caches: Caches) -> Observed | None:
        if not key.namespace:
            return caches[PERSISTENT_VOLUMES].get("", key.name)
        claim = caches[PERSISTENT_VOLUME_CLAIMS].get(key.namespace, key.name)
        if claim is None:
            return None
        name = claim["spec"].get("volumeName") or volume_name(claim)
        volume = caches[PERSISTENT_VOLUMES].get("", name)
        return ObservedClaim(claim, caches[STORAGE_CLASSES].get("", class_of(claim)), volume)

    def reconcile(self, observed: Observed, now: float) -> Plan:
        if not isinstance(observed, ObservedClaim):
            return self._reclaim(observed)
        if observed.claim["spec"].get("volumeName"):
            return self._grow(observed.claim, observed.volume)
        return self._provision(observed)

    # -- making

    def _provision(self, observed: ObservedClaim) -> Plan:
        claim, meta = observed.claim, observed.claim["metadata"]
        annotations = meta.get("annotations") or {}
        if annotations.get(matching.PROVISIONER) != PROVISIONER or meta.get("deletionTimestamp"):
            return Plan(reasons=["it is not ours to provision"])
        if observed.volume is not None or observed.storage_class is None:
            return Plan(reasons=["its volume is there" if observed.volume is not None else "its class is gone"])
        node = annotations.get(matching.SELECTED_NODE)
        if node is None:
            return self._choose(claim, observed.storage_class)
        if node not in self._nodes:
            return Plan(reasons=[f"it is for node {node}"])
        if why := _unable(claim, observed.storage_class):
            return Plan([_failed(claim, observed.storage_class, why)], reasons=[why])
        return self._make(claim, observed.storage_class, node)

    def _choose(self, claim: Obj, storage_class: Obj) -> Plan:
        """A claim that waits for nobody goes to the first node that asks: others' writes then conflict."""
        if matching.waits_for_consumer(storage_class) or not self._nodes:
            return Plan(reasons=["the scheduler has yet to choose its node"])
        chosen = {matching.SELECTED_NODE: min(self._nodes)}
        guard = {"resourceVersion": claim["metadata"]["resourceVersion"], "annotations": chosen}
        return Plan([Patch(PERSISTENT_VOLUME_CLAIMS, key_of(claim), {"metadata": guard})], reasons=["any node will do"])

    def _make(self, claim: Obj, storage_class: Obj, node: str) -> Plan:
        meta, name = claim["metadata"], volume_name(claim)
        folder = (self._root or NOWHERE) / f"{name}_{meta['namespace']}_{meta['name']}"
        subject = f"{meta['namespace']}/{meta['name']}"
        message = f'External provisioner is provisioning volume for claim "{subject}"'
        actions: list[Action] = [Emit(claim, "Normal", "Provisioning", message)]
        if self._root is not None:
            actions.append(Call(f"make {folder}", lambda: asyncio.to_thread(_make_folder, folder)))
        actions.append(Create(PERSISTENT_VOLUMES, _volume(claim, storage_class, node, folder), exists_ok=True))
        actions.append(Emit(claim, "Normal", "ProvisioningSucceeded", f"Successfully provisioned volume {name}"))
        return Plan(
            actions,
            reasons=[f"node {node} was chosen"],
            on_error=lambda error: Plan([_failed(claim, storage_class, str(error))]),
        )

    # -- growing

    def _grow(self, claim: Obj, volume: Obj | None) -> Plan:
        status: Obj = claim.get("status") or {}
        if volume is None or status.get("phase") != "Bound" or not self._ours(volume):
            return Plan(reasons=["it is not ours to grow"])
        wanted = matching.size_of(claim)
        if wanted <= Quantity.of((status.get("capacity") or {}).get("storage", "0")):
            return Plan(reasons=["it is large enough"])
        name, actions = volume["metadata"]["name"], list[Action]()
        if matching.size_of(volume) < wanted:
            actions.append(Emit(claim, "Normal", "Resizing", f"External resizer is resizing volume {name}"))
            grown = {"spec": {"capacity": {"storage": str(wanted)}}}
            actions.append(Patch(PERSISTENT_VOLUMES, Key("", name), grown))
        told = {"status": {"capacity": {"storage": str(wanted)}}}
        actions.append(Patch(PERSISTENT_VOLUME_CLAIMS, key_of(claim), told, subresource="status"))
        actions.append(Emit(claim, "Normal", "VolumeResizeSuccessful", "Resize volume succeeded"))
        return Plan(actions, reasons=["it asks for more"])

    # -- taking away

    def _ours(self, volume: Obj) -> bool:
        annotations = volume["metadata"].get("annotations") or {}
        return annotations.get(matching.PROVISIONED_BY) == PROVISIONER and annotations.get(NODE) in self._nodes

    def _reclaim(self, volume: Obj) -> Plan:
        meta = volume["metadata"]
        if not self._ours(volume):
            return Plan(reasons=["it is not ours"])
        finalizers: list[str] = meta.get("finalizers") or []
        deletes = volume["spec"].get("persistentVolumeReclaimPolicy") == "Delete"
        if not deletes and meta.get("deletionTimestamp") and FINALIZER in finalizers:
            return Plan([_freed(volume, finalizers)], reasons=["it is to be retained"])
        if not deletes or (volume.get("status") or {}).get("phase") not in ("Released", "Failed"):
            return Plan(reasons=["it is in use or retained"])
        folder, actions = Path(volume["spec"]["local"]["path"]), list[Action]()
        if self._root is not None:
            if folder.parent != self._root:
                why = f"{folder} is not below {self._root}"
                return Plan([Emit(volume, "Warning", "VolumeFailedDelete", why)], reasons=[why])
            actions.append(Call(f"remove {folder}", lambda: asyncio.to_thread(_remove_folder, folder)))
        if FINALIZER in finalizers:
            actions.append(_freed(volume, finalizers))
        if not meta.get("deletionTimestamp"):
            actions.append(Delete(PERSISTENT_VOLUMES, key_of(volume), meta["uid"]))
        return Plan(
            actions,
            reasons=["it is released"],
            on_error=lambda error: Plan([Emit(volume, "Warning", "VolumeFailedDelete", str(error))]),
        )


def _unable(claim: Obj, storage_class: Obj) -> str:
    if matching.mode_of(claim) != "Filesystem":
        return "volumes of this class are folders: volumeMode Block is not supported"
    if claim["spec"].get("dataSource") or claim["spec"].get("dataSourceRef"):
        return "volumes of this class start empty: data sources are not supported"
    if storage_class.get("mountOptions"):
        return "volumes of this class are folders: mount options are not supported"
    return ""


def _failed(claim: Obj, storage_class: Obj, why: str) -> Emit:
    message = f'failed to provision volume with StorageClass "{storage_class["metadata"]["name"]}": {why}'
    return Emit(claim, "Warning", "ProvisioningFailed", message)


def _freed(volume: Obj, finalizers: list[str]) -> Patch:
    kept = [name for name in finalizers if name != FINALIZER]
    meta = {"resourceVersion": volume["metadata"]["resourceVersion"], "finalizers": kept}
    return Patch(PERSISTENT_VOLUMES, key_of(volume), {"metadata": meta})


def _volume(claim: Obj, storage_class: Obj, node: str, folder: Path) -> Obj:
    meta, policy = claim["metadata"], storage_class.get("reclaimPolicy") or "Delete"
    here = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
    reference = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "resourceVersion": meta["resourceVersion"]}
    return {
        "metadata": {
            "name": volume_name(claim),
            "annotations": {matching.PROVISIONED_BY: PROVISIONER, NODE: node},
            "finalizers": [FINALIZER] if policy == "Delete" else [],
        },
        "spec": {
            "capacity": {"storage": str(matching.size_of(claim))},
            "accessModes": claim["spec"]["accessModes"],
            "volumeMode": "Filesystem",
            "persistentVolumeReclaimPolicy": policy,
            "storageClassName": class_of(claim),
            "claimRef": {**reference, **{field: meta[field] for field in ("namespace", "name", "uid")}},
            "local": {"path": str(folder)},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}},
        },
    }


def _make_folder(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o777)


def _remove_folder(folder: Path) -> None:
    remove(folder)
    if folder.exists():
        mounted = mounting.mounts_below(folder)
        raise OSError(f"{folder} could not be removed" + (f": {mounted[0]} is mounted" if mounted else ""))


def _present(old: Obj | None, new: Obj | None, caches: Caches) -> Iterable[Key]:
    return [key_of(new)] if new is not None else ()
