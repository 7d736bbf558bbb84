"""What pods and containers use, read from their cgroups, as the summary API."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from navarch.kubelet.cgroup_usage import CgroupReader, Interface, Usage, interfaces
from navarch.kubelet.container_config import cgroup_parent
from navarch.kubelet.runtime_state import PodRuntime
from navarch.machinery.clock import rfc3339
from navarch.machinery.types import Obj


class ContainerUse(NamedTuple):
    name: str
    cgroup: str
    image: str
    started: float
    usage: Usage


class PodUse(NamedTuple):
    pod: Obj
    cgroup: str
    usage: Usage
    interfaces: Sequence[Interface]
    """None of those of a pod in the host's network."""
    containers: Sequence[ContainerUse]


class Stats:
    """Reads on demand, and remembers CPU times to tell rates."""

    def __init__(self, root: str, reader: CgroupReader | None = None) -> None:
        self.root = root
        self.reader = reader or CgroupReader()
        self._seen: dict[str, tuple[float, int, int]] = {}

    def rate(self, key: str, now: float, nanos: int) -> int:
        """Nano-cores since the key was last asked about, at least a second ago."""
        last = self._seen.get(key)
        if last is None:
            self._seen[key] = (now, nanos, 0)
            return 0
        if now - last[0] < 1.0:
            return last[2]
        rate = int((nanos - last[1]) / (now - last[0]))
        self._seen[key] = (now, nanos, rate)
        return rate

    def forget_all_but(self, keys: set[str]) -> None:
        for key in self._seen.keys() - keys:
            del self._seen[key]

    def pods(self, pods: Sequence[Obj], runtime: Any) -> Iterator[PodUse]:
        """`runtime(uid)` is what the runtime has of a pod."""
        for pod in pods:
            parent = cgroup_parent(pod, self.root)
            usage = self.reader.usage(parent)
            if usage is not None:
                state: PodRuntime = runtime(pod["metadata"]["uid"])
                yield PodUse(
                    pod, parent, usage, self._network(pod, parent, state), list(self._containers(parent, state))
                )

    def _network(self, pod: Obj, parent: str, state: PodRuntime) -> list[Interface]:
        if pod["spec"].get("hostNetwork") or state.sandbox is None:
            return []
        pid = self.reader.first_process(f"{parent}/{state.sandbox.id}")
        return interfaces(pid) if pid else []

    def _containers(self, parent: str, state: PodRuntime) -> Iterator[ContainerUse]:
        for run in state.all():
            cgroup = f"{parent}/{run.id}"
            if run.running and (usage := self.reader.usage(cgroup)) is not None:
                yield ContainerUse(run.name, cgroup, run.image, run.started, usage)

    # -- the summary API

    def summary(self, node: str, pods: Sequence[Obj], runtime: Any, now: float, boot: float, disk: str) -> Obj:
        """stats.k8s.io/v1alpha1 Summary: GET /stats/summary."""
        found = list(self.pods(pods, runtime))
        keys = {"/"} | {use.pod["metadata"]["uid"] for use in found}
        keys |= {f"{use.pod['metadata']['uid']}/{c.name}" for use in found for c in use.containers}
        self.forget_all_but(keys)
        machine = machine_usage()
        whole: Obj = {"nodeName": node, "startTime": rfc3339(boot), "fs": _disk(disk, now)}
        whole |= self._amounts("/", machine, now, machine_memory())
        return {"node": whole, "pods": [self._pod(use, now) for use in found]}

    def _pod(self, use: PodUse, now: float) -> Obj:
        meta = use.pod["metadata"]
        uid = meta["uid"]
        return {
            "podRef": {"name": meta["name"], "namespace": meta["namespace"], "uid": uid},
            "startTime": (use.pod.get("status") or {}).get("startTime"),
            "containers": [
                {"name": c.name, "startTime": rfc3339(c.started), **self._amounts(f"{uid}/{c.name}", c.usage, now)}
                for c in use.containers
            ],
            **self._amounts(uid, use.usage, now),
            **({"network": _network(use.interfaces, now)} if use.interfaces else {}),
            "process_stats": {"process_count": use.usage.processes},
        }

    def _amounts(self, key: str, usage: Usage, now: float, capacity: int = 0) -> Obj:
        stamp = rfc3339(now)
        memory: Obj = {
            "time": stamp,
            "usageBytes": usage.memory_usage,
            "workingSetBytes": usage.memory_working_set,
            "rssBytes": usage.memory_rss,
            "pageFaults": usage.page_faults,
            "majorPageFaults": usage.major_page_faults,
        }
        if capacity:
            memory["availableBytes"] = max(capacity - usage.memory_working_set, 0)
        cpu = {
            "time": stamp,
            "usageNanoCores": self.rate(key, now, usage.cpu_nanos),
            "usageCoreNanoSeconds": usage.cpu_nanos,
        }
        return {"cpu": cpu, "memory": memory}


def _network(found: Sequence[Interface], now: float) -> Obj:
    each = [
        {
            "name": one.name,
            "rxBytes": one.received_bytes,
            "rxErrors": one.receive_errors,
            "txBytes": one.sent_bytes,
            "txErrors": one.send_errors,
        }
        for one in found
    ]
    return {"time": rfc3339(now), **each[0], "interfaces": each}


def machine_usage() -> Usage:
    """The whole machine's."""
    import psutil

    cpu, memory = psutil.cpu_times(), psutil.virtual_memory()
    busy = sum(cpu) - cpu.idle - getattr(cpu, "iowait", 0.0)
    working = memory.total - memory.available
    return Usage(int(busy * 1e9), memory.used, working, memory.used, 0, 0, 0)


def machine_memory() -> int:
    import psutil

    return psutil.virtual_memory().total


def _disk(path: str, now: float) -> Obj:
    with suppress(OSError):
        found = os.statvfs(path)
        return {
            "time": rfc3339(now),
            "availableBytes": found.f_bavail * found.f_frsize,
            "capacityBytes": found.f_blocks * found.f_frsize,
            "usedBytes": (found.f_blocks - found.f_bfree) * found.f_frsize,
            "inodesFree": found.f_favail,
            "inodes": found.f_files,
        }
    return {}
