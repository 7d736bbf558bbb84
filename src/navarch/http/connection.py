"""One connection of the server: parsing, order, flow control. Callbacks throughout; a task only where a handler awaits."""

from __future__ import annotations

import asyncio
import logging
import re
import time
import zlib
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import httptools

from navarch.http.messages import Request, Response
from navarch.http.streaming import HIGH_WATER, LOW_WATER, ServerStream, ServerTunnel
from navarch.http.tls import ServerTls, TlsError

if TYPE_CHECKING:
    from navarch.http.server import Server

log = logging.getLogger(__name__)

SLICE = 128 * 1024
"""Large bodies are sent in pieces of this size, one per turn of the event loop."""
GZIP_FROM = 128 * 1024
FOREVER = float("inf")
REASONS = {status.value: status.phrase for status in HTTPStatus}
BODILESS = (204, 304)
"""Statuses whose answers describe no content: a type or length would replace that of what the client has cached."""
_BAD_ESCAPE = re.compile("%(?![0-9A-Fa-f]{2})", re.ASCII)
_heads: dict[tuple[int, str], bytes] = {}


def _head(status: int, content_type: str) -> bytes:
    """The start of an answer, up to what differs each time."""
    found = _heads.get((status, content_type))
    if found is None:
        text = f"HTTP/1.1 {status} {REASONS.get(status, 'Unknown')}\r\n"
        if content_type:
            text += f"Content-Type: {content_type}\r\n"
        found = text.encode("latin-1")
        if len(_heads) < 1000:
            _heads[status, content_type] = found
    return found


