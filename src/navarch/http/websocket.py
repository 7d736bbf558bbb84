"""WebSockets, as far as an answer goes over one: the handshake, and frames to the client (RFC 6455)."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any

from navarch.http.messages import Request, Response, StreamWriter, Tunnel
from navarch.http.streaming import LOW_WATER

MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA
NORMAL = (1000).to_bytes(2, "big")
LARGEST = 1 << 16
"""Bytes of a frame that a client may send: answers ask for none but control frames."""


def wanted(request: Request) -> bool:
    upgrades = "upgrade" in request.headers.get("connection", "").lower()
    return upgrades and request.headers.get("upgrade", "").lower() == "websocket"


def handshake(request: Request, protocols: Sequence[str]) -> tuple[list[tuple[str, str]], str] | None:
    """The headers of the 101, and the protocol chosen: the client's first that is among `protocols`, "" where it
    names none. None where they have no protocol in common, or the request is no proper handshake."""
    key = request.headers.get("sec-websocket-key", "")
    if not key or request.headers.get("sec-websocket-version") != "13":
        return None
    digest = hashlib.sha1(key.encode() + MAGIC).digest()
    headers = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Accept", base64.b64encode(digest).decode()),
    ]
    offered = [text.strip() for text in request.headers.get("sec-websocket-protocol", "").split(",") if text.strip()]
    if not offered:
        return headers, ""
    chosen = next((offer for offer in offered if offer in protocols), None)
    if chosen is None:
        return None
    return [*headers, ("Sec-WebSocket-Protocol", chosen)], chosen


def frame(code: int, payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        head = bytes((0x80 | code, size))
    elif size < 1 << 16:
        head = bytes((0x80 | code, 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((0x80 | code, 127)) + size.to_bytes(8, "big")
    return head + payload


async def frames(tunnel: Tunnel) -> AsyncIterator[tuple[int, bytes]]:
    """(code, payload) of the client's frames until it closes; ends at anything that it may not send."""
    buffer = b""
    while True:
        while (parsed := _parse(buffer)) is not None:
            code, payload, taken = parsed
            if code < 0:
                return
            buffer = buffer[taken:]
            yield code, payload
        more = await tunnel.read()
        if not more or len(buffer) > LARGEST + 14:
            return
        buffer += more


def _parse(buffer: bytes) -> tuple[int, bytes, int] | None:
    """(code, payload, bytes taken) of the first frame; None where it is not whole, code -1 where it is wrong."""
    if len(buffer) < 2:
        return None
    size, at = buffer[1] & 0x7F, 2
    if not buffer[1] & 0x80:  # a client's frames are masked
        return -1, b"", 0
    if size >= 126:
        at = 4 if size == 126 else 10
        if len(buffer) < at:
            return None
        size = int.from_bytes(buffer[2:at], "big")
    if size > LARGEST:
        return -1, b"", 0
    if len(buffer) < at + 4 + size:
        return None
    mask, body = buffer[at : at + 4], buffer[at + 4 : at + 4 + size]
    payload = bytes(byte ^ mask[index & 3] for index, byte in enumerate(body))
    return buffer[0] & 0x0F, payload, at + 4 + size


class SocketWriter:
    """A StreamWriter whose every chunk is a message."""

    def __init__(self, code: int) -> None:
        self._code = code
        self._pending: deque[bytes] = deque()
        self._size = 0
        self._more = asyncio.Event()
        self._drained: list[Callable[[], None]] = []
        self._over = False

    def write(self, chunks: Sequence[bytes]) -> None:
        for chunk in chunks:
            message = frame(self._code, chunk)
            self._pending.append(message)
            self._size += len(message)
        self._more.set()

    @property
    def buffered(self) -> int:
        return self._size

    def on_drain(self, callback: Callable[[], None]) -> None:
        self._drained.append(callback)

    def finish(self) -> None:
        self._over = True
        self._more.set()

    abort = finish

    async def send(self, tunnel: Tunnel) -> None:
        """Sends what is written until it is finished."""
        while True:
            while self._pending:
                message = self._pending.popleft()
                await tunnel.write(message)
                self._size -= len(message)
                if self._size <= LOW_WATER and self._drained:
                    waiting, self._drained = self._drained, []
                    for callback in waiting:
                        callback()
            if self._over:
                await tunnel.write(frame(CLOSE, NORMAL))
                return
            self._more.clear()
            await self._more.wait()


Begin = Callable[[StreamWriter], "Callable[[], None] | None"]
"""Starts an answer; returns what to call when the peer has gone (or None)."""


def streamed(headers: list[tuple[str, str]], begin: Begin, text: bool) -> Response:
    """The 101 of an answer that is written as it comes: every chunk is a message."""

    async def carry(tunnel: Tunnel) -> None:
        writer = SocketWriter(TEXT if text else BINARY)
        gone = begin(writer)
        try:
            await _until_either(tunnel, writer.send(tunnel))
        finally:
            if gone is not None:
                gone()

    return Response(101, headers=headers, upgrade=carry)


async def _until_either(tunnel: Tunnel, sending: Coroutine[Any, Any, None]) -> None:
    """Sends until that is done or the client closes, answering its pings meanwhile."""

    async def receive() -> None:
        async for code, payload in frames(tunnel):
            if code == CLOSE:
                return
            if code == PING:
                await tunnel.write(frame(PONG, payload))

    tasks = {asyncio.ensure_future(sending), asyncio.ensure_future(receive())}
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            error = task.exception()
            if error is not None and not isinstance(error, ConnectionError):
                raise error
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        tunnel.close()


def streaming(headers: list[tuple[str, str]], chunks: AsyncIterator[bytes], encoded: bool) -> Response:
    """The 101 that sends chunks as messages (in base64 where `encoded`), then closes; it ends when the client does."""

    async def carry(tunnel: Tunnel) -> None:
        async def send() -> None:
            async for chunk in chunks:
                message = frame(TEXT, base64.b64encode(chunk)) if encoded else frame(BINARY, chunk)
                await tunnel.write(message)
            await tunnel.write(frame(CLOSE, NORMAL))

        await _until_either(tunnel, send())

    return Response(101, headers=headers, upgrade=carry)
