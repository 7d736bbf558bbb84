"""The server: listening, limits that hold for all connections, and a graceful end."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any

from navarch.http.connection import HttpConnection
from navarch.http.messages import Connection, Handler, Request, Response
from navarch.http.tls import TlsConfig, server_context

log = logging.getLogger(__name__)

SWEEP_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds that no client can exceed."""

    header_bytes: int = 1 << 20
    """Request line and headers (Go's default)."""
    body_bytes: int = 3 * 1024 * 1024
    connections: int = 10_000
    header_seconds: float = 32.0
    """From the first byte of a request to its last header; also how long a TLS handshake may take."""
    body_seconds: float = 60.0
    idle_seconds: float = 180.0
    """Between requests."""
    pipelined: int = 16
    """Requests of one connection that wait for their turn; then it is read no further."""
    stall_seconds: float = 120.0
    """How long a peer may take nothing of what waits for it."""


def plain_error(status: int, message: str) -> Response:
    return Response(status, message.encode() + b"\n", "text/plain; charset=utf-8")


class Server:
    """A listening server. Made by `serve`."""

    def __init__(
        self,
        handler: Handler,
        limits: Limits,
        request_type: Callable[..., Request],
        error: Callable[[int, str], Response],
        tls_context: Any,
    ) -> None:
        self.handler = handler
        self.limits = limits
        self.request_type = request_type
        self.error = error
        self.tls_context = tls_context
        self.connections: set[HttpConnection] = set()
        self.closing = False
        self.port = 0
        self._listener: asyncio.Server | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._date = (0, b"")

    async def listen(self, host: str | list[str], port: int) -> None:
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(lambda: HttpConnection(self), host, port, backlog=1024)
        self.port = self._listener.sockets[0].getsockname()[1]
        self._sweeper = loop.call_later(SWEEP_SECONDS, self._sweep)

    def date(self) -> bytes:
        """The Date header's value, made once a second."""
        second = int(time.time())
        if second != self._date[0]:
            self._date = (second, formatdate(second, usegmt=True).encode())
        return self._date[1]

    def _sweep(self) -> None:
        """Ends connections that are past a deadline."""
        now = time.monotonic()
        for connection in [c for c in self.connections if c.deadline < now]:
            connection.expire()
        self._sweeper = asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._sweep)

    async def close(self, grace: float = 5.0) -> None:
        """Stops listening, lets requests under way finish for `grace` seconds, ends streams, then aborts what is left."""
        self.closing = True
        if self._listener:
            self._listener.close()
        for connection in list(self.connections):
            connection.wind_down()
        deadline = time.monotonic() + grace
        while self.connections and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        for connection in list(self.connections):
            connection.abort()
        if self._sweeper:
            self._sweeper.cancel()


async def serve(
    handler: Handler,
    host: str | list[str],
    port: int,
    tls: TlsConfig | None = None,
    *,
    limits: Limits | None = None,
    request_type: Callable[[str, str, str, dict[str, str], bytes, Connection], Request] = Request,
    error: Callable[[int, str], Response] = plain_error,
) -> Server:
    """Serves until `close()`. Port 0 picks one (`Server.port`). `error` words the answers that the wire itself gives:
    400, 408, 413, 431, 500."""
    server = Server(handler, limits or Limits(), request_type, error, server_context(tls) if tls else None)
    await server.listen(host, port)
    return server
