"""The eviction manager's edge: reads what the node has left and what pods use, and ends pods as `eviction.py` decides."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from navarch.kubelet import eviction, machine
from navarch.kubelet.cgroup_usage import CgroupReader
from navarch.kubelet.container_config import cgroup_parent
from navarch.kubelet.context import Context
from navarch.kubelet.cri import CriError
from navarch.kubelet.eviction import EVICTED, Met, Reading, Use
from navarch.kubelet.pod_worker import PodWorker
from navarch.machinery.types import Obj

log = logging.getLogger(__name__)
LOOK_SECONDS = 10.0
GRACE = 1
"""Seconds that a pod which is evicted has."""


class Disk(NamedTuple):
    """What a folder holds."""

    used: int
    inodes: int


def readings(root: Path) -> dict[str, Reading]:
    """The machine's signals; `root` is on the file system of pods, and images are there too."""
    memory, disk = machine.meminfo(), os.statvfs(root)
    space = Reading(disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize)
    found = {
        "memory.available": Reading(memory.get("MemAvailable", 1 << 62), memory.get("MemTotal", 0)),
        "nodefs.available": space,
        "imagefs.available": space,
    }
    if disk.f_files:
        found["nodefs.inodesFree"] = found["imagefs.inodesFree"] = Reading(disk.f_favail, disk.f_files)
    with suppress(OSError, ValueError, IndexError):
        most = int(Path("/proc/sys/kernel/pid_max").read_text())
        running = int(Path("/proc/loadavg").read_text().split()[3].partition("/")[2])
        found["pid.available"] = Reading(most - running, most)
    return found


def held_by(folder: Path) -> Disk:
    """What is in a folder and below, as far as it is on the same file system."""
    used = inodes = 0
    try:
        device = folder.stat().st_dev
    except OSError:
        return Disk(0, 0)
    pending = [str(folder)]
    while pending:
        with suppress(OSError), os.scandir(pending.pop()) as entries:
            for entry in entries:
                with suppress(OSError):
                    found = entry.stat(follow_symlinks=False)
                    if found.st_dev != device:
                        continue
                    used, inodes = used + found.st_blocks * 512, inodes + 1
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
    return Disk(used, inodes)


