"""Virtual time: an event loop that never waits. Where nothing is left to do now, its clock jumps to the next timer.

All that runs on it takes time, ids and randomness from a `VirtualWorld`, so a run follows from its seed alone: the same
callbacks in the same order, the same bytes written. Threads and sockets have no place on such a loop.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

from navarch.machinery.clock import RealWorld

T = TypeVar("T")

EPOCH = 1_800_000_000.0
"""When virtual worlds begin (January 2027)."""


class StandstillError(RuntimeError):
    """Everybody waits, and no timer will ever wake anybody."""


class _Jumping(selectors.SelectSelector):
    """Waiting costs nothing: it moves the loop's clock."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise StandstillError("everybody waits for somebody else")
        self._loop.pass_time(timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._passed = 0.0
        super().__init__(_Jumping(self))

    def time(self) -> float:
        return self._passed

    def pass_time(self, seconds: float) -> None:
        self._passed += max(seconds, 0.0)

    def work_clock(self) -> float:
        """Work takes no time here (see `clock.work_clock`)."""
        return 0.0


class VirtualWorld(RealWorld):
    """The world of a virtual loop."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)

    def now(self) -> float:
        return EPOCH + asyncio.get_running_loop().time()


def run(main: Coroutine[Any, Any, T]) -> T:
    """Runs `main` on a virtual loop to its end, and leaves behind whatever else was under way."""
    loop = VirtualLoop()
    loop.set_exception_handler(lambda loop, context: None if "destroyed" in context["message"] else _tell(context))
    try:
        return loop.run_until_complete(main)
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


def _tell(context: dict[str, Any]) -> None:
    raise RuntimeError(context["message"]) from context.get("exception")
