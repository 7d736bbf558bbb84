"""Asks every kubelet what its pods use: while somebody wants to know, and not else.

The first to ask waits for two samples, a second apart; from then on there is a new one every 15 seconds, until nobody has
asked for a while. So an idle cluster pays nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable

from navarch.api.metrics.samples import Pair, Sample, parse
from navarch.apiserver.relaying import Pools, node_address
from navarch.machinery.clock import World
from navarch.machinery.errors import StatusError
from navarch.machinery.types import Obj

PERIOD, FIRST_WINDOW = 15.0, 1.0
KEPT_SECONDS = 60.0
"""How old a node's last sample may be before nothing is known of it."""
WANTED_SECONDS = 120.0
"""How long after the last question samples go on being taken."""
ANSWER_SECONDS = 10.0
AT_ONCE = 32
Source = Callable[[Obj], Awaitable[Sample]]
"""A node -> what it uses. Raises ConnectionError and StatusError."""
log = logging.getLogger(__name__)


def kubelets(pools: Pools, world: World) -> Source:
    """The source of real nodes."""

    async def sample(node: Obj) -> Sample:
        host, port = node_address(node)
        pool = pools.get(host, port, "kubelet")
        answer = await pool.request("GET", "/metrics/resource", {}, timeout=ANSWER_SECONDS)
        if answer.status != 200:
            raise ConnectionError(f"the kubelet answered {answer.status}")
        return parse(answer.body.decode(errors="replace"), world.now())

    return sample


def _speaks(node: Obj) -> bool:
    """Whether its kubelet has been heard of lately: nobody waits for one that is lost."""
    conditions = (node.get("status") or {}).get("conditions") or ()
    return not any(c.get("type") == "Ready" and c.get("status") == "Unknown" for c in conditions)


class Scraper:
    """`nodes` are those there are now."""

    def __init__(self, source: Source, nodes: Callable[[], Iterable[Obj]], world: World) -> None:
        self.source = source
        self._nodes = nodes
        self._world = world
        self._last: dict[str, Sample] = {}
        self._pairs: dict[str, Pair] = {}
        self._asked = 0.0
        self._sampled = 0.0
        self._first: asyncio.Future[None] | None = None
        self._going: asyncio.Task[None] | None = None

    async def pairs(self) -> dict[str, Pair]:
        """The last two samples of each node, by name."""
        self._asked = self._world.now()
        if self._going is None or self._going.done():
            loop = asyncio.get_running_loop()
            self._first = loop.create_future()
            self._going = loop.create_task(self._go(self._first), name="metrics")
        if self._first is not None:
            await asyncio.shield(self._first)
        oldest = self._world.now() - KEPT_SECONDS
        return {name: pair for name, pair in self._pairs.items() if pair.after.at >= oldest}

    def stop(self) -> None:
        if self._going is not None:
            self._going.cancel()

    async def _go(self, first: asyncio.Future[None]) -> None:
        try:
            if self._world.now() - self._sampled > KEPT_SECONDS:
                self._last.clear()
                await self._round()
                await self._world.sleep(FIRST_WINDOW)
            while True:
                await self._round()
                if not first.done():
                    first.set_result(None)
                    self._first = None
                await self._world.sleep(PERIOD)
                if self._world.now() - self._asked > WANTED_SECONDS:
                    return
        finally:
            if not first.done():
                first.set_result(None)

    async def _round(self) -> None:
        self._sampled = self._world.now()
        nodes = [node for node in self._nodes() if _speaks(node)]
        gone = self._last.keys() - {node["metadata"]["name"] for node in nodes}
        for name in gone:
            self._last.pop(name)
            self._pairs.pop(name, None)
        room = asyncio.Semaphore(AT_ONCE)
        await asyncio.gather(*(self._one(node, room) for node in nodes))

    async def _one(self, node: Obj, room: asyncio.Semaphore) -> None:
        name = node["metadata"]["name"]
        try:
            async with room:
                sample = await self.source(node)
        except (ConnectionError, OSError, StatusError) as error:
            log.debug("what node %s uses: %s", name, error)
            return
        before = self._last.get(name)
        self._last[name] = sample
        if before is not None:
            self._pairs[name] = Pair(before, sample)
