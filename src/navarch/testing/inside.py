"""Clusters on the running event loop: what `Cluster` puts into a thread or a process, and what asyncio tests can use as is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from navarch.apiserver.admission.pods import NOT_READY
from navarch.apiserver.auth.configuration import Authentication
from navarch.apiserver.server import ApiServer, ApiServerConfig
from navarch.cluster.certificates import Authority, new_key_pem
from navarch.cluster.config import ClusterConfig
from navarch.cluster.controlplane import ApiProcess, ControlPlane, ServingConfig
from navarch.machinery.clock import RealWorld, World
from navarch.machinery.types import GroupResource
from navarch.store.interface import Store
from navarch.store.memory import MemoryStore
from navarch.testing.files import keep_pair, write, write_kubeconfig
from navarch.testing.options import Options

if TYPE_CHECKING:
    from navarch.sim.hollow import HollowNodes

HOST = "127.0.0.1"
NAMES = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
NODES, ACCOUNTS = GroupResource("", "nodes"), GroupResource("", "serviceaccounts")
ZONES = ("a", "b")
"""Of hollow nodes, in turn."""
MANY_NODES, MANY_NODES_CIDR = 256, "10.128.0.0/9"
"""More nodes than this have a range of pods' addresses each only in a larger one."""


class _Ranges(NamedTuple):
    """Where addresses come from."""

    pod_cidr: str


@asynccontextmanager
async def api_server(
    *, store: Store | None = None, world: World | None = None, config: ApiServerConfig | None = None
) -> AsyncGenerator[ApiServer]:
    """A started server, on the memory store and the real clock unless told otherwise; no sockets. Its `system` is a client
    that may do everything."""
    server = ApiServer(store or MemoryStore(), world or RealWorld(seed=1), config or ApiServerConfig())
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@asynccontextmanager
async def control_plane(
    server: ApiServer, options: Options, root_ca: str = "", signing: tuple[bytes, bytes] | None = None
) -> AsyncGenerator[HollowNodes | None]:
    """Controllers (each with its own rights), scheduler and hollow nodes on a server of this process. With controllers,
    pods can be made in `default` from the start, and nodes have lost the taint that they begin with. `signing` is the
    certificate and the key that sign certificate requests."""
    plane = ControlPlane(server)
    hollow = _hollow(server, options.nodes) if options.nodes else None
    try:
        parts = {"controllers": options.controllers, "scheduler": options.scheduler}
        config = _Ranges(MANY_NODES_CIDR if options.nodes > MANY_NODES else ClusterConfig().pod_cidr)
        await plane.start(config, root_ca, **parts, signing=signing)
        if hollow:
            await hollow.start()
            server.usage.source = hollow.use.sample
        if options.controllers:
            await until("pods can be made, and all nodes take them", _Ready(server), 0.002, 12 + options.nodes / 20)
        yield hollow
    finally:
        if hollow:
            await hollow.stop()
        await plane.stop()


def _hollow(server: ApiServer, count: int) -> HollowNodes:
    from navarch.sim.hollow import HollowNodes, Shape

    return HollowNodes(server.system, server.world, count, shape=Shape(zones=ZONES))


class _Ready:
    """Whether pods can be made in `default`, and no node has the taint that it begins with. A node that has lost it is not
    looked at again: with thousands of them, looking would take longer than getting ready."""

    def __init__(self, server: ApiServer) -> None:
        self._server = server
        self._taken: set[str] = set()

    def __call__(self) -> bool:
        if self._server.lookup(ACCOUNTS, "default", "default") is None:
            return False
        for entry in self._server.registries[NODES].cache.range():
            if entry.name not in self._taken:
                if any(taint["key"] == NOT_READY for taint in entry.seen()["spec"].get("taints") or ()):
                    return False
                self._taken.add(entry.name)
        return True


@asynccontextmanager
async def cluster(nodes: int) -> AsyncGenerator[tuple[ApiServer, HollowNodes]]:
    """A whole cluster without sockets: API server, controllers, scheduler, and at least one hollow node."""
    options = Options(controllers=True, scheduler=True, nodes=nodes)
    async with api_server() as server, control_plane(server, options) as hollow:
        assert hollow
        yield server, hollow


@asynccontextmanager
async def served(directory: Path, options: Options) -> AsyncGenerator[None]:
    """A cluster that listens on loopback, with an authority of its own; `directory` has the authority's files and the
    administrator's kubeconfig once it is ready."""
    authority = Authority.new("navarch-testing")
    serving = keep_pair(directory, "server", authority.server("kube-apiserver", NAMES, [HOST, "10.96.0.1"]))
    admin = authority.client("kubernetes-admin", "system:masters")
    keep_pair(directory, "admin", admin)
    keep_pair(directory, "ca", (authority.pem, authority.key_pem))
    proxies = Authority.new("front-proxy-ca")
    config = ApiServerConfig(
        client_ca_pem=authority.pem,
        token_key_pem=new_key_pem(),
        authentication=Authentication(front_proxy_ca_pem=proxies.pem),
        proxy_client=keep_pair(directory, "front-proxy-client", proxies.client("front-proxy-client")),
    )
    places = ServingConfig(host=HOST, port=0, certificate=serving[0], key=serving[1])
    api = await ApiProcess.start(places, config, None, RealWorld())
    try:
        url = f"https://{HOST}:{api.port}"
        write(directory / "url", url.encode())
        write_kubeconfig(directory / "kubeconfig", url, authority.pem, admin)
        signing = authority.pem, authority.key_pem
        async with control_plane(api.server, options, authority.pem.decode(), signing):
            yield
    finally:
        await api.stop()


async def until(what: str, holds: Callable[[], Any], pause: float = 0.02, seconds: float = 12.0) -> Any:
    """The first true answer, looked for again and again."""
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:.0f} s: {what}")
        await asyncio.sleep(pause)
    return found
