"""Requests and responses, between a server's wire and its handlers.

A handler takes a `Request` and returns a `Response`, or an awaitable of one: what can be answered at once needs no task.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias
from urllib.parse import parse_qs, unquote


class Connection(Protocol):
    """The connection a request came on: its transport security and a place for per-connection caches."""

    peer_certificate: bytes | None
    """DER of the client certificate, not yet judged; None where none was shown."""
    peer_address: tuple[str, int]
    cache: dict[str, Any]
    """What handlers remember for the connection's life (the user of a certificate)."""


class Request:
    """One HTTP request with its whole body (bodies are bounded before they get here)."""

    __slots__ = ("_query", "body", "connection", "headers", "method", "path", "raw_query")

    def __init__(
        self, method: str, path: str, raw_query: str, headers: Mapping[str, str], body: bytes, connection: Connection
    ) -> None:
        self.method = method
        self.path = path
        """As sent: percent-encoded, without the query."""
        self.raw_query = raw_query
        self.headers = headers
        """Names in lower case; a repeated header's values are joined by `, `."""
        self.body = body
        self.connection = connection
        self._query: dict[str, list[str]] | None = None

    @property
    def query(self) -> dict[str, list[str]]:
        if self._query is None:
            self._query = parse_qs(self.raw_query, keep_blank_values=True) if self.raw_query else {}
        return self._query

    def param(self, name: str) -> str:
        """The first value of a query parameter, or ""."""
        values = self.query.get(name)
        return values[0] if values else ""

    def segments(self) -> list[str]:
        return [unquote(s) for s in self.path.split("/") if s]


class StreamWriter(Protocol):
    """The open end of a streamed answer."""

    def write(self, chunks: Sequence[bytes]) -> None:
        """Queues bytes; never blocks."""
        ...

    @property
    def buffered(self) -> int:
        """Bytes queued and not yet taken by the peer: back-pressure is the producer's to respect."""
        ...

    def on_drain(self, callback: Callable[[], None]) -> None:
        """Calls back once when what is buffered has fallen below the low-water mark."""
        ...

    def finish(self) -> None:
        """Ends the answer properly (the last chunk)."""
        ...

    def abort(self) -> None: ...


class Tunnel(Protocol):
    """A connection after 101 Switching Protocols: raw bytes both ways."""

    async def read(self) -> bytes:
        """The next bytes; b"" at the end."""
        ...

    async def write(self, data: bytes) -> None:
        """Returns when there is room for more. Raises ConnectionError when the peer is gone."""
        ...

    def close(self) -> None: ...


@dataclass(slots=True)
class Response:
    """`body` is whole (bytes, or chunks sent as one), or comes from `stream` (then chunked, flushed at each write), or
    the connection is handed over to `upgrade` after the headers (status 101)."""

    status: int = 200
    body: bytes | Sequence[bytes] = b""
    content_type: str = "application/json"
    headers: Sequence[tuple[str, str]] = ()
    stream: Callable[[StreamWriter], Callable[[], None] | None] | None = None
    """Called once headers are out; returns what to call when the peer has gone (or None)."""
    upgrade: Callable[[Tunnel], Awaitable[None]] | None = None


Handler: TypeAlias = "Callable[[Any], Response | Awaitable[Response]]"
