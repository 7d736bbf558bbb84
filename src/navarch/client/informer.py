"""Caches of resources, kept current by list and watch, and shared by everything in a process that reads them.

Objects are shared with the transport that delivered them: immutable. Handlers run on the event loop, after the cache
has changed. Source of the behaviour: client-go's reflector and shared informer.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, TypeAlias

from navarch.client.interface import Client, Resource, WatchEvent
from navarch.machinery.clock import World
from navarch.machinery.errors import StatusError
from navarch.machinery.types import Key, Obj, key_of

Handler: TypeAlias = "Callable[[Obj | None, Obj | None], None]"
"""(old, new): old is None for an addition, new for a removal."""
IndexFunction: TypeAlias = "Callable[[Obj], Iterable[str]]"

BACKOFF_FIRST = 0.2
BACKOFF_LAST = 30.0
LIST_SECONDS = 30.0
"""A list that takes longer than this may be given up."""
log = logging.getLogger(__name__)


def revision_of(obj: Obj) -> int:
    """metadata.resourceVersion as a number (revisions are comparable integers since 1.35); 0 where there is none."""
    text = obj.get("metadata", {}).get("resourceVersion", "")
    return int(text) if text.isdecimal() else 0


class Informer:
    """One resource's cache. `synced` is done once the first list is in; indexes may be added at any time."""

    def __init__(
        self,
        client: Client,
        resource: Resource,
        world: World,
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
    ) -> None:
        self.resource = resource
        self.observed_revision = 0
        """The newest revision seen through a list, an event or a bookmark."""
        self.relists = 0
        self._client = client
        self._world = world
        self._scope = namespace
        self._labels = label_selector
        self._fields = field_selector
        self._synced: asyncio.Future[None] | None = None
        self._spaces: dict[str, dict[str, Obj]] = {}
        self._indexers: dict[str, IndexFunction] = {}
        self._indexes: dict[str, dict[str, dict[Key, Obj]]] = {}
        self._handlers: list[Handler] = []
        self._version = ""
        self._tried_at = 0.0
        self._task: asyncio.Task[None] | None = None
        self._attempt: asyncio.Task[None] | None = None
        self._seen_waiters: list[tuple[int, int, Callable[[], None]]] = []
        self._gone_waiters: dict[Key, list[tuple[str, Callable[[], None]]]] = {}
        self._sequence = itertools.count()

    # -- reading

    @property
    def synced(self) -> asyncio.Future[None]:
        if self._synced is None:
            self._synced = asyncio.get_running_loop().create_future()
        return self._synced

    def get(self, namespace: str, name: str) -> Obj | None:
        space = self._spaces.get(namespace)
        return space.get(name) if space else None

    def list(self, namespace: str = "") -> Iterable[Obj]:
        """All, or those of a namespace (a snapshot)."""
        if namespace:
            return list(self._spaces.get(namespace, {}).values())
        return [obj for space in self._spaces.values() for obj in space.values()]

    def by_index(self, index: str, value: str) -> Sequence[Obj]:
        found = self._indexes[index].get(value)
        return list(found.values()) if found else []

    def __len__(self) -> int:
        return sum(map(len, self._spaces.values()))

    # -- wiring

    def add_index(self, name: str, function: IndexFunction) -> None:
        """Names a look-up. The same name must always come with the same meaning: the first function is kept."""
        if name in self._indexers:
            return
        self._indexers[name] = function
        self._indexes[name] = {}
        for obj in self.list():
            self._index_one(self._indexes[name], function, key_of(obj), None, obj)

    def add_handler(self, handler: Handler) -> Callable[[], None]:
        """Calls `handler` for everything cached now, then for each change. Returns how to unsubscribe."""
        self._handlers.append(handler)
        for obj in self.list():
            handler(None, obj)

        def remove() -> None:
            with suppress(ValueError):
                self._handlers.remove(handler)

        return remove

    def when_seen(self, revision: int, callback: Callable[[], None]) -> bool:
        """True where the cache has seen `revision`; else False, and calls back once when it has."""
        if self.observed_revision >= revision:
            return True
        heapq.heappush(self._seen_waiters, (revision, next(self._sequence), callback))
        return False

    def when_gone(self, key: Key, uid: str, callback: Callable[[], None]) -> bool:
        """True where the object with that uid is gone from the cache or marked as being deleted; else False, and
        calls back once when it is."""
        if self._is_gone(key, uid):
            return True
        self._gone_waiters.setdefault(key, []).append((uid, callback))
        return False

    def _is_gone(self, key: Key, uid: str) -> bool:
        obj = self.get(key.namespace, key.name)
        if obj is None:
            return True
        meta = obj["metadata"]
        return "deletionTimestamp" in meta or bool(uid and meta.get("uid") != uid)

    # -- living

    def start(self) -> None:
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), name=f"informer {self.resource.plural}")

    async def stop(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        if self._synced is not None and not self._synced.done():
            self._synced.cancel()

    def relist(self) -> None:
        """Distrusts the cache: ends the watch and lists anew. A list that is under way is not begun again: a long one would
        never end."""
        if not self._version and self._world.now() - self._tried_at < LIST_SECONDS:
            return
        self._version = ""
        if self._attempt is not None:
            self._attempt.cancel()

    async def _run(self) -> None:
        backoff = BACKOFF_FIRST
        try:
            while True:
                started = self._tried_at = self._world.now()
                self._attempt = asyncio.get_running_loop().create_task(self._list_and_watch())
                await asyncio.wait([self._attempt])
                if self._attempt.cancelled():
                    continue
                failure = self._attempt.exception()
                if failure is None or self._forgive(failure):
                    if self._world.now() - started >= 1.0:
                        backoff = BACKOFF_FIRST
                        continue
                else:
                    log.warning("watching %s: %s", self.resource.plural, failure)
                if self._world.now() - started > BACKOFF_LAST:
                    backoff = BACKOFF_FIRST
                await self._world.sleep(backoff * (1 + self._world.random().random() * 0.5))
                backoff = min(backoff * 2, BACKOFF_LAST)
        finally:
            if self._attempt is not None:
                self._attempt.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await self._attempt

    def _forgive(self, failure: BaseException) -> bool:
        """Whether a watch's end is in the ordinary run of things; an expired version makes the next attempt list."""
        if isinstance(failure, StatusError) and failure.code == 410:
            self._version = ""
            return True
        return False

    async def _list_and_watch(self) -> None:
        if not self._version:
            await self._list()
        watch = self._client.watch(
            self.resource,
            self._scope,
            resource_version=self._version,
            label_selector=self._labels,
            field_selector=self._fields,
        )
        try:
            async for batch in watch:
                self._apply(batch)
        finally:
            close = getattr(watch, "aclose", None)
            if close is not None:
                await close()

    async def _list(self) -> None:
        result = await self._client.list(
            self.resource, self._scope, label_selector=self._labels, field_selector=self._fields
        )
        items = list(result.items)
        while result.continue_token:
            result = await self._client.list(
                self.resource,
                self._scope,
                continue_token=result.continue_token,
                label_selector=self._labels,
                field_selector=self._fields,
            )
            items.extend(result.items)
        self.relists += 1
        listed = {key_of(item) for item in items}
        for old in self.list():
            if (key := key_of(old)) not in listed:
                self._change(key, old, None)
        for item in items:
            key = key_of(item)
            old = self.get(*key)
            if old is None or revision_of(old) != revision_of(item):
                self._change(key, old, item)
        self._version = result.resource_version
        self._saw(int(result.resource_version or 0))
        if not self.synced.done():
            self.synced.set_result(None)

    def _apply(self, batch: Sequence[WatchEvent]) -> None:
        newest = self.observed_revision
        for event in batch:
            obj = event.object
            newest = max(newest, revision_of(obj))
            if event.type == "BOOKMARK":
                continue
            key = key_of(obj)
            old = self.get(*key)
            if event.type == "DELETED":
                if old is not None:
                    self._change(key, old, None)
            else:
                self._change(key, old, obj)
        self._version = str(newest)
        self._saw(newest)

    def _change(self, key: Key, old: Obj | None, new: Obj | None) -> None:
        space = self._spaces.setdefault(key.namespace, {})
        if new is None:
            space.pop(key.name, None)
            if not space:
                del self._spaces[key.namespace]
        else:
            space[key.name] = new
        for name, function in self._indexers.items():
            self._index_one(self._indexes[name], function, key, old, new)
        for handler in self._handlers:
            try:
                handler(old, new)
            except Exception:
                log.exception("a handler of %s failed on %s", self.resource.plural, key)
        if key in self._gone_waiters:
            self._tell_gone(key)

    @staticmethod
    def _index_one(
        index: dict[str, dict[Key, Obj]], function: IndexFunction, key: Key, old: Obj | None, new: Obj | None
    ) -> None:
        after = tuple(function(new)) if new is not None else ()
        if old is not None:
            for value in function(old):
                bucket = None if value in after else index.get(value)
                if bucket is not None:
                    bucket.pop(key, None)
                    if not bucket:
                        del index[value]
        if new is not None:
            for value in after:
                index.setdefault(value, {})[key] = new

    def _tell_gone(self, key: Key) -> None:
        waiting = self._gone_waiters.pop(key)
        left = [(uid, callback) for uid, callback in waiting if not self._is_gone(key, uid)]
        if left:
            self._gone_waiters[key] = left
        for uid, callback in waiting:
            if (uid, callback) not in left:
                callback()

    def _saw(self, revision: int) -> None:
        self.observed_revision = max(self.observed_revision, revision)
        while self._seen_waiters and self._seen_waiters[0][0] <= self.observed_revision:
            heapq.heappop(self._seen_waiters)[2]()


class InformerFactory:
    """One informer per resource and selector; `factory[resource]` is the Caches that observations read."""

    def __init__(self, client: Client, world: World) -> None:
        self._client = client
        self._world = world
        self._informers: dict[tuple[Resource, str, str], Informer] = {}
        self._started = False

    def __getitem__(self, resource: Resource) -> Informer:
        return self.informer(resource)

    def informer(self, resource: Resource, label_selector: str = "", field_selector: str = "") -> Informer:
        key = (resource, label_selector, field_selector)
        informer = self._informers.get(key)
        if informer is None:
            informer = Informer(
                self._client,
                resource,
                self._world,
                label_selector=label_selector,
                field_selector=field_selector,
            )
            self._informers[key] = informer
            if self._started:
                informer.start()
        return informer

    def find(self, resource: Resource) -> Informer | None:
        """The unfiltered informer of a resource, where one exists already."""
        return self._informers.get((resource, "", ""))

    def forget(self, resource: Resource) -> Informer | None:
        """Takes an informer out (its resource is no longer served); the caller stops it."""
        return self._informers.pop((resource, "", ""), None)

    def start(self) -> None:
        self._started = True
        for informer in self._informers.values():
            informer.start()

    async def wait_synced(self) -> None:
        await asyncio.gather(*(asyncio.shield(i.synced) for i in self._informers.values()))

    async def stop(self) -> None:
        self._started = False
        await asyncio.gather(*(informer.stop() for informer in self._informers.values()))

    def metrics(self) -> dict[str, Any]:
        """Objects cached and lists made, by resource."""
        return {
            key[0].plural: {"objects": len(informer), "relists": informer.relists}
            for key, informer in self._informers.items()
        }