class Pressure:
    """`workers` are those of pods that are not over; `make_room` removes images that nobody uses; `changed` is called when
    the node's conditions are others than before."""

    def __init__(
        self,
        context: Context,
        workers: Callable[[], Iterable[PodWorker]],
        make_room: Callable[[], Awaitable[None]],
        changed: Callable[[], None],
        read: Callable[[Path], Mapping[str, Reading]] = readings,
    ) -> None:
        self._context, self._workers, self._make_room, self._changed = context, workers, make_room, changed
        self._read = read
        self._reader = CgroupReader()
        self._seen: dict[str, float] = {}
        """Condition -> when its cause was last there."""

    @property
    def conditions(self) -> Collection[str]:
        since = self._context.world.now() - eviction.TRANSITION_SECONDS
        return [name for name, at in self._seen.items() if at >= since]

    def observe(self) -> list[Met]:
        """Reads the signals; the thresholds that are met."""
        before, config = set(self.conditions), self._context.config
        found = eviction.met(config.eviction_hard, self._read(config.root))
        for each in found:
            self._seen[eviction.CONDITION[each.resource]] = self._context.world.now()
        if set(self.conditions) != before:
            self._changed()
        return found

    async def run(self) -> None:
        while True:
            held = set(self.conditions)
            await self._context.world.sleep(LOOK_SECONDS)
            try:
                await self.look()
            except Exception:
                log.exception("node pressure")
            if held - set(self.conditions):
                self._changed()

    async def look(self) -> None:
        """One round: pods that keep more than they may, then at most one that the node cannot afford."""
        found = self.observe()
        if await self._over_limits() or not found:
            return
        worst, context = found[0], self._context
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": context.config.node_name}}
        context.emit(node, "Warning", "EvictionThresholdMet", f"Attempting to reclaim {worst.resource}")
        if worst.resource in ("ephemeral-storage", "inodes"):
            await self._make_room()
            if worst.signal not in {each.signal for each in self.observe()}:
                return
        workers = {worker.uid: worker for worker in self._workers()}
        uses = [await self._use(worker, disk=worst.resource != "memory") for worker in workers.values()]
        for use in eviction.ranked(worst.resource, uses):
            if not eviction.is_critical(use.pod):
                text = eviction.message(worst, use)
                self._evict(workers[use.pod["metadata"]["uid"]], text, disruption=text)
                return
        log.warning("nothing can be evicted to reclaim %s", worst.resource)

    async def _over_limits(self) -> bool:
        evicted = False
        for worker in list(self._workers()):
            if not eviction.has_limits(worker.pod) or eviction.is_critical(worker.pod):
                continue
            if why := eviction.over_limit(await self._use(worker, disk=True)):
                self._evict(worker, why)
                evicted = True
        return evicted

    def _evict(self, worker: PodWorker, why: str, disruption: str = "") -> None:
        log.info("pod %s/%s is evicted: %s", worker.pod["metadata"]["namespace"], worker.pod["metadata"]["name"], why)
        self._context.emit(worker.pod, "Warning", EVICTED, why)
        worker.fail(EVICTED, why, grace=GRACE, disruption=disruption)

    async def _use(self, worker: PodWorker, *, disk: bool) -> Use:
        """What a pod uses; of the disk only where that is asked for: it takes long."""
        context, pod = self._context, worker.pod
        parent, runs = cgroup_parent(pod, context.config.cgroup), list(context.cache.get(worker.uid).all())
        whole = self._reader.usage(parent)
        each = {run.name: self._reader.usage(f"{parent}/{run.id}") for run in runs if run.running}
        memory = {name: usage.memory_working_set for name, usage in each.items() if usage is not None}
        use = Use(
            pod,
            memory=whole.memory_working_set if whole else 0,
            processes=whole.processes if whole else 0,
            container_memory=memory,
        )
        return await self._with_disk(worker, use) if disk else use

    async def _with_disk(self, worker: PodWorker, use: Use) -> Use:
        context, pod = self._context, worker.pod
        base, logs = context.config.pod_root(worker.uid) / "volumes", context.config.pod_logs(pod)
        empty = {v["name"]: base / "kubernetes.io~empty-dir" / v["name"] for v in _empty_dirs(pod)}
        names = [container["name"] for container in pod["spec"]["containers"]]
        places = [*empty.values(), *(logs / name for name in names)]
        found = await asyncio.to_thread(lambda: {place: held_by(place) for place in places})
        containers: dict[str, int] = {}
        inodes = sum(disk.inodes for disk in found.values())
        for name in names:
            run = context.cache.get(worker.uid).latest(name)
            layer = await self._layer(run.id) if run and run.running else Disk(0, 0)
            containers[name] = layer.used + found[logs / name].used
            inodes += layer.inodes
        volumes = {name: found[place].used for name, place in empty.items()}
        return Use(
            pod,
            memory=use.memory,
            processes=use.processes,
            container_memory=use.container_memory,
            disk=sum(containers.values()) + sum(volumes.values()),
            inodes=inodes,
            container_disk=containers,
            volumes=volumes,
        )

    async def _layer(self, container: str) -> Disk:
        """What a container has written to its own file system."""
        try:
            layer = await self._context.cri.writable_layer(container)
        except CriError:
            return Disk(0, 0)
        return Disk((layer.get("used_bytes") or {}).get("value", 0), (layer.get("inodes_used") or {}).get("value", 0))


def _empty_dirs(pod: Obj) -> list[Obj]:
    volumes = pod["spec"].get("volumes") or ()
    return [v for v in volumes if "emptyDir" in v and (v["emptyDir"] or {}).get("medium") != "Memory"]
