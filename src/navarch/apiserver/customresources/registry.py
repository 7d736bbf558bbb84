"""The registry of one version of a custom resource: the generic one, in that version's form."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from navarch.api.kind import Kind, ValidateUpdate
from navarch.apiserver.customresources.cache import ShowingEncoder, VersionCache
from navarch.apiserver.customresources.conversion import WebhookConversion, converting
from navarch.apiserver.fanout import Change, Encoder, Watcher
from navarch.apiserver.registry.call import Call
from navarch.apiserver.registry.generic import Environment, Registry, Selection
from navarch.apiserver.registry.virtual import Virtual
from navarch.apiserver.watchcache import Entry
from navarch.machinery import errors
from navarch.machinery.errors import StatusError
from navarch.machinery.trees import alike
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
        if not alike({**obj, "metadata": None}, {**old, "metadata": None}):
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

    def unseen(self, selection: Selection) -> Sequence[Entry] | None:
        return self.view.base.range(selection.namespace) if self.converting else None

    def watcher(
        self, selection: Selection, encoder: Encoder, sink: Sink, closed: Callable[[], None], bookmarks: bool
    ) -> Watcher:
        if not self.converting:
            return super().watcher(selection, ShowingEncoder(encoder, self.view), sink, closed, bookmarks)
        pump = _Pump(self.view, selection, encoder, sink, closed)
        watcher = Watcher(self.cache.fanout, pump, pump.take, closed, None, None, bookmarks)
        watcher.whole = True
        return watcher


Make = Callable[[], Any]
"""Makes an event (None: there is nothing to tell). Raises NotConverted."""


class _Pump:
    """Between a fan-out and a watch: changes wait here, in order, while a webhook converts what they show. What a watch
    selects by is known only then."""

    def __init__(
        self, view: VersionCache, selection: Selection, encoder: Encoder, sink: Sink, closed: Callable[[], None]
    ) -> None:
        self._view, self._selection, self._encoder = view, selection, encoder
        self._sink, self._closed = sink, closed
        self._pending: list[Make] = []
        self._task: asyncio.Task[None] | None = None
        self.name = f"{encoder.name};{id(self)}"

    # -- what the fan-out calls

    def event(self, type: str, entry: Entry, revision: int) -> Make:
        """Of what is there when the watch begins."""

        def make() -> Any:
            shown = self._selected(entry)
            return self._encoder.event(type, shown, revision) if shown is not None else None

        return make

    def bookmark(self, revision: int, initial_events_end: bool) -> Make:
        return lambda: self._encoder.bookmark(revision, initial_events_end)

    def take(self, made: Sequence[Make | Change]) -> None:
        self._pending.extend(self._told(one) if isinstance(one, Change) else one for one in made)
        if len(self._pending) > PENDING_LIMIT:
            self._pending.clear()
            self._closed()
        elif self._task is None:
            self._task = asyncio.ensure_future(self._run())

    def _told(self, change: Change) -> Make:
        return lambda: self._event_of(change)

    def _event_of(self, change: Change) -> Any:
        now, before = self._selected(change.entry), self._selected(change.previous)
        if now is not None:
            return self._encoder.event("MODIFIED" if before else "ADDED", now, change.revision)
        return self._encoder.event("DELETED", before, change.revision) if before is not None else None

    def _selected(self, entry: Entry | None) -> Entry | None:
        """What is shown of an entry, where it is of those that the watch asks for."""
        namespace = self._selection.namespace
        if entry is None or (namespace and entry.namespace != namespace):
            return None
        shown, matches = self._view.shown(entry), self._selection.within
        return shown if matches is None or matches(shown) else None

    async def _run(self) -> None:
        try:
            while self._pending:
                make = self._pending[0]

                async def attempt(make: Make = make) -> Any:
                    return make()

                chunk = await converting(attempt)
                if self._pending and self._pending[0] is make:
                    self._pending.pop(0)
                    if chunk is not None:
                        self._sink([chunk])
        except StatusError:
            self._pending.clear()
            self._closed()  # a watch that cannot show what happened must be begun anew
        finally:
            self._task = None
