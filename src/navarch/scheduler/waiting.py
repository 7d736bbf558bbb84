"""Waiting for others: whoever waits looks again whenever something has changed."""

from __future__ import annotations

import asyncio

from navarch.machinery.clock import World


class Changes:
    def __init__(self, world: World) -> None:
        self._world = world
        self._changed = asyncio.Event()

    def happened(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def wait(self, ends: float) -> None:
        """Until something happens, or that time has come."""
        changed = self._changed
        timer = self._world.call_later(max(ends - self._world.now(), 0), changed.set)
        try:
            await changed.wait()
        finally:
            timer.cancel()
