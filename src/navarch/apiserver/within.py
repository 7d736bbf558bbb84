"""The HTTP client's transport within this process: its requests are answered by the server's own handler, as a user.

For what only a handler can answer: resources of extension servers, and any other path.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

from navarch.apiserver.request import Handler, Request, Response, User
from navarch.http.client import Answer, Headers
from navarch.http.streaming import LOW_WATER


class Connection:
    """Where a request of this process comes from."""

    peer_certificate: bytes | None = None
    peer_address: tuple[str, int] = ("127.0.0.1", 0)

    def __init__(self) -> None:
        self.cache: dict[str, Any] = {}


class Pipe:
    """The near end of a streamed answer: written by the handler, read by the client."""

    def __init__(self) -> None:
        self._chunks: deque[bytes] = deque()
        self.buffered = 0
        self._arrived = asyncio.Event()
        self._ended = self._broken = False
        self._drains: list[Callable[[], None]] = []
        self.gone: Callable[[], None] | None = None

    def write(self, chunks: Sequence[bytes]) -> None:
        self._chunks.extend(chunks)
        self.buffered += sum(map(len, chunks))
        self._arrived.set()

    def on_drain(self, callback: Callable[[], None]) -> None:
        self._drains.append(callback)

    def finish(self) -> None:
        self._ended = True
        self._arrived.set()

    def abort(self) -> None:
        self._broken = True
        self.finish()

    async def chunks(self) -> AsyncIterator[bytes]:
        while True:
            while self._chunks:
                chunk = self._chunks.popleft()
                self.buffered -= len(chunk)
                if self.buffered <= LOW_WATER:
                    drains, self._drains = self._drains, []
                    for drain in drains:
                        drain()
                yield chunk
            if self._broken:
                raise ConnectionError("the answer broke off")
            if self._ended:
                return
            self._arrived.clear()
            await self._arrived.wait()


class WithinStream:
    """An answer that is read as it comes."""

    def __init__(self, response: Response) -> None:
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.headers}
        self.headers["content-type"] = response.content_type
        self._response = response
        self._pipe = Pipe()
        if response.stream is not None:
            self._pipe.gone = response.stream(self._pipe)

    async def chunks(self) -> AsyncIterator[bytes]:
        body = self._response.body
        for piece in (body,) if isinstance(body, bytes) else body:
            if piece:
                yield piece
        if self._response.stream is not None:
            async for piece in self._pipe.chunks():
                yield piece

    async def read_all(self) -> bytes:
        return b"".join([piece async for piece in self.chunks()])

    def close(self) -> None:
        gone, self._pipe.gone = self._pipe.gone, None
        if gone is not None:
            gone()


class Within:
    def __init__(self, handle: Handler, user: User) -> None:
        """`handle` answers a request whose user is known."""
        self._handle = handle
        self._user = user

    async def request(
        self, method: str, path: str, headers: Headers, body: bytes = b"", timeout: float = 60.0
    ) -> Answer:
        """Raises ConnectionError."""
        try:
            async with asyncio.timeout(timeout):
                stream = await self.stream(method, path, headers, body)
                try:
                    return Answer(stream.status, stream.headers, await stream.read_all())
                finally:
                    stream.close()
        except TimeoutError:
            raise ConnectionError(f"no answer within {timeout:.0f} s") from None

    async def stream(self, method: str, path: str, headers: Headers, body: bytes = b"") -> WithinStream:
        path, _, query = path.partition("?")
        sent = {name.lower(): v if isinstance(v, str) else ", ".join(v) for name, v in headers.items()}
        request = Request(method, path, query, sent, body, Connection())
        request.user = self._user
        answer = self._handle(request)
        return WithinStream(await answer if isinstance(answer, Awaitable) else answer)

    def close(self) -> None: ...
