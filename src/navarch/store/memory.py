"""The memory engine: for tests and throw-away clusters. Durable in its own sense: a commit is at once."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Sequence

from navarch.store.interface import (
    KV,
    ClosedError,
    Committed,
    CompactedError,
    ConflictError,
    Event,
    FutureError,
    Page,
    Sink,
    Write,
)

HISTORY_LIMIT = 100_000
"""Events kept before the oldest are compacted away."""


class _Watch:
    def __init__(self, store: MemoryStore, prefix: str, sink: Sink) -> None:
        self.store, self.prefix, self.sink = store, prefix, sink

    def cancel(self) -> None:
        self.store.watches.discard(self)


class MemoryStore:
    """All data in dictionaries; history as a bounded queue of events that old reads roll back through."""

    def __init__(self, history_limit: int = HISTORY_LIMIT) -> None:
        self._data: dict[str, KV] = {}
        self._keys: list[str] = []
        self._history: deque[Event] = deque()
        self._history_limit = history_limit
        self._revision = 1
        self._compacted = 1
        self._closed = False
        self.watches: set[_Watch] = set()

    @property
    def revision(self) -> int:
        return self._revision

    @property
    def compacted(self) -> int:
        return self._compacted

    async def get(self, key: str, revision: int = 0) -> KV | None:
        self._check(revision)
        if not revision or revision == self._revision:
            return self._data.get(key)
        return self._rolled_back(revision, key).get(key)

    async def range(
        self, prefix: str, *, start: str = "", limit: int = 0, revision: int = 0, counted: bool = True
    ) -> Page:
        self._check(revision)
        at = revision or self._revision
        data, keys = self._data, self._keys
        if at != self._revision:
            data = self._rolled_back(at, prefix)
            keys = sorted(data)
        first = bisect_left(keys, max(prefix, start))
        last = bisect_left(keys, _after(prefix)) if prefix else len(keys)
        end = min(last, first + limit) if limit else last
        return Page(at, [data[k] for k in keys[first:end]], max(last - end, 0))

    async def commit(self, writes: Sequence[Write]) -> Committed:
        if self._closed:
            raise ClosedError
        for write in writes:
            current = self._data.get(write.key)
            if write.expect is not None and write.expect != (current.mod_revision if current else 0):
                raise ConflictError(write.key, current)
        revision = self._revision = self._revision + 1
        events = [event for write in writes if (event := self._put(write, revision))]
        self._history.extend(events)
        while len(self._history) > self._history_limit:
            self._compacted = self._history.popleft().revision
        for watch in list(self.watches):
            if mine := [e for e in events if e.key.startswith(watch.prefix)]:
                watch.sink(mine)
        return Committed(revision)

    def watch(self, prefix: str, start_revision: int, sink: Sink) -> _Watch:
        if start_revision and start_revision <= self._compacted and self._compacted > 1:
            raise CompactedError(self._compacted)
        if start_revision:
            past = [e for e in self._history if e.revision >= start_revision and e.key.startswith(prefix)]
            if past:
                sink(past)
        watch = _Watch(self, prefix, sink)
        self.watches.add(watch)
        return watch

    async def fresh(self) -> int:
        return self._revision

    async def compact(self, revision: int) -> None:
        if revision > self._revision:
            raise FutureError(self._revision)
        if revision <= self._compacted:
            raise CompactedError(self._compacted)
        while self._history and self._history[0].revision <= revision:
            self._history.popleft()
        self._compacted = revision

    async def close(self) -> None:
        self._closed = True
        self.watches.clear()

    def _check(self, revision: int) -> None:
        if self._closed:
            raise ClosedError
        if revision > self._revision:
            raise FutureError(self._revision)
        if revision and revision < self._compacted:
            raise CompactedError(self._compacted)

    def _put(self, write: Write, revision: int) -> Event | None:
        previous = self._data.get(write.key)
        if write.value is None:
            if previous is None:
                return None
            del self._data[write.key]
            del self._keys[bisect_left(self._keys, write.key)]
        else:
            if previous is None:
                insort(self._keys, write.key)
            created = previous.create_revision if previous else revision
            self._data[write.key] = KV(write.key, write.value, created, revision)
        return Event(revision, write.key, write.value, previous)

    def _rolled_back(self, revision: int, prefix: str) -> dict[str, KV]:
        data = {k: kv for k, kv in self._data.items() if k.startswith(prefix)}
        for event in reversed(self._history):
            if event.revision <= revision:
                break
            if event.key.startswith(prefix):
                if event.previous is None:
                    data.pop(event.key, None)
                else:
                    data[event.key] = event.previous
        return data


def _after(prefix: str) -> str:
    """The first key that sorts after every key with the prefix."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)
