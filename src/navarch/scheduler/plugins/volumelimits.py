"""VolumeRestrictions and NodeVolumeLimits: volumes that only one pod may use, and how many a node can attach.

Sources: plugins/volumerestrictions, plugins/nodevolumelimits (csi.go).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from navarch.api.core.persistentvolumeclaim import class_of
from navarch.machinery.types import Key, Obj
from navarch.scheduler.nodes import Ints
from navarch.scheduler.plugins.interface import Refusal, Rejected, View
from navarch.scheduler.podinfo import PodInfo
from navarch.scheduler.storage import Storage

DISK_CONFLICT = "node(s) had no available disk"
ONLY_ONE_POD = (
    "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod"
)
TOO_MANY = "node(s) exceed max volume count"
DISKS = ("gcePersistentDisk", "awsElasticBlockStore", "iscsi", "rbd")
"""Sources in the pod itself that cannot be shared freely."""


class VolumeRestrictions:
    name = "VolumeRestrictions"
    filters = True
    weight = 0

    def prepare(self, pod: PodInfo, view: View) -> Any:
        disks = [v for v in pod.obj["spec"].get("volumes") or () if any(v.get(source) for source in DISKS)]
        alone: list[Key] = []
        for name in pod.claims:
            claim = view.around.storage.claim(pod.key.namespace, name)
            if claim is None:
                return Rejected(f'persistentvolumeclaim "{name}" not found')
            if "ReadWriteOncePod" in (claim["spec"].get("accessModes") or ()):
                alone.append(Key(pod.key.namespace, name))
        return (disks, alone) if disks or alone else None

    def refusals(self, prepared: Any, pod: PodInfo, view: View) -> Sequence[Refusal]:
        disks, alone = prepared
        nodes = view.nodes
        mask = np.zeros(len(nodes.alive), bool)
        if disks:
            for slot, residents in enumerate(nodes.residents):
                theirs = [v for other in residents.values() for v in other.obj["spec"].get("volumes") or ()]
                mask[slot] = any(_conflict(one, other) for one in disks for other in theirs)
        used = any(nodes.claim_users.get(key) for key in alone)
        found = [Refusal(mask, DISK_CONFLICT)]
        if used:
            found.append(Refusal(nodes.alive & ~mask, ONLY_ONE_POD))
        return found

    def score(self, prepared: Any, pod: PodInfo, view: View, feasible: Ints) -> Ints | None:
        return None


def _conflict(one: Obj, other: Obj) -> bool:
    """Whether two pods' volumes are one disk, and not both only read it."""
    for source in DISKS:
        mine, theirs = one.get(source), other.get(source)
        if not mine or not theirs:
            continue
        if source == "awsElasticBlockStore":
            return mine["volumeID"] == theirs["volumeID"]
        if mine.get("readOnly") and theirs.get("readOnly"):
            return False
        if source == "rbd":
            common = set(mine.get("monitors") or ()) & set(theirs.get("monitors") or ())
            return bool(common) and all(mine.get(field) == theirs.get(field) for field in ("pool", "image"))
        field = "pdName" if source == "gcePersistentDisk" else "iqn"
        return mine.get(field) == theirs.get(field)
    return False


class NodeVolumeLimits:
    name = "NodeVolumeLimits"
    filters = True
    weight = 0

    def prepare(self, pod: PodInfo, view: View) -> Any:
        if not pod.claims or not view.around.storage.csi_nodes:
            return None
        return dict(_handles(pod, view.around.storage)) or None

    def refusals(self, prepared: Any, pod: PodInfo, view: View) -> Sequence[Refusal]:
        nodes, storage = view.nodes, view.around.storage
        mask = np.zeros(len(nodes.alive), bool)
        attached = _attached(storage)
        for name, csi_node in storage.csi_nodes.items():
            slot, limits = nodes.slot(name), _limits(csi_node)
            if slot is None or not any(driver in limits for driver in prepared.values()):
                continue
            there = {h: d for other in nodes.pods_on(slot) if other.claims for h, d in _handles(other, storage)}
            there |= attached.get(name, {})
            for driver in set(prepared.values()) & limits.keys():
                present = sum(found == driver for found in there.values())
                new = sum(found == driver and handle not in there for handle, found in prepared.items())
                if new and present + new > limits[driver]:
                    mask[slot] = True
        return [Refusal(mask, TOO_MANY)]

    def score(self, prepared: Any, pod: PodInfo, view: View, feasible: Ints) -> Ints | None:
        return None


def _limits(csi_node: Obj) -> Mapping[str, int]:
    drivers = csi_node["spec"].get("drivers") or ()
    counted = {d["name"]: (d.get("allocatable") or {}).get("count") for d in drivers}
    return {name: count for name, count in counted.items() if count is not None}


def _handles(pod: PodInfo, storage: Storage) -> Iterator[tuple[str, str]]:
    """(what identifies a CSI volume of the pod, its driver); claims without a volume count by their class's driver."""
    for name in pod.claims:
        claim = storage.claim(pod.key.namespace, name)
        if claim is None:
            continue
        volume = storage.volumes.get(claim["spec"].get("volumeName", ""))
        if volume is not None:
            if source := volume["spec"].get("csi"):
                yield f"{source['driver']}/{source['volumeHandle']}", source["driver"]
            continue
        storage_class = storage.classes.get(class_of(claim))
        if storage_class is not None:
            yield f"{pod.key.namespace}/{name}", storage_class["provisioner"]


def _attached(storage: Storage) -> Mapping[str, Mapping[str, str]]:
    """Node -> what identifies a CSI volume that is attached there -> its driver."""
    found: dict[str, dict[str, str]] = {}
    for attachment in storage.attachments.values():
        spec = attachment["spec"]
        volume = storage.volumes.get((spec.get("source") or {}).get("persistentVolumeName", ""))
        if volume and (source := volume["spec"].get("csi")):
            handle = f"{source['driver']}/{source['volumeHandle']}"
            found.setdefault(spec["nodeName"], {})[handle] = source["driver"]
    return found
