"""A whole API server inside a test: `async with api_server() as server: client = server.system`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from navarch.apiserver.server import ApiServer, ApiServerConfig
from navarch.machinery.clock import RealWorld, World
from navarch.store.interface import Store
from navarch.store.memory import MemoryStore


@asynccontextmanager
async def api_server(
    *, store: Store | None = None, world: World | None = None, config: ApiServerConfig | None = None
) -> AsyncIterator[ApiServer]:
    """A started server, on the memory store and the real clock unless told otherwise; no sockets."""
    server = ApiServer(store or MemoryStore(), world or RealWorld(seed=1), config or ApiServerConfig())
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
