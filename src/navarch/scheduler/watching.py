"""What the scheduler watches, brought into its arrays and surroundings; and what of it may let waiting pods fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from navarch.api.podspec.resources import counted
from navarch.client import resources
from navarch.client.informer import InformerFactory
from navarch.client.interface import Resource
from navarch.machinery.types import Key, Obj, key_of
from navarch.scheduler.devicebinding import CLAIMS
from navarch.scheduler.groups import Groups
from navarch.scheduler.hints import DEVICE, NODE, OTHER, POD, VOLUME, Happening
from navarch.scheduler.nodes import Nodes
from navarch.scheduler.nominations import Nominations
from navarch.scheduler.podinfo import PodInfo
from navarch.scheduler.surroundings import Surroundings

CSI_NODES = Resource("storage.k8s.io", "v1", "csinodes", namespaced=False)
CSI_DRIVERS = Resource("storage.k8s.io", "v1", "csidrivers", namespaced=False)
CAPACITIES = Resource("storage.k8s.io", "v1", "csistoragecapacities")
ATTACHMENTS = Resource("storage.k8s.io", "v1", "volumeattachments", namespaced=False)
OWNERS = {
    "ReplicaSet": resources.REPLICA_SETS,
    "StatefulSet": resources.STATEFUL_SETS,
    "ReplicationController": resources.REPLICATION_CONTROLLERS,
}


@dataclass(slots=True)
class Cluster:
    """Everything that decisions are made from."""

    nodes: Nodes
    around: Surroundings
    nominations: Nominations
    groups: Groups = field(default_factory=Groups)

    @staticmethod
    def empty() -> Cluster:
        return Cluster(Nodes(), Surroundings(), Nominations())


DEVICE_CLASSES = Resource("resource.k8s.io", "v1", "deviceclasses", namespaced=False)
SLICES = Resource("resource.k8s.io", "v1", "resourceslices", namespaced=False)
STORAGE = (
    resources.STORAGE_CLASSES,
    resources.PERSISTENT_VOLUMES,
    resources.PERSISTENT_VOLUME_CLAIMS,
    CSI_NODES,
    CSI_DRIVERS,
    CAPACITIES,
    ATTACHMENTS,
)


class Watching:
    """`happened` hears of what may help waiting pods; pods without a node go to `unscheduled` (old, new)."""

    def __init__(
        self,
        informers: InformerFactory,
        cluster: Cluster,
        happened: Callable[[Happening], None],
        unscheduled: Callable[[Obj | None, Obj | None], None],
    ) -> None:
        self._cluster = cluster
        self._happened = happened
        self._unscheduled = unscheduled
        self._informers = informers
        self._handlers = {
            resources.NAMESPACES: self._namespace_changed,
            resources.SERVICES: self._service_changed,
            resources.DISRUPTION_BUDGETS: self._budget_changed,
            **{resource: self._owner_handler(kind) for kind, resource in OWNERS.items()},
            **{resource: self._storage_handler(resource) for resource in STORAGE},
            DEVICE_CLASSES: self._device_class_changed,
            SLICES: self._slice_changed,
            CLAIMS: self._device_claim_changed,
            resources.NODES: self._node_changed,
            resources.PODS: self._pod_changed,
        }
        for resource in self._handlers:
            informers.informer(resource)

    def begin(self) -> None:
        """From now on, everything cached and every change is taken in: surroundings first, then nodes, then pods."""
        for resource, handler in self._handlers.items():
            self._informers[resource].add_handler(handler)

    # -- nodes and pods

    def _node_changed(self, old: Obj | None, new: Obj | None) -> None:
        if new is None:
            assert old
            self._cluster.nodes.remove_node(old["metadata"]["name"])
            self._happened(Happening(NODE, old, None))
        elif old is None or _matters(old) != _matters(new):
            self._cluster.nodes.set_node(new)
            self._happened(Happening(NODE, old, new))

    def _pod_changed(self, old: Obj | None, new: Obj | None) -> None:
        if new is None or new.get("status", {}).get("phase") in ("Succeeded", "Failed"):
            self._pod_went(old, new)
            return
        if not new["spec"].get("nodeName"):
            self._unscheduled(old, new)
            return
        nodes = self._cluster.nodes
        known = nodes.pod(key_of(new))
        if old is None or not old["spec"].get("nodeName"):
            self._unscheduled(old, None)
            self._cluster.nominations.remove(new["metadata"].get("uid", ""))
            same = known is not None and known.uid == new["metadata"].get("uid")
            nodes.set_pod(known.bound(new) if known and same else PodInfo.of(new), new["spec"]["nodeName"])
            self._happened(Happening(POD, None, new))
        elif known is not None and _counts_as(old) == _counts_as(new):
            nodes.set_pod(replace(known, obj=new), new["spec"]["nodeName"])
        else:
            nodes.set_pod(PodInfo.of(new), new["spec"]["nodeName"])
            self._happened(Happening(POD, old, new))

    def _pod_went(self, old: Obj | None, new: Obj | None) -> None:
        """It is gone, or has run its course."""
        pod = old or new
        assert pod
        uid = pod["metadata"].get("uid", "")
        kept_room = self._cluster.nominations.node_of(uid)
        self._cluster.nominations.remove(uid)
        self._unscheduled(pod, None)
        if self._cluster.nodes.remove_pod(key_of(pod)) or kept_room:
            self._happened(Happening(POD, pod, None))

    # -- surroundings

    def _namespace_changed(self, old: Obj | None, new: Obj | None) -> None:
        spaces = self._cluster.around.namespaces
        meta = (new or old or {})["metadata"]
        labels = (meta.get("labels") or {}) if new else None
        if spaces.get(meta["name"]) == labels:
            return
        if labels is None:
            del spaces[meta["name"]]
        else:
            spaces[meta["name"]] = labels
        self._cluster.nodes.counts.namespaces_changed(spaces)
        self._happened(Happening(OTHER, old, new))

    def _service_changed(self, old: Obj | None, new: Obj | None) -> None:
        self._cluster.around.set_service(key_of(new or old or {}), new)

    def _owner_handler(self, kind: str) -> Callable[[Obj | None, Obj | None], None]:
        def handler(old: Obj | None, new: Obj | None) -> None:
            self._cluster.around.set_owner(kind, key_of(new or old or {}), new)

        return handler

    def _storage_handler(self, resource: Resource) -> Callable[[Obj | None, Obj | None], None]:
        storage = self._cluster.around.storage
        table: dict[Any, Obj] = {
            resources.STORAGE_CLASSES: storage.classes,
            resources.PERSISTENT_VOLUMES: storage.volumes,
            resources.PERSISTENT_VOLUME_CLAIMS: storage.claims,
            CSI_NODES: storage.csi_nodes,
            CSI_DRIVERS: storage.drivers,
            CAPACITIES: storage.capacities,
            ATTACHMENTS: storage.attachments,
        }[resource]

        def handler(old: Obj | None, new: Obj | None) -> None:
            key = key_of(new or old or {})
            place = key if resource.namespaced else key.name
            if new is None:
                table.pop(place, None)
            else:
                table[place] = new
            self._happened(Happening(VOLUME, old, new))

        return handler

    def _device_class_changed(self, old: Obj | None, new: Obj | None) -> None:
        devices = self._cluster.around.devices
        devices.set_class(key_of(new or old or {}).name, new)
        self._cluster.nodes.delegated = frozenset(devices.resources)
        self._happened(Happening(DEVICE, old, new))

    def _slice_changed(self, old: Obj | None, new: Obj | None) -> None:
        self._cluster.around.devices.set_slice(key_of(new or old or {}).name, new)
        self._happened(Happening(DEVICE, old, new))

    def _device_claim_changed(self, old: Obj | None, new: Obj | None) -> None:
        self._cluster.around.devices.set_claim(old, new)
        self._happened(Happening(DEVICE, old, new))

    def _budget_changed(self, old: Obj | None, new: Obj | None) -> None:
        key: Key = key_of(new or old or {})
        if new is None:
            self._cluster.around.budgets.pop(key, None)
        else:
            self._cluster.around.budgets[key] = new


def _matters(node: Obj) -> tuple[object, ...]:
    """What of a node the scheduler looks at: its heartbeat is not."""
    status, spec, meta = node.get("status", {}), node.get("spec", {}), node["metadata"]
    room = status.get("allocatable") or status.get("capacity")
    return room, spec.get("taints"), spec.get("unschedulable"), meta.get("labels"), status.get("images")


def _counts_as(pod: Obj) -> tuple[object, ...]:
    meta = pod["metadata"]
    return meta.get("uid"), counted(pod), meta.get("labels"), "deletionTimestamp" in meta
