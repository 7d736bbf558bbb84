"""Resizing pods in place: which resources a pod was given, which its containers have, and what lies between (KEP-1287).

What the spec asks for is *allocated* once the node has room for it; what is allocated is *actuated* when the runtime and
the cgroups have it. Source: pkg/kubelet/allocation, kuberuntime (computePodResizeAction, doPodResizeAction).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import orjson

from navarch.kubelet.admission import lacking
from navarch.kubelet.cgroup_usage import CgroupReader
from navarch.kubelet.cgroups import pod_amounts
from navarch.kubelet.container_config import cgroup_parent, resources
from navarch.kubelet.context import Context
from navarch.kubelet.cri import CriError
from navarch.kubelet.pod_actions import Unhealthy
from navarch.kubelet.runtime_state import PodRuntime
from navarch.machinery.quantity import Quantity
from navarch.machinery.types import Obj

log = logging.getLogger(__name__)
POD = ""
"""Stands for the pod itself among its containers' names."""
FIELDS = ("initContainers", "containers")
RETRY_SECONDS = 5.0
Sizes = dict[str, Obj]


class Condition(NamedTuple):
    """What a pod's status says of a resize under way."""

    type: str
    reason: str
    message: str
    generation: int | None


# -- pure


def sizes_of(pod: Obj) -> Sizes:
    """The resources of a pod's containers, by name."""
    spec = pod["spec"]
    found = {c["name"]: c.get("resources") or {} for field in FIELDS for c in spec.get(field) or ()}
    return found | ({POD: spec["resources"]} if spec.get("resources") else {})


def with_sizes(pod: Obj, sizes: Mapping[str, Obj]) -> Obj:
    """The pod with other resources than its spec says."""
    if sizes_of(pod) == sizes:
        return pod
    spec = dict(pod["spec"])
    for field in FIELDS:
        if spec.get(field):
            spec[field] = [{**c, "resources": sizes.get(c["name"], c.get("resources") or {})} for c in spec[field]]
    if POD in sizes:
        spec["resources"] = sizes[POD]
    return {**pod, "spec": spec}


def amounts(size: Obj) -> dict[tuple[str, str], Quantity]:
    """(requests or limits, cpu or memory) -> how much: all that a resize may change."""
    return {
        (side, name): Quantity.of(size[side][name])
        for side in ("requests", "limits")
        for name in ("cpu", "memory")
        if name in (size.get(side) or {})
    }


def needs_restart(container: Obj, before: Obj, after: Obj) -> bool:
    """Whether the container's resize policy wants it anew for this change."""
    old, new = amounts(before), amounts(after)
    changed = {name for side, name in old.keys() | new.keys() if old.get((side, name)) != new.get((side, name))}
    policies = container.get("resizePolicy") or ()
    return any(p["resourceName"] in changed and p["restartPolicy"] == "RestartContainer" for p in policies)


def _limit(size: Obj) -> int:
    return Quantity.of((size.get("limits") or {}).get("memory", "0")).value()


def _grows(before: Obj, after: Obj) -> bool:
    return sum(q.nano for q in amounts(after).values()) > sum(q.nano for q in amounts(before).values())


def summary(pod: Obj, generation: int | None, error: str = "") -> str:
    """What events say of a resize."""
    made: Obj = {}
    for field in FIELDS:
        if found := pod["spec"].get(field):
            made[field] = [{"name": c["name"], "resources": c.get("resources") or {}} for c in found]
    made["generation"] = generation or 0
    if error:
        made["error"] = error
    return orjson.dumps(made).decode()


# -- the edge


