"""A real cluster for tests and benchmarks: real containers, in a network namespace of its own, and stock clients.

The process that uses it moves into the namespace, so that every client it starts or is reaches the cluster and nothing
else. The namespace's default route leads to a peer where nobody answers and everything is seen: what would have left the
machine.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from navarch.cluster import preload, state
from navarch.cluster.config import ClusterConfig
from navarch.cluster.runtime import PAUSE_IMAGE

CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)
NODE_ADDRESS = "192.0.2.10"
ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


def run(*words: str, check: bool = True, timeout: float = 120, **options: Any) -> subprocess.CompletedProcess[str]:
    """Runs a command; a failure shows what it printed."""
    done = subprocess.run(list(words), capture_output=True, text=True, timeout=timeout, check=False, **options)
    if check and done.returncode:
        raise AssertionError(f"{' '.join(words)} exited with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done


def wait_for(what: str, probe: Callable[[], Any], timeout: float = 60) -> Any:
    """The first true answer of `probe`; fails after `timeout` seconds, showing the last answer or error."""
    deadline = time.monotonic() + timeout
    last: Any = None
    while time.monotonic() < deadline:
        try:
            last = probe()
        except (AssertionError, OSError, LookupError, ValueError) as error:
            last = error
        else:
            if last:
                return last
        time.sleep(0.1)
    raise AssertionError(f"{what}: not within {timeout} s; last: {last}")


class Network:
    """A network namespace with one interface to an outside where nobody answers."""

    def __init__(self) -> None:
        self.home = os.open("/proc/self/ns/net", os.O_RDONLY)
        if LIBC.unshare(CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "unshare")
        run("ip", "link", "set", "lo", "up")
        run("ip", "link", "add", "inside", "type", "veth", "peer", "name", "outside")
        for name in ("inside", "outside"):
            run("ip", "link", "set", name, "up")
        run("ip", "address", "add", f"{NODE_ADDRESS}/24", "dev", "inside")
        run("ip", "route", "add", "default", "via", "192.0.2.1", "dev", "inside")
        self.tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003))
        self.tap.bind(("outside", 0))
        self.tap.setblocking(False)

    def left_the_machine(self) -> list[bytes]:
        """Every IPv4 packet that went out since the last call."""
        found: list[bytes] = []
        while True:
            try:
                frame, address = self.tap.recvfrom(65535)
            except BlockingIOError:
                return found
            if address[2] != socket.PACKET_OUTGOING and frame[12:14] == b"\x08\x00":  # type: ignore[attr-defined]
                found.append(frame[14:])

    def leave(self) -> None:
        self.tap.close()
        if LIBC.setns(self.home, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
        os.close(self.home)


class Cluster:
    """A running cluster and the clients' way to it."""

    def __init__(self, name: str, directory: Path, resolv_conf: Path) -> None:
        self.name = name
        self.directory = directory
        self.resolv_conf = resolv_conf
        self.kubeconfig = directory / "kubeconfig"
        self.environment = {**os.environ, "KUBECONFIG": str(self.kubeconfig), "PATH": f"{BIN}:{os.environ['PATH']}"}
        self.places = ["--state-root", str(directory / "state"), "--run-root", str(directory / "run")]

    @property
    def config(self) -> ClusterConfig:
        found = state.load(self.name, self.directory / "state", self.directory / "run")
        assert found
        return found

    def navarch(self, *words: str, check: bool = True, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        command, *rest = words
        return run(
            str(BIN / "navarch"), command, *([rest.pop(0)] if command == "image" else []),
            "--name", self.name, *self.places, *rest, check=check, timeout=timeout, env=self.environment,
        )  # fmt: skip

    def up(self) -> str:
        return self.navarch("up", "--resolv-conf", str(self.resolv_conf)).stdout

    def kubectl(
        self, *words: str, check: bool = True, timeout: float = 120, input: str | None = None, program: str = ""
    ) -> subprocess.CompletedProcess[str]:
        return run(
            program or str(BIN / "kubectl"), *words, check=check, timeout=timeout, input=input, env=self.environment
        )

    def get(self, *words: str) -> Any:
        return json.loads(self.kubectl("get", *words, "-o", "json").stdout)

    def apply(self, *objects: dict[str, Any]) -> None:
        self.kubectl("apply", "-f", "-", input="\n---\n".join(json.dumps(o) for o in objects))

    def process(self, name: str) -> int:
        """The pid of one of the cluster's processes."""
        return int((self.config.run / f"{name}.pid").read_text().split()[0])


def build_archives() -> Path:
    """The images a cluster starts with, built once on this machine while its package registry can be reached."""
    cache = ClusterConfig()
    for recipe, name in {"pause": PAUSE_IMAGE, **preload.EXAMPLE_IMAGES}.items():
        preload.archive(cache, recipe, name)
    return cache.images


def new_cluster(name: str, directory: Path, archives: Path, name_server: str = "127.0.0.153") -> Cluster:
    """A cluster (not yet up) whose things are all below `directory`."""
    (directory / "state").mkdir()
    (directory / "state" / "images").symlink_to(archives)
    resolv_conf = directory / "resolv.conf"
    resolv_conf.write_text(f"nameserver {name_server}\n")
    return Cluster(name, directory, resolv_conf)
