"""What all pod workers of a node share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from navarch.client.informer import Informer
from navarch.kubelet.backoff import Backoff
from navarch.kubelet.cgroups import Cgroups
from navarch.kubelet.cri import Cri
from navarch.kubelet.devices.manager import DeviceManager
from navarch.kubelet.dns_config import NodeDns
from navarch.kubelet.dra.manager import ClaimManager
from navarch.kubelet.images import ImageManager
from navarch.kubelet.parts import ContainerMounts, Emit, Probes, RunHook, Volumes
from navarch.kubelet.relist import RuntimeCache
from navarch.kubelet.sources import Sources
from navarch.kubelet.status_writer import StatusWriter
from navarch.machinery.clock import World
from navarch.machinery.types import Obj

EVICTION_HARD: Mapping[str, str] = {
    "memory.available": "100Mi",
    "nodefs.available": "10%",
    "nodefs.inodesFree": "5%",
    "imagefs.available": "15%",
    "imagefs.inodesFree": "5%",
}
"""Upstream's defaults."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KubeletConfig:
    node_name: str
    node_ip: str
    root: Path
    """Pods' own folders are in root/pods/<uid>."""
    log_root: Path
    """Containers' logs: <namespace>_<name>_<uid>/<container>/<run>.log"""
    log_links: Path | None = None
    """<pod>_<namespace>_<container>-<id>.log: links to the logs, where collectors look for them."""
    cgroup: str
    """The cgroup that all pods live under, below each controller's root."""
    cluster_dns: str
    cluster_domain: str = "cluster.local"
    resolv_conf: Path = Path("/etc/resolv.conf")
    port: int = 10250
    manifests: Path | None = None
    """Static pods' manifests."""
    max_pods: int = 110
    starts_at_once: int = 8
    """Pods being started together; more would only take longer, each."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """More labels of the node."""
    eviction_hard: Mapping[str, str] = field(default_factory=lambda: dict(EVICTION_HARD))
    """Signal -> the least of it that the node must have left."""
    allowed_unsafe_sysctls: Collection[str] = ()
    """Names and patterns of sysctls that pods may set though they are not known to be safe."""
    loaded_images: Callable[[], Collection[str]] = tuple
    """Whole names of the images that were loaded by hand."""
    pod_cidr_known: Callable[[str], None] = lambda cidr: None
    """Called with the node's pod range as soon as it has one: the pod network can be configured."""

    def pod_root(self, uid: str) -> Path:
        return self.root / "pods" / uid

    def pod_logs(self, pod: Obj) -> Path:
        meta = pod["metadata"]
        return self.log_root / f"{meta['namespace']}_{meta['name']}_{meta['uid']}"


@dataclass(slots=True, kw_only=True)
class Context:
    config: KubeletConfig
    world: World
    cri: Cri
    cache: RuntimeCache
    volumes: Volumes
    probes: Probes
    run_hook: RunHook
    container_mounts: ContainerMounts
    images: ImageManager
    cgroups: Cgroups
    sources: Sources
    services: Informer
    node: Informer
    writer: StatusWriter
    emit: Emit
    dns: NodeDns
    memory: int
    """The machine's, in bytes."""
    devices: DeviceManager
    claims: ClaimManager | None
    neighbours: Callable[[str], Sequence[Obj]] = lambda uid: ()
    """The node's other pods that are not over, with what they were given."""
    freed: Callable[[], None] = lambda: None
    """Called when a pod takes less of the node than before."""
    crashes: Backoff = field(default_factory=Backoff)
    starts: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(8))
    removals: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(4))

    def node_object(self) -> Obj | None:
        return self.node.get("", self.config.node_name)

    def allocatable(self) -> Mapping[str, Any]:
        node = self.node_object() or {}
        return node.get("status", {}).get("allocatable") or {}


def container_ref(pod: Obj, container: Obj) -> Obj:
    """What an Event about a container regards: the pod, with the container's field."""
    spec = pod["spec"]
    for name in ("containers", "initContainers", "ephemeralContainers"):
        if any(c["name"] == container["name"] for c in spec.get(name) or []):
            path = f"spec.{name}{{{container['name']}}}"
            return {"apiVersion": "v1", "kind": "Pod", "metadata": pod["metadata"], "fieldPath": path}
    return pod


def full_name(pod: Obj) -> str:
    """A pod as upstream's messages name it: name_namespace(uid)."""
    meta = pod["metadata"]
    return f"{meta['name']}_{meta['namespace']}({meta['uid']})"
