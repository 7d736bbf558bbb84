"""Use is measured while somebody wants to know, and not else; on virtual time."""

from __future__ import annotations

import asyncio
from typing import Any

from navarch.api.metrics.samples import Sample, Use
from navarch.apiserver.usage.scraper import PERIOD, WANTED_SECONDS, Scraper
from navarch.machinery.types import Obj
from navarch.sim import virtual


def node(name: str, ready: str = "True") -> Obj:
    return {"metadata": {"name": name}, "status": {"conditions": [{"type": "Ready", "status": ready}]}}


class Nodes:
    """Nodes that tell what they use: one core each."""

    def __init__(self, *found: Obj) -> None:
        self.world = virtual.VirtualWorld(1)
        self.found = list(found)
        self.asked: list[str] = []
        self.silent: set[str] = set()
        self.scraper = Scraper(self.sample, lambda: self.found, self.world)

    async def sample(self, of: Obj) -> Sample:
        name = of["metadata"]["name"]
        self.asked.append(name)
        if name in self.silent:
            raise ConnectionError("no answer")
        now = self.world.now()
        return Sample(now, Use(now, 1024.0))


def play(scene: Any) -> None:
    virtual.run(scene)


def test_the_first_to_ask_waits_for_two_samples() -> None:
    async def scene() -> None:
        nodes = Nodes(node("a"), node("b"))
        began = nodes.world.now()
        first, second = await asyncio.gather(nodes.scraper.pairs(), nodes.scraper.pairs())
        assert set(first) == set(second) == {"a", "b"}
        assert sorted(nodes.asked) == ["a", "a", "b", "b"]
        assert nodes.world.now() - began == 1
        pair = first["a"]
        assert pair.after.at - pair.before.at == 1

    play(scene())


def test_samples_go_on_while_somebody_asks_and_end_after() -> None:
    async def scene() -> None:
        nodes = Nodes(node("a"))
        await nodes.scraper.pairs()
        for _ in range(4):
            await asyncio.sleep(PERIOD)
            (pair,) = (await nodes.scraper.pairs()).values()
            assert pair.after.at - pair.before.at == PERIOD or len(nodes.asked) == 2
        await asyncio.sleep(WANTED_SECONDS + 2 * PERIOD)
        count = len(nodes.asked)
        await asyncio.sleep(3600)
        assert len(nodes.asked) == count
        (pair,) = (await nodes.scraper.pairs()).values()
        assert pair.after.at - pair.before.at == 1, "what was known is too old by now"

    play(scene())


def test_nodes_that_do_not_answer_are_not_shown_and_lost_ones_not_asked() -> None:
    async def scene() -> None:
        nodes = Nodes(node("a"), node("b"), node("lost", "Unknown"))
        nodes.silent.add("b")
        assert set(await nodes.scraper.pairs()) == {"a"}
        assert "lost" not in nodes.asked
        nodes.silent.clear()
        await asyncio.sleep(3 * PERIOD)
        assert set(await nodes.scraper.pairs()) == {"a", "b"}
        nodes.found.pop(0)
        await asyncio.sleep(PERIOD)
        assert set(await nodes.scraper.pairs()) == {"b"}

    play(scene())
