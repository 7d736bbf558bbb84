"""Writes Events, off the path of what they tell of: best effort, in order, bounded."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextlib import suppress

from navarch.client.interface import Client
from navarch.client.resources import EVENTS
from navarch.controlloop.correlator import Correlator, Decision
from navarch.machinery.clock import World
from navarch.machinery.errors import StatusError
from navarch.machinery.types import Obj

PENDING_MAX = 1000
TRIES = 12
RETRY_SECONDS = 10.0
log = logging.getLogger(__name__)


class Recorder:
    """One component's Events. The writing task lives only while there is something to write."""

    def __init__(self, client: Client, world: World, component: str, host: str = "") -> None:
        self.dropped = 0
        self._client = client
        self._world = world
        self._correlator = Correlator(component, host)
        self._pending: deque[Decision] = deque()
        self._task: asyncio.Task[None] | None = None

    def emit(self, regarding: Obj, kind: str, reason: str, message: str) -> None:
        decision = self._correlator.decide(regarding, kind, reason, message, self._world.now())
        if decision is None or len(self._pending) >= PENDING_MAX:
            self.dropped += 1
            return
        self._pending.append(decision)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._drain())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _drain(self) -> None:
        while self._pending:
            decision = self._pending[0]
            for _ in range(TRIES):
                if await self._write(decision):
                    break
                await self._world.sleep(RETRY_SECONDS)
            self._pending.popleft()

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
