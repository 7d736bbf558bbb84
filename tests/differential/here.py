"""Our own API server on a loopback port, in a thread, for players."""

from __future__ import annotations

import asyncio
import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

from tests.differential.play import TIMEOUT, Endpoint

from navarch.apiserver.filters.answers import wire_error
from navarch.apiserver.request import Request, User
from navarch.apiserver.server import ApiServer, ApiServerConfig
from navarch.http.messages import Handler
from navarch.http.server import serve
from navarch.machinery.clock import RealWorld
from navarch.store.memory import MemoryStore

TOKEN = "differential"


@contextmanager
def our_server() -> Iterator[Endpoint]:
    """Started, on the memory store; no controllers."""
    ready = threading.Event()
    ports: list[int] = []
    stop: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def run() -> None:
        admin = User("admin", uid="admin", groups=("system:masters",))
        config = ApiServerConfig(fixed_tokens={TOKEN: admin}, advertise_address="192.0.2.1")
        server = ApiServer(MemoryStore(), RealWorld(seed=1), config)
        await server.start()
        listening = await serve(cast(Handler, server.handle), "127.0.0.1", 0, request_type=Request, error=wire_error)
        ended = asyncio.Event()
        stop.append((asyncio.get_running_loop(), ended))
        ports.append(listening.port)
        ready.set()
        await ended.wait()
        await listening.close(grace=0.1)
        await server.stop()

    thread = threading.Thread(target=lambda: asyncio.run(run()), daemon=True)
    thread.start()
    if not ready.wait(TIMEOUT):
        raise RuntimeError("the API server did not start")
    yield Endpoint(
        lambda: http.client.HTTPConnection("127.0.0.1", ports[0], timeout=TIMEOUT),
        {"Authorization": f"Bearer {TOKEN}"},
    )
    loop, ended = stop[0]
    loop.call_soon_threadsafe(ended.set)
    thread.join(TIMEOUT)
