"""The log's file: lines of JSON, written by a thread in batches, rotated by size, kept within bounds.

Records wait in memory for a moment; when more wait than there is room for, the newest are dropped and counted: requests do
not wait for the disk.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from navarch.apiserver.audit.event import Record, Typed
from navarch.machinery.clock import Timer, World
from navarch.machinery.metrics import Counter, Metrics

log = logging.getLogger(__name__)

ROOM, ROOM_BYTES = 10_000, 64 << 20
"""Records and bytes that may wait."""
FLUSH_SECONDS = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFile:
    path: Path
    max_bytes: int = 100 << 20
    backups: int = 10
    max_age_days: int = 30

    def append(self, data: bytes) -> None:
        """Raises OSError."""
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(descriptor).st_size + len(data) > self.max_bytes and os.fstat(descriptor).st_size:
                os.close(descriptor)
                descriptor = -1
                self._rotate()
                descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            while data:
                data = data[os.write(descriptor, data) :]
        finally:
            if descriptor >= 0:
                os.close(descriptor)

    def _rotate(self) -> None:
        stamp = time.strftime("%Y-%m-%dT%H-%M-%S", time.gmtime()) + f".{time.time_ns() // 1000 % 1_000_000:06d}"
        self.path.rename(self.path.with_name(f"{self.path.stem}-{stamp}{self.path.suffix}"))
        kept = sorted(self.path.parent.glob(f"{self.path.stem}-*{self.path.suffix}"), reverse=True)
        oldest = time.time() - self.max_age_days * 86400
        for number, file in enumerate(kept):
            if number >= self.backups or file.stat().st_mtime < oldest:
                file.unlink(missing_ok=True)


class AuditLog:
    """Takes records on the event loop; a thread makes lines of them."""

    def __init__(self, file: LogFile, typed: Typed, world: World, metrics: Metrics) -> None:
        self._file = file
        self._typed = typed
        self._world = world
        self._waiting: list[Record] = []
        self._bytes = 0
        self._timer: Timer | None = None
        self._writing: asyncio.Task[None] | None = None
        self._events = metrics.add(
            Counter("apiserver_audit_event_total", "Counter of audit events generated and sent to the audit backend.")
        )
        self._dropped = metrics.add(
            Counter(
                "apiserver_audit_error_total",
                "Counter of audit events that failed to be audited properly.",
                ("plugin",),
            )
        )

    def add(self, record: Record) -> None:
        self._events.add()
        self._bytes += record.size
        if len(self._waiting) >= ROOM or self._bytes > ROOM_BYTES:
            self._bytes -= record.size
            self._dropped.add(("log",))
            return
        self._waiting.append(record)
        if self._timer is None:
            self._timer = self._world.call_later(FLUSH_SECONDS, self._due)

    def _due(self) -> None:
        if self._writing is not None and not self._writing.done():
            self._timer = self._world.call_later(FLUSH_SECONDS, self._due)
            return
        self._timer = None
        self._writing = asyncio.ensure_future(self._flush())

    async def _flush(self) -> None:
        batch, self._waiting, self._bytes = self._waiting, [], 0
        failed = await asyncio.to_thread(self._write, batch) if batch else 0
        if failed:
            self._dropped.add(("log",), failed)

    def _write(self, batch: Sequence[Record]) -> int:
        """How many could not be written."""
        lines: list[bytes] = []
        for record in batch:
            try:
                lines.append(record.line(self._typed))
            except Exception:
                log.exception("an audit event cannot be encoded")
        try:
            self._file.append(b"".join(lines))
        except OSError as err:
            log.error("the audit log %s cannot be written: %s", self._file.path, err)
            return len(batch)
        return len(batch) - len(lines)

    async def close(self) -> None:
        """Writes what waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._writing is not None:
            await self._writing
        await self._flush()
