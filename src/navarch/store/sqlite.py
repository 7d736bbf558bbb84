"""The SQLite engine: the embedded default. Durable at every acknowledgement, one writer thread, group commit.

All writes of one event-loop tick, and all that queue up while the disk is busy, share one transaction and one fsync (WAL,
synchronous=FULL). Expectations are judged on the event loop against the newest accepted state; nothing is answered
before what it rests on is durable, a conflict included.

The file is a log: a row for each change, found by key or by revision. Compaction deletes superseded rows and gives the
space back. History is kept for `history_seconds`, but never more than half of the live data (and 16 MiB).
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import sqlite3
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

from navarch.machinery.clock import Timer, World
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

log = logging.getLogger(__name__)

HISTORY_SECONDS = 300.0
"""As long as upstream has etcd keep it: what was listed in pages goes on for five minutes, then with what is current."""
MIN_HISTORY_BYTES = 16 << 20
COMPACT_EVERY_SECONDS = 120.0
MAX_BATCH = 1024
"""Transactions that share one commit at most."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS log (
    id INTEGER PRIMARY KEY,
    revision INTEGER NOT NULL,
    key TEXT NOT NULL,
    value BLOB,
    created INTEGER NOT NULL,
    previous INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS log_by_key ON log (key, id);
CREATE INDEX IF NOT EXISTS log_by_revision ON log (revision);
CREATE INDEX IF NOT EXISTS log_of_deletes ON log (id) WHERE value IS NULL;
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
"""
NEWEST_ROW = "SELECT id FROM log WHERE revision <= ? ORDER BY revision DESC, id DESC LIMIT 1"
NEWEST_ROWS = "SELECT key, max(id) FROM log WHERE key >= ? AND key < ? AND id <= ? GROUP BY key ORDER BY key"
"""Answered by the index alone, in its order: a page costs what is in it, not what is in the table."""
ROW = "SELECT key, value, created, revision FROM log WHERE id = ? AND value IS NOT NULL"
COUNT = """
SELECT count(*) - coalesce(sum(newest IN (SELECT id FROM log WHERE value IS NULL)), 0)
FROM (SELECT max(id) AS newest FROM log WHERE key >= ? AND key < ? AND id <= ? GROUP BY key)
"""


class _Head(NamedTuple):
    """The newest accepted state of a key that exists: durable or about to be."""

    row: int
    created: int
    revision: int
    size: int


class _Row(NamedTuple):
    """A log row to insert."""

    id: int
    revision: int
    key: str
    value: bytes | None
    created: int
    previous: int


class _Transaction(NamedTuple):
    revision: int
    rows: list[_Row]
    future: asyncio.Future[Committed]


class _Watch:
    def __init__(self, store: SqliteStore, prefix: str, sink: Sink) -> None:
        self.store, self.prefix, self.sink = store, prefix, sink

    def cancel(self) -> None:
        self.store.watches.discard(self)


class SqliteStore:
    """Open with `await SqliteStore.open(path, world)`; one process at a time may have a file open."""

    def __init__(self, path: Path, world: World, history_seconds: float) -> None:
        self._path = path
        self._world = world
        self._loop = asyncio.get_running_loop()
        self._history_seconds = history_seconds
        self._lock = _exclusive(path)
        self._connection = _connect(path)
        self._connection.executescript(SCHEMA)
        self._heads: dict[str, _Head] = {}
        self._live_bytes = 0
        self._history_bytes = 0
        self._load()
        self._accepted = self._revision
        self._closed = False
        self._failure: BaseException | None = None
        self._tick: list[_Transaction] = []
        self._queue: SimpleQueue[list[_Transaction] | int | None] = SimpleQueue()
        self._late_conflicts: deque[tuple[int, asyncio.Future[Committed], ConflictError]] = deque()
        self._marks: deque[tuple[float, int]] = deque()
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="store-reader")
        self._read_connection: sqlite3.Connection | None = None
        self._compacting = False
        self._timer: Timer | None = None
        self.watches: set[_Watch] = set()
        self._writer = threading.Thread(target=self._write_loop, name="store-writer", daemon=True)

    @staticmethod
    async def open(path: Path, world: World, history_seconds: float = HISTORY_SECONDS) -> SqliteStore:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)  # SQLite gives its other files the same mode
        store = SqliteStore(path, world, history_seconds)
        store._writer.start()
        store._schedule_compaction()
        return store

    def _load(self) -> None:
        meta = dict(self._connection.execute("SELECT name, value FROM meta").fetchall())
        self._compacted: int = meta.get("compacted", 1)
        newest, row = self._connection.execute("SELECT max(revision), max(id) FROM log").fetchone()
        self._revision: int = max(newest or 1, meta.get("revision", 1))
        self._next_row: int = max(row or 0, meta.get("row", 0)) + 1
        live = self._connection.execute(
            "SELECT key, id, created, revision, length(value) FROM log"
            " WHERE id IN (SELECT max(id) FROM log GROUP BY key) AND value IS NOT NULL"
        )
        for key, row_id, created, revision, size in live:
            self._heads[key] = _Head(row_id, created, revision, size)
            self._live_bytes += size + len(key)
        total = self._connection.execute("SELECT coalesce(sum(length(value) + length(key)), 0) FROM log").fetchone()[0]
        self._history_bytes = max(total - self._live_bytes, 0)

    # -- reads

    @property
    def revision(self) -> int:
        return self._revision

    @property
    def compacted(self) -> int:
        return self._compacted

    async def get(self, key: str, revision: int = 0) -> KV | None:
        page = await self._range(key, key + "\0", limit=1, revision=revision)
        return page.kvs[0] if page.kvs else None

    async def range(
        self, prefix: str, *, start: str = "", limit: int = 0, revision: int = 0, counted: bool = True
    ) -> Page:
        return await self._range(max(prefix, start), _after(prefix), limit, revision, counted)

    async def _range(self, first: str, end: str, limit: int, revision: int, counted: bool = False) -> Page:
        self._check_open()
        if revision > self._revision:
            raise FutureError(self._revision)
        if revision and revision < self._compacted:
            raise CompactedError(self._compacted)
        at = revision or self._revision
        kvs, remaining = await self._loop.run_in_executor(self._reader, self._read, first, end, at, limit, counted)
        if revision and revision < self._compacted:  # compacted while we read: the page may lack rows
            raise CompactedError(self._compacted)
        return Page(at, kvs, remaining)

    def _read(self, first: str, end: str, at: int, limit: int, counted: bool) -> tuple[list[KV], int]:
        """On the reader thread."""
        if self._read_connection is None:
            self._read_connection = _connect(self._path)
        connection = self._read_connection
        last = connection.execute(NEWEST_ROW, (at,)).fetchone()
        if last is None:
            return [], 0
        kvs: list[KV] = []
        start, wanted = first, limit + 1 if limit else -1
        while True:
            newest = connection.execute(f"{NEWEST_ROWS} LIMIT {wanted}", (start, end, *last)).fetchall()
            for _, row_id in newest:
                if row := connection.execute(ROW, (row_id,)).fetchone():
                    kvs.append(KV(*row))
            if not limit or len(kvs) > limit or len(newest) < wanted:
                break
            start = newest[-1][0] + "\0"
        if not limit or len(kvs) <= limit:
            return kvs, 0
        if not counted:
            return kvs[:limit], 1
        rest = connection.execute(COUNT, (kvs[limit].key, end, *last)).fetchone()[0]
        return kvs[:limit], rest

    async def fresh(self) -> int:
        self._check_open()
        return self._revision

    # -- writes

    async def commit(self, writes: Sequence[Write]) -> Committed:
        self._check_open()
        future: asyncio.Future[Committed] = self._loop.create_future()
        for write in writes:
            head = self._heads.get(write.key)
            if write.expect is not None and write.expect != (head.revision if head else 0):
                return await self._conflict(write.key, future)
        revision = self._accepted = self._accepted + 1
        rows = [row for write in writes if (row := self._accept(write, revision))]
        if not self._tick:
            self._loop.call_soon(self._flush)
        self._tick.append(_Transaction(revision, rows, future))
        return await future

    def _accept(self, write: Write, revision: int) -> _Row | None:
        """The row of a write whose expectation holds, and the head it makes."""
        head = self._heads.get(write.key)
        if write.value is None:
            if head is None:
                return None
            del self._heads[write.key]
        row_id, self._next_row = self._next_row, self._next_row + 1
        created = head.created if head else revision
        if head:
            self._live_bytes -= head.size + len(write.key)
            self._history_bytes += head.size + len(write.key)
        if write.value is None:
            self._history_bytes += len(write.key)
        else:
            size = len(write.value)
            self._heads[write.key] = _Head(row_id, created, revision, size)
            self._live_bytes += size + len(write.key)
        return _Row(row_id, revision, write.key, write.value, created, head.row if head else 0)

    async def _conflict(self, key: str, future: asyncio.Future[Committed]) -> Committed:
        """Waits until everything accepted so far is durable: what the answer shows must be."""
        if self._accepted > self._revision:
            self._late_conflicts.append((self._accepted, future, ConflictError(key, None)))
            try:
                await future
            except ConflictError:
                pass
        raise ConflictError(key, await self.get(key))

    def _flush(self) -> None:
        transactions, self._tick = self._tick, []
        self._queue.put(transactions)

    def _write_loop(self) -> None:
        """The writer thread: takes all that is queued, commits it at once, reports back."""
        carried: list[_Transaction] | int | None = []
        while True:
            job = carried or self._queue.get()
            carried = []
            if job is None:
                return
            if isinstance(job, int):
                self._guarded(self._compact_on_thread, job)
                continue
            while len(job) < MAX_BATCH and not self._queue.empty():
                more = self._queue.get()
                if not isinstance(more, list):
                    carried = more
                    break
                job = job + more
            self._guarded(self._commit_on_thread, job)
            if carried is None:
                return

    def _guarded(self, work: object, job: object) -> None:
        try:
            assert callable(work)
            work(job)
        except BaseException as error:
            self._loop.call_soon_threadsafe(self._fail, error, job)

    def _commit_on_thread(self, transactions: list[_Transaction]) -> None:
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            events = [[self._insert(connection, row) for row in transaction.rows] for transaction in transactions]
            connection.execute("COMMIT")
        except BaseException:
            connection.rollback()
            raise
        self._loop.call_soon_threadsafe(self._committed, transactions, events)

    @staticmethod
    def _insert(connection: sqlite3.Connection, row: _Row) -> Event:
        previous: KV | None = None
        if row.previous:
            found = connection.execute("SELECT key, value, created, revision FROM log WHERE id = ?", (row.previous,))
            previous = KV(*found.fetchone())
        connection.execute("INSERT INTO log VALUES (?, ?, ?, ?, ?, ?)", row)
        return Event(row.revision, row.key, row.value, previous)

    def _committed(self, transactions: list[_Transaction], events: list[list[Event]]) -> None:
        self._revision = transactions[-1].revision
        flat = [event for group in events for event in group]
        for watch in list(self.watches):
            if mine := [event for event in flat if event.key.startswith(watch.prefix)]:
                watch.sink(mine)
        for transaction in transactions:
            if not transaction.future.done():
                transaction.future.set_result(Committed(transaction.revision))
        while self._late_conflicts and self._late_conflicts[0][0] <= self._revision:
            _, future, conflict = self._late_conflicts.popleft()
            if not future.done():
                future.set_exception(conflict)
        if self._history_bytes > 2 * self._history_limit() and not self._compacting:
            self._compact_by_size()

    def _fail(self, error: BaseException, job: object) -> None:
        """The disk failed: nothing more is acknowledged, for what is on it is no longer known."""
        log.critical("the store failed and is closed: %s", error)
        self._failure = error
        waiting = [t.future for t in job] if isinstance(job, list) else []
        waiting += [t.future for t in self._tick] + [future for _, future, _ in self._late_conflicts]
        for future in waiting:
            if not future.done():
                future.set_exception(ClosedError(str(error)))

    # -- watches

    def watch(self, prefix: str, start_revision: int, sink: Sink) -> _Watch:
        self._check_open()
        if start_revision and start_revision <= self._compacted and self._compacted > 1:
            raise CompactedError(self._compacted)
        if start_revision and start_revision <= self._revision and (past := self._past(prefix, start_revision)):
            sink(past)
        watch = _Watch(self, prefix, sink)
        self.watches.add(watch)
        return watch

    def _past(self, prefix: str, start_revision: int) -> list[Event]:
        """Durable events from the log; a short read, for watches resume near the head."""
        connection = _connect(self._path)
        try:
            rows = connection.execute(
                "SELECT l.revision, l.key, l.value, p.key, p.value, p.created, p.revision FROM log l"
                " LEFT JOIN log p ON p.id = l.previous"
                " WHERE l.revision BETWEEN ? AND ? AND l.key >= ? AND l.key < ? ORDER BY l.id",
                (start_revision, self._revision, prefix, _after(prefix)),
            )
            return [Event(r[0], r[1], r[2], KV(*r[3:]) if r[3] is not None else None) for r in rows]
        finally:
            connection.close()

    # -- compaction

    async def compact(self, revision: int) -> None:
        self._check_open()
        if revision > self._revision:
            raise FutureError(self._revision)
        if revision <= self._compacted:
            raise CompactedError(self._compacted)
        self._start_compaction(revision)

    def _start_compaction(self, revision: int) -> None:
        self._compacted = revision
        self._compacting = True
        self._queue.put(revision)

    def _compact_on_thread(self, revision: int) -> None:
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(
            "INSERT INTO meta VALUES ('compacted', ?1), ('revision', ?2), ('row', (SELECT max(id) FROM log))"
            " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            (revision, self._revision),
        )
        superseded = connection.execute(
            "DELETE FROM log WHERE id IN (SELECT previous FROM log WHERE revision <= ? AND previous > 0)", (revision,)
        ).rowcount
        tombstones = connection.execute("DELETE FROM log WHERE revision <= ? AND value IS NULL", (revision,)).rowcount
        connection.execute("COMMIT")
        if superseded + tombstones:
            connection.executescript("PRAGMA incremental_vacuum; PRAGMA wal_checkpoint(TRUNCATE);")
        total = connection.execute("SELECT coalesce(sum(length(value) + length(key)), 0) FROM log").fetchone()[0]
        self._loop.call_soon_threadsafe(self._compaction_done, total)

    def _compaction_done(self, total: int) -> None:
        self._compacting = False
        self._history_bytes = max(total - self._live_bytes, 0)

    def _history_limit(self) -> int:
        return max(self._live_bytes // 2, MIN_HISTORY_BYTES)

    def _compact_by_size(self) -> None:
        """Too much history: forgets the older half of it."""
        target = self._compacted + (self._revision - self._compacted) // 2
        if target > self._compacted:
            self._start_compaction(target)

    def _schedule_compaction(self) -> None:
        self._timer = self._world.call_later(COMPACT_EVERY_SECONDS, self._compact_by_age)

    def _compact_by_age(self) -> None:
        now = self._world.now()
        if not self._marks or self._marks[-1][1] != self._revision:
            self._marks.append((now, self._revision))
        target = 0
        while self._marks and self._marks[0][0] < now - self._history_seconds:
            target = self._marks.popleft()[1]
        if target > self._compacted and not self._compacting:
            self._start_compaction(target)
        self._schedule_compaction()

    # -- ending

    def _check_open(self) -> None:
        if self._closed or self._failure:
            raise ClosedError(str(self._failure or "the store is closed"))

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._timer:
            self._timer.cancel()
        if self._tick:
            self._flush()
        self._queue.put(None)
        await self._loop.run_in_executor(None, self._writer.join)
        await asyncio.sleep(0)  # lets the last batch be reported
        self.watches.clear()
        self._reader.shutdown()
        if self._read_connection:
            self._read_connection.close()
        self._connection.close()
        self._lock.close()


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=64)
    connection.executescript(
        "PRAGMA page_size = 8192; PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL;"
        "PRAGMA synchronous = FULL; PRAGMA busy_timeout = 10000; PRAGMA journal_size_limit = 16777216;"
        "PRAGMA cache_size = -8000;"
    )
    return connection


def _exclusive(path: Path):
    """Holds the file for this process. Raises ClosedError where another has it."""
    lock = open(path.with_name(path.name + ".lock"), "w")  # noqa: SIM115 - held as long as the store
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise ClosedError(f"{path} is open in another process") from None
    return lock


def _after(prefix: str) -> str:
    """The first key that sorts after every key with the prefix."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1) if prefix else "\U0010ffff"
