"""What pods and containers use, read from their cgroups (v1 and v2 alike), as the summary API and as metrics.

The runtime's own statistics cost milliseconds per container; a few files cost microseconds.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from navarch.kubelet.container_config import cgroup_parent
from navarch.kubelet.runtime_state import PodRuntime
from navarch.machinery.clock import rfc3339
from navarch.machinery.types import Obj

ROOT = Path("/sys/fs/cgroup")


class Usage(NamedTuple):
    cpu_nanos: int
    """CPU time used so far."""
    memory_usage: int
    memory_working_set: int
    memory_rss: int
    page_faults: int
    major_page_faults: int
    processes: int


class CgroupReader:
    """Usage of a cgroup by its path below the controllers' roots."""

    def __init__(self, mount: Path = ROOT) -> None:
        self._mount = mount
        self._unified = (mount / "cgroup.controllers").exists()

    def usage(self, path: str) -> Usage | None:
        """None where there is no such cgroup."""
        try:
            return self._v2(path) if self._unified else self._v1(path)
        except (OSError, ValueError):
            return None

    def _v2(self, path: str) -> Usage:
        folder = self._mount / path.lstrip("/")
        cpu, memory = _table(folder / "cpu.stat"), _table(folder / "memory.stat")
        used = _number(folder / "memory.current")
        return Usage(
            cpu["usage_usec"] * 1000,
            used,
            max(used - memory.get("inactive_file", 0), 0),
            memory.get("anon", 0),
            memory.get("pgfault", 0),
            memory.get("pgmajfault", 0),
            _number(folder / "pids.current", 0),
        )

    def _v1(self, path: str) -> Usage:
        below = path.lstrip("/")
        accounting = self._mount / "cpuacct"
        if not accounting.exists():
            accounting = self._mount / "cpu,cpuacct"
        memory = self._mount / "memory" / below
        table = _table(memory / "memory.stat")
        used = _number(memory / "memory.usage_in_bytes")
        return Usage(
            _number(accounting / below / "cpuacct.usage"),
            used,
            max(used - table.get("total_inactive_file", 0), 0),
            table.get("total_rss", 0),
            table.get("total_pgfault", 0),
            table.get("total_pgmajfault", 0),
            _number(self._mount / "pids" / below / "pids.current", 0),
        )


def _number(path: Path, default: int | None = None) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        if default is None:
            raise
        return default


def _table(path: Path) -> dict[str, int]:
    pairs = (line.split() for line in path.read_text().splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2}


class ContainerUse(NamedTuple):
    name: str
    started: float
    usage: Usage


class PodUse(NamedTuple):
    pod: Obj
    usage: Usage
    containers: Sequence[ContainerUse]


class Stats:
    """Reads on demand, and remembers CPU times to tell rates."""

    def __init__(self, root: str, reader: CgroupReader | None = None) -> None:
        self._root = root
        self._reader = reader or CgroupReader()
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
            parent = cgroup_parent(pod, self._root)
            usage = self._reader.usage(parent)
            if usage is not None:
                state: PodRuntime = runtime(pod["metadata"]["uid"])
                yield PodUse(pod, usage, list(self._containers(parent, state)))

    def _containers(self, parent: str, state: PodRuntime) -> Iterator[ContainerUse]:
        for run in state.all():
            if run.running and (usage := self._reader.usage(f"{parent}/{run.id}")) is not None:
                yield ContainerUse(run.name, run.started, usage)

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

    # -- Prometheus

    def resource_metrics(self, pods: Sequence[Obj], runtime: Any) -> str:
        """GET /metrics/resource: what the metrics API is made from."""
        machine = machine_usage()
        lines = _family("node_cpu_usage_seconds_total", "counter", [({}, machine.cpu_nanos / 1e9)])
        lines += _family("node_memory_working_set_bytes", "gauge", [({}, machine.memory_working_set)])
        found = list(self.pods(pods, runtime))
        of_containers = [(_labels(use.pod, c.name), c) for use in found for c in use.containers]
        of_pods = [(_labels(use.pod, ""), use.usage) for use in found]
        lines += _family(
            "container_cpu_usage_seconds_total",
            "counter",
            [(label, c.usage.cpu_nanos / 1e9) for label, c in of_containers],
        )
        lines += _family(
            "container_memory_working_set_bytes",
            "gauge",
            [(label, c.usage.memory_working_set) for label, c in of_containers],
        )
        lines += _family("container_start_time_seconds", "gauge", [(label, c.started) for label, c in of_containers])
        lines += _family("pod_cpu_usage_seconds_total", "counter", [(label, u.cpu_nanos / 1e9) for label, u in of_pods])
        lines += _family(
            "pod_memory_working_set_bytes", "gauge", [(label, u.memory_working_set) for label, u in of_pods]
        )
        return "".join([*lines, *_family("resource_scrape_error", "gauge", [({}, 0)])])


def _labels(pod: Obj, container: str) -> dict[str, str]:
    own = {"container": container} if container else {}
    return own | {"namespace": pod["metadata"]["namespace"], "pod": pod["metadata"]["name"]}


def _family(name: str, kind: str, samples: Sequence[tuple[Mapping[str, str], float]]) -> list[str]:
    lines = [f"# TYPE {name} {kind}\n"]
    for labels, value in samples:
        text = ",".join(f'{key}="{value}"' for key, value in labels.items())
        lines.append(f"{name}{{{text}}} {value}\n" if text else f"{name} {value}\n")
    return lines


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
