"""Writes Events, off the path of what they tell of: best effort, in order, bounded.

What was said waits as it was said, and becomes an Event (or one more of an old one) when its turn comes to be written.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextlib import suppress

from navarch.client.interface import Client
from navarch.client.resources import EVENTS
from navarch.controlloop.correlator import Correlator, Decision, Said, reference
from navarch.controlloop.series import FINISH_SECONDS, Series
from navarch.machinery.clock import Timer, World
from navarch.machinery.errors import StatusError
from navarch.machinery.types import Obj

PENDING_MAX = 65_536
"""About 0.5 KB each: what a burst of 50,000 pods says is told, if later."""
TOGETHER = 8
"""Events that are written at once: they share commits, and leave most of the loop to what they tell of."""
SOONEST_SECONDS = 1e-6
"""Between what one recorder says: an Event's name is its object's and its time."""
TRIES = 12
RETRY_SECONDS = 10.0
log = logging.getLogger(__name__)


class Recorder:
    """One component's Events. The writing task lives only while there is something to write. `in_series`: they are those of
    events.k8s.io, as a scheduler's are."""

    def __init__(
        self, client: Client, world: World, component: str, host: str = "", *, in_series: bool = False
    ) -> None:
        self.dropped = 0
        self._client = client
        self._world = world
        self._series = Series(component, host) if in_series else None
        self._correlator = self._series or Correlator(component, host)
        self._pending: deque[Said] = deque()
        self._latest = 0.0
        self._last: list[Decision] = []
        """What is still to be told of series."""
        self._task: asyncio.Task[None] | None = None
        self._timer: Timer | None = None

    def emit(
        self, regarding: Obj, kind: str, reason: str, message: str, action: str = "", related: Obj | None = None
    ) -> None:
        if len(self._pending) >= PENDING_MAX:
            self.dropped += 1
            return
        other = None if related is None else reference(related)
        self._latest = now = max(self._world.now(), self._latest + SOONEST_SECONDS)
        self._pending.append(Said(reference(regarding), kind, reason, message, now, action, other))
        self._start()

    def _start(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._drain())

    async def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _drain(self) -> None:
        while batch := self._next():
            for _ in range(TRIES):
                done = await asyncio.gather(*map(self._write, batch))
                batch = [decision for decision, is_done in zip(batch, done, strict=True) if not is_done]
                if not batch:
                    break
                await self._world.sleep(RETRY_SECONDS)
        if self._series is not None and self._timer is None and self._series.is_open():
            self._timer = self._world.call_later(FINISH_SECONDS, self._finish)

    def _next(self) -> list[Decision]:
        """What is to be written now, no Event twice."""
        batch = {decision.name: decision for decision in self._last}
        self._last = []
        while self._pending and len(batch) < TOGETHER:
            decision = self._correlator.decide(self._pending.popleft())
            if decision is None:
                self.dropped += self._series is None
            elif decision.name in batch:
                self._last = [decision]
                break
            else:
                batch[decision.name] = decision
        return list(batch.values())

    def _finish(self) -> None:
        assert self._series is not None
        self._timer = None
        self._last += self._series.finish(self._world.now())
        self._start()

    async def _write(self, decision: Decision) -> bool:
        """False where no answer came and another try is worth it; an Event that the API refuses is dropped."""
        namespace = decision.event["metadata"]["namespace"]
        try:
            if decision.patch is not None:
                try:
                    await self._client.patch(EVENTS, decision.name, decision.patch, namespace)
                    return True
                except StatusError as error:
                    if error.code != 404:
                        raise
            await self._client.create(EVENTS, decision.event, namespace)
        except StatusError as error:
            if error.code in (429, 500, 503, 504):
                return False
            if error.code not in (403, 404, 409):
                log.warning("event refused: %s", error.message)
        except (ConnectionError, OSError):
            return False
        return True
