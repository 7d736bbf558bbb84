"""Answers poured from a source: they end with it, break off where it fails, and stop where the reader has gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from navarch.http.client import Pool
from navarch.http.messages import Request, Response
from navarch.http.server import serve
from navarch.http.streaming import pour


async def whole() -> AsyncIterator[bytes]:
    for piece in (b"a" * 400_000, b"b" * 400_000, b"c"):
        yield piece


async def failing() -> AsyncIterator[bytes]:
    yield b"so far"
    raise FileNotFoundError("the log has gone")


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield b"more"
        await asyncio.sleep(0)


SOURCES = {"/whole": whole, "/failing": failing, "/endless": endless}


class Poured:
    def __init__(self) -> None:
        self.closed = asyncio.Event()

    def handle(self, request: Request) -> Response:
        return Response(stream=lambda writer: pour(SOURCES[request.path](), writer, self.closed.set))


@pytest.fixture
def poured() -> Poured:
    return Poured()


@pytest.fixture
async def pool(poured: Poured) -> AsyncIterator[Pool]:
    server = await serve(poured.handle, "127.0.0.1", 0)
    made = Pool("127.0.0.1", server.port, None)
    yield made
    made.close()
    await server.close()


async def test_it_ends_with_its_source(pool: Pool, poured: Poured) -> None:
    answer = await pool.request("GET", "/whole", {}, timeout=5)
    assert answer.body == b"a" * 400_000 + b"b" * 400_000 + b"c"
    await asyncio.wait_for(poured.closed.wait(), 5)


async def test_it_breaks_off_where_the_source_fails(pool: Pool, poured: Poured) -> None:
    with pytest.raises(ConnectionError, match="broke off"):
        await pool.request("GET", "/failing", {}, timeout=5)
    await asyncio.wait_for(poured.closed.wait(), 5)


async def test_it_stops_where_the_reader_has_gone(pool: Pool, poured: Poured) -> None:
    stream = await pool.stream("GET", "/endless", {})
    async for _ in stream.chunks():
        break
    stream.close()
    await asyncio.wait_for(poured.closed.wait(), 5)
