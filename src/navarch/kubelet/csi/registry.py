"""Drivers come and go by their registration sockets; what is there is told of in the CSINode and on the Node.

Source: pkg/kubelet/pluginmanager, pkg/volume/csi/nodeinfomanager.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import orjson

from navarch.client.interface import Client, Resource
from navarch.client.resources import NODES
from navarch.kubelet.csi.wire import NODE, REGISTRATION, codec
from navarch.kubelet.endpoint import Endpoint, PluginError
from navarch.kubelet.inotify import IN_CREATE, IN_DELETE, IN_MOVED, FolderWatch
from navarch.machinery.clock import World
from navarch.machinery.errors import StatusError
from navarch.machinery.types import Obj

log = logging.getLogger(__name__)
CSI_DRIVERS = Resource("storage.k8s.io", "v1", "csidrivers", namespaced=False)
CSI_NODES = Resource("storage.k8s.io", "v1", "csinodes", namespaced=False)
NODE_IDS = "csi.volume.kubernetes.io/nodeid"
RELIST_SECONDS = 60.0
RETRY_SECONDS = 2.0
REGISTRATION_SECONDS = 10.0
WRITES = 5


class Plugins(Protocol):
    """Those who know what to do with another type of plugins."""

    async def register(self, name: str, endpoint: Path, versions: Sequence[str]) -> None:
        """Raises PluginError."""
        ...

    async def forget(self, name: str, endpoint: Path) -> None: ...


@dataclass(frozen=True, slots=True)
class Driver:
    """A driver on this node."""

    name: str
    node: Endpoint
    capabilities: Collection[int]
    node_id: str
    topology: Mapping[str, str] = field(default_factory=dict)
    limit: int = 0
    """Volumes that the node may have of it; 0: it does not say."""


def with_driver(spec: Obj, driver: Driver | None, name: str) -> Obj:
    """A CSINode's spec with a driver as it is now; None: without it."""
    kept = [entry for entry in spec.get("drivers") or () if entry["name"] != name]
    if driver is not None:
        entry: Obj = {"name": name, "nodeID": driver.node_id, "topologyKeys": sorted(driver.topology) or None}
        if driver.limit > 0:
            entry["allocatable"] = {"count": driver.limit}
        kept.append(entry)
    return {**spec, "drivers": kept}


