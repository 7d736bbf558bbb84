"""Which clusters this machine has: one directory each, with its configuration in cluster.json."""

from __future__ import annotations

import fcntl
import ipaddress
import re
import socket
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import orjson

from navarch.cluster.config import DEFAULT_NAME, RUN_ROOT, STATE_ROOT, ClusterConfig
from navarch.cluster.files import write_atomically

MAX_CLUSTERS = 20
RESOLV_CONF = Path("/etc/resolv.conf")
FIRST_API_PORT = 6443


class ClusterError(Exception):
    """A cluster cannot be made or found; the message says why and what to do."""


@contextmanager
def locked(state_root: Path) -> Generator[None]:
    """One `up` or `down` at a time on a machine."""
    state_root.mkdir(parents=True, exist_ok=True)
    with open(state_root / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def load(name: str = DEFAULT_NAME, state_root: Path = STATE_ROOT, run_root: Path = RUN_ROOT) -> ClusterConfig | None:
    """The configuration of an existing cluster, or None."""
    config = ClusterConfig(name=name, state_root=state_root, run_root=run_root)
    try:
        kept = orjson.loads((config.state / "cluster.json").read_bytes())
    except FileNotFoundError:
        return None
    resolv_conf = Path(kept["resolvConf"])
    gates, versions = kept.get("featureGates", ""), kept.get("runtimeConfig", "")
    config = replace(config, index=kept["index"], api_port=kept["apiPort"], resolv_conf=resolv_conf)
    return replace(config, feature_gates=gates, runtime_config=versions)


def all_clusters(state_root: Path = STATE_ROOT, run_root: Path = RUN_ROOT) -> list[ClusterConfig]:
    found = [load(path.parent.name, state_root, run_root) for path in sorted(state_root.glob("*/cluster.json"))]
    return [config for config in found if config]


def create(
    name: str,
    state_root: Path = STATE_ROOT,
    run_root: Path = RUN_ROOT,
    *,
    api_port: int = 0,
    resolv_conf: Path = RESOLV_CONF,
    feature_gates: str = "",
    runtime_config: str = "",
) -> ClusterConfig:
    """A new cluster's configuration, saved: address ranges and ports that nothing else here uses."""
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,18}[a-z0-9])?", name):
        raise ClusterError(f"{name!r} is no name for a cluster: up to 20 of a-z, 0-9 and '-', not at the ends")
    taken = {config.index for config in all_clusters(state_root, run_root)}
    networks = _routed_networks()
    for index in range(MAX_CLUSTERS):
        config = ClusterConfig(name=name, index=index, state_root=state_root, run_root=run_root)
        ranges = [ipaddress.ip_network(config.pod_cidr), ipaddress.ip_network(config.service_cidr)]
        if index not in taken and not any(own.overlaps(other) for own in ranges for other in networks):
            break
    else:
        raise ClusterError(f"no free address range: {MAX_CLUSTERS} were tried; remove a cluster with `navarch down`")
    api_port = api_port or _free_port(FIRST_API_PORT + index)
    config = replace(config, api_port=api_port, resolv_conf=resolv_conf.absolute())
    config = replace(config, feature_gates=feature_gates, runtime_config=runtime_config)
    kept = {"index": config.index, "apiPort": config.api_port, "resolvConf": str(config.resolv_conf)}
    kept |= {"featureGates": feature_gates, "runtimeConfig": runtime_config}
    write_atomically(config.state / "cluster.json", orjson.dumps(kept), 0o644)
    return config


def _free_port(first: int) -> int:
    for port in range(first, first + 1000):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("0.0.0.0", port))
                return port
            except OSError:
                continue
    raise ClusterError(f"no free port from {first} on")


def _routed_networks() -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """Networks this machine routes to already, the default route left out."""
    routes = subprocess.run(["ip", "-json", "-4", "route"], capture_output=True, check=False).stdout
    return [
        ipaddress.ip_network(route["dst"], strict=False)
        for route in orjson.loads(routes or b"[]")
        if route.get("dst", "default") != "default" and route.get("type", "unicast") == "unicast"
    ]
