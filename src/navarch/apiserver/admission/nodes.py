"""Plugins that look at a pod's node: topology labels for pods that get one, and resizes that fit it.

Sources: plugin/pkg/admission/podtopologylabels, podresize.
"""

from __future__ import annotations

from navarch.api.podspec.resources import aggregate, amounts
from navarch.apiserver.admission.chain import PODS, BasePlugin, refuse
from navarch.apiserver.admission.interface import AdmissionRequest
from navarch.apiserver.watchcache import CacheSet
from navarch.machinery import trees
from navarch.machinery.quantity import Quantity
from navarch.machinery.types import GroupResource, Obj

NODES = GroupResource("", "nodes")
TOPOLOGY = ("topology.kubernetes.io/zone", "topology.kubernetes.io/region")
OS = "kubernetes.io/os"
ZERO = Quantity(0)


class PodTopologyLabels(BasePlugin):
    """A pod that is bound gets the zone and region of its node."""

    name = "PodTopologyLabels"

    def __init__(self, caches: CacheSet) -> None:
        self._nodes = caches[NODES]

    def concerns(self, request: AdmissionRequest) -> bool:
        return request.resource == PODS and request.operation == "CREATE" and request.subresource in ("", "binding")

    async def admit(self, request: AdmissionRequest) -> None:
        obj = request.object
        assert obj is not None
        if request.subresource:
            target = obj.get("target") or {}
            name = target.get("name", "") if target.get("kind") == "Node" else ""
        else:
            name = obj["spec"].get("nodeName", "")
        entry = self._nodes.get("", name) if name else None
        if entry is None:
            return
        if found := {key: entry.labels[key] for key in TOPOLOGY if key in entry.labels}:
            metadata: Obj = obj.setdefault("metadata", {})
            metadata["labels"] = {**(metadata.get("labels") or {}), **found}


class PodResizeValidator(BasePlugin):
    """A resized pod must fit its node."""

    name = "PodResizeValidator"

    def __init__(self, caches: CacheSet) -> None:
        self._nodes = caches[NODES]

    def concerns(self, request: AdmissionRequest) -> bool:
        return request.resource == PODS and request.operation == "UPDATE" and request.subresource == "resize"

    async def validate(self, request: AdmissionRequest) -> None:
        pod, old = request.object, request.old
        assert pod is not None and old is not None
        name = pod["spec"].get("nodeName", "")
        if not name or pod["metadata"].get("generation") == old["metadata"].get("generation"):
            return
        entry = self._nodes.get("", name)
        if entry is None:
            raise refuse(request, f'node "{name}" not found')
        if (system := entry.labels.get(OS, "linux")) != "linux":
            why = f'pod resize is only supported on linux nodes, node "{name}" is "{system}"'
            self._refuse(request, why, "UnsupportedPlatform")
        room = amounts(trees.get(entry.obj, "status", "allocatable"))
        if lacking := _lacking(pod["spec"], room.get("cpu", ZERO), room.get("memory", ZERO)):
            self._refuse(request, f"node didn't have enough allocatable resources: {lacking}", "NodeCapacity")

    def _refuse(self, request: AdmissionRequest, why: str, reason: str) -> None:
        error = refuse(request, why)
        assert error.details is not None
        error.details["causes"] = [{"reason": reason}]
        raise error


def _lacking(spec: Obj, cpu: Quantity, memory: Quantity) -> str:
    wanted = aggregate(spec, "requests") | amounts((spec.get("resources") or {}).get("requests"))
    overhead = amounts(spec.get("overhead"))
    asked = {name: wanted.get(name, ZERO) + overhead.get(name, ZERO) for name in ("cpu", "memory")}
    found: list[str] = []
    if asked["cpu"] > cpu:
        found.append(f"cpu, requested: {asked['cpu'].milli()}, allocatable: {cpu.milli()}")
    if asked["memory"] > memory:
        found.append(f"memory, requested: {asked['memory'].value()}, allocatable: {memory.value()}")
    return "; ".join(found)
