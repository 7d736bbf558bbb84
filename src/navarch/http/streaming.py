"""The open ends of a server's connection: answers that are written as they come, and tunnels after an upgrade."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Protocol

from navarch.http.messages import StreamWriter

log = logging.getLogger(__name__)

HIGH_WATER, LOW_WATER = 256 * 1024, 64 * 1024
"""Bytes on their way to a peer from which on producers wait, and those at which they go on."""


class Peer(Protocol):
    """What a stream or tunnel uses of its connection."""

    @property
    def buffered(self) -> int: ...

    def stream_write(self, chunks: Sequence[bytes]) -> None: ...

    def stream_finish(self, keep: bool) -> None: ...

    def when_drained(self, callback: Callable[[], None]) -> None: ...

    def tunnel_write(self, data: bytes) -> None: ...

    def tunnel_close(self) -> None: ...

    def abort(self) -> None: ...


class ServerStream:
    """StreamWriter of one answer; does nothing once the answer is over."""

    def __init__(self, connection: Peer, keep: bool) -> None:
        self._connection: Peer | None = connection
        self._keep = keep

    def write(self, chunks: Sequence[bytes]) -> None:
        if self._connection:
            self._connection.stream_write(chunks)

    @property
    def buffered(self) -> int:
        return self._connection.buffered if self._connection else 0

    def on_drain(self, callback: Callable[[], None]) -> None:
        if self._connection:
            self._connection.when_drained(callback)

    def finish(self) -> None:
        connection, self._connection = self._connection, None
        if connection:
            connection.stream_finish(self._keep)

    def abort(self) -> None:
        connection, self._connection = self._connection, None
        if connection:
            connection.abort()


class ServerTunnel:
    """Raw bytes after an upgrade, with back-pressure both ways."""

    LIMIT = 1 << 20

    def __init__(self, connection: Peer, transport: Any) -> None:
        self._connection = connection
        self._transport = transport
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._ended = False
        self._arrived = asyncio.Event()

    def feed(self, data: bytes) -> None:
        if not data:
            return  # read() would take it for the end
        self._chunks.append(data)
        self._size += len(data)
        self._arrived.set()
        if self._size > self.LIMIT:
            self._transport.pause_reading()

    def ended(self) -> None:
        self._ended = True
        self._arrived.set()

    async def read(self) -> bytes:
        while not self._chunks:
            if self._ended:
                return b""
            self._arrived.clear()
            await self._arrived.wait()
        data = b"".join(self._chunks)
        self._chunks.clear()
        if self._size > self.LIMIT and not self._transport.is_closing():
            self._transport.resume_reading()
        self._size = 0
        return data

    async def write(self, data: bytes) -> None:
        self._connection.tunnel_write(data)
        if self._connection.buffered > HIGH_WATER:
            room = asyncio.Event()
            self._connection.when_drained(room.set)
            await room.wait()

    def close(self) -> None:
        if not self._ended:
            self._ended = True
            self._connection.tunnel_close()


def pour(
    source: AsyncIterator[bytes], writer: StreamWriter, closed: Callable[[], None] | None = None
) -> Callable[[], None]:
    """Writes what `source` yields, no faster than the peer takes it; an answer whose source fails breaks off. Returns
    what to call when the peer has gone. `closed` is called at the end, whatever the end is."""
    task = asyncio.get_running_loop().create_task(_pour(source, writer))
    if closed:
        task.add_done_callback(lambda _: closed())  # also where the task ends before it began

    def gone() -> None:
        task.cancel()

    return gone


async def _pour(source: AsyncIterator[bytes], writer: StreamWriter) -> None:
    try:
        async for piece in source:
            writer.write((piece,))
            if writer.buffered > HIGH_WATER:
                drained = asyncio.Event()
                writer.on_drain(drained.set)
                await drained.wait()
        writer.finish()
    except ConnectionError:
        writer.abort()
    except Exception:
        log.exception("an answer broke off")
        writer.abort()
