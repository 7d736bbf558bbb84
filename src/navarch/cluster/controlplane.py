"""The control plane put together: store, API server behind TLS, controllers and scheduler, in one process.

The API server answers as soon as its caches are loaded; controllers and scheduler are imported and started behind it, so
that nobody waits for numpy.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from navarch.apiserver.filters.answers import wire_error
from navarch.apiserver.request import Handler, Request, Response, User
from navarch.apiserver.server import ApiServer, ApiServerConfig
from navarch.cluster import pki, why, workmetrics
from navarch.cluster.files import write_atomically
from navarch.http.server import Limits, Server, serve
from navarch.http.tls import TlsConfig
from navarch.machinery.clock import RealWorld, World
from navarch.store.interface import Store
from navarch.store.memory import MemoryStore

if TYPE_CHECKING:
    from navarch.controllers.registry import Running
    from navarch.scheduler.scheduler import Scheduler

log = logging.getLogger(__name__)

SCHEDULER = "system:kube-scheduler"
HEALTH = ("/livez", "/readyz", "/healthz")
GC_THRESHOLDS = (50_000, 20, 50)
"""Objects are trees: they need no collector, and give it much to visit. Passes over all of them are kept rare."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingConfig:
    """Where an API server listens, and what it proves itself with."""

    host: str | list[str]
    port: int
    """0 picks one."""
    certificate: Path
    key: Path


async def open_store(path: Path | None, world: World) -> Store:
    """The durable store at a path; without one, a store that forgets."""
    if path is None:
        return MemoryStore()
    from navarch.store.sqlite import SqliteStore  # lazily: a test's server needs none

    return await SqliteStore.open(path, world)


class ApiProcess:
    """An API server over its store, listening."""

    def __init__(self, server: ApiServer, store: Store, listener: Server) -> None:
        self.server = server
        self.store = store
        self.listener = listener

    @property
    def port(self) -> int:
        return self.listener.port

    @staticmethod
    async def start(serving: ServingConfig, config: ApiServerConfig, database: Path | None, world: World) -> ApiProcess:
        """Returns when it is ready."""
        store = await open_store(database, world)
        server = ApiServer(store, world, config)
        # Listening first: a client that comes early waits until the caches are loaded instead of being refused.
        ready = asyncio.Event()
        listener = await serve(
            _held_until(ready, server.handle),
            serving.host,
            serving.port,
            TlsConfig(
                certificate=serving.certificate,
                key=serving.key,
                authorities=config.client_ca_pem + config.authentication.front_proxy_ca_pem,
            ),
            limits=Limits(),
            request_type=Request,
            error=wire_error,
        )
        await server.start()
        listener.handler = server.handle
        ready.set()
        return ApiProcess(server, store, listener)

    async def stop(self) -> None:
        self.server.stopping = True
        await self.listener.close()
        await self.server.stop()
        await self.store.close()


def _held_until(ready: asyncio.Event, handler: Handler) -> Handler:
    """Requests wait: empty caches would answer that nothing exists. Only health is told at once."""

    def handle(request: Request) -> Response | Awaitable[Response]:
        return handler(request) if request.path.startswith(HEALTH) else later(request)

    async def later(request: Request) -> Response:
        await ready.wait()
        answer = handler(request)
        return answer if isinstance(answer, Response) else await answer

    return handle


CONTROLLERS = "kube-controller-manager"
"""Whose fields are those that controllers write."""


