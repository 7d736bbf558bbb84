"""A plan may ask that what happens next is gathered: its key is looked at once for all of it, and nothing is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from tests.support.apiserver import api_server

from navarch.client.informer import InformerFactory
from navarch.client.resources import CONFIG_MAPS
from navarch.controlloop.loop import ControllerLoop
from navarch.controlloop.plan import Caches, Plan, Watch
from navarch.machinery.types import Key, Obj

NS = "default"


class Counter:
    """Notes how many objects it saw at each round."""

    name = "counter"

    def __init__(self, gather: float) -> None:
        self.gather = gather
        self.seen: list[int] = []
        self.watches = (Watch(CONFIG_MAPS, self._keys),)

    def _keys(self, old: Obj | None, new: Obj | None, caches: Caches) -> Iterable[Key]:
        return (Key("", "all"),)

    def observe(self, key: Key, caches: Caches) -> int | None:
        return len(list(caches[CONFIG_MAPS].list(NS)))

    def reconcile(self, observed: int, now: float) -> Plan:
        self.seen.append(observed)
        return Plan(gather=self.gather)


async def test_what_happens_meanwhile_is_seen_together() -> None:
    async with api_server() as server:
        informers = InformerFactory(server.system, server.world)
        counter = Counter(gather=0.5)
        loop = ControllerLoop(counter, server.system, informers, server.world)
        informers.start()
        await loop.start()
        try:
            for number in range(20):
                await server.system.create(CONFIG_MAPS, {"metadata": {"name": f"c{number}"}}, NS)
            async with asyncio.timeout(10):
                while not counter.seen or counter.seen[-1] < 20:
                    await asyncio.sleep(0.01)
            assert len(counter.seen) < 20
        finally:
            await loop.stop()
            await informers.stop()
