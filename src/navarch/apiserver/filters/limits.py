"""Bounds on time and on how much runs at once."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable
from time import monotonic

from navarch.apiserver.filters.request_info import is_long_running
from navarch.apiserver.request import Handler, Request, Response
from navarch.machinery import errors
from navarch.machinery.clock import World
from navarch.machinery.metrics import Gauge

REQUEST_SECONDS = 60.0
MAX_READS = 400
MAX_WRITES = 200
MOST_RETRY_SECONDS = 32
READ_VERBS = frozenset(("get", "list", "watch"))
MASTERS = "system:masters"
_TERM = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h)", re.ASCII)
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def with_deadline(handler: Handler, world: World) -> Handler:
    """Ends what takes longer than the client's `timeout`, at most a minute. What is answered at once needs no timer."""

    def run(request: Request) -> Response | Awaitable[Response]:
        if is_long_running(request.info):
            return handler(request)
        seconds = wanted_seconds(request)
        answer = handler(request)
        return answer if isinstance(answer, Response) else bounded(answer, seconds)

    async def bounded(answer: Awaitable[Response], seconds: float) -> Response:
        task = asyncio.current_task()
        assert task is not None
        expired = False

        def expire() -> None:
            nonlocal expired
            expired = True
            task.cancel()

        timer = world.call_later(seconds, expire)
        try:
            return await answer
        except asyncio.CancelledError:
            if not expired or task.uncancel():
                raise
            raise errors.timeout("request did not complete within the allotted timeout") from None
        finally:
            timer.cancel()

    return run


def go_duration(text: str) -> float:
    """Seconds of a Go duration (`1m30s`, `500ms`). Raises ValueError."""
    sign, rest = (text[0], text[1:]) if text[:1] in ("+", "-") else ("", text)
    terms = _TERM.findall(rest)
    if rest == "0":
        return 0.0
    if not terms or "".join(number + unit for number, unit in terms) != rest or len(rest) > 64:
        raise ValueError(f'time: invalid duration "{text}"')
    seconds = sum(float(number) * _UNITS[unit] for number, unit in terms)
    return -seconds if sign == "-" else seconds


def wanted_seconds(request: Request) -> float:
    """How long the request may take. Raises 400."""
    text = request.param("timeout") if "timeout=" in request.raw_query else ""
    if not text:
        return REQUEST_SECONDS
    try:
        seconds = go_duration(text)
    except ValueError as err:
        raise errors.bad_request(f"invalid timeout specified in the request URL - {err}") from None
    return min(seconds, REQUEST_SECONDS) if seconds > 0 else REQUEST_SECONDS


class InFlight:
    """Counts what is under way: reads and writes apart. What is answered at once is never under way."""

    def __init__(self, max_reads: int = MAX_READS, max_writes: int = MAX_WRITES) -> None:
        self.reads = 0
        self.writes = 0
        self._max_reads = max_reads
        self._max_writes = max_writes
        self._retry = RetryAfter()

    def measure(self, gauge: Gauge) -> None:
        gauge.function(("readOnly",), lambda: self.reads)
        gauge.function(("mutating",), lambda: self.writes)

    def with_limit(self, handler: Handler) -> Handler:
        """Refuses with 429 what exceeds the bounds; administrators and long-running requests never."""

        def run(request: Request) -> Response | Awaitable[Response]:
            info = request.info
            reading = info.verb in READ_VERBS
            full = self.reads >= self._max_reads if reading else self.writes >= self._max_writes
            if full and not is_long_running(info) and MASTERS not in request.user.groups:
                return rejected(self._retry.after("", monotonic()))
            answer = handler(request)
            if isinstance(answer, Response) or is_long_running(info):
                return answer
            return self._counted(answer, reading)

        return run

    async def _counted(self, answer: Awaitable[Response], reading: bool) -> Response:
        if reading:
            self.reads += 1
        else:
            self.writes += 1
        try:
            return await answer
        finally:
            if reading:
                self.reads -= 1
            else:
                self.writes -= 1


def rejected(seconds: int) -> Response:
    """The 429 of a server that has too much to do, in upstream's plain text."""
    headers = [("Retry-After", str(seconds)), ("X-Content-Type-Options", "nosniff")]
    return Response(429, b"Too many requests, please try again later.\n", "text/plain; charset=utf-8", headers)


class RetryAfter:
    """When refused clients should come back: the later, the more have been refused of late. Source: filters'
    dropped-requests tracker of upstream's util/flowcontrol."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[float, int, int]] = {}
        """What was refused (a priority level) -> since when, how many, seconds."""

    def after(self, what: str, now: float) -> int:
        """Counts a refusal; returns seconds."""
        since, count, seconds = self._seen.get(what, (now, 0, 1))
        if now - since >= seconds:
            if count >= 3 * seconds:
                seconds = min(seconds * 2, MOST_RETRY_SECONDS)
            elif count < seconds:
                seconds = max(seconds // 2, 1)
            since, count = now, 0
        self._seen[what] = (since, count + 1, seconds)
        return seconds
