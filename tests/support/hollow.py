"""A cluster inside a test: API server, controllers (each with its own rights), scheduler, and hollow nodes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from tests.support.apiserver import api_server

from navarch.apiserver.server import ApiServer
from navarch.cluster.config import ClusterConfig
from navarch.cluster.controlplane import ControlPlane
from navarch.sim.hollow import HollowNodes, Shape


@asynccontextmanager
async def cluster(nodes: int) -> AsyncIterator[tuple[ApiServer, HollowNodes]]:
    async with api_server() as server:
        plane = ControlPlane(server)
        hollow = HollowNodes(server.system, server.world, nodes, shape=Shape(zones=("a", "b")))
        await plane.start(ClusterConfig(), "")
        await hollow.start()
        try:
            yield server, hollow
        finally:
            await hollow.stop()
            await plane.stop()


async def until(what: str, holds: Callable[[], Any]) -> Any:
    for _ in range(600):
        if found := holds():
            return found
        await asyncio.sleep(0.02)
    raise AssertionError(f"not within 12 s: {what}")