class CsiRegistry:
    """`root` is the kubelet's: sockets appear in its plugins_registry. `node` answers the Node as it was registered."""

    def __init__(
        self,
        root: Path,
        name: str,
        client: Client,
        world: World,
        node: Callable[[], Obj],
        others: Mapping[str, Plugins] | None = None,
    ) -> None:
        self._others = others or {}
        """Type of plugin -> who else knows what to do with it."""
        self._folder, self._name, self._client, self._world, self._node = (
            root / "plugins_registry",
            name,
            client,
            world,
            node,
        )
        self._drivers: dict[str, Driver] = {}
        self._sockets: dict[Path, tuple[str, str, Path]] = {}
        """Socket -> type and name of the plugin that registered by it, and where it is spoken to."""
        self._looked: dict[str, float] = {}
        """Driver -> when it was last asked how many volumes the node may have."""
        self._poke = asyncio.Event()
        self._watch: FolderWatch | None = None
        self._task: asyncio.Task[None] | None = None

    def get(self, name: str) -> Driver | None:
        return self._drivers.get(name)

    def start(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._watch = FolderWatch(self._folder, self._poke.set, IN_CREATE | IN_DELETE | IN_MOVED)
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        if self._watch is not None:
            self._watch.close()
        for driver in self._drivers.values():
            await driver.node.close()

    async def _run(self) -> None:
        published = False
        while True:
            wait = RELIST_SECONDS
            try:
                if not published:
                    await self._publish(None, "")
                    published = True
                if not await self.look():
                    wait = RETRY_SECONDS
                wait = min(wait, await self._renew_due())
            except (PluginError, StatusError, ConnectionError, OSError) as error:
                log.info("drivers are not told of yet: %s", error)
                wait = RETRY_SECONDS
            except Exception:
                log.exception("CSI drivers")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._poke.wait(), wait)
            self._poke.clear()

    def renew(self, name: str) -> None:
        """A driver is to be asked at once how many volumes the node may have."""
        if name in self._drivers:
            self._looked[name] = float("-inf")
            self._poke.set()

    async def _renew_due(self) -> float:
        """Asks the drivers anew that want that from time to time (nodeAllocatableUpdatePeriodSeconds), and those that were
        said to be full; answers in how many seconds the next one is to be asked. Source: KEP-4876."""
        wait = RELIST_SECONDS
        for name, driver in list(self._drivers.items()):
            since, now = self._looked.setdefault(name, self._world.now()), self._world.now()
            period = await self._period(name)
            if since > float("-inf") and (period is None or now < since + period):
                wait = min(wait, since + period - now) if period is not None else wait
                continue
            self._looked[name] = now
            info = await driver.node.call(NODE, "NodeGetInfo", {}, REGISTRATION_SECONDS)
            if (limit := info.get("max_volumes_per_node", 0)) != driver.limit:
                self._drivers[name] = replace(driver, limit=limit)
                await self._publish(self._drivers[name], name)
            wait = min(wait, period or wait)
        return wait

    async def _period(self, name: str) -> float | None:
        try:
            spec = (await self._client.get(CSI_DRIVERS, name)).get("spec") or {}
        except StatusError as error:
            if error.code != 404:
                raise
            return None
        return spec.get("nodeAllocatableUpdatePeriodSeconds")

    async def look(self) -> bool:
        """Registers what has come and forgets what has gone. False where something is to be tried again."""
        there = {path for path in self._folder.rglob("*") if path.is_socket() and not path.name.startswith(".")}
        for gone in self._sockets.keys() - there:
            await self._forget(*self._sockets.pop(gone))
        well = True
        for socket in sorted(there - self._sockets.keys()):
            well &= await self._register(socket)
        return well

    async def _register(self, socket: Path) -> bool:
        registration = Endpoint(socket, codec)
        try:
            info = await registration.call(REGISTRATION, "GetInfo", {}, REGISTRATION_SECONDS)
            kind, name, endpoint = info.get("type", ""), info.get("name", ""), Path(info.get("endpoint") or socket)
            try:
                if kind in self._others:
                    await self._others[kind].register(name, endpoint, info.get("supported_versions") or [])
                    self._sockets[socket] = (kind, name, endpoint)
                elif kind == "CSIPlugin":
                    await self._take(name, endpoint)
                    self._sockets[socket] = (kind, name, endpoint)
                else:
                    self._sockets[socket] = ("", "", endpoint)
                    return True
            except (PluginError, StatusError, ConnectionError, OSError) as error:
                status = {"plugin_registered": False, "error": str(error)}
                await registration.call(REGISTRATION, "NotifyRegistrationStatus", status, REGISTRATION_SECONDS)
                raise
            done = {"plugin_registered": True}
            await registration.call(REGISTRATION, "NotifyRegistrationStatus", done, REGISTRATION_SECONDS)
            log.info("%s %s is registered", kind, name)
        except (PluginError, StatusError, ConnectionError, OSError) as error:
            log.warning("plugin at %s: %s", socket, error)
            return False
        finally:
            await registration.close()
        return True

    async def _take(self, name: str, endpoint: Path) -> None:
        driver = await self._ask(name, endpoint)
        await self._publish(driver, name)
        before, self._drivers[name] = self._drivers.get(name), driver
        if before is not None:
            await before.node.close()

    async def _ask(self, name: str, endpoint: Path) -> Driver:
        node = Endpoint(endpoint, codec)
        try:
            info = await node.call(NODE, "NodeGetInfo", {}, REGISTRATION_SECONDS)
            answer = await node.call(NODE, "NodeGetCapabilities", {}, REGISTRATION_SECONDS)
        except PluginError:
            await node.close()
            raise
        types = {(each.get("rpc") or {}).get("type", 0) for each in answer.get("capabilities") or ()}
        segments: dict[str, str] = (info.get("accessible_topology") or {}).get("segments") or {}
        limit = info.get("max_volumes_per_node", 0)
        return Driver(name, node, frozenset(types), info.get("node_id", ""), segments, limit)

    async def _forget(self, kind: str, name: str, endpoint: Path) -> None:
        if kind in self._others:
            await self._others[kind].forget(name, endpoint)
        elif any((kind, name) == (other, known) for other, known, _ in self._sockets.values()):
            return
        elif (driver := self._drivers.pop(name, None)) is not None:
            self._looked.pop(name, None)
            await driver.node.close()
            await self._publish(None, name)
        log.info("%s %s is gone", kind, name)

    # -- the API

    async def _publish(self, driver: Driver | None, name: str) -> None:
        """The CSINode (made where there is none), and the node's annotation and labels. Raises StatusError."""
        for attempt in range(WRITES):
            try:
                await self._write_csi_node(driver, name)
                break
            except StatusError as error:
                if error.code != 409 or attempt == WRITES - 1:
                    raise
        if name:
            await self._write_node(driver, name)

    async def _write_csi_node(self, driver: Driver | None, name: str) -> None:
        try:
            found = await self._client.get(CSI_NODES, self._name)
        except StatusError as error:
            if error.code != 404:
                raise
            node = self._node()
            owner = {"apiVersion": "v1", "kind": "Node", "name": self._name, "uid": node["metadata"]["uid"]}
            spec = with_driver({"drivers": []}, driver, name)
            made = {"metadata": {"name": self._name, "ownerReferences": [owner]}, "spec": spec}
            await self._client.create(CSI_NODES, made)
            return
        spec = with_driver(found["spec"], driver, name)
        if name and spec != found["spec"]:
            await self._client.update(CSI_NODES, {**found, "spec": spec})

    async def _write_node(self, driver: Driver | None, name: str) -> None:
        node = await self._client.get(NODES, self._name)
        try:
            ids = orjson.loads((node["metadata"].get("annotations") or {}).get(NODE_IDS) or "{}")
        except orjson.JSONDecodeError:
            ids = {}
        ids.pop(name, None)
        labels: Mapping[str, str] = {}
        if driver is not None:
            ids[name], labels = driver.node_id, driver.topology
        annotations = {NODE_IDS: orjson.dumps(ids, option=orjson.OPT_SORT_KEYS).decode() if ids else None}
        await self._client.patch(NODES, self._name, {"metadata": {"annotations": annotations, "labels": dict(labels)}})
