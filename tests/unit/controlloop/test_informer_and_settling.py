"""Informers over a transport that plays a script, and the wait for a controller's own writes to show."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from navarch.client.informer import Informer
from navarch.client.interface import ListResult, WatchEvent
from navarch.client.resources import PODS
from navarch.controlloop.execute import Executor, Written
from navarch.controlloop.recorder import Recorder
from navarch.machinery import errors
from navarch.machinery.clock import RealWorld
from navarch.machinery.types import Key


def pod(name: str, revision: int, uid: str = "", **meta: Any) -> dict[str, Any]:
    made = {"name": name, "namespace": "n", "uid": uid or name, "resourceVersion": str(revision), **meta}
    return {"kind": "Pod", "metadata": made}


class Script:
    """A transport of lists and watches that the test feeds; an exception in the feed ends the watch."""

    def __init__(self, *lists: ListResult) -> None:
        self.lists = list(lists)
        self.watched_from: list[str] = []
        self.feed: asyncio.Queue[Sequence[WatchEvent] | Exception] = asyncio.Queue()

    async def list(self, resource: Any, namespace: str = "", **_: Any) -> ListResult:
        return self.lists.pop(0)

    async def watch(self, resource: Any, namespace: str = "", **options: Any) -> AsyncIterator[Sequence[WatchEvent]]:
        self.watched_from.append(options["resource_version"])
        while True:
            batch = await self.feed.get()
            if isinstance(batch, Exception):
                raise batch
            yield batch


async def settled(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


async def start(script: Script) -> Informer:
    informer = Informer(script, PODS, RealWorld(1))  # type: ignore[arg-type]
    informer.add_index("owner", lambda obj: (obj["metadata"].get("owner", ""),))
    informer.start()
    await informer.synced
    return informer


async def test_the_cache_follows_list_events_and_bookmarks() -> None:
    script = Script(ListResult("10", [pod("a", 3, owner="x"), pod("b", 9)]))
    informer = await start(script)
    seen: list[tuple[str | None, str | None]] = []

    def told(old: Any, new: Any) -> None:
        seen.append((old and old["metadata"]["resourceVersion"], new and new["metadata"]["resourceVersion"]))

    informer.add_handler(told)
    assert informer.observed_revision == 10
    assert [p["metadata"]["name"] for p in informer.by_index("owner", "x")] == ["a"]
    script.feed.put_nowait(
        [
            WatchEvent("ADDED", pod("c", 11)),
            WatchEvent("MODIFIED", pod("a", 12, owner="y")),
            WatchEvent("DELETED", pod("b", 13)),
            WatchEvent("BOOKMARK", {"metadata": {"resourceVersion": "20"}}),
        ]
    )
    await settled(lambda: informer.observed_revision == 20)
    assert seen == [(None, "3"), (None, "9"), (None, "11"), ("3", "12"), ("9", None)]
    assert sorted(p["metadata"]["name"] for p in informer.list("n")) == ["a", "c"]
    assert informer.by_index("owner", "x") == []
    await informer.stop()


async def test_a_lost_watch_resumes_and_an_expired_one_lists_anew() -> None:
    script = Script(ListResult("10", [pod("a", 3), pod("b", 4)]), ListResult("30", [pod("b", 25)]))
    informer = await start(script)
    script.feed.put_nowait([WatchEvent("BOOKMARK", {"metadata": {"resourceVersion": "15"}})])
    await settled(lambda: informer.observed_revision == 15)
    script.feed.put_nowait(ConnectionError("cut"))
    await settled(lambda: script.watched_from == ["10", "15"])
    script.feed.put_nowait(errors.expired("too old"))
    await settled(lambda: script.watched_from == ["10", "15", "30"])
    assert [(p["metadata"]["name"], p["metadata"]["resourceVersion"]) for p in informer.list()] == [("b", "25")]
    await informer.stop()


async def test_a_key_stays_parked_until_the_caches_show_its_writes() -> None:
    script = Script(ListResult("10", [pod("a", 3)]))
    informer = await start(script)
    world = RealWorld(1)
    executor = Executor(script, world, Recorder(script, world, "c"), {PODS: informer})  # type: ignore[arg-type]
    freed: list[str] = []
    executor.settle([Written(PODS, Key("n", "z"), 9)], lambda: freed.append("old news"))
    assert freed == ["old news"]
    executor.settle(
        [Written(PODS, Key("n", "b"), 12), Written(PODS, Key("n", "a"), 0, gone="a")], lambda: freed.append("both")
    )
    script.feed.put_nowait([WatchEvent("ADDED", pod("b", 12))])
    await settled(lambda: informer.observed_revision == 12)
    assert freed == ["old news"]
    script.feed.put_nowait([WatchEvent("MODIFIED", pod("a", 13, deletionTimestamp="now"))])
    await settled(lambda: freed == ["old news", "both"])
    await informer.stop()
