"""Each resource's objects in memory, as encoded bytes, fed by the store's watch.

One `CacheSet` watches the whole store and hands each event to its resource's `ResourceCache`. With an embedded engine
the events of a commit arrive before the commit returns, so a read of the cache is linearizable; with others, await
`CacheSet.fresh()` first. What is stored is the hub version's JSON, whose text begins
`{"apiVersion":"v1","kind":"Pod","metadata":{"resourceVersion":"`: the revision is spliced in at a known place.
"""

from __future__ import annotations

import asyncio
import gc
from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import orjson

from navarch.api.kind import Kind
from navarch.apiserver.fanout import Change, Fanout
from navarch.machinery import trees
from navarch.machinery.types import GroupResource, Obj
from navarch.store.interface import KV, Event, Page, Store, WatchHandle

if TYPE_CHECKING:
    from navarch.apiserver.customresources.cache import CustomCache

ROOT = "/registry/"
LOAD_PAGE = 2_000
DECODED = 1_024
"""Trees that are kept beside the bytes. A tree takes five times the bytes' room, and hundreds of objects that the
garbage collector visits: with thousands of them a pass stops the loop for a third of a second."""
RING_LIMIT = 8_192
"""Changes of one resource that a watch can resume from; up to twice as many are kept between trims."""


def resource_prefix(resource: GroupResource) -> str:
    return f"{ROOT}{resource.group or 'core'}/{resource.resource}/"


class Entry:
    """One revision of one object. Immutable; `obj` is shared and must not be changed."""

    __slots__ = ("_obj", "cut", "data", "fields", "key", "labels", "name", "namespace", "revision")

    def __init__(
        self, key: str, namespace: str, name: str, data: bytes, cut: int, revision: int, kind: Kind, obj: Obj
    ) -> None:
        self.key = key
        """The store's key; entries are ordered by it."""
        self.namespace = namespace
        self.name = name
        self.data = data
        """JSON of the hub version, with its resourceVersion."""
        self.cut = cut
        """Where the resourceVersion's digits begin in `data`."""
        self.revision = revision
        self.labels: dict[str, str] = obj["metadata"].get("labels") or {}
        self.fields = fields = {"metadata.name": name, "metadata.namespace": namespace}
        if kind.fields is not None:
            fields.update(kind.fields(obj))
        self._obj: Obj | None = None

    @property
    def obj(self) -> Obj:
        obj = self._obj
        if obj is None:
            obj = orjson.loads(self.data)
            self.keep(obj)
        return obj

    def seen(self) -> Obj:
        """The tree for one look: decoded where there is none, and not kept. Not to be changed."""
        return self._obj or orjson.loads(self.data)

    def private(self) -> Obj:
        """The tree once more, for whoever changes it: decoding is five times faster than copying."""
        return orjson.loads(self.data)

    def opened(self) -> Obj:
        """The tree for one whose changes are all in the maps right below its top (trees.opened)."""
        return trees.opened(self._obj) if self._obj is not None else self.private()

    def keep(self, obj: Obj) -> None:
        """Takes `obj` for the entry's tree, for as long as it is among the newest DECODED."""
        self._obj = obj
        _decoded.append(self)
        if len(_decoded) > DECODED:
            _decoded.popleft()._obj = None

    def show(self, obj: Obj | None) -> None:
        """Has `obj` for the entry's tree, until it is told otherwise."""
        self._obj = obj

    def data_at(self, revision: int) -> bytes:
        """The bytes with another resourceVersion: a deleted object carries that of its deletion."""
        if revision == self.revision:
            return self.data
        data, cut = self.data, self.cut
        return b"".join((data[:cut], b"%d" % revision, data[cut + len(str(self.revision)) :]))

    def obj_at(self, revision: int) -> Obj:
        if revision == self.revision:
            return self.obj
        obj = self.obj
        return {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(revision)}}


_decoded: deque[Entry] = deque()
"""Entries that have a tree, oldest first."""
Listener = Callable[["Entry | None", "Entry | None"], None]
"""(entry, previous): None for what is gone, and for what was not there."""


