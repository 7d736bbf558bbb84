"""Controllers and scheduler as processes of their own, over HTTP, one of several acting."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from navarch.api.features import NONE, Features
from navarch.client.http import HttpClient
from navarch.cluster.controlplane import run_until_told
from navarch.controlloop.elect import Election, Elector
from navarch.machinery.clock import RealWorld, World
from navarch.machinery.errors import StatusError

if TYPE_CHECKING:
    from navarch.scheduler.profiles import SchedulerConfig

log = logging.getLogger(__name__)


class Part(Protocol):
    async def start(self, client: HttpClient, world: World) -> Any:
        """Returns what has an async `stop`."""
        ...


@dataclass(frozen=True, slots=True)
class Controllers:
    """All controllers. Each acts with the process's own identity."""

    pod_cidr: str
    root_ca: str
    signing: tuple[bytes, bytes] | None = None
    """The certificate and the key (PEM) that sign others."""
    features: Features = NONE

    async def start(self, client: HttpClient, world: World) -> Any:
        from navarch.controllers import registry

        return await registry.run(
            lambda user: client, world, self, root_ca=self.root_ca, signing=self.signing, features=self.features
        )


@dataclass(frozen=True, slots=True)
class Scheduling:
    name: str
    config: Path | None = None
    """A KubeSchedulerConfiguration; without one, a profile of that name with the default plugins."""
    features: Features = NONE

    async def start(self, client: HttpClient, world: World) -> Any:
        from navarch.scheduler.scheduler import Scheduler

        scheduler = Scheduler(client, world, self.read(), self.features)
        await scheduler.start()
        return scheduler

    def read(self) -> SchedulerConfig:
        """Raises ValueError (what is wrong with the file) or OSError."""
        from navarch.scheduler.profiles import Profile, SchedulerConfig

        if self.config is None:
            return SchedulerConfig(profiles=(Profile(self.name),))
        from navarch.machinery.yamltext import parse_yaml
        from navarch.scheduler import config

        try:
            return config.from_tree(parse_yaml(self.config.read_bytes()))
        except StatusError as error:
            raise ValueError(error.message) from None


def run_component(kubeconfig: Path, name: str, leader_elect: bool, part: Part) -> None:
    """Runs until told to stop. Losing the lead ends the process: whoever keeps it running starts it again."""

    async def main(told: asyncio.Event) -> None:
        world = RealWorld()
        client = HttpClient.from_kubeconfig(kubeconfig, name)

        async def lead() -> None:
            log.info("%s acts", name)
            running = await part.start(client, world)
            try:
                await told.wait()
            finally:
                await running.stop()

        try:
            if not leader_elect:
                await lead()
                return
            elector = Elector(client, world, Election(name=name, identity=f"{socket.gethostname()}_{os.getpid()}"))
            work = asyncio.ensure_future(elector.run(lead))
            stopping = asyncio.ensure_future(told.wait())
            await asyncio.wait({work, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if told.is_set():
                await asyncio.wait({work}, timeout=5)
                await elector.release()
            else:
                log.error("%s lost the lead", name)
                sys.exit(1)
        finally:
            await client.close()

    run_until_told(main)
