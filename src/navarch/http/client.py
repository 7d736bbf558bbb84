"""HTTP/1.1 from the other side: a pool of kept connections, streamed answers, upgrades."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import httptools

from navarch.http.messages import Tunnel

CONNECT_SECONDS = 10.0
IDLE_LIMIT = 32
"""Connections kept for later."""
OPEN_LIMIT = 256
"""Requests under way at once; more wait."""
FRAMING = frozenset(("content-length", "transfer-encoding"))
"""Headers that tell where a body ends; without them it ends with the connection."""
READ_LIMIT = 1 << 20
"""Bytes of a streamed answer that may wait for the reader."""


Headers = Mapping[str, "str | Sequence[str]"]
"""A name with several values is sent several times."""


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes


class Channel(asyncio.Protocol):
    """One connection to a server; one request at a time."""

    def __init__(self) -> None:
        self.closed = False
        self._parser: Any = None
        self._transport: Any = None
        self._headers: dict[str, str] = {}
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._head: asyncio.Future[int] | None = None
        self._arrived = asyncio.Event()
        self._complete = False
        self._upgraded = False
        self._bodiless = False
        self._writable = asyncio.Event()
        self._writable.set()

    # -- the transport's and the parser's callbacks

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        if self._head and not self._head.done():
            self._head.set_exception(ConnectionError(f"the server closed the connection{f': {exc}' if exc else ''}"))
        elif exc is None and not self._upgraded and not FRAMING & self._headers.keys():
            self._complete = True  # the body was to end with the connection
        self._arrived.set()
        self._writable.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        if self._upgraded:
            self.on_body(data)
            return
        if self._parser is None:
            self._transport.abort()  # bytes that nobody asked for
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._upgraded = True
            self._got_head()
            if rest := data[upgrade.args[0] :]:
                self.on_body(rest)
        except httptools.HttpParserError as error:
            if self._head and not self._head.done():
                self._head.set_exception(ConnectionError(f"not an HTTP answer: {error}"))
            self._transport.abort()

    def on_header(self, name: bytes, value: bytes) -> None:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        known = self._headers.get(key) if key != "set-cookie" else None
        self._headers[key] = text if known is None else f"{known}, {text}"

    def on_headers_complete(self) -> None:
        if self._parser.get_status_code() == 101:
            self._upgraded = True
        if self._parser.get_status_code() >= 101:
            if self._bodiless:
                self._complete = True
            self._got_head()

    def _got_head(self) -> None:
        if self._head and not self._head.done():
            self._head.set_result(self._parser.get_status_code())

    def on_body(self, body: bytes) -> None:
        self._chunks.append(body)
        self._size += len(body)
        self._arrived.set()
        if self._size > READ_LIMIT:
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        if not self._upgraded:
            self._complete = True
            self._arrived.set()

    # -- asking

    async def send(self, head: bytes, body: bytes) -> tuple[int, dict[str, str]]:
        """Sends a request; returns status and headers. Raises ConnectionError."""
        if self.closed:
            raise ConnectionError("the connection is closed")
        self._parser = httptools.HttpResponseParser(self)
        self._headers = {}
        self._chunks.clear()
        self._size = 0
        self._complete = self._upgraded = False
        self._bodiless = head.startswith(b"HEAD ")
        self._head = asyncio.get_running_loop().create_future()
        self._transport.write(head + body)
        return await self._head, self._headers

    async def read(self) -> bytes:
        """What has come of the body; b"" at its end. Raises ConnectionError when it breaks off."""
        while not self._chunks:
            if self._complete:
                return b""
            if self.closed:
                if self._upgraded:
                    return b""
                raise ConnectionError("the answer broke off")
            self._arrived.clear()
            await self._arrived.wait()
        data = self._chunks.popleft() if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        if self._size > READ_LIMIT and not self.closed:
            self._transport.resume_reading()
        self._size = 0
        return data

    async def read_all(self) -> bytes:
        parts: list[bytes] = []
        while part := await self.read():
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def write(self, data: bytes) -> None:
        """After an upgrade."""
        if self.closed:
            raise ConnectionError("the peer is gone")
        self._transport.write(data)
        await self._writable.wait()

    @property
    def reusable(self) -> bool:
        """The parser does not know of answers without the body that their headers tell of."""
        keep = self._parser is not None and self._complete and not self._bodiless and self._parser.should_keep_alive()
        return bool(keep) and not self.closed

    def close(self) -> None:
        if self._transport:
            self._transport.abort()

    def finish(self) -> None:
        """Closes after what was written is sent."""
        if self._transport:
            self._transport.close()


class Stream:
    """An answer that is read as it comes. Close it when done with it."""

    def __init__(self, status: int, headers: dict[str, str], channel: Channel, pool: Pool) -> None:
        self.status = status
        self.headers = headers
        self._channel = channel
        self._pool = pool

    async def chunks(self) -> AsyncIterator[bytes]:
        while data := await self._channel.read():
            yield data

    async def read_all(self) -> bytes:
        return await self._channel.read_all()

    def close(self) -> None:
        self._pool.give_back(self._channel)


class ChannelTunnel:
    """The Tunnel of an upgraded connection."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    async def read(self) -> bytes:
        return await self._channel.read()

    async def write(self, data: bytes) -> None:
        await self._channel.write(data)

    def close(self) -> None:
        self._channel.finish()


