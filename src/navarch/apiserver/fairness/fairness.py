"""The filter: classifies requests, lets them in, makes them wait, or refuses them.

What can be answered at once takes no seat: nothing else happens meanwhile. Only what must wait for something (writes for
the disk, webhooks, extension servers) holds seats, and only behind such does anything ever queue.
Source: apiserver's server/filters/priority-and-fairness.go, util/flowcontrol.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from time import monotonic
from typing import NamedTuple

from navarch.api.flowcontrol import bootstrap
from navarch.apiserver.fairness import allocation, matching, work
from navarch.apiserver.fairness.levels import Counts, Level
from navarch.apiserver.fairness.metrics import FairnessMetrics
from navarch.apiserver.fairness.work import Work
from navarch.apiserver.filters.limits import READ_VERBS, RetryAfter, rejected, wanted_seconds
from navarch.apiserver.filters.request_info import is_long_running
from navarch.apiserver.request import Handler, Request, RequestInfo, Response
from navarch.apiserver.watchcache import ResourceCache
from navarch.machinery.clock import Timer, World
from navarch.machinery.metrics import Gauge, Metrics
from navarch.machinery.types import GroupResource, Obj

ADJUST_SECONDS = 10.0
FLOWS = 20_000
"""Classifications that are remembered; then all are forgotten."""
SAMPLES = 8
"""Objects by whose size that of all is guessed."""
WRITES = frozenset(("create", "update", "patch", "delete"))


class Schema:
    """A flow schema, and what its requests do."""

    def __init__(self, obj: Obj, level: Level) -> None:
        self.obj = obj
        self.name: str = obj["metadata"]["name"]
        self.level = level
        self.headers = (
            ("X-Kubernetes-Pf-Flowschema-Uid", obj["metadata"].get("uid", "")),
            ("X-Kubernetes-Pf-Prioritylevel-Uid", level.uid),
        )


class Flow(NamedTuple):
    schema: Schema
    level: Level
    counts: Counts
    entropy: int


class Fairness:
    def __init__(
        self,
        world: World,
        schemas: ResourceCache,
        levels: ResourceCache,
        cache_of: Callable[[GroupResource], ResourceCache | None],
        total: int,
    ) -> None:
        """`cache_of` tells of a resource's objects and watchers; `total` is the server's number of seats."""
        self._world = world
        self._objects = schemas, levels
        self._cache_of = cache_of
        self._total = total
        self._flows: dict[tuple[object, ...], Flow] = {}
        self._schemas: list[Schema] = []
        self.levels: dict[str, Level] = {}
        self.counts: dict[tuple[str, str], Counts] = {}
        """By priority level and flow schema."""
        self._metrics: FairnessMetrics | None = None
        self._retry = RetryAfter()
        self._due: asyncio.Handle | None = None
        self._timer: Timer | None = None
        self.reads = self.writes = 0
        """Under way."""
        self._configure()
        for cache in self._objects:
            cache.on_change(lambda entry, previous: self._changed())

    def measure(self, metrics: Metrics, gauge: Gauge) -> None:
        gauge.function(("readOnly",), lambda: self.reads)
        gauge.function(("mutating",), lambda: self.writes)
        self._metrics = FairnessMetrics(metrics, self)

    def start(self) -> None:
        self._timer = self._world.call_later(ADJUST_SECONDS, self._adjust)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    # -- configuration

    def _changed(self) -> None:
        if self._due is None:
            self._due = asyncio.get_running_loop().call_soon(self._configure)

    def _configure(self) -> None:
        """Reads all schemas and levels again; what is mandatory is there even where its object is not yet."""
        self._due = None
        schemas, levels = (_with(cache, known) for cache, known in zip(self._objects, MANDATORY, strict=True))
        bounds = allocation.bounds({name: obj["spec"] for name, obj in levels.items()}, self._total)
        self.levels = {name: self.levels.get(name) or Level(name) for name in levels}
        for name, level in self.levels.items():
            level.configure(levels[name], bounds[name])
        found = [(obj, self.levels.get(_level_of(obj))) for obj in matching.ordered(schemas.values())]
        self._schemas = [Schema(obj, level) for obj, level in found if level is not None]
        self._flows.clear()
        now = monotonic()
        for level in self.levels.values():
            level.let_in(now)

    def _adjust(self) -> None:
        """Levels lend to each other what they do not need."""
        now = monotonic()
        found = allocation.limits({name: level.asking(now) for name, level in self.levels.items()})
        for name, limit in found.items():
            level = self.levels[name]
            level.limit = limit
            level.let_in(now)
        self._timer = self._world.call_later(ADJUST_SECONDS, self._adjust)

    # -- requests

    def _flow(self, request: Request, info: RequestInfo, key: tuple[object, ...]) -> Flow:
        for schema in self._schemas:
            if matching.matches(schema.obj, request.user, info):
                break
        else:  # a user in no group at all
            schema = next(s for s in self._schemas if s.name == bootstrap.CATCH_ALL)
        flow = matching.distinguisher(schema.obj, request.user, info)
        entropy = int.from_bytes(hashlib.sha256(f"{schema.name},{flow}".encode()).digest()[:8], "little")
        counts = self.counts.setdefault((schema.level.name, schema.name), Counts())
        if len(self._flows) >= FLOWS:
            self._flows.clear()
        found = self._flows[key] = Flow(schema, schema.level, counts, entropy)
        return found

    def with_fairness(self, handler: Handler) -> Handler:
        """Refuses with 429 what finds no room. Tunnels and logs are exempt; watches only begin here."""
        flows = self._flows

        def run(request: Request) -> Response | Awaitable[Response]:
            info, user = request.info, request.user
            if info.is_resource:
                what = (info.verb, info.resource, info.namespace, info.group, info.subresource)
            else:
                what = (info.verb, info.path)
            key = (user.name, user.groups, what)
            flow = flows.get(key) or self._flow(request, info, key)
            level = flow.level
            if info.verb != "watch" and is_long_running(info):
                return handler(request)
            request.priority = flow.schema.headers
            if level.exempt or (level.seats < level.limit and not level.queues.waiting):
                flow.counts.dispatched += 1
                answer = handler(request)
                if isinstance(answer, Response):
                    return answer
                return self._executed(request, flow, answer, self._work(request, level), None)
            return self._waited(request, flow, handler)

        return run

    async def _executed(
        self,
        request: Request,
        flow: Flow,
        answer: Awaitable[Response],
        taken: Work,
        leave: Callable[[float], None] | None,
    ) -> Response:
        """Awaits an answer on seats; `leave` frees them where they were taken already."""
        _, level, counts, _ = flow
        width, after = taken
        started = monotonic()
        if leave is None:
            level.take(width, started)
        counts.executing += 1
        counts.seats += width
        reading = request.info.verb in READ_VERBS
        if reading:
            self.reads += 1
        else:
            self.writes += 1
        try:
            return await answer
        finally:
            now = monotonic()
            counts.executing -= 1
            counts.seats -= width
            if reading:
                self.reads -= 1
            else:
                self.writes -= 1
            done = leave or (lambda then: level.leave(width, then))
            if after:
                self._world.call_later(after, lambda: done(monotonic()))
            else:
                done(now)
            counts.took(now - started)

    async def _waited(self, request: Request, flow: Flow, handler: Handler) -> Response:
        level, counts = flow.level, flow.counts
        taken = self._work(request, level)
        width = taken.seats
        now = monotonic()
        if not level.queuing:
            if not level.free(width):
                return self._reject(flow, "concurrency-limit")
            return await self._run(request, flow, handler, taken, None)
        turn = asyncio.Event()
        ticket = level.wait(flow.entropy, width, now, turn.set)
        if ticket is None:
            return self._reject(flow, "queue-full")
        counts.waiting += 1
        try:
            if not ticket.dispatched:
                async with asyncio.timeout(wanted_seconds(request) / 4):
                    await turn.wait()
        except TimeoutError:
            pass
        finally:
            counts.waiting -= 1
            if not ticket.dispatched:
                level.note(monotonic())
                level.queues.give_up(ticket, monotonic(), level.limit)
                level.let_in(monotonic())
        if self._metrics:
            self._metrics.waited(flow, monotonic() - now, ticket.dispatched)
        if not ticket.dispatched:
            return self._reject(flow, "time-out")

        def leave(then: float) -> None:
            level.queues.finish(ticket, then, level.limit)
            level.leave(width, then)

        return await self._run(request, flow, handler, taken, leave)

    async def _run(
        self, request: Request, flow: Flow, handler: Handler, taken: Work, leave: Callable[[float], None] | None
    ) -> Response:
        """Runs the handler of a request whose seats are taken."""
        flow.counts.dispatched += 1

        async def answered() -> Response:
            answer = handler(request)
            return answer if isinstance(answer, Response) else await answer

        return await self._executed(request, flow, answered(), taken, leave)

    def _work(self, request: Request, level: Level) -> Work:
        """By who watches what is written, and by how much is read."""
        info = request.info
        if info.verb in WRITES:
            cache = self._cache_of(GroupResource(info.group, info.resource))
            if cache is None or cache.fanout.watchers < work.WATCHERS_A_SEAT or info.subresource == "token":
                return work.ONE
            return work.of_write(cache.fanout.interested(info.namespace, info.name), level.most)
        if info.verb not in ("list", "watch") or info.name or not _reads_all(request):
            return work.ONE
        cache = self._cache_of(GroupResource(info.group, info.resource))
        if cache is None:
            return work.ONE
        limit = request.param("limit")
        asked = int(limit) if limit.isdecimal() else 0
        return work.of_list(len(cache), cache.size(SAMPLES), asked, level.most)

    def _reject(self, flow: Flow, reason: str) -> Response:
        flow.counts.rejected[reason] = flow.counts.rejected.get(reason, 0) + 1
        return rejected(self._retry.after(flow.level.name, monotonic()))


def _reads_all(request: Request) -> bool:
    """Whether a list or watch begins with what there is."""
    if request.info.verb == "list":
        return True
    return request.param("resourceVersion") in ("", "0") or request.param("sendInitialEvents") in ("true", "1")


MANDATORY = (bootstrap.MANDATORY_SCHEMAS, bootstrap.MANDATORY_LEVELS)


def _with(cache: ResourceCache, mandatory: Mapping[str, Obj]) -> dict[str, Obj]:
    found = {entry.obj["metadata"]["name"]: entry.obj for entry in cache.range()}
    for name, spec in mandatory.items():
        found.setdefault(name, {"metadata": {"name": name}, "spec": spec})
    return found


def _level_of(schema: Obj) -> str:
    return schema["spec"]["priorityLevelConfiguration"]["name"]