class ControlPlane:
    """Controllers and scheduler on a server in the same process. Each acts as upstream's user for its part."""

    def __init__(self, server: ApiServer) -> None:
        self._server = server
        self.controllers: Running | None = None
        self.scheduler: Scheduler | None = None

    def client_for(self, user: str) -> Any:
        groups, manager = ["system:authenticated"], ""
        if user.startswith("system:serviceaccount:"):
            namespace = user.split(":")[2]
            groups = ["system:serviceaccounts", f"system:serviceaccounts:{namespace}", *groups]
            manager = CONTROLLERS  # whichever of them writes: they are one program
        return self._server.client(User(user, groups=tuple(groups)), manager)

    async def start(
        self,
        config: Any,
        root_ca: str,
        *,
        controllers: bool = True,
        scheduler: bool = True,
        signing: tuple[bytes, bytes] | None = None,
    ) -> None:
        """`config` has the cluster's `pod_cidr`; `signing` is the certificate and the key that sign others."""
        world = self._server.world
        if controllers:
            from navarch.controllers import registry

            sign = self._server.tokens.issue_legacy
            self.controllers = await registry.run(
                self.client_for,
                world,
                config,
                root_ca=root_ca,
                sign=sign,
                signing=signing,
                features=self._server.features,
            )
            self._server.components.add("controller-manager")
            workmetrics.add(self._server.metrics, self.controllers.metrics)
        if scheduler:
            from navarch.scheduler.scheduler import Scheduler

            self.scheduler = Scheduler(self.client_for(SCHEDULER), world, features=self._server.features)
            await self.scheduler.start()
            self._server.components.add("scheduler")
        why.serve(self._server, self)

    async def stop(self) -> None:
        self._server.components.clear()
        if self.scheduler is not None:
            await self.scheduler.stop()
        if self.controllers is not None:
            await self.controllers.stop()


def collect_rarely() -> None:
    """The collector as a server's process has it; what has been imported until now is there to stay."""
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    gc.enable()


def run_until_told(main: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> None:
    """Runs `main` on a fresh event loop; SIGTERM and SIGINT set the event it is given."""
    import uvloop

    collect_rarely()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname).1s %(name)s: %(message)s")

    async def run() -> None:
        told = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, told.set)
        await main(told)

    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(run())


@dataclass(frozen=True, slots=True, kw_only=True)
class Alone:
    """An API server that belongs to no cluster."""

    database: Path | None
    pki: pki.Paths
    kubeconfig: Path
    controllers: bool
    scheduler: bool
    pod_cidr: str = "10.244.0.0/16"


async def serve_alone(
    told: asyncio.Event, serving: ServingConfig, config: ApiServerConfig, alone: Alone, say: Callable[[str], None]
) -> None:
    """Writes the administrator's kubeconfig once the server is ready, and serves until told to stop."""
    import yaml  # lazily: a cluster's control plane never writes one

    api = await ApiProcess.start(serving, config, alone.database, RealWorld())
    plane = ControlPlane(api.server)
    try:
        host = serving.host if isinstance(serving.host, str) else serving.host[0]
        address = f"https://{'127.0.0.1' if host in ('0.0.0.0', '::') else host}:{api.port}"
        content = pki.kubeconfig_of(alone.pki.ca_cert, alone.pki.admin, address)
        write_atomically(alone.kubeconfig, yaml.safe_dump(content, sort_keys=False))
        say(f"API server ready at {address}; administrator: KUBECONFIG={alone.kubeconfig}")
        root_ca, signing = alone.pki.ca_cert.read_text(), alone.pki.authority()
        await plane.start(alone, root_ca, controllers=alone.controllers, scheduler=alone.scheduler, signing=signing)
        await told.wait()
    finally:
        await plane.stop()
        await api.stop()


async def serve_cluster(
    told: asyncio.Event,
    serving: ServingConfig,
    config: ApiServerConfig,
    database: Path | None,
    cluster: Any,
    places: pki.Paths,
) -> None:
    """The whole control plane of a cluster, until told to stop."""
    world = RealWorld()
    api = await ApiProcess.start(serving, config, database, world)
    log.info("API server ready at port %d", api.port)
    plane = ControlPlane(api.server)
    try:
        root_ca = places.ca_cert.read_text()
        starting = asyncio.create_task(plane.start(cluster, root_ca, signing=places.authority()))
        stopping = asyncio.create_task(told.wait())
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
            return
        await starting
        gc.collect()
        gc.freeze()
        log.info("controllers and scheduler run")
        await stopping
    finally:
        await plane.stop()
        await api.stop()