class ResourceCache:
    """The objects of one resource in key order, and the recent changes that watches resume from."""

    def __init__(self, kind: Kind, caches: CacheSet) -> None:
        self.kind = kind
        self.prefix = resource_prefix(kind.group_resource)
        self.fanout = Fanout(caches, RING_LIMIT)
        hub = kind.hub.gv
        head = f'{{"apiVersion":"{hub}","kind":"{kind.kind}","metadata":{{"resourceVersion":"'
        self._cut = len(head)
        self._entries: dict[str, Entry] = {}
        self._keys: list[str] = []
        self._hints: dict[str, tuple[bytes, Obj]] = {}
        self._listeners: list[Listener] = []

    def on_change(self, listener: Listener) -> None:
        """Calls `listener` for every object at load, and for every change, before anybody watches it."""
        self._listeners.append(listener)

    # -- keys and bytes

    def key(self, namespace: str, name: str) -> str:
        return f"{self.prefix}{namespace}/{name}" if self.kind.namespaced else self.prefix + name

    def encode(self, obj: Obj) -> bytes:
        """What is stored of an object of the hub version: its JSON with an empty resourceVersion in its place."""
        metadata = {"resourceVersion": "", **obj["metadata"]}
        metadata["resourceVersion"] = ""
        tree = {"apiVersion": obj["apiVersion"], "kind": obj["kind"], "metadata": metadata}
        for name, value in obj.items():
            if name not in tree:
                tree[name] = value
        return orjson.dumps(tree)

    def hint(self, key: str, value: bytes, obj: Obj) -> None:
        """Saves decoding what was just encoded: `obj` is what `value`, about to be committed at `key`, holds. The cache
        owns `obj` from now on, and sets its resourceVersion."""
        self._hints[key] = (value, obj)

    # -- reading

    def __len__(self) -> int:
        return len(self._keys)

    def size(self, samples: int) -> int:
        """Bytes of an object, about: the mean of the first few."""
        found = [len(self._entries[key].data) for key in self._keys[:samples]]
        return sum(found) // len(found) if found else 0

    def get(self, namespace: str, name: str) -> Entry | None:
        return self._entries.get(self.key(namespace, name))

    def by_key(self, key: str) -> Entry | None:
        return self._entries.get(key)

    def range(self, namespace: str = "", after: str = "") -> list[Entry]:
        """Entries in key order: all or one namespace's, from the first key that sorts after `after` on."""
        entries = self._entries
        if not namespace and not after:
            return [entries[k] for k in self._keys]
        keys = self._keys
        first, last = 0, len(keys)
        if namespace:
            first = bisect_left(keys, f"{self.prefix}{namespace}/")
            last = bisect_left(keys, f"{self.prefix}{namespace}0", first)
        if after:
            first = max(first, bisect_right(keys, after))
        return [entries[k] for k in keys[first:last]]

    def unchanged_since(self, revision: int) -> bool:
        """Whether the cache still is what it was at `revision` (which must have happened)."""
        return self.fanout.newest <= revision

    # -- feeding

    def entry(self, key: str, value: bytes, revision: int, obj: Obj | None = None) -> Entry:
        """Makes an entry from what is stored."""
        if obj is None:
            return self._built(key, value, revision, orjson.loads(value))
        obj["metadata"]["resourceVersion"] = str(revision)
        entry = self._built(key, value, revision, obj)
        entry.keep(obj)
        return entry

    def _built(self, key: str, value: bytes, revision: int, obj: Obj) -> Entry:
        cut = self._cut
        data = b"".join((value[:cut], b"%d" % revision, value[cut:]))
        rest = key[len(self.prefix) :]
        namespace, _, name = rest.partition("/") if self.kind.namespaced else ("", "", rest)
        return Entry(key, namespace, name, data, cut, revision, self.kind, obj)

    def load(self, entries: Iterable[Entry]) -> None:
        """Adds entries in key order, at start."""
        for entry in entries:
            self._entries[entry.key] = entry
            self._keys.append(entry.key)
            for listener in self._listeners:
                listener(entry, None)

    def load_stored(self, kv: KV) -> None:
        """Adds an object in key order, at start. Listeners find its tree, which goes afterwards."""
        obj = orjson.loads(kv.value)
        entry = self._built(kv.key, kv.value, kv.mod_revision, obj)
        self._entries[kv.key] = entry
        self._keys.append(kv.key)
        if self._listeners:
            obj["metadata"]["resourceVersion"] = str(kv.mod_revision)
            entry.show(obj)
            for listener in self._listeners:
                listener(entry, None)
            entry.show(None)

    def apply(self, event: Event) -> None:
        """Takes in one event of the store, and tells the watchers."""
        key = event.key
        previous = self._entries.get(key)
        hint = self._hints.pop(key, None) if self._hints else None
        if event.value is None:
            if previous is None:
                return
            del self._entries[key]
            del self._keys[bisect_left(self._keys, key)]
            for listener in self._listeners:
                listener(None, previous)
            self.fanout.add(Change(event.revision, None, previous))
            return
        obj = hint[1] if hint is not None and hint[0] is event.value else None
        entry = self.entry(key, event.value, event.revision, obj)
        if previous is None:
            insort(self._keys, key)
        self._entries[key] = entry
        for listener in self._listeners:
            listener(entry, previous)
        self.fanout.add(Change(event.revision, entry, previous))


