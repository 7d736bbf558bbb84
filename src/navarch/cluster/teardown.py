"""Taking a cluster down: nothing of it stays behind on the machine."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from navarch.cluster import processes
from navarch.cluster.config import ClusterConfig
from navarch.cluster.platform import program
from navarch.cluster.supervisor import Process

CGROUP_ROOT = Path("/sys/fs/cgroup")


def stop_processes(config: ClusterConfig) -> None:
    """Ends the supervisor and its children, the containers, and the runtime's shims, in that order."""
    if supervisor := processes.process(config, processes.SUPERVISOR):
        supervisor.stop(40.0)
    for child in reversed(processes.children(config)):
        child.stop(10.0)
    _kill_containers(config)
    _kill(_shims(config))


def remove_network(config: ClusterConfig) -> None:
    """The bridge, the rules and the routes."""
    _quietly([program("nft"), "delete", "table", "inet", config.table])
    _quietly([program("nft"), "delete", "table", "ip", config.table])
    _quietly([program("ip"), "link", "delete", config.bridge])
    for network in (config.pod_cidr, config.service_cidr):
        for kind in ("unreachable", "local", "unicast"):
            _quietly([program("ip"), "route", "del", kind, network])


def remove_cgroups(config: ClusterConfig) -> None:
    for root in _cgroups(config):
        for folder in sorted(root.rglob("*/"), key=lambda p: len(p.parts), reverse=True):
            with contextlib.suppress(OSError):
                folder.rmdir()
        with contextlib.suppress(OSError):
            root.rmdir()


def _cgroups(config: ClusterConfig) -> Iterator[Path]:
    """The cluster's folder under every controller (v1), or under the one hierarchy (v2)."""
    for root in [CGROUP_ROOT, *CGROUP_ROOT.glob("*/")]:
        folder = root / config.cgroup.lstrip("/")
        if folder.is_dir():
            yield folder


def _kill_containers(config: ClusterConfig) -> None:
    found: set[int] = set()
    for root in _cgroups(config):
        for file in root.rglob("cgroup.procs"):
            with contextlib.suppress(OSError):
                found |= {int(pid) for pid in file.read_text().split()}
    _kill(found)


def _shims(config: ClusterConfig) -> set[int]:
    """The runtime's shim processes: those started for this cluster's containerd."""
    marker = str(config.containerd_socket).encode()
    found: set[int] = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if b"containerd-shim" in words[0] and marker in words:
                    found.add(int(entry.name))
    return found


def _kill(pids: set[int]) -> None:
    """SIGKILL, and wait (5 s at most) until they are gone."""
    left = {process for pid in pids if (process := Process.of(pid))}
    for process in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while left and time.monotonic() < deadline:
        left = {process for process in left if Process.of(process.pid) == process}
        time.sleep(0.02 if left else 0)


def _quietly(command: list[str]) -> None:
    subprocess.run(command, capture_output=True, check=False)
