"""Where a cluster's things are, and the values its parts agree on."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path

DEFAULT_NAME = "navarch"
STATE_ROOT = Path("/var/lib/navarch")
RUN_ROOT = Path("/run/navarch")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterConfig:
    """One cluster on this machine. Everything below is derived from it; it is kept as cluster.json in `state`."""

    name: str = DEFAULT_NAME
    index: int = 0
    """Keeps clusters on one machine apart: it chooses address ranges and ports."""
    state_root: Path = STATE_ROOT
    run_root: Path = RUN_ROOT
    api_port: int = 6443

    @property
    def state(self) -> Path:
        """Survives a restart of the machine: the database, PKI, the node's containerd root."""
        return self.state_root / self.name

    @property
    def run(self) -> Path:
        """Sockets, pid files; gone after a restart of the machine."""
        return self.run_root / self.name

    @property
    def pki(self) -> Path:
        return self.state / "pki"

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def database(self) -> Path:
        return self.state / "store.db"

    @property
    def pod_cidr(self) -> str:
        """The cluster's pod range; each node gets a /24 of it."""
        return f"10.{244 - self.index}.0.0/16"

    @property
    def service_cidr(self) -> str:
        return f"10.{96 + self.index}.0.0/16"

    @property
    def dns_ip(self) -> str:
        return str(ipaddress.ip_network(self.service_cidr)[10])

    @property
    def api_service_ip(self) -> str:
        return str(ipaddress.ip_network(self.service_cidr)[1])

    @property
    def dns_domain(self) -> str:
        return "cluster.local"

    @property
    def bridge(self) -> str:
        """The pod bridge's interface name (15 characters at most)."""
        return f"nv{self.index}"

    @property
    def table(self) -> str:
        """The nftables table."""
        return f"navarch-{self.name}"

    @property
    def containerd_socket(self) -> Path:
        return self.run / "containerd" / "containerd.sock"