class HttpConnection(asyncio.Protocol):
    """Requests are answered in the order in which they came, one at a time."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.peer_certificate: bytes | None = None
        self.peer_address = ("", 0)
        self.cache: dict[str, Any] = {}
        self.deadline = FOREVER
        self._transport: Any = None
        self._tls: ServerTls | None = None
        self._parser: Any = httptools.HttpRequestParser(self)
        self._url = b""
        self._headers: dict[str, str] = {}
        self._header_bytes = 0
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._waiting: deque[tuple[Request, bool, bool]] = deque()
        """(request, keep-alive, upgrade)"""
        self._rest = b""
        self._busy = False
        self._closing = False
        self._paused = False
        self._lost = False
        self._outgoing: deque[memoryview] = deque()
        self._outgoing_bytes = 0
        self._drains: list[Callable[[], None]] = []
        self._on_gone: Callable[[], None] | None = None
        self._stream: ServerStream | None = None
        self._tunnel: ServerTunnel | None = None
        self._task: asyncio.Task[None] | None = None

    # -- the transport's callbacks

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        if self.server.closing or len(self.server.connections) >= self.server.limits.connections:
            transport.abort()
            return
        self.server.connections.add(self)
        transport.set_write_buffer_limits(HIGH_WATER, LOW_WATER)
        self.peer_address = (transport.get_extra_info("peername") or ("", 0))[:2]
        if self.server.tls_context is not None:
            self._tls = ServerTls(self.server.tls_context)
        self._expect(self.server.limits.header_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        self.server.connections.discard(self)
        self._outgoing.clear()
        gone, self._on_gone = self._on_gone, None
        if gone:
            gone()
        if self._tunnel:
            self._tunnel.ended()
        self._drained()

    def data_received(self, data: bytes) -> None:
        if self._tls is None:
            self._plain_received(data)
            return
        fresh = not self._tls.established
        try:
            pieces = self._tls.receive(data)
        except TlsError:
            self._send_raw(self._tls.outgoing())
            self._transport.close()
            return
        if fresh:
            if self._tls.established:
                self.peer_certificate = self._tls.peer_certificate()
            if out := self._tls.outgoing():
                self._send_raw(out)
        for piece in pieces:
            if not piece:
                if not self.eof_received():
                    self._transport.close()
                return
            self._plain_received(piece)

    def eof_received(self) -> bool:
        """Whether to keep the connection: a half-closed client may still wait for its answer; a stream's has gone."""
        if self._tunnel:
            self._tunnel.ended()
            return True
        return self._busy and self._stream is None

    def pause_writing(self) -> None:
        self._paused = True
        self._expect(self.server.limits.stall_seconds)

    def resume_writing(self) -> None:
        self._paused = False
        self.deadline = FOREVER
        self._pump()
        if not self._paused:
            self._drained()

    # -- parsing

    def _plain_received(self, data: bytes) -> None:
        if self._tunnel:
            self._tunnel.feed(data)
            return
        if self._closing:
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._upgrade_requested(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            if not self._closing:
                self._refuse(400, f"malformed HTTP request: {error}")

    def on_message_begin(self) -> None:
        self._url, self._headers, self._header_bytes = b"", {}, 0
        self._body, self._body_bytes = [], 0
        if not self._busy:
            self._expect(self.server.limits.header_seconds)

    def on_url(self, url: bytes) -> None:
        self._url += url
        self._count_header(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count_header(len(name) + len(value))
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        known = self._headers.get(key)
        self._headers[key] = text if known is None else f"{known}, {text}"

    def _count_header(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > self.server.limits.header_bytes and not self._closing:
            self._refuse(431, "request header fields too large")

    def on_headers_complete(self) -> None:
        if self._closing:
            return
        if not self._busy:
            self._expect(self.server.limits.body_seconds)
        length = self._headers.get("content-length", "")
        if length.isdecimal() and int(length) > self.server.limits.body_bytes:
            self._refuse(413, f"Request entity too large: limit is {self.server.limits.body_bytes}")
        elif self._headers.get("expect", "").lower() == "100-continue" and not self._busy:
            self._send(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        if self._closing:
            return
        self._body_bytes += len(body)
        if self._body_bytes > self.server.limits.body_bytes:
            self._refuse(413, f"Request entity too large: limit is {self.server.limits.body_bytes}")
            return
        self._body.append(body)

    def on_message_complete(self) -> None:
        if self._closing:
            return
        path, _, query = self._url.decode("latin-1").partition("?")
        if "%" in path and _BAD_ESCAPE.search(path):
            self._refuse(400, "malformed HTTP request: invalid URL escape")
            return
        if "://" in path:  # absolute form, as proxies send it
            path = "/" + path.partition("://")[2].partition("/")[2]
        body = b"".join(self._body) if self._body else b""
        method = self._parser.get_method().decode("latin-1")
        request = self.server.request_type(method, path, query, self._headers, body, self)
        self._body = []
        keep = bool(self._parser.should_keep_alive())
        self._waiting.append((request, keep, bool(self._parser.should_upgrade())))
        if len(self._waiting) >= self.server.limits.pipelined:
            self._transport.pause_reading()
        if not self._busy:
            self._next()

    def _upgrade_requested(self, rest: bytes) -> None:
        """The bytes behind an upgrade's headers belong to the tunnel, which may be there already or come later."""
        if self._tunnel:
            self._tunnel.feed(rest)
        else:
            self._rest = rest

    # -- answering

    def _next(self) -> None:
        while self._waiting and not self._busy and not self._lost:
            request, keep, upgrade = self._waiting.popleft()
            if len(self._waiting) == self.server.limits.pipelined - 1:
                self._transport.resume_reading()
            self._busy = True
            self.deadline = FOREVER
            keep = keep and not upgrade and not self.server.closing
            try:
                answer = self.server.handler(request)
            except Exception:
                answer = self._crashed(request)
            if isinstance(answer, Response):
                self._answer(request, answer, keep)
            else:
                self._task = asyncio.get_running_loop().create_task(self._answer_later(request, answer, keep))

    async def _answer_later(self, request: Request, answer: Awaitable[Response], keep: bool) -> None:
        try:
            response = await answer
        except Exception:
            response = self._crashed(request)
        if not self._lost:
            self._answer(request, response, keep)
            self._next()

    def _crashed(self, request: Request) -> Response:
        log.exception("%s %s", request.method, request.path)
        return self.server.error(500, "internal server error")

    def _answer(self, request: Request, response: Response, keep: bool) -> None:
        if response.upgrade is not None:
            self._begin_tunnel(response)
        elif response.stream is not None:
            self._begin_stream(request, response, keep)
        else:
            body = response.body
            size = len(body) if isinstance(body, bytes) else sum(map(len, body))
            if size >= GZIP_FROM and "gzip" in request.headers.get("accept-encoding", "") and request.method != "HEAD":
                task = self._answer_compressed(request, response, keep)
                self._task = asyncio.get_running_loop().create_task(task)
                return
            self._send_whole(request, response, body, size, keep)

    async def _answer_compressed(self, request: Request, response: Response, keep: bool) -> None:
        body = await asyncio.to_thread(_gzip, response.body)
        if not self._lost:
            response.headers = [*response.headers, ("Content-Encoding", "gzip"), ("Vary", "Accept-Encoding")]
            self._send_whole(request, response, body, len(body), keep)
            self._next()

    def _send_whole(
        self, request: Request, response: Response, body: bytes | Sequence[bytes], size: int, keep: bool
    ) -> None:
        bodiless = response.status in BODILESS
        head = self._header_block(response, keep, b"" if bodiless else f"Content-Length: {size}\r\n".encode())
        if request.method == "HEAD" or bodiless:
            self._send(head)
        elif size <= SLICE:
            self._send(head + (body if isinstance(body, bytes) else b"".join(body)))
        else:
            self._queue(head)
            for chunk in (body,) if isinstance(body, bytes) else body:
                self._queue(chunk)
            self._pump()
        self._done(keep)

    def _header_block(self, response: Response, keep: bool, framing: bytes) -> bytes:
        media = "" if response.status in BODILESS else response.content_type
        parts = [_head(response.status, media), b"Date: ", self.server.date(), b"\r\n", framing]
        for name, value in response.headers:
            parts.append(f"{name}: {value}\r\n".encode("latin-1", "replace"))
        parts.append(b"\r\n" if keep else b"Connection: close\r\n\r\n")
        return b"".join(parts)

    def _done(self, keep: bool) -> None:
        """An answer is complete."""
        self._busy = False
        self._stream = None
        self._on_gone = None
        if not keep or self._closing:
            self._close_when_sent()
            return
        if not self._paused:
            self._expect(self.server.limits.idle_seconds)

    def _refuse(self, status: int, message: str) -> None:
        """Answers what cannot become a request (after the answers before it), and ends the connection."""
        self._closing = True
        if self._busy:
            return  # the answer under way is the last
        response = self.server.error(status, message)
        body = response.body if isinstance(response.body, bytes) else b"".join(response.body)
        self._send(self._header_block(response, False, f"Content-Length: {len(body)}\r\n".encode()) + body)
        self._close_when_sent()

    # -- streams and tunnels

    def _begin_stream(self, request: Request, response: Response, keep: bool) -> None:
        assert response.stream
        self._send(self._header_block(response, keep, b"Transfer-Encoding: chunked\r\n"))
        if request.method == "HEAD":
            self._done(keep)
            return
        self._stream = ServerStream(self, keep)
        self._on_gone = response.stream(self._stream)
        if self._lost and self._on_gone:
            self._on_gone()

    def _begin_tunnel(self, response: Response) -> None:
        assert response.upgrade
        head = [f"HTTP/1.1 {response.status} {REASONS.get(response.status, '')}\r\n"]
        head += [f"{name}: {value}\r\n" for name, value in response.headers]
        self._send("".join([*head, "\r\n"]).encode("latin-1"))
        self._tunnel = ServerTunnel(self, self._transport)
        if self._rest:
            self._tunnel.feed(self._rest)
        self._task = asyncio.get_running_loop().create_task(self._run_tunnel(response.upgrade, self._tunnel))

    async def _run_tunnel(self, upgrade: Callable[[Any], Awaitable[None]], tunnel: ServerTunnel) -> None:
        try:
            await upgrade(tunnel)
        except ConnectionError:
            pass
        except Exception:
            log.exception("a tunnel broke")
        finally:
            tunnel.close()

    # -- sending

    @property
    def buffered(self) -> int:
        return self._outgoing_bytes + (self._transport.get_write_buffer_size() if not self._lost else 0)

    def _send(self, data: bytes) -> None:
        if self._lost:
            return
        if self._outgoing:
            self._queue(data)
        else:
            self._encrypt_and_send(data)

    def _encrypt_and_send(self, data: bytes | memoryview) -> None:
        if self._tls is None:
            self._transport.write(data)
            return
        try:
            self._transport.write(self._tls.encrypt(data))
        except TlsError:
            self._transport.abort()

    def _send_gathered(self, views: list[memoryview], size: int) -> None:
        if self._tls is None:
            self._transport.writelines(views)
            return
        try:
            self._transport.write(self._tls.encrypt_all(views, size))
        except TlsError:
            self._transport.abort()

    def _send_raw(self, data: bytes) -> None:
        if data and not self._lost:
            self._transport.write(data)

    def _queue(self, data: bytes) -> None:
        view = memoryview(data)
        self._outgoing_bytes += len(view)
        self._outgoing.append(view)

    def _pump(self) -> None:
        """Sends one slice; the next comes in another turn of the loop, or when the peer has taken enough."""
        if self._lost or self._paused or not self._outgoing:
            return
        gathered: list[memoryview] = []
        size = 0
        while self._outgoing and size < SLICE:
            view = self._outgoing.popleft()
            if len(view) > SLICE - size:
                self._outgoing.appendleft(view[SLICE - size :])
                view = view[: SLICE - size]
            gathered.append(view)
            size += len(view)
        self._outgoing_bytes -= size
        self._send_gathered(gathered, size)
        if self._outgoing:
            asyncio.get_running_loop().call_soon(self._pump)
        elif self._closing and not self._busy:
            self._transport.close()

    def _close_when_sent(self) -> None:
        self._closing = True
        if self._lost:
            return
        if not self._outgoing:
            if self._tls:
                self._tls.shut_down()
                self._send_raw(self._tls.outgoing())
            self._transport.close()
        self._expect(self.server.limits.stall_seconds)

    def _drained(self) -> None:
        drains, self._drains = self._drains, []
        for callback in drains:
            callback()

    # -- ends

    def _expect(self, seconds: float) -> None:
        self.deadline = time.monotonic() + seconds

    def expire(self) -> None:
        """A deadline has passed: a half-sent request, an idle connection, or a peer that takes nothing."""
        if self._busy or self._paused or self._closing or not (self._url or self._header_bytes):
            self.abort()
        else:
            self._refuse(408, "the request was not completed in time")

    def wind_down(self) -> None:
        """The server is closing: idle connections go now, streams end, others after their answer."""
        if self._stream:
            self._stream.finish()
        elif self._tunnel:
            self._tunnel.close()
        elif not self._busy:
            self._close_when_sent()

    def abort(self) -> None:
        if self._transport:
            self._transport.abort()

    # -- for ServerStream and ServerTunnel

    def stream_write(self, chunks: Sequence[bytes]) -> None:
        size = sum(map(len, chunks))
        if size and not self._lost:
            self._send(b"".join((f"{size:x}\r\n".encode(), *chunks, b"\r\n")))

    def stream_finish(self, keep: bool) -> None:
        if self._busy and not self._lost:
            self._send(b"0\r\n\r\n")
            self._done(keep)
            self._next()

    def when_drained(self, callback: Callable[[], None]) -> None:
        if self._paused or self._outgoing:
            self._drains.append(callback)
        else:
            asyncio.get_running_loop().call_soon(callback)

    def tunnel_write(self, data: bytes) -> None:
        if self._lost:
            raise ConnectionError("the peer is gone")
        self._send(data)

    def tunnel_close(self) -> None:
        self._busy = False
        self._close_when_sent()


def _gzip(body: bytes | Sequence[bytes]) -> bytes:
    """On a thread: zlib lets go of the interpreter while it works."""
    compressor = zlib.compressobj(1, zlib.DEFLATED, 31)
    chunks = (body,) if isinstance(body, bytes) else body
    return b"".join([*(compressor.compress(chunk) for chunk in chunks), compressor.flush()])
