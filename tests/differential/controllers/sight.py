"""All that is to be seen of a cluster, kept current by watches; what of it belongs to which scenario, and when it last changed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tests.differential.controllers.scenario import resource

from navarch.client.informer import InformerFactory
from navarch.client.interface import Client
from navarch.machinery.clock import World
from navarch.machinery.types import Obj

KINDS = (
    *("Pod", "Node", "Namespace", "Service", "Endpoints", "ConfigMap", "Secret", "ServiceAccount", "Event"),
    *("ReplicationController", "PersistentVolume", "PersistentVolumeClaim", "ResourceQuota", "LimitRange"),
    *("Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "ControllerRevision", "Job", "CronJob"),
    *("HorizontalPodAutoscaler", "EndpointSlice", "PodDisruptionBudget", "ClusterRole", "CertificateSigningRequest"),
    *("StorageClass", "VolumeAttachment", "VolumeAttributesClass", "ResourceClaim", "ResourceClaimTemplate"),
    *("ServiceCIDR", "IPAddress", "ValidatingAdmissionPolicy"),
)


class Sight:
    def __init__(self, client: Client, world: World) -> None:
        self._world = world
        self._informers = InformerFactory(client, world)
        self.by_kind = {kind: self._informers[resource(kind)] for kind in KINDS}
        self._changed: dict[str, float] = {}
        self._scenarios: set[str] = set()

    async def start(self) -> None:
        for kind, informer in self.by_kind.items():
            informer.add_handler(lambda old, new, kind=kind: self._note(kind, old, new))
        self._informers.start()
        for informer in self.by_kind.values():
            await informer.synced

    async def stop(self) -> None:
        await self._informers.stop()

    def expect(self, namespace: str) -> None:
        self._scenarios.add(namespace)

    def quiet_for(self, namespace: str) -> float:
        """Seconds since anything of the scenario changed."""
        return self._world.now() - self._changed.get(namespace, 0.0)

    def touch(self, namespace: str) -> None:
        self._changed[namespace] = self._world.now()

    def _note(self, kind: str, old: Obj | None, new: Obj | None) -> None:
        obj: Any = new or old
        if kind == "Node" and old and new and _without_beats(old) == _without_beats(new):
            return
        self.touch(self.owner(kind, obj))

    def owner(self, kind: str, obj: Obj) -> str:
        """The scenario that an object belongs to, or ""."""
        meta = obj["metadata"]
        if kind == "Event" and meta["namespace"] == "default":
            return self._named(obj["involvedObject"].get("name", ""))
        if namespace := meta.get("namespace"):
            return namespace
        if kind == "PersistentVolume" and (claim := obj["spec"].get("claimRef")):
            return claim.get("namespace", "")
        if kind == "VolumeAttachment":
            return self._named(obj["spec"]["nodeName"])
        if kind == "IPAddress":
            return obj["spec"]["parentRef"].get("namespace", "")
        return self._named(meta["name"])

    def _named(self, name: str) -> str:
        """The longest scenario's name that this one begins with."""
        found = [n for n in self._scenarios if name == n or name.startswith((f"{n}-", f"{n}.", f"{n}:"))]
        return max(found, key=len, default="")

    def of(self, kind: str, namespace: str) -> Iterable[Obj]:
        return [obj for obj in self.by_kind[kind].list() if self.owner(kind, obj) == namespace]


def _without_beats(node: Obj) -> Any:
    conditions = [
        {k: v for k, v in c.items() if k != "lastHeartbeatTime"} for c in node["status"].get("conditions") or []
    ]
    meta = {k: v for k, v in node["metadata"].items() if k not in ("resourceVersion", "managedFields")}
    return {**node, "metadata": meta, "status": {**node["status"], "conditions": conditions}}