class Pool:
    """Connections to one server."""

    def __init__(
        self, host: str, port: int, tls: ssl.SSLContext | None, server_name: str = "", *, repeatable: bool = False
    ) -> None:
        """`repeatable`: every request, not only GET, may be sent again where a kept connection breaks."""
        self.host, self.port = host, port
        self._repeatable = repeatable
        self._tls = tls
        self.server_name = (server_name or host) if tls else None
        self._idle: list[Channel] = []
        self._room = asyncio.Semaphore(OPEN_LIMIT)

    async def request(
        self, method: str, path: str, headers: Headers, body: bytes = b"", timeout: float = 60.0
    ) -> Answer:
        """One request and its whole answer. Raises ConnectionError (a time-out is one)."""
        try:
            async with asyncio.timeout(timeout), self._room:
                stream = await self._open(method, path, headers, body)
                try:
                    return Answer(stream.status, stream.headers, await stream.read_all())
                finally:
                    stream.close()
        except TimeoutError:
            raise ConnectionError(f"no answer from {self.host}:{self.port} within {timeout:.0f} s") from None

    async def stream(self, method: str, path: str, headers: Headers, body: bytes = b"") -> Stream:
        """An answer to be read as it comes. Raises ConnectionError."""
        return await self._open(method, path, headers, body)

    async def upgrade(
        self, method: str, path: str, headers: Headers, body: bytes = b""
    ) -> tuple[Answer, Tunnel | None]:
        """Asks for an upgrade: (answer without body, tunnel), or (the whole refusal, None)."""
        channel = await self._connect()
        status, answered = await channel.send(self._head(method, path, headers, body), body)
        if status == 101:
            return Answer(status, answered, b""), ChannelTunnel(channel)
        try:
            return Answer(status, answered, await channel.read_all()), None
        finally:
            channel.close()

    def give_back(self, channel: Channel) -> None:
        if channel.reusable and len(self._idle) < IDLE_LIMIT:
            self._idle.append(channel)
        else:
            channel.close()

    def close(self) -> None:
        for channel in self._idle:
            channel.close()
        self._idle.clear()

    async def _open(self, method: str, path: str, headers: Headers, body: bytes) -> Stream:
        head = self._head(method, path, headers, body)
        while self._idle:
            channel = self._idle.pop()
            if channel.closed:
                continue
            try:
                return Stream(*await self._ask(channel, head, body), channel, self)
            except ConnectionError:
                if (
                    method != "GET" and not self._repeatable
                ):  # it may have arrived; only what is harmless is asked again
                    raise
        channel = await self._connect()
        return Stream(*await self._ask(channel, head, body), channel, self)

    async def _ask(self, channel: Channel, head: bytes, body: bytes) -> tuple[int, dict[str, str]]:
        try:
            return await channel.send(head, body)
        except BaseException:
            channel.close()
            raise

    async def _connect(self) -> Channel:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                _, channel = await loop.create_connection(
                    Channel, self.host, self.port, ssl=self._tls, server_hostname=self.server_name
                )
                return channel
        except TimeoutError:
            raise ConnectionError(f"{self.host}:{self.port} did not answer") from None
        except OSError as error:  # TLS failures are among them
            raise ConnectionError(f"{self.host}:{self.port}: {error}") from error

    def _head(self, method: str, path: str, headers: Headers, body: bytes) -> bytes:
        lines = [f"{method} {path} HTTP/1.1\r\nHost: {self.host}:{self.port}\r\n"]
        for name, value in headers.items():
            lines += [f"{name}: {one}\r\n" for one in ((value,) if isinstance(value, str) else value)]
        if body or method in ("POST", "PUT", "PATCH"):
            lines.append(f"Content-Length: {len(body)}\r\n")
        return "".join([*lines, "\r\n"]).encode("latin-1")


async def relay(one: Tunnel, other: Tunnel) -> None:
    """Carries bytes both ways until either side ends; closes both."""

    async def carry(source: Tunnel, sink: Tunnel) -> None:
        with suppress(ConnectionError):
            while data := await source.read():
                await sink.write(data)

    tasks = [asyncio.ensure_future(carry(one, other)), asyncio.ensure_future(carry(other, one))]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        one.close()
        other.close()