class CacheSet:
    """The caches of every resource, and their one watch of the store."""

    def __init__(self, store: Store, kinds: Iterable[Kind]) -> None:
        self.store = store
        self.revision = 0
        """Every cache shows the store as of this revision, or later."""
        self._caches: dict[GroupResource, ResourceCache] = {}
        self._by_prefix: dict[str, ResourceCache] = {}
        self._handle: WatchHandle | None = None
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        for kind in kinds:
            if not kind.ephemeral:
                self._add(ResourceCache(kind, self))

    async def add(self, cache: CustomCache) -> None:
        """Loads a resource that comes while the server runs, and keeps it up to date."""
        self._add(cache)
        entries: list[Entry] = []
        revision, start = 0, cache.prefix
        while True:
            page = await self.store.range(cache.prefix, start=start, limit=LOAD_PAGE, revision=revision)
            revision = page.revision
            entries += [cache.entry(kv.key, kv.value, kv.mod_revision) for kv in page.kvs]
            if not page.remaining:
                break
            start = page.kvs[-1].key + "\0"
            await asyncio.sleep(0)
        cache.fill(revision, entries)

    def drop(self, cache: ResourceCache) -> None:
        """The resource is served no more."""
        self._caches.pop(cache.kind.group_resource, None)
        self._by_prefix.pop(cache.prefix, None)

    def _add(self, cache: ResourceCache) -> None:
        self._caches[cache.kind.group_resource] = cache
        self._by_prefix[cache.prefix] = cache

    def __getitem__(self, resource: GroupResource) -> ResourceCache:
        return self._caches[resource]

    def __iter__(self) -> Iterator[ResourceCache]:
        return iter(self._caches.values())

    def get(self, resource: GroupResource) -> ResourceCache | None:
        return self._caches.get(resource)

    async def start(self) -> None:
        """Loads everything, then follows the store. The garbage collector would look at all that is there again and
        again, and find nothing."""
        collects = gc.isenabled()
        gc.disable()
        try:
            self.revision = await self._load()
        finally:
            if collects:
                gc.enable()
        revision = self.revision
        for cache in self._caches.values():
            cache.fanout.start(revision)
        self._handle = self.store.watch(ROOT, revision + 1, self._sink)

    async def _load(self) -> int:
        """Everything, at the revision that it returns. One page is read while the one before it is decoded."""

        async def page(start: str, revision: int) -> Page:
            return await self.store.range(ROOT, start=start, limit=LOAD_PAGE, revision=revision, counted=False)

        following = asyncio.ensure_future(page("", 0))
        while True:
            found = await following
            if found.remaining:
                following = asyncio.ensure_future(page(found.kvs[-1].key + "\0", found.revision))
                await asyncio.sleep(0)  # lets it begin
            for kv in found.kvs:
                if (cache := self._cache_of(kv.key)) is not None:
                    cache.load_stored(kv)
            if not found.remaining:
                return found.revision

    async def fresh(self) -> int:
        """Waits until the caches show everything acknowledged before the call; returns the revision they show."""
        revision = await self.store.fresh()
        if self.revision < revision:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append((revision, waiter))
            await waiter
        return self.revision

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        for cache in self._caches.values():
            cache.fanout.stop()

    def _cache_of(self, key: str) -> ResourceCache | None:
        second = key.find("/", len(ROOT))
        third = key.find("/", second + 1)
        return self._by_prefix.get(key[: third + 1])

    def _sink(self, events: Sequence[Event]) -> None:
        for event in events:
            if (cache := self._cache_of(event.key)) is not None:
                cache.apply(event)
        self.revision = events[-1].revision
        if self._waiters:
            due = [w for w in self._waiters if w[0] <= self.revision]
            self._waiters = [w for w in self._waiters if w[0] > self.revision]
            for _, waiter in due:
                if not waiter.done():
                    waiter.set_result(None)
