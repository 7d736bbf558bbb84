"""From one change to all who watch: a bounded ring of changes, and a cursor in it for every watcher.

Nothing is copied per watcher: a change's encoded event is made once for each encoding and shared. Delivery is by plain
callbacks, at most once per tick and watcher, and sliced over ticks so that many watchers do not hold up the loop. A
watcher that cannot keep up is paused and catches up from its cursor; one that falls off the ring is closed.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Protocol

from navarch.machinery.clock import work_clock

if TYPE_CHECKING:
    from navarch.apiserver.watchcache import Entry

SLICE_SECONDS = 0.004
BACKLOG_SLICE = 200
"""Initial objects handed to a watcher at a time; fewer where encoding them takes long."""
CATCH_UP = 64
"""Changes that a watcher looks at in one turn. Encoding one may take a third of a millisecond."""
BOOKMARK_SECONDS = 60.0


class Encoder(Protocol):
    """Makes what a watcher's sink receives. Watchers of one encoder share what it makes: `name` tells them apart."""

    name: str

    def event(self, type: str, entry: Entry, revision: int) -> Any: ...

    def bookmark(self, revision: int, initial_events_end: bool) -> Any: ...


class Change:
    """One object's step from `previous` (None: it is new) to `entry` (None: it is gone)."""

    __slots__ = ("_encoded", "entry", "previous", "revision")

    def __init__(self, revision: int, entry: Entry | None, previous: Entry | None) -> None:
        self.revision = revision
        self.entry = entry
        self.previous = previous
        self._encoded: dict[tuple[str, str], Any] | None = None

    def encoded(self, encoder: Encoder, type: str) -> Any:
        cache = self._encoded
        if cache is None:
            cache = self._encoded = {}
        key = (encoder.name, type)
        made = cache.get(key)
        if made is None:
            entry = self.previous if type == "DELETED" else self.entry
            assert entry is not None
            made = cache[key] = encoder.event(type, entry, self.revision)
        return made


class Revisions(Protocol):
    """Where the newest revision is known, for bookmarks."""

    revision: int


class Watcher:
    """One open watch. `sink` gets what the encoder made, in order; `closed` is called once if the server ends it."""

    __slots__ = (
        "backlog",
        "bookmark_due",
        "bookmark_wanted",
        "bookmarks",
        "bucket",
        "closed",
        "encoder",
        "fanout",
        "matches",
        "open",
        "paused",
        "position",
        "queued",
        "sink",
        "whole",
    )

    def __init__(
        self,
        fanout: Fanout,
        encoder: Encoder,
        sink: Callable[[Sequence[Any]], None],
        closed: Callable[[], None],
        matches: Callable[[Entry], bool] | None,
        bucket: tuple[str, str] | None,
        bookmarks: bool,
    ) -> None:
        self.fanout = fanout
        self.encoder = encoder
        self.sink = sink
        self.closed = closed
        self.matches = matches
        self.bucket = bucket
        """A field and the value that every object it wants has there: spares it other objects' changes."""
        self.bookmarks = bookmarks
        self.backlog: list[Entry] = []
        """Objects still to be sent as ADDED, last first."""
        self.bookmark_due: int = 0
        """Revision of the initial-events-end bookmark to send after the backlog."""
        self.bookmark_wanted = False
        """With the next delivery, a bookmark of the newest revision."""
        self.position = 0
        self.open = True
        self.paused = False
        self.queued = False
        self.whole = False
        """Its sink takes changes as they are, whatever they match, in place of what the encoder makes of them."""

    def cancel(self) -> None:
        self.open = False
        self.fanout.remove(self)

    def pause(self) -> None:
        """No more deliveries until `resume`: the peer does not keep up."""
        self.paused = True

    def resume(self) -> None:
        self.paused = False
        self.fanout.wake(self)


_revision = attrgetter("revision")


