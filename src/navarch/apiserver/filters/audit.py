"""The filters that write the audit log: one around what authenticated users do, one around failed authentication."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import orjson

from navarch.apiserver.audit.event import Record
from navarch.apiserver.audit.log import AuditLog
from navarch.apiserver.audit.policy import COMPLETE, NONE, PANIC, RECEIVED, REQUEST, STARTED, Policy
from navarch.apiserver.auth.interface import Attributes
from navarch.apiserver.filters.access import attributes_of
from navarch.apiserver.filters.request_info import is_long_running
from navarch.apiserver.request import Handler, Request, Response, StreamWriter, Tunnel
from navarch.machinery.clock import World
from navarch.machinery.errors import StatusError


@dataclass(frozen=True, slots=True)
class Audit:
    policy: Policy
    log: AuditLog
    world: World

    def with_audit(self, handler: Handler) -> Handler:
        """Around everything that happens once the user is known."""

        def run(request: Request) -> Response | Awaitable[Response]:
            request.known = True
            info = request.info
            if info.is_resource and self.policy.is_silent(info.verb, info.group, info.resource, info.subresource):
                return handler(request)
            asked = attributes_of(request)
            verdict = self.policy.verdict(asked)
            if verdict.level == NONE:
                return handler(request)
            record = Record(request, asked, verdict, self.world.now())
            self._log(record, RECEIVED)
            try:
                answer = handler(request)
            except Exception as err:
                self._failed(record, err)
                raise
            return self._answered(record, answer) if isinstance(answer, Response) else later(record, answer)

        async def later(record: Record, answer: Awaitable[Response]) -> Response:
            try:
                response = await answer
            except (Exception, asyncio.CancelledError) as err:
                self._failed(record, err)
                raise
            return self._answered(record, response)

        return run

    def with_failed_authentication(self, handler: Handler) -> Handler:
        """Around authentication: who could not say who they are is logged, too."""

        def run(request: Request) -> Response | Awaitable[Response]:
            try:
                answer = handler(request)
            except StatusError as err:
                refused(request, err)
                raise
            return answer if isinstance(answer, Response) else later(request, answer)

        async def later(request: Request, answer: Awaitable[Response]) -> Response:
            try:
                return await answer
            except StatusError as err:
                refused(request, err)
                raise

        def refused(request: Request, err: StatusError) -> None:
            if request.known:
                return
            asked = attributes_of(request)
            verdict = self.policy.verdict(asked)
            if verdict.level != NONE:
                record = Record(request, asked, verdict, self.world.now(), code=err.code, message=_tried(request))
                self._log(record, STARTED)

        return run

    @contextmanager
    def of_process(self, request: Request, asked: Attributes, body: Any) -> Generator[None]:
        """Around what a part of this process asks for without HTTP."""
        verdict = self.policy.verdict(asked)
        if verdict.level == NONE:
            yield
            return
        if verdict.level >= REQUEST and body is not None:
            request.body = orjson.dumps(body)
        record = Record(request, asked, verdict, self.world.now())
        self._log(record, RECEIVED)
        try:
            yield
        except (Exception, asyncio.CancelledError) as err:
            self._failed(record, err)
            raise
        record.code = 201 if asked.verb == "create" else 200
        self._log(record, COMPLETE)

    # -- stages

    def _log(self, record: Record, stage: str) -> None:
        if stage in record.verdict.omit_stages:
            return
        if stage not in (COMPLETE, PANIC):  # more is to come of the request: what is known now is kept as it is
            record = replace(record)
        record.stage, record.at = stage, self.world.now()
        self.log.add(record)

    def _failed(self, record: Record, err: BaseException) -> None:
        if isinstance(err, StatusError):
            record.failure, record.code = err, err.code
            if is_long_running(record.request.info):
                self._log(record, STARTED)
            self._log(record, COMPLETE)
        elif isinstance(err, asyncio.CancelledError):  # out of time, or the client has gone
            record.code = 504
            self._log(record, COMPLETE)
        else:
            record.code = 500
            self._log(record, PANIC)

    def _answered(self, record: Record, response: Response) -> Response:
        record.code, record.response = response.status, response
        if is_long_running(record.request.info):
            self._log(record, STARTED)
        if response.stream is not None:
            response.stream = self._streamed(record, response.stream)
        elif response.upgrade is not None:
            response.upgrade = self._tunnelled(record, response.upgrade)
        else:
            self._log(record, COMPLETE)
        return response

    def _streamed(
        self, record: Record, stream: Callable[[StreamWriter], Callable[[], None] | None]
    ) -> Callable[[StreamWriter], Callable[[], None] | None]:
        def run(writer: StreamWriter) -> Callable[[], None] | None:
            watched = _Watched(writer, lambda: self._log(record, COMPLETE))
            gone = stream(watched)

            def ended() -> None:
                watched.end()
                if gone is not None:
                    gone()

            return ended

        return run

    def _tunnelled(
        self, record: Record, upgrade: Callable[[Tunnel], Awaitable[None]]
    ) -> Callable[[Tunnel], Awaitable[None]]:
        async def run(tunnel: Tunnel) -> None:
            try:
                await upgrade(tunnel)
            finally:
                self._log(record, COMPLETE)

        return run


class _Watched:
    """A stream's writer that tells of its end, once."""

    __slots__ = ("_ended", "_on_end", "_writer")

    def __init__(self, writer: StreamWriter, on_end: Callable[[], None]) -> None:
        self._writer = writer
        self._on_end = on_end
        self._ended = False

    def write(self, chunks: Sequence[bytes]) -> None:
        self._writer.write(chunks)

    def on_drain(self, callback: Callable[[], None]) -> None:
        self._writer.on_drain(callback)

    @property
    def buffered(self) -> int:
        return self._writer.buffered

    def finish(self) -> None:
        self._writer.finish()
        self.end()

    def abort(self) -> None:
        self._writer.abort()
        self.end()

    def end(self) -> None:
        if not self._ended:
            self._ended = True
            self._on_end()


def _tried(request: Request) -> str:
    """By what means somebody has tried to say who they are."""
    words: list[str] = []
    scheme, _, rest = request.headers.get("authorization", "").strip().partition(" ")
    if rest and scheme.lower() in ("basic", "bearer"):
        words.append(scheme.lower())
    if "access_token=" in request.raw_query:
        words.append("access_token")
    if request.connection.peer_certificate is not None:
        words.append("x509")
    if not words:
        return "Authentication failed, no credentials provided"
    return f"Authentication failed, attempted: {', '.join(words)}"
