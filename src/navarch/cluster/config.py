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
    resolv_conf: Path = Path("/etc/resolv.conf")
    """The name servers that everything outside the cluster is asked of."""
    feature_gates: str = ""
    runtime_config: str = ""
    """Which alpha features are on, and which alpha versions are served, as the options of these names say it."""

    @property
    def kubelet_port(self) -> int:
        return 10250 + 10 * self.index

    @property
    def proxy_health_port(self) -> int:
        return 10256 + 10 * self.index

    @property
    def proxy_metrics_port(self) -> int:
        return 10249 + 10 * self.index

    @property
    def dns_port(self) -> int:
        """Where the node's DNS server listens; pods reach it as `dns_ip` port 53."""
        return 10053 + 10 * self.index

    @property
    def cgroup(self) -> str:
        """The cgroup that every pod of this cluster's node lives under, below each controller's root."""
        return f"/navarch-{self.name}"

    @property
    def node_port_range(self) -> tuple[int, int]:
        """First and last node port. The first cluster has upstream's range; others have their own beside it."""
        if self.index == 0:
            return 30000, 32767
        first = 25000 + 250 * (self.index - 1)
        return first, first + 249

    @property
    def images(self) -> Path:
        """Image archives built on this machine, shared by its clusters."""
        return self.state_root / "images"

    @property
    def loaded_images(self) -> Path:
        """Names of the images that were loaded by hand: no registry can refresh them (JSON list)."""
        return self.state / "loaded-images.json"

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
    def volumes(self) -> Path:
        """The folders of volumes that were made on demand."""
        return self.state / "volumes"

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
        return self.run / "containerd.sock"
