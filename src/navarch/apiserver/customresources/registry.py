"""The registry of one version of a custom resource: the generic one, in that version's form."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from navarch.api.kind import Kind, ValidateUpdate
from navarch.apiserver.customresources.cache import ShowingEncoder, VersionCache
from navarch.apiserver.customresources.conversion import WebhookConversion, converting
from navarch.apiserver.fanout import Encoder
from navarch.apiserver.registry.call import Call
from navarch.apiserver.registry.generic import Environment, Registry
from navarch.apiserver.registry.virtual import Virtual
from navarch.apiserver.watchcache import Entry
from navarch.machinery import errors
from navarch.machinery.errors import StatusError
from navarch.machinery.types import Obj
from navarch.store.interface import Write

Sink = Callable[[Sequence[Any]], None]
PENDING_LIMIT = 20_000
"""Events that may wait for a webhook before their watch is ended."""
PATCHES = ("application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml")


class CustomRegistry(Registry):
    """Reads and writes objects as of its version; what is stored may be of another."""

    patch_types = PATCHES

    def __init__(self, kind: Kind, cache: VersionCache, env: Environment) -> None:
        super().__init__(kind, cache, env)
        self.view = cache
        self.terminating = False
        """The definition is being deleted: nothing new is made."""
        self.scale: Virtual | None = None
        self.converting = isinstance(cache.conversion, WebhookConversion)

    def virtual(self, subresource: str) -> Virtual | None:
        return self.scale if subresource == "scale" else None

    async def _create(self, call: Call, obj: Obj) -> Entry:
        if self.terminating:
            why = "create not allowed while custom resource definition is terminating"
            raise errors.forbidden(self.resource, obj["metadata"].get("name", ""), why)
        return await super()._create(call, obj)

    def _count_generation(self, obj: Obj, old: Obj) -> None:
        """Everything counts but metadata: a status, too, that has no subresource of its own."""
        if any(obj.get(name) != old.get(name) for name in (obj.keys() | old.keys()) - {"metadata"}):
            obj["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1

    def rules(self, subresource: str) -> tuple[Any, ValidateUpdate]:
        raise errors.path_not_found()

    async def _commit(self, key: str, obj: Obj, expect: int) -> Entry:
        view = self.view
        stored = await view.stored(obj)
        value = view.encode(stored)
        view.written(key, value, stored)
        committed = await self.env.store.commit((Write(key, value, expect),))
        entry = view.base.by_key(key)
        if entry is None or entry.revision != committed.revision:
            entry = view.base.entry(key, value, committed.revision)

        async def attempt() -> Entry:
            return view.shown(entry)

        return await converting(attempt)

    def through(self, encoder: Encoder, sink: Sink, closed: Callable[[], None]) -> tuple[Encoder, Sink]:
        if not self.converting:
            return ShowingEncoder(encoder, self.view), sink
        pump = _Pump(ShowingEncoder(encoder, self.view), sink, closed)
        return pump, pump.take


class _Pump:
    """Between a fan-out and a watch: events wait here, in order, while a webhook converts what they show."""

    def __init__(self, encoder: Encoder, sink: Sink, closed: Callable[[], None]) -> None:
        self._encoder, self._sink, self._closed = encoder, sink, closed
        self._pending: list[Callable[[], Any]] = []
        self._task: asyncio.Task[None] | None = None
        self.name = f"{encoder.name};{id(self)}"

    def event(self, type: str, entry: Entry, revision: int) -> Callable[[], Any]:
        return lambda: self._encoder.event(type, entry, revision)

    def bookmark(self, revision: int, initial_events_end: bool) -> Callable[[], Any]:
        return lambda: self._encoder.bookmark(revision, initial_events_end)

    def take(self, made: Sequence[Callable[[], Any]]) -> None:
        self._pending.extend(made)
        if len(self._pending) > PENDING_LIMIT:
            self._pending.clear()
            self._closed()
        elif self._task is None:
            self._task = asyncio.ensure_future(self._run())

    async def _run(self) -> None:
        try:
            while self._pending:
                make = self._pending[0]

                async def attempt(make: Callable[[], Any] = make) -> Any:
                    return make()

                chunk = await converting(attempt)
                if self._pending and self._pending[0] is make:
                    self._pending.pop(0)
                    self._sink([chunk])
        except StatusError:
            self._pending.clear()
            self._closed()  # a watch that cannot show what happened must be begun anew
        finally:
            self._task = None
