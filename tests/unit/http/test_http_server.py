"""The HTTP server on a loopback socket, as well-behaved and ill-behaved clients meet it."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from navarch.http.messages import Request, Response, StreamWriter, Tunnel
from navarch.http.server import Limits, Server, serve

LIMITS = Limits(header_bytes=4096, body_bytes=10_000, header_seconds=0.2, idle_seconds=0.2, pipelined=4)
GONE: list[str] = []


def handler(request: Request) -> Any:
    match request.path:
        case "/echo":
            text = f"{request.method} {request.raw_query} {request.headers.get('x-a', '')} ".encode()
            return Response(body=text + request.body)
        case "/later":
            return later(request)
        case "/stream":
            return Response(stream=count_to_three)
        case "/endless":
            return Response(stream=endless)
        case "/large":
            return Response(body=[b"x" * 300_000, b"y" * 300_000])
        case "/upgrade":
            return Response(101, headers=[("Connection", "Upgrade"), ("Upgrade", "echo")], upgrade=echo)
        case "/unchanged":
            return Response(304, headers=[("ETag", "x")])
        case "/crash":
            raise RuntimeError("a bug")
        case _:
            return Response(404, b"no")


async def later(request: Request) -> Response:
    await asyncio.sleep(0.02)
    return Response(body=b"later " + request.body)


def count_to_three(writer: StreamWriter) -> None:
    for number in (b"1", b"2", b"3"):
        writer.write([number, b"\n"])
    writer.finish()


def endless(writer: StreamWriter) -> Callable[[], None]:
    writer.write([b"first\n"])
    return lambda: GONE.append("endless")


async def echo(tunnel: Tunnel) -> None:
    while data := await tunnel.read():
        await tunnel.write(data.upper())


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = await serve(handler, "127.0.0.1", 0, limits=LIMITS)
    yield made
    await made.close(0.1)


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @staticmethod
    async def to(server: Server) -> Client:
        return Client(*await asyncio.open_connection("127.0.0.1", server.port))

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """The next answer: status, headers, body."""
        head = (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 5)).decode().split("\r\n")
        headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in head[1:] if line)}
        body = b""
        if "content-length" in headers:
            body = await self.reader.readexactly(int(headers["content-length"]))
        elif headers.get("transfer-encoding") == "chunked":
            while size := int(await self.reader.readline(), 16):
                body += await self.reader.readexactly(size)
                await self.reader.readline()
            await self.reader.readline()
        return int(head[0].split()[1]), headers, body

    async def ask(self, text: str, body: bytes = b"") -> tuple[int, dict[str, str], bytes]:
        self.writer.write(text.replace("\n", "\r\n").encode() + body)
        return await self.answer()

    async def closed(self) -> bool:
        return await asyncio.wait_for(self.reader.read(), 8) == b""


async def test_requests_share_a_connection(server: Server) -> None:
    client = await Client.to(server)
    for method in ("GET", "POST", "PUT"):
        status, headers, body = await client.ask(f"{method} /echo?a=b HTTP/1.1\nX-A: 1\nContent-Length: 2\n\n", b"hi")
        assert (status, body) == (200, f"{method} a=b 1 hi".encode())
        assert headers["content-type"] == "application/json" and "date" in headers


async def test_pipelined_requests_are_answered_in_order(server: Server) -> None:
    client = await Client.to(server)
    for number in range(12):
        path = "/later" if number % 3 == 0 else "/echo"
        client.writer.write(f"POST {path} HTTP/1.1\r\nContent-Length: 2\r\n\r\n{number:02}".encode())
    bodies = [(await client.answer())[2].decode()[-2:] for _ in range(12)]
    assert bodies == [f"{n:02}" for n in range(12)]


async def test_chunked_bodies_and_split_packets(server: Server) -> None:
    client = await Client.to(server)
    message = b"POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    for at in range(len(message)):
        client.writer.write(message[at : at + 1])
        await asyncio.sleep(0)
    assert (await client.answer())[2] == b"POST   abcde"


async def test_what_is_unchanged_keeps_the_type_that_the_client_has_cached(server: Server) -> None:
    client = await Client.to(server)
    status, headers, _ = await client.ask("GET /unchanged HTTP/1.1\n\n")
    assert (status, headers["etag"]) == (304, "x")
    assert not {"content-type", "content-length", "transfer-encoding"} & headers.keys()
    assert (await client.ask("GET /echo HTTP/1.1\n\n"))[0] == 200


async def test_expect_100_continue(server: Server) -> None:
    client = await Client.to(server)
    client.writer.write(b"POST /echo HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
    assert (await client.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
    assert (await client.ask("", b"hi"))[2].endswith(b"hi")


async def test_head_has_the_length_but_no_body(server: Server) -> None:
    client = await Client.to(server)
    client.writer.write(b"HEAD /large HTTP/1.1\r\n\r\nGET /echo HTTP/1.1\r\n\r\n")
    head = await client.reader.readuntil(b"\r\n\r\n")
    assert b"Content-Length: 600000" in head
    assert (await client.answer())[0] == 200


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GARBAGE\r\n\r\n", 400),
        (b"GET /echo HTTP/1.1\r\nX-A: " + b"a" * 5000 + b"\r\n\r\n", 431),
        (b"POST /echo HTTP/1.1\r\nContent-Length: 10001\r\n\r\n", 413),
        (b"POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2711\r\n" + b"x" * 10001, 413),
        (b"POST /echo HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef", 400),
        (b"GET /crash HTTP/1.1\r\n\r\n", 500),
    ],
)
async def test_what_cannot_be_served_is_refused(server: Server, sent: bytes, status: int) -> None:
    client = await Client.to(server)
    client.writer.write(sent)
    assert (await client.answer())[0] == status
    other = await Client.to(server)
    assert (await other.ask("GET /echo HTTP/1.1\n\n"))[0] == 200


@pytest.mark.slow
async def test_half_sent_requests_are_ended_and_idle_connections_closed(server: Server) -> None:
    half, idle = await Client.to(server), await Client.to(server)
    half.writer.write(b"GET /echo HTTP/1.1\r\nX-A: ")
    assert (await half.answer())[0] == 408
    assert await idle.closed()


async def test_a_stream_is_chunked_and_ends(server: Server) -> None:
    client = await Client.to(server)
    status, headers, body = await client.ask("GET /stream HTTP/1.1\n\n")
    assert (status, headers["transfer-encoding"], body) == (200, "chunked", b"1\n2\n3\n")
    assert (await client.ask("GET /echo HTTP/1.1\n\n"))[0] == 200


async def test_the_producer_learns_that_the_peer_is_gone(server: Server) -> None:
    GONE.clear()
    client = await Client.to(server)
    client.writer.write(b"GET /endless HTTP/1.1\r\n\r\n")
    await client.reader.readuntil(b"first\n")
    client.writer.transport.abort()
    for _ in range(100):
        if GONE:
            break
        await asyncio.sleep(0.01)
    assert GONE == ["endless"]


async def test_large_answers_arrive_whole_and_compressed_when_asked(server: Server) -> None:
    client = await Client.to(server)
    plain = (await client.ask("GET /large HTTP/1.1\n\n"))[2]
    assert plain == b"x" * 300_000 + b"y" * 300_000
    _, headers, packed = await client.ask("GET /large HTTP/1.1\nAccept-Encoding: gzip\n\n")
    assert headers["content-encoding"] == "gzip" and len(packed) < 10_000 and gzip.decompress(packed) == plain


async def test_a_peer_that_does_not_read_does_not_fill_memory(server: Server) -> None:
    slow = await Client.to(server)
    for _ in range(4):
        slow.writer.write(b"GET /large HTTP/1.1\r\n\r\n")
    await asyncio.sleep(0.1)
    fast = await Client.to(server)
    assert (await fast.ask("GET /echo HTTP/1.1\n\n"))[0] == 200
    assert all(c.buffered < 3_000_000 for c in server.connections)


async def test_upgrades_hand_over_the_bytes(server: Server) -> None:
    client = await Client.to(server)
    client.writer.write(b"GET /upgrade HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nearly")
    assert (await client.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
    assert await client.reader.readexactly(5) == b"EARLY"
    client.writer.write(b"x" * 3_000_000)
    assert await asyncio.wait_for(client.reader.readexactly(3_000_000), 10) == b"X" * 3_000_000


async def test_an_upgrade_that_is_not_wanted_is_a_plain_request(server: Server) -> None:
    client = await Client.to(server)
    status, headers, _ = await client.ask("GET /echo HTTP/1.1\nConnection: Upgrade\nUpgrade: h2c\n\n")
    assert (status, headers["connection"]) == (200, "close")


async def test_closing_finishes_what_is_under_way(server: Server) -> None:
    client = await Client.to(server)
    client.writer.write(b"GET /later HTTP/1.1\r\n\r\n")
    await asyncio.sleep(0.005)
    closing = asyncio.ensure_future(server.close(1.0))
    status, _, body = await client.answer()
    assert (status, body) == (200, b"later ")
    await closing
    with pytest.raises(OSError):
        await Client.to(server)
