"""The HTTP client against servers that frame their answers in every way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from navarch.http.client import Pool

ANSWERS = {
    "/length": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "/chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
    "/end": b"HTTP/1.0 404 Not Found\r\nContent-Type: text/html\r\n\r\nhello",
    "/short": b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello",
    "/none": b"HTTP/1.1 204 No Content\r\n\r\n",
}


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            method, path, _ = head.split(b" ", 2)
            answer = ANSWERS[path.decode()]
            writer.write(answer.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if method == b"HEAD" else answer)
            if path in (b"/end", b"/short"):
                writer.close()
                return

    async def quietly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except asyncio.IncompleteReadError:
            writer.close()

    server = await asyncio.start_server(quietly, "127.0.0.1", 0)
    made = Pool("127.0.0.1", server.sockets[0].getsockname()[1], None)
    yield made
    made.close()
    server.close()


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [("/length", 200, b"hello"), ("/chunks", 200, b"hello"), ("/end", 404, b"hello"), ("/none", 204, b"")],
)
async def test_bodies_end_where_they_say(pool: Pool, path: str, status: int, body: bytes) -> None:
    for _ in range(3):
        answer = await pool.request("GET", path, {}, timeout=5)
        assert (answer.status, answer.body) == (status, body)


async def test_a_body_that_breaks_off_is_told(pool: Pool) -> None:
    with pytest.raises(ConnectionError, match="broke off"):
        await pool.request("GET", "/short", {}, timeout=5)


async def test_heads_have_no_body_whatever_they_say(pool: Pool) -> None:
    for path in ("/length", "/chunks", "/none", "/length"):
        answer = await pool.request("HEAD", path, {}, timeout=5)
        assert answer.body == b""
    assert (await pool.request("GET", "/length", {}, timeout=5)).body == b"hello"
