"""Drivers come and go: which to ask, how their devices are, and what becomes of their slices while they are away.

Source: pkg/kubelet/cm/dra/plugin/dra_plugin_manager.go.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from navarch.client.interface import Client, Resource
from navarch.kubelet.dra.health import HealthBook, Place
from navarch.kubelet.dra.wire import HEALTH, SERVICES, codec
from navarch.kubelet.endpoint import Endpoint, PluginError, Tree
from navarch.machinery.clock import World
from navarch.machinery.errors import StatusError

log = logging.getLogger(__name__)
SLICES = Resource("resource.k8s.io", "v1", "resourceslices", namespaced=False)
CALL_SECONDS = 45.0
AWAY_SECONDS = 30.0
"""How long a driver may be away before what it offers is taken back."""
RETRY_SECONDS = 5.0
FIRST_RETRY, MAX_RETRY = 1.0, 300.0


class NotRegistered(Exception):
    """There is no such driver on the node."""


@dataclass(slots=True)
class Instance:
    """One of the processes of a driver: while it is being updated there may be two."""

    path: Path
    endpoint: Endpoint
    service: str
    listening: asyncio.Task[None] | None = None


class Drivers:
    """`changed` hears of devices of a driver that are not as well (or ill) as before."""

    def __init__(self, client: Client, world: World, node: str, changed: Callable[[str, set[Place]], None]) -> None:
        self._client, self._world, self._node, self._changed = client, world, node, changed
        self._drivers: dict[str, list[Instance]] = {}
        self._wipes: dict[str, asyncio.Task[None]] = {}
        self.health = HealthBook()

    def start(self) -> None:
        """Nobody has registered yet: what the node offered before is taken back until its drivers are here again."""
        self._wipe("", 0.0)

    async def stop(self) -> None:
        tasks = [*self._wipes.values(), *(i.listening for each in self._drivers.values() for i in each if i.listening)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for instances in self._drivers.values():
            for instance in instances:
                await instance.endpoint.close()
        self._drivers.clear()

    async def register(self, name: str, endpoint: Path, versions: Sequence[str]) -> None:
        """Raises PluginError for a driver that speaks nothing known."""
        service = next((path for version, path in SERVICES.items() if version in versions), None)
        if service is None:
            raise PluginError("INVALID_ARGUMENT", f"none of {list(versions)} is supported: {list(SERVICES)} are")
        await self._drop(name, endpoint)
        instance = Instance(endpoint, Endpoint(endpoint, codec), service)
        instance.listening = self._run(self._listen(name, instance))
        self._drivers.setdefault(name, []).append(instance)
        if wipe := self._wipes.pop(name, None):
            wipe.cancel()

    async def forget(self, name: str, endpoint: Path) -> None:
        await self._drop(name, endpoint)
        if not self._drivers.get(name):
            self._drivers.pop(name, None)
            self._wipe(name, AWAY_SECONDS)

    async def _drop(self, name: str, endpoint: Path) -> None:
        for instance in [i for i in self._drivers.get(name, ()) if i.path == endpoint]:
            self._drivers[name].remove(instance)
            if instance.listening is not None:
                instance.listening.cancel()
            await instance.endpoint.close()

    async def ask(self, name: str, method: str, asked: Tree) -> Tree:
        """The answer of the instance that came last. Raises NotRegistered and PluginError."""
        instance = self.get(name)
        return await instance.endpoint.call(instance.service, method, asked, CALL_SECONDS)

    def get(self, name: str) -> Instance:
        """Raises NotRegistered."""
        instances = self._drivers.get(name)
        if not instances:
            raise NotRegistered(f"DRA driver {name} is not registered")
        return instances[-1]

    # -- health

    async def _listen(self, name: str, instance: Instance) -> None:
        """As long as the driver tells how its devices are; one that never does is not asked again."""
        method = "NodeWatchResources"
        while True:
            try:
                stream = instance.endpoint.stream(
                    HEALTH, method, {}, sends=f"{method}Request", gets=f"{method}Response"
                )
                async for report in stream:
                    self._tell(name, self.health.told(name, report.get("devices") or (), self._world.now()))
            except PluginError as error:
                if error.code == "UNIMPLEMENTED":
                    return
                log.info("health of devices of %s: %s", name, error)
            finally:
                self._tell(name, self.health.forget(name))
            await self._world.sleep(RETRY_SECONDS)

    def _tell(self, name: str, devices: set[Place]) -> None:
        if devices:
            self._changed(name, devices)

    # -- slices

    def _wipe(self, name: str, after: float) -> None:
        if name not in self._wipes:
            self._wipes[name] = self._run(self._wipe_later(name, after))

    async def _wipe_later(self, name: str, after: float) -> None:
        """Deletes the node's slices, of one driver or (without a name) of all; tried until it is done."""
        await self._world.sleep(after)
        selector = f"spec.nodeName={self._node}" + (f",spec.driver={name}" if name else "")
        wait = FIRST_RETRY
        while True:
            try:
                await self._client.delete_collection(SLICES, field_selector=selector)
                break
            except (StatusError, ConnectionError, OSError) as error:
                log.info("slices of %s are not deleted yet: %s", name or "the node", error)
            await self._world.sleep(wait)
            wait = min(wait * 2, MAX_RETRY)
        self._wipes.pop(name, None)

    def _run(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return asyncio.get_running_loop().create_task(work)