class Resizer:
    """One pod's sizes. They are kept in a file beside the pod's other things, for a kubelet that starts anew."""

    def __init__(self, context: Context, pod: Obj) -> None:
        self._context, self._uid = context, pod["metadata"]["uid"]
        self._reader = CgroupReader()
        self.allocated: Sizes = sizes_of(pod)
        self.actuated: Sizes = {}
        self._pending: Condition | None = None
        self._progress: Condition | None = None
        with suppress(OSError, ValueError, KeyError):
            kept = orjson.loads(self._file.read_bytes())
            self.allocated, self.actuated = kept["allocated"], kept["actuated"]

    @property
    def _file(self) -> Path:
        return self._context.config.pod_root(self._uid) / "resources.json"

    def _keep(self) -> None:
        with suppress(FileNotFoundError):
            self._file.write_bytes(orjson.dumps({"allocated": self.allocated, "actuated": self.actuated}))

    @property
    def deferred(self) -> bool:
        return self._pending is not None

    @property
    def conditions(self) -> Sequence[Condition]:
        return [condition for condition in (self._pending, self._progress) if condition is not None]

    def seen(self, pod: Obj) -> Obj:
        """The pod with what it was given."""
        return with_sizes(pod, self.allocated)

    def consider(self, pod: Obj) -> None:
        """Gives the pod what its spec asks for, where the node has room."""
        wanted = sizes_of(pod)
        if all(amounts(wanted[name]) == amounts(self.allocated.get(name, {})) for name in wanted):
            self._pending = None
            return
        generation = pod["metadata"].get("generation")
        others, node = self._context.neighbours(self._uid), self._context.node_object() or {}
        why = lacking(pod["spec"], others, node)
        if why is not None:
            before, self._pending = self._pending, Condition("PodResizePending", "Deferred", why, generation)
            if before is None or before.generation != generation:
                text = f"Pod resize Deferred: {summary(pod, generation, why)}"
                self._context.emit(pod, "Warning", "ResizeDeferred", text)
            return
        shrinks = any(_grows(wanted[name], self.allocated.get(name, {})) for name in wanted)
        self.allocated, self._pending = wanted, None
        self._progress = Condition("PodResizeInProgress", "", "", generation)
        self._keep()
        self._context.emit(pod, "Normal", "ResizeStarted", f"Pod resize started: {summary(pod, generation)}")
        if shrinks:
            self._context.freed()

    def started(self, name: str) -> None:
        """A container was started with what is allocated to it."""
        self.actuated[name] = self.allocated.get(name, {})
        self._keep()

    def _unmet(self, pod: Obj, runtime: PodRuntime) -> Iterable[tuple[Obj, str]]:
        """(container, id of its run) of those that run with other amounts than they are to have."""
        for field in FIELDS:
            for container in pod["spec"].get(field) or ():
                run, size = runtime.latest(container["name"]), container.get("resources") or {}
                if run and run.running and amounts(self.actuated.get(container["name"], size)) != amounts(size):
                    yield container, run.id

    def restarts(self, pod: Obj, runtime: PodRuntime) -> dict[str, Unhealthy]:
        """Ids of runs that must end for their containers' new sizes."""
        return {
            id: Unhealthy(f"Container {container['name']} resize requires restart")
            for container, id in self._unmet(pod, runtime)
            if needs_restart(container, self.actuated[container["name"]], container.get("resources") or {})
        }

    async def actuate(self, pod: Obj, runtime: PodRuntime) -> float | None:
        """Brings running containers and the pod's cgroup to what is allocated. Seconds until the next try, if one is
        needed."""
        if self._progress is None and not any(True for _ in self._unmet(pod, runtime)):
            return None
        restarts = self.restarts(pod, runtime)
        updates = [(c, id) for c, id in self._unmet(pod, runtime) if id not in restarts]
        updates.sort(key=lambda item: _grows(self.actuated[item[0]["name"]], item[0].get("resources") or {}))
        try:
            self._check_memory(pod, updates)
            before = with_sizes(pod, {**self.allocated, **self.actuated})
            self._context.cgroups.resize(pod, _wider(pod_amounts(before), pod_amounts(pod)))
            for container, id in updates:
                linux = resources(pod, container, self._context.memory)
                await self._context.cri.update_container(id, linux)
                self.started(container["name"])
            if restarts:
                return None
            self._context.cgroups.resize(pod, pod_amounts(pod))
        except (CriError, OSError, ValueError) as error:
            return self._failed(pod, str(error))
        self._finish(pod)
        return None

    def _failed(self, pod: Obj, why: str) -> float:
        generation = pod["metadata"].get("generation")
        before, self._progress = self._progress, Condition("PodResizeInProgress", "Error", why, generation)
        if before is None or before.message != why:
            self._context.emit(pod, "Warning", "ResizeError", f"Pod resize error: {summary(pod, generation, why)}")
        return RETRY_SECONDS

    def _finish(self, pod: Obj) -> None:
        if self._progress is not None:
            generation, self._progress = self._progress.generation, None
            text = f"Pod resize completed: {summary(pod, generation)}"
            self._context.emit(pod, "Normal", "ResizeCompleted", text)

    def _check_memory(self, pod: Obj, updates: Sequence[tuple[Obj, str]]) -> None:
        """No limit is set below what is in use: that would end the container. Raises ValueError."""
        parent = cgroup_parent(pod, self._context.config.cgroup)
        for container, id in updates:
            limit, had = _limit(container.get("resources") or {}), _limit(self.actuated[container["name"]])
            if not limit or (had and limit >= had):
                continue
            usage = self._reader.usage(f"{parent}/{id}")
            if usage is not None and usage.memory_usage >= limit:
                why = f'attempting to set container "{container["name"]}" memory limit ({limit}) below current usage'
                raise ValueError(f"cannot decrease memory limits: {why} ({usage.memory_usage})")


def _wider(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    """What holds both: a limit that one of them lacks is left as it is."""
    return {name: max(before[name], after[name]) for name in before.keys() & after.keys()}
