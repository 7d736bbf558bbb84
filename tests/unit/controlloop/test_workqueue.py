"""The work queue: no key twice, back-off, delays; all on a clock of the test's own."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import pytest

from navarch.controlloop.queue import ShutDown, WorkQueue


class Tick:
    """A World whose time moves when the test says so."""

    def __init__(self) -> None:
        self.time = 0.0
        self.timers: list[tuple[float, Callable[[], None]]] = []

    def now(self) -> float:
        return self.time

    def call_later(self, delay: float, callback: Callable[[], None]):
        entry = (self.time + delay, callback)
        self.timers.append(entry)
        world = self

        class Handle:
            def cancel(self) -> None:
                if entry in world.timers:
                    world.timers.remove(entry)

        return Handle()

    def advance(self, seconds: float) -> None:
        self.time += seconds
        for entry in sorted((e for e in self.timers if e[0] <= self.time), key=lambda e: e[0]):
            self.timers.remove(entry)
            entry[1]()

    async def sleep(self, delay: float) -> None:
        raise AssertionError("nothing here sleeps")

    def uid(self) -> str:
        return "uid"

    def suffix(self, length: int = 5) -> str:
        return "x" * length

    def random(self) -> random.Random:
        return random.Random(1)


async def test_a_key_waits_once_and_is_never_processed_twice_at_a_time() -> None:
    queue: WorkQueue[str] = WorkQueue(Tick())
    queue.add("a")
    queue.add("a")
    assert len(queue) == 1
    assert await queue.get() == "a"
    queue.add("a")
    assert len(queue) == 0
    queue.done("a")
    assert await queue.get() == "a"
    queue.done("a")
    assert queue.idle


async def test_getters_are_served_in_order_and_cancelling_one_loses_nothing() -> None:
    queue: WorkQueue[str] = WorkQueue(Tick())
    first, second = asyncio.ensure_future(queue.get()), asyncio.ensure_future(queue.get())
    await asyncio.sleep(0)
    first.cancel()
    queue.add("a")
    assert await second == "a"


async def test_back_off_doubles_and_forgetting_resets_it() -> None:
    world = Tick()
    queue: WorkQueue[str] = WorkQueue(world)
    delays = []
    for _ in range(30):
        delays.append(queue.add_rate_limited("a"))
        world.advance(delays[-1])
        queue.done(await queue.get())
    assert delays[:4] == [0.005, 0.01, 0.02, 0.04]
    assert delays[-1] == 1000
    queue.forget("a")
    assert queue.add_rate_limited("a") == 0.005


async def test_the_earliest_of_several_delays_counts() -> None:
    world = Tick()
    queue: WorkQueue[str] = WorkQueue(world)
    queue.add_after("a", 10)
    queue.add_after("a", 2)
    queue.add_after("a", 5)
    world.advance(2)
    assert len(queue) == 1
    assert not world.timers


async def test_shutting_down_wakes_everyone() -> None:
    queue: WorkQueue[str] = WorkQueue(Tick())
    waiting = asyncio.ensure_future(queue.get())
    await asyncio.sleep(0)
    queue.shut_down()
    with pytest.raises(ShutDown):
        await waiting
