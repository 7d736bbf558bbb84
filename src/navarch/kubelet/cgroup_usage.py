"""What a cgroup has used, from its files: v1 and v2 alike. A few files cost microseconds where the runtime's own statistics
cost milliseconds per container."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

ROOT = Path("/sys/fs/cgroup")
NO_LIMIT = 1 << 62
"""Version 1 writes "no limit" as a number near the largest there is."""


class Usage(NamedTuple):
    cpu_nanos: int
    """CPU time used so far."""
    memory_usage: int
    memory_working_set: int
    memory_rss: int
    page_faults: int
    major_page_faults: int
    processes: int


class Details(NamedTuple):
    """What dashboards want besides. Times in nanoseconds, amounts in bytes."""

    user_nanos: int
    system_nanos: int
    periods: int
    throttled_periods: int
    throttled_nanos: int
    cache: int
    memory_limit: int
    """0: none."""
    oom_kills: int


class CgroupReader:
    """Usage of a cgroup by its path below the controllers' roots."""

    def __init__(self, mount: Path = ROOT) -> None:
        self._mount = mount
        self._unified = (mount / "cgroup.controllers").exists()

    def usage(self, path: str) -> Usage | None:
        """None where there is no such cgroup."""
        try:
            return self._v2(path) if self._unified else self._v1(path)
        except (OSError, ValueError, KeyError):
            return None

    def details(self, path: str) -> Details | None:
        """None where there is no such cgroup."""
        try:
            return self._details_v2(path) if self._unified else self._details_v1(path)
        except (OSError, ValueError):
            return None

    def first_process(self, path: str) -> int:
        """A process directly in the cgroup; 0 where there is none."""
        folder = self._mount if self._unified else self._mount / "memory"
        try:
            return int((folder / path.lstrip("/") / "cgroup.procs").read_text().split(None, 1)[0])
        except (OSError, ValueError, IndexError):
            return 0

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

    def _accounting(self) -> Path:
        accounting = self._mount / "cpuacct"
        return accounting if accounting.exists() else self._mount / "cpu,cpuacct"

    def _v1(self, path: str) -> Usage:
        below = path.lstrip("/")
        memory = self._mount / "memory" / below
        table = _table(memory / "memory.stat")
        used = _number(memory / "memory.usage_in_bytes")
        return Usage(
            _number(self._accounting() / below / "cpuacct.usage"),
            used,
            max(used - table.get("total_inactive_file", 0), 0),
            table.get("total_rss", 0),
            table.get("total_pgfault", 0),
            table.get("total_pgmajfault", 0),
            _number(self._mount / "pids" / below / "pids.current", 0),
        )

    def _details_v2(self, path: str) -> Details:
        folder = self._mount / path.lstrip("/")
        cpu, memory = _table(folder / "cpu.stat"), _table(folder / "memory.stat")
        return Details(
            cpu.get("user_usec", 0) * 1000,
            cpu.get("system_usec", 0) * 1000,
            cpu.get("nr_periods", 0),
            cpu.get("nr_throttled", 0),
            cpu.get("throttled_usec", 0) * 1000,
            memory.get("file", 0),
            _number(folder / "memory.max", 0),
            _table_or_nothing(folder / "memory.events").get("oom_kill", 0),
        )

    def _details_v1(self, path: str) -> Details:
        below = path.lstrip("/")
        tick = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
        times = _table(self._accounting() / below / "cpuacct.stat")
        cpu = self._mount / "cpu"
        quota = _table_or_nothing((cpu if cpu.exists() else self._mount / "cpu,cpuacct") / below / "cpu.stat")
        memory = self._mount / "memory" / below
        limit = _number(memory / "memory.limit_in_bytes", 0)
        return Details(
            times.get("user", 0) * tick,
            times.get("system", 0) * tick,
            quota.get("nr_periods", 0),
            quota.get("nr_throttled", 0),
            quota.get("throttled_time", 0),
            _table(memory / "memory.stat").get("total_cache", 0),
            limit if limit < NO_LIMIT else 0,
            _table_or_nothing(memory / "memory.oom_control").get("oom_kill", 0),
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


def _table_or_nothing(path: Path) -> dict[str, int]:
    try:
        return _table(path)
    except OSError:
        return {}


# -- networks


class Interface(NamedTuple):
    name: str
    received_bytes: int
    received_packets: int
    receive_errors: int
    receive_drops: int
    sent_bytes: int
    sent_packets: int
    send_errors: int
    send_drops: int


def interfaces(pid: int, proc: Path = Path("/proc")) -> list[Interface]:
    """The network interfaces that a process sees, loopback left out."""
    try:
        lines = (proc / str(pid) / "net" / "dev").read_text().splitlines()[2:]
    except OSError:
        return []
    found: list[Interface] = []
    for line in lines:
        name, _, rest = line.strip().partition(":")
        values = [int(word) for word in rest.split()]
        if name != "lo" and len(values) >= 12:
            found.append(Interface(name, *values[0:4], *values[8:12]))
    return found