class Fanout:
    """The ring of one resource's changes, and its watchers."""

    def __init__(self, revisions: Revisions, limit: int) -> None:
        self._revisions = revisions
        self._limit = limit
        self._ring: list[Change] = []
        self._base = 0
        """The number of the ring's first change; a watcher's position is the number of its next one."""
        self.floor = 0
        """Watches can resume after this revision."""
        self.newest = 0
        """The revision of the last change."""
        self._watchers: dict[Watcher, None] = {}
        self._broad: dict[Watcher, None] = {}
        self._buckets: dict[str, dict[str, dict[Watcher, None]]] = {}
        self._queue: deque[Watcher] = deque()
        self._unseen: list[Change] = []
        """Changes whose watchers are not yet queued."""
        self._scheduled = False
        self._timer: asyncio.TimerHandle | None = None
        self._bookmarks_at = 0
        self._bookmarks: dict[str, Any] = {}
        """By encoder, those of revision `_bookmarks_at`."""

    def start(self, revision: int) -> None:
        self.floor = self.newest = revision

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for watcher in list(self._watchers):
            self._close(watcher)

    @property
    def watchers(self) -> int:
        return len(self._watchers)

    def interested(self, namespace: str, name: str) -> int:
        """Watchers that see what happens to an object; those of pods on one node are not counted, as upstream."""
        count = len(self._broad)
        for field, value in (("metadata.namespace", namespace), ("metadata.name", name)):
            if value and (values := self._buckets.get(field)):
                count += len(values.get(value) or ())
        return count

    # -- changes in

    def add(self, change: Change) -> None:
        self._ring.append(change)
        self.newest = change.revision
        if self._watchers:
            self._unseen.append(change)
            self._schedule()
        if len(self._ring) > 2 * self._limit:
            self._trim()

    def _trim(self) -> None:
        drop = len(self._ring) - self._limit
        self.floor = self._ring[drop - 1].revision
        del self._ring[:drop]
        self._base += drop
        self._route()
        late = [w for w in self._watchers if w.position < self._base and (w.paused or w.queued)]
        for watcher in late:
            self._close(watcher)

    # -- watchers

    def watch(self, watcher: Watcher, after: int) -> None:
        """Begins with the first change after revision `after`, which must not be below `floor`."""
        index = bisect_right(self._ring, after, key=_revision)
        watcher.position = self._base + index
        self._watchers[watcher] = None
        if watcher.bucket is None:
            self._broad[watcher] = None
        else:
            field, value = watcher.bucket
            self._buckets.setdefault(field, {}).setdefault(value, {})[watcher] = None
        if watcher.backlog or watcher.bookmark_due or index < len(self._ring):
            self.wake(watcher)
        if watcher.bookmarks and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(BOOKMARK_SECONDS, self._send_bookmarks)

    def remove(self, watcher: Watcher) -> None:
        if self._watchers.pop(watcher, watcher) is watcher:
            return
        if watcher.bucket is None:
            self._broad.pop(watcher, None)
            return
        field, value = watcher.bucket
        values = self._buckets[field]
        values[value].pop(watcher, None)
        if not values[value]:
            del values[value]
            if not values:
                del self._buckets[field]

    def wake(self, watcher: Watcher) -> None:
        if watcher.open:
            self._enqueue((watcher,))
            self._schedule()

    def _enqueue(self, watchers: Iterable[Watcher]) -> None:
        append = self._queue.append
        for watcher in watchers:
            if not watcher.queued:
                watcher.queued = True
                append(watcher)

    def _close(self, watcher: Watcher) -> None:
        if watcher.open:
            watcher.cancel()
            watcher.closed()

    # -- delivery

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._pump)

    def _route(self) -> None:
        """Queues the watchers that the unseen changes may concern."""
        if not self._unseen:
            return
        changes, self._unseen = self._unseen, []
        self._enqueue(self._broad)
        first = self._base + len(self._ring) - len(changes)
        for field, values in self._buckets.items():
            for change in changes:
                for entry in (change.entry, change.previous):
                    if entry is not None and (found := values.get(entry.fields.get(field, ""))):
                        for watcher in found:
                            if not watcher.queued and not watcher.paused:
                                # what came before was none of its, or is delivered
                                watcher.position = max(watcher.position, first)
                        self._enqueue(found)

    def _pump(self) -> None:
        self._scheduled = False
        self._route()
        clock = work_clock()
        deadline = clock() + SLICE_SECONDS
        queue = self._queue
        while queue:
            watcher = queue.popleft()
            watcher.queued = False
            if not watcher.open or watcher.paused:
                continue
            self._advance(watcher)
            if clock() > deadline:
                break
        if queue or self._unseen:
            self._schedule()

    def _advance(self, watcher: Watcher) -> None:
        if watcher.backlog or watcher.bookmark_due:
            self._advance_backlog(watcher)
            return
        ring, base = self._ring, self._base
        start, end = max(watcher.position - base, 0), len(ring)
        if end - start > CATCH_UP and not watcher.whole:
            end = start + CATCH_UP
            self.wake(watcher)
        watcher.position = base + end
        encoder, matches = watcher.encoder, watcher.matches
        chunks: list[Any] = ring[start:end] if watcher.whole else []
        for change in () if watcher.whole else ring[start:end]:
            entry, previous = change.entry, change.previous
            now = entry is not None and (matches is None or matches(entry))
            before = previous is not None and (matches is None or matches(previous))
            if now:
                chunks.append(change.encoded(encoder, "MODIFIED" if before else "ADDED"))
            elif before:
                chunks.append(change.encoded(encoder, "DELETED"))
        if watcher.bookmark_wanted and end == len(ring):
            watcher.bookmark_wanted = False
            chunks.append(self._bookmark(encoder))
        if chunks:
            watcher.sink(chunks)

    def _advance_backlog(self, watcher: Watcher) -> None:
        encoder, backlog = watcher.encoder, watcher.backlog
        chunks: list[Any] = []
        clock = work_clock()
        deadline = clock() + SLICE_SECONDS
        for _ in range(min(BACKLOG_SLICE, len(backlog))):
            entry = backlog.pop()
            chunks.append(encoder.event("ADDED", entry, entry.revision))
            if clock() > deadline:
                break
        if not backlog and watcher.bookmark_due:
            chunks.append(encoder.bookmark(watcher.bookmark_due, True))
            watcher.bookmark_due = 0
        if chunks:
            watcher.sink(chunks)
        self.wake(watcher)

    def _send_bookmarks(self) -> None:
        """Of a busy resource somebody always has deliveries before them: those get theirs at the end of the next one."""
        self._timer = None
        self._route()
        any_wanted = False
        for watcher in list(self._watchers):
            if not watcher.bookmarks:
                continue
            any_wanted = True
            if watcher.queued or watcher.paused or watcher.backlog:
                watcher.bookmark_wanted = True
                continue
            watcher.position = self._base + len(self._ring)
            watcher.sink([self._bookmark(watcher.encoder)])
        if any_wanted:
            self._timer = asyncio.get_running_loop().call_later(BOOKMARK_SECONDS, self._send_bookmarks)

    def _bookmark(self, encoder: Encoder) -> Any:
        """Of the newest revision; made once for watchers of one encoder."""
        revision = self._revisions.revision
        if self._bookmarks_at != revision:
            self._bookmarks_at, self._bookmarks = revision, {}
        made = self._bookmarks.get(encoder.name)
        if made is None:
            made = self._bookmarks[encoder.name] = encoder.bookmark(revision, False)
        return made
