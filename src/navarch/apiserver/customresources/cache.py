"""A custom resource's objects in memory, as they are stored, and as each version shows them.

What was stored under an older schema, or in another version, is shown as the current schema of the version asked for has
it: pruned, defaulted, converted. That is made once for each revision of an object and kept with it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import count
from typing import Any

import orjson

from navarch.api.apiextensions.custom import CustomVersion
from navarch.api.kind import Kind
from navarch.apiserver.customresources.conversion import Conversion
from navarch.apiserver.fanout import Encoder
from navarch.apiserver.watchcache import CacheSet, Entry, Listener, ResourceCache
from navarch.machinery import trees
from navarch.machinery.structural.walks import settle_numbers
from navarch.machinery.types import Obj
from navarch.store.interface import Event

_tokens = count()
MARK = b'"metadata":{"resourceVersion":"'


class CustomEntry(Entry):
    """`clean` is the version that shows the object just as it is stored; `shown` holds how others do."""

    __slots__ = ("clean", "shown")

    clean: VersionCache | None
    shown: dict[VersionCache, CustomEntry] | None


class CustomCache(ResourceCache):
    """All objects of one custom resource, whatever version they were stored in."""

    def __init__(self, kind: Kind, caches: CacheSet) -> None:
        super().__init__(kind, caches)
        self._waiting: list[Event] | None = []
        """Events that come while the cache is filled."""
        self._clean: dict[str, tuple[bytes, VersionCache]] = {}

    def entry(self, key: str, value: bytes, revision: int, obj: Obj | None = None) -> CustomEntry:
        cut = value.index(MARK) + len(MARK)
        data = b"".join((value[:cut], b"%d" % revision, value[cut:]))
        rest = key[len(self.prefix) :]
        namespace, _, name = rest.partition("/") if self.kind.namespaced else ("", "", rest)
        tree = orjson.loads(value) if obj is None else obj
        entry = CustomEntry(key, namespace, name, data, cut, revision, self.kind, tree)
        entry.clean = entry.shown = None
        if obj is not None:
            obj["metadata"]["resourceVersion"] = str(revision)
            entry.keep(obj)
            written = self._clean.pop(key, None)
            if written is not None and written[0] is value:
                entry.clean = written[1]
        return entry

    def written(self, key: str, value: bytes, obj: Obj, by: VersionCache) -> None:
        """As `hint`: `value` is about to be committed, and `by` shows it as it is."""
        self._clean[key] = (value, by)
        self.hint(key, value, obj)

    # -- filling while the store goes on

    def fill(self, revision: int, entries: Sequence[Entry]) -> None:
        """Takes what the store held at a revision, and what has happened since."""
        waiting, self._waiting = self._waiting or [], None
        self.fanout.start(revision)
        self.load(entries)
        for event in waiting:
            if event.revision > revision:
                self.apply(event)

    def apply(self, event: Event) -> None:
        if self._waiting is not None:
            self._waiting.append(event)
        else:
            super().apply(event)

    def refresh(self, entries: Sequence[Entry]) -> None:
        """Other fields may be selected by than when the entries were made."""
        select = self.kind.fields
        for entry in entries:
            names = {"metadata.name": entry.name, "metadata.namespace": entry.namespace}
            entry.fields = {**names, **(select(entry.obj) if select is not None else {})}

    def keep(self, views: Collection[VersionCache]) -> None:
        """Forgets how objects looked to other views than these."""
        for entry in self.range():
            if isinstance(entry, CustomEntry) and entry.shown is not None:
                entry.shown = {view: made for view, made in entry.shown.items() if view in views} or None


class VersionCache(ResourceCache):
    """The view of one version on a CustomCache."""

    def __init__(
        self, kind: Kind, base: CustomCache, compiled: CustomVersion, conversion: Conversion, storage: str
    ) -> None:
        self.kind = kind
        self.base = base
        self.prefix = base.prefix
        self.fanout = base.fanout
        self.conversion = conversion
        self._compiled = compiled
        self._version = kind.hub.api_version
        self.token = next(_tokens)
        self._storage = storage
        """What is stored: group/version."""

    # -- reading

    def shown(self, entry: Entry) -> CustomEntry:
        """The entry as this version shows it. Raises NotConverted."""
        assert isinstance(entry, CustomEntry)
        if entry.clean is self:
            return entry
        known = entry.shown.get(self) if entry.shown is not None else None
        return known if known is not None else self._show([entry])[0]

    def all_shown(self, entries: Sequence[Entry]) -> list[Entry]:
        if all(isinstance(entry, CustomEntry) and entry.clean is self for entry in entries):
            return list(entries)
        unknown: list[CustomEntry] = [
            entry
            for entry in entries
            if isinstance(entry, CustomEntry)
            and entry.clean is not self
            and (entry.shown is None or self not in entry.shown)
        ]
        if unknown:
            self._show(unknown)
        return [self.shown(entry) for entry in entries]

    def _show(self, entries: Sequence[CustomEntry]) -> list[CustomEntry]:
        objs = self.conversion.converted([entry.obj for entry in entries], self._version)
        return [self._made(entry, obj) for entry, obj in zip(entries, objs, strict=True)]

    def _made(self, entry: CustomEntry, converted: Obj) -> CustomEntry:
        obj = self._compiled.shown(trees.copy(converted))
        if obj == entry.obj:
            entry.clean = self
            return entry
        value = ResourceCache.encode(self, obj)
        made = self.base.entry(entry.key, value, entry.revision)
        made.clean = self
        entry.shown = entry.shown or {}
        entry.shown[self] = made
        return made

    def get(self, namespace: str, name: str) -> Entry | None:
        return self.by_key(self.base.key(namespace, name))

    def by_key(self, key: str) -> Entry | None:
        entry = self.base.by_key(key)
        return self.shown(entry) if entry is not None else None

    def range(self, namespace: str = "", after: str = "") -> list[Entry]:
        return self.all_shown(self.base.range(namespace, after))

    def __len__(self) -> int:
        return len(self.base)

    def key(self, namespace: str, name: str) -> str:
        return self.base.key(namespace, name)

    def on_change(self, listener: Listener) -> None:
        self.base.on_change(listener)

    def entry(self, key: str, value: bytes, revision: int, obj: Obj | None = None) -> Entry:
        """Of what is stored."""
        return self.shown(self.base.entry(key, value, revision, obj))

    # -- writing

    async def stored(self, obj: Obj) -> Obj:
        """The object in the version that is stored."""
        return await self.conversion.convert(obj, self._storage)

    def encode(self, obj: Obj) -> bytes:
        """What would be stored, were the versions alike: for answers that are not stored."""
        return ResourceCache.encode(self, settle_numbers(obj))

    def written(self, key: str, value: bytes, obj: Obj) -> None:
        if obj["apiVersion"] == self._version:
            self.base.written(key, value, obj, self)
        else:
            self.base.hint(key, value, obj)


class ShowingEncoder:
    """Encodes what a version shows of entries."""

    def __init__(self, encoder: Encoder, cache: VersionCache) -> None:
        self._encoder, self._cache = encoder, cache
        self.name = f"{encoder.name};{cache.token}"

    def event(self, type: str, entry: Entry, revision: int) -> Any:
        return self._encoder.event(type, self._cache.shown(entry), revision)

    def bookmark(self, revision: int, initial_events_end: bool) -> Any:
        return self._encoder.bookmark(revision, initial_events_end)
