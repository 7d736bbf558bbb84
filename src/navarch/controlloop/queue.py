"""The work queue of a control loop: each key at most once in it, and never with two workers at a time.

Source of the behaviour: client-go's util/workqueue (dirty and processing sets, per-item exponential back-off, delayed
adds). All timers are the World's, so the queue runs on a virtual clock too.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from navarch.machinery.clock import Timer, World

K = TypeVar("K", bound=Hashable)

BACKOFF_FIRST = 0.005
BACKOFF_LAST = 1000.0


class ShutDown(Exception):
    """The queue takes and gives nothing more."""


class WorkQueue(Generic[K]):
    """First come, first served. A key added while it is processed waits until `done` says that it is free."""

    def __init__(self, world: World, backoff_last: float = BACKOFF_LAST) -> None:
        self.adds = 0
        """How many keys entered the queue, for metrics."""
        self._world = world
        self._backoff_last = backoff_last
        self._order: deque[K] = deque()
        self._dirty: set[K] = set()
        self._processing: set[K] = set()
        self._getters: deque[asyncio.Future[None]] = deque()
        self._failures: dict[K, int] = {}
        self._delayed: dict[K, tuple[float, Timer]] = {}
        self._shut = False

    def __len__(self) -> int:
        return len(self._order)

    @property
    def idle(self) -> bool:
        """Nothing waits and nothing is processed (delayed keys do not count)."""
        return not self._dirty and not self._processing

    def add(self, key: K) -> None:
        if self._shut or key in self._dirty:
            return
        self._dirty.add(key)
        self.adds += 1
        if key not in self._processing:
            self._push(key)

    def add_after(self, key: K, delay: float) -> None:
        """Adds the key in `delay` seconds; of several delays the earliest counts."""
        if self._shut:
            return
        if delay <= 0:
            self.add(key)
            return
        due = self._world.now() + delay
        waiting = self._delayed.get(key)
        if waiting is not None:
            if waiting[0] <= due:
                return
            waiting[1].cancel()
        self._delayed[key] = (due, self._world.call_later(delay, self._ripen(key)))

    def _ripen(self, key: K) -> Callable[[], None]:
        def due() -> None:
            self._delayed.pop(key, None)
            self.add(key)

        return due

    def add_rate_limited(self, key: K) -> float:
        """Adds the key after its back-off (5 ms, doubled by each failure since `forget`, up to the longest), returned."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        delay = min(BACKOFF_FIRST * 2 ** min(failures, 64), self._backoff_last)
        self.add_after(key, delay)
        return delay

    def forget(self, key: K) -> None:
        """The key went well: its next failure backs off from the start."""
        self._failures.pop(key, None)

    def failures(self, key: K) -> int:
        return self._failures.get(key, 0)

    async def get(self) -> K:
        """The next key, now being processed: `done` must follow. Raises ShutDown."""
        while not self._order:
            if self._shut:
                raise ShutDown
            getter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._getters.append(getter)
            try:
                await getter
            except asyncio.CancelledError:
                if getter.done() and not getter.cancelled():
                    self._wake()
                elif getter in self._getters:
                    self._getters.remove(getter)
                raise
        key = self._order.popleft()
        self._dirty.discard(key)
        self._processing.add(key)
        return key

    def done(self, key: K) -> None:
        self._processing.discard(key)
        if key in self._dirty:
            self._push(key)

    def shut_down(self) -> None:
        self._shut = True
        for _, timer in self._delayed.values():
            timer.cancel()
        self._delayed.clear()
        while self._getters:
            self._wake()

    def _push(self, key: K) -> None:
        self._order.append(key)
        self._wake()

    def _wake(self) -> None:
        while self._getters:
            getter = self._getters.popleft()
            if not getter.done():
                getter.set_result(None)
                return
