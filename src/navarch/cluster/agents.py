"""The kubelet put together with its neighbours: volumes, probes, hooks, its own server. And the agents as processes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol

from navarch.client.interface import Client
from navarch.controlloop.recorder import Recorder
from navarch.http.tls import TlsConfig
from navarch.kubelet.access import Access
from navarch.kubelet.configuration import configuration
from navarch.kubelet.context import KubeletConfig, container_ref
from navarch.kubelet.cri import connect
from navarch.kubelet.csi.registry import CsiRegistry
from navarch.kubelet.csi.volumes import CsiVolumes
from navarch.kubelet.dra.manager import ClaimManager
from navarch.kubelet.hooks import run_hook
from navarch.kubelet.kubelet import Kubelet
from navarch.kubelet.podresources import PodResources
from navarch.kubelet.probes import ProbeManager
from navarch.kubelet.server import KubeletServer
from navarch.kubelet.stats import Stats
from navarch.kubelet.volumes import VolumeManager
from navarch.kubelet.volumes.images import ImageVolumes
from navarch.machinery.clock import World
from navarch.machinery.types import Obj

log = logging.getLogger(__name__)


class Agent(Protocol):
    async def start(self) -> None: ...

    async def stop(self) -> None: ...


class _Extras:
    """What the node's server tells of the kubelet's other parts."""

    def __init__(self, probes: ProbeManager, volumes: VolumeManager, configuration: Callable[[], Obj]) -> None:
        self.probe_counts, self.claims, self.configuration = probes.counts, volumes.claims, configuration


class KubeletAgent:
    """A whole kubelet. `start()` returns once the node is registered and its pods are known; `stop()` leaves them be."""

    def __init__(
        self,
        config: KubeletConfig,
        socket: Path,
        client: Client,
        world: World,
        serving: TlsConfig | None,
        ca_pem: bytes,
    ) -> None:
        """`serving` None: the node's own server does not listen. `ca_pem` signs its visitors' certificates."""
        self._config, self._serving = config, serving
        self.cri = connect(socket)
        self.recorder = Recorder(client, world, "kubelet", config.node_name)
        self.kubelet = Kubelet(config, self.cri, client, world, self.recorder.emit)
        images = ImageVolumes(socket, self.kubelet.ensure_image)
        self.claims = claims = self.kubelet.claims = ClaimManager(
            config.root, client, world, config.node_name, self.kubelet.wake
        )
        self.csi = CsiRegistry(config.root, config.node_name, client, world, self._node, {"DRAPlugin": claims})
        mounts = CsiVolumes(
            config.root,
            config.node_name,
            client,
            self.csi,
            world,
            self.kubelet.status_changed,
            self.recorder.emit,
        )
        self.kubelet.volumes_in_use = mounts.in_use
        look, allocatable = self.kubelet.sources.look, self.kubelet.allocatable
        volumes = VolumeManager(config.root, look, client, world, allocatable, images, mounts)
        probes = ProbeManager(self.cri, world, self.kubelet.wake, self._tell)
        self.kubelet.connect(volumes, volumes.container_mounts, probes, run_hook)
        sockets = config.root / "pod-resources"
        self.resources = PodResources(sockets, self.kubelet.active, self.kubelet.devices, claims)
        access = Access(config.node_name, ca_pem, client, world)
        stats, disk = Stats(config.cgroup), str(config.root)
        self.server = KubeletServer(
            self.kubelet,
            self.cri,
            access,
            stats,
            world,
            self._log_path,
            disk,
            _Extras(probes, volumes, lambda: configuration(config, socket)),
        )

    def _node(self) -> Obj:
        return self.kubelet.registration.node if self.kubelet.registration else {}

    def _tell(self, pod: Obj, container: Obj, kind: str, reason: str, message: str) -> None:
        self.recorder.emit(container_ref(pod, container), kind, reason, message)

    def _log_path(self, pod: Obj, container: str, run: int) -> Path:
        return self._config.pod_logs(pod) / container / f"{run}.log"

    async def start(self) -> None:
        if self._serving:
            await self.server.start("0.0.0.0", self._config.port, self._serving)
        await self.kubelet.start()
        self.claims.drivers.start()
        await self.resources.start()
        self.csi.start()

    async def stop(self) -> None:
        await self.server.stop()
        await self.kubelet.stop()
        await self.csi.stop()
        await self.resources.stop()
        await self.claims.drivers.stop()
        await self.recorder.stop()
        await self.cri.close()


async def run_agent(told: asyncio.Event, make: Callable[[], tuple[Agent, Callable[[], Awaitable[Any]]]]) -> None:
    """Runs an agent until told to stop; `make` answers it and how to close what it uses."""
    agent, close = make()
    starting, stopping = asyncio.ensure_future(agent.start()), asyncio.ensure_future(told.wait())
    await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if starting.done():
        starting.result()
        log.info("started")
        await stopping
    starting.cancel()
    await agent.stop()
    await close()
