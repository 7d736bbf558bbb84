"""The store's interface: etcd's model, whatever the engine.

Keys are text, values bytes. Every commit gets the next revision; a KV remembers the revision that made it and the
one that last changed it. Promises, checked by tests/contract/test_store.py against every engine:

- strictly serializable; a read, an answer to a write and a watch event never show what is not yet durable;
- watches are ordered, unique, reliable, atomic per revision and resumable from any revision that is not compacted;
- reads and watches below the compacted revision raise `CompactedError`; reads above the current one `FutureError`.

Everything is called on the event loop's thread, and watch sinks are called on it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol


class KV(NamedTuple):
    key: str
    value: bytes
    create_revision: int
    mod_revision: int


class Event(NamedTuple):
    """A change. `value` is None for a delete; `previous` is None for a create."""

    revision: int
    key: str
    value: bytes | None
    previous: KV | None

    @property
    def create_revision(self) -> int:
        return self.revision if self.previous is None else self.previous.create_revision


class Write(NamedTuple):
    """One key's change in a transaction. `value` None deletes. `expect` is the mod_revision the key must have now:
    0 that it must not exist, None that anything goes."""

    key: str
    value: bytes | None
    expect: int | None = None


class Page(NamedTuple):
    """A range read. `revision` is the one it was read at; `remaining` counts what lies after the last KV."""

    revision: int
    kvs: Sequence[KV]
    remaining: int


class Committed(NamedTuple):
    revision: int


class ConflictError(Exception):
    """A write's expectation did not hold: nothing of the transaction happened. `current` is the key's KV, or None."""

    def __init__(self, key: str, current: KV | None) -> None:
        super().__init__(key)
        self.key = key
        self.current = current


class CompactedError(Exception):
    """The revision asked for is below the compacted one."""

    def __init__(self, compacted: int) -> None:
        super().__init__(f"compacted at {compacted}")
        self.compacted = compacted


class FutureError(Exception):
    """The revision asked for has not happened yet."""

    def __init__(self, current: int) -> None:
        super().__init__(f"current revision is {current}")
        self.current = current


class ClosedError(Exception):
    """The store is closed or its disk failed: nothing more is acknowledged."""


Sink = Callable[[Sequence[Event]], None]
"""Gets the events of one or more whole revisions, in order. Must not block or raise."""


class WatchHandle(Protocol):
    def cancel(self) -> None: ...


class Store(Protocol):
    @property
    def revision(self) -> int:
        """The newest durable revision. A fresh store is at 1."""
        ...

    @property
    def compacted(self) -> int:
        """Reads and watches work from this revision on."""
        ...

    async def get(self, key: str, revision: int = 0) -> KV | None:
        """The key as of `revision` (0: now)."""
        ...

    async def range(
        self, prefix: str, *, start: str = "", limit: int = 0, revision: int = 0, counted: bool = True
    ) -> Page:
        """Keys with the prefix, in byte order of UTF-8, from `start` on (inclusive; "" from the first). Not `counted`,
        what remains is 1 for any number: counting reads all of it."""
        ...

    async def commit(self, writes: Sequence[Write]) -> Committed:
        """All writes in one revision, or none (`ConflictError`). Returns when durable. A key may occur once."""
        ...

    def watch(self, prefix: str, start_revision: int, sink: Sink) -> WatchHandle:
        """Calls `sink` with every event at `start_revision` or later under the prefix (0: from now on). Events that
        already happened are delivered before this returns where the engine can, else soon after. When `commit`
        returns, an embedded engine has already called the sinks of that revision."""
        ...

    async def fresh(self) -> int:
        """A revision at least as new as any acknowledged anywhere before the call (a linearizable read point)."""
        ...

    async def compact(self, revision: int) -> None:
        """Forgets history before `revision`."""
        ...

    async def close(self) -> None:
        """Finishes what was accepted, then releases everything."""
        ...
