"""A store whose values under some prefixes are encrypted: everything above it sees plain values."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress

from navarch.store.encryption.configuration import Rules
from navarch.store.encryption.transformers import DecryptionError, Transformer
from navarch.store.interface import KV, Committed, ConflictError, Event, Page, Sink, Store, WatchHandle, Write

log = logging.getLogger(__name__)

REWRITE_PAGE = 200


class EncryptedStore:
    """Passes on what is not confidential, untouched. Reads raise DecryptionError for what no key opens."""

    def __init__(self, inner: Store, rules: Rules) -> None:
        self._inner = inner
        self._rules = tuple(rules)
        self._prefixes = tuple(prefix for prefix, _ in rules)
        self._asking = list(dict.fromkeys(transformer for _, transformer in rules if transformer.asks))
        self._prepared = not self._asking
        self._plain: dict[bytes, bytes] = {}
        """Of what is being committed: its event needs no decryption."""
        self.embedded = bool(getattr(inner, "embedded", True))

    @property
    def revision(self) -> int:
        return self._inner.revision

    @property
    def compacted(self) -> int:
        return self._inner.compacted

    # -- reads

    async def get(self, key: str, revision: int = 0) -> KV | None:
        kv = await self._inner.get(key, revision)
        await self._learn((kv,) if kv is not None else ())
        return self._opened(kv) if kv is not None else None

    async def range(
        self, prefix: str, *, start: str = "", limit: int = 0, revision: int = 0, counted: bool = True
    ) -> Page:
        page = await self._inner.range(prefix, start=start, limit=limit, revision=revision, counted=counted)
        await self._learn(page.kvs)
        return page._replace(kvs=[self._opened(kv) for kv in page.kvs])

    def watch(self, prefix: str, start_revision: int, sink: Sink) -> WatchHandle:
        def opened(events: Sequence[Event]) -> None:
            if any(event.key.startswith(self._prefixes) for event in events):
                events = [self._opened_event(event) for event in events]
            sink(events)

        return self._inner.watch(prefix, start_revision, opened)

    async def fresh(self) -> int:
        return await self._inner.fresh()

    # -- writes

    async def commit(self, writes: Sequence[Write]) -> Committed:
        if not any(write.key.startswith(self._prefixes) for write in writes):
            try:
                return await self._inner.commit(writes)
            except ConflictError as err:
                raise self._opened_conflict(err) from None
        await self._prepare()
        sealed = [self._sealed(write) for write in writes]
        try:
            return await self._inner.commit(sealed)
        except ConflictError as err:
            raise self._opened_conflict(err) from None
        finally:
            for write in sealed:
                self._plain.pop(write.value or b"", None)

    async def compact(self, revision: int) -> None:
        await self._inner.compact(revision)

    async def release(self) -> None:
        """Lets go of the services that keep keys; the store below stays open."""
        for transformer in self._asking:
            await transformer.close()

    async def close(self) -> None:
        await self.release()
        await self._inner.close()

    # -- keys that are kept elsewhere

    async def _prepare(self) -> None:
        if not self._prepared:
            for transformer in self._asking:
                await transformer.prepare()
            self._prepared = True

    async def _learn(self, kvs: Sequence[KV]) -> None:
        if not self._asking:
            return
        await self._prepare()
        for kv in kvs:
            transformer = self._transformer(kv.key)
            if transformer is not None and transformer.asks:
                await transformer.learn(kv.value)

    # -- rotation

    async def rewrite(self) -> int:
        """Writes anew what was written with another key than today's, or with none. Returns how many values; what changes
        meanwhile is left to its writer."""
        count = 0
        for prefix, transformer in self._rules:
            start = ""
            while True:
                page = await self._inner.range(prefix, start=start, limit=REWRITE_PAGE, counted=False)
                await self._learn(page.kvs)
                for kv in page.kvs:
                    if self._transformer(kv.key) is transformer:
                        count += await self._rewrite(kv, transformer)
                if not page.remaining:
                    break
                start = page.kvs[-1].key + "\0"
                await asyncio.sleep(0)
        if count:
            log.info("%d stored values were encrypted anew", count)
        return count

    async def _rewrite(self, kv: KV, transformer: Transformer) -> bool:
        value, stale = transformer.decrypt(kv.value, kv.key.encode())
        if not stale:
            return False
        try:
            await self.commit((Write(kv.key, value, kv.mod_revision),))
        except ConflictError:
            return False
        return True

    # -- one value

    def _transformer(self, key: str) -> Transformer | None:
        for prefix, transformer in self._rules:
            if key.startswith(prefix):
                return transformer
        return None

    def _sealed(self, write: Write) -> Write:
        transformer = self._transformer(write.key) if write.value is not None else None
        if transformer is None or write.value is None:
            return write
        data = transformer.encrypt(write.value, write.key.encode())
        self._plain[data] = write.value
        return write._replace(value=data)

    def _opened(self, kv: KV) -> KV:
        transformer = self._transformer(kv.key)
        return kv if transformer is None else kv._replace(value=transformer.decrypt(kv.value, kv.key.encode()).value)

    def _opened_event(self, event: Event) -> Event:
        transformer = self._transformer(event.key)
        if transformer is None:
            return event
        value, previous = event.value, event.previous
        if value is not None:
            known = self._plain.get(value)
            value = known if known is not None else transformer.decrypt(value, event.key.encode()).value
        if previous is not None:
            with suppress(DecryptionError):  # a deletion must get through whatever it deletes
                previous = self._opened(previous)
        return event._replace(value=value, previous=previous)

    def _opened_conflict(self, err: ConflictError) -> ConflictError:
        return ConflictError(err.key, self._opened(err.current) if err.current is not None else None)
