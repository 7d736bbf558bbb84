"""What watches promise, over many events of a real server: in order, none lost, none twice, resumable from any revision.

Writes come from clients in the server's process, watches over TLS from outside and in the process, with and without
selectors. What each must see follows from what the store tells and the writes were answered. NAVARCH_EVENTS=30000 makes it shorter.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pytest
from tests.support.hollow import until

from navarch.apiserver import fanout
from navarch.apiserver.server import ApiServer, ApiServerConfig
from navarch.client.http import HttpClient
from navarch.client.interface import Client
from navarch.client.resources import CONFIG_MAPS
from navarch.cluster.certificates import Authority, new_key_pem
from navarch.cluster.controlplane import ApiProcess, ServingConfig
from navarch.machinery.clock import RealWorld
from navarch.machinery.errors import StatusError
from navarch.store.interface import Event
from navarch.testing.files import keep_pair

EVENTS = int(os.environ.get("NAVARCH_EVENTS", "100000"))
NAMES, WRITERS = 60, 4
NS = "default"
ROUND, BEHIND = 2_000, 3_000
"""Writes between two looks at whether the slowest watcher follows, and how far it may be behind: the server keeps some
8,000 events of a resource."""
PATIENCE = 60.0
"""Seconds that a watcher may take to follow on a machine that has much else to do."""


class Seen(NamedTuple):
    revision: int
    type: str
    name: str
    value: str


class State(NamedTuple):
    """Of an object: what tells its revisions apart, and what selectors look at."""

    value: str
    color: str


class Log:
    """What happened, as the store tells it."""

    def __init__(self) -> None:
        self.events: list[tuple[int, str, State | None, State | None]] = []
        """(revision, name, before, after); None: it is not there."""
        self.here: dict[str, State] = {}

    def sink(self, events: Sequence[Event]) -> None:
        for event in events:
            name = event.key.rpartition("/")[2]
            before, now = self.here.pop(name, None), None
            if event.value is not None:
                obj = orjson.loads(event.value)
                now = self.here[name] = State(obj["data"]["value"], obj["metadata"]["labels"]["color"])
            assert (before is None) == (event.previous is None)
            self.events.append((event.revision, name, before, now))

    def seen_by(self, wanted: Callable[[str, str], bool], after: int = 0) -> list[Seen]:
        """The events of a watch of objects whose (name, color) is wanted. What leaves the selection is shown as it was."""
        found: list[Seen] = []
        for revision, name, before, now in self.events:
            was = before is not None and wanted(name, before.color)
            stays = now is not None and wanted(name, now.color)
            if revision > after and (was or stays):
                type = "MODIFIED" if was and stays else "ADDED" if stays else "DELETED"
                shown = now if stays else before
                assert shown
                found.append(Seen(revision, type, name, shown.value))
        return found


class Watcher:
    """Follows from a revision on, and goes away and comes back every `stamina` events (0: never)."""

    def __init__(self, client: Client, after: int, labels: str = "", fields: str = "", stamina: int = 0) -> None:
        self.client, self.labels, self.fields, self.stamina = client, labels, fields, stamina
        self.revision = after
        self.seen: list[Seen] = []
        self.bookmarks = 0
        self.problems: list[str] = []
        self.resumed = 0
        self.random = random.Random(f"{labels}{fields}{stamina}")

    async def run(self) -> None:
        while True:
            self.resumed += 1
            limit = self.random.randint(1, self.stamina) if self.stamina else 0
            try:
                await self._follow(limit)
            except StatusError as error:
                self.problems.append(str(error))
                return
            except (ConnectionError, OSError):
                await asyncio.sleep(0.01)

    async def _follow(self, limit: int) -> None:
        """Until `limit` events have come (0: until the server ends it)."""
        count = 0
        watch = self.client.watch(
            CONFIG_MAPS,
            NS,
            label_selector=self.labels,
            field_selector=self.fields,
            resource_version=str(self.revision),
        )
        async for batch in watch:
            self._take(batch)
            count += len(batch)
            if limit and count >= limit:
                return

    def _take(self, batch: Sequence[Any]) -> None:
        for type, obj in batch:
            metadata = obj["metadata"]
            revision = int(metadata["resourceVersion"])
            if type == "BOOKMARK":
                self.bookmarks += 1
                if revision < self.revision:
                    self.problems.append(f"a bookmark of {revision} after {self.revision}")
            else:
                if revision <= self.revision:
                    self.problems.append(f"{type} of {revision} after {self.revision}")
                self.seen.append(Seen(revision, type, metadata["name"], obj["data"]["value"]))
            self.revision = revision


class Writer:
    """Creates, changes and deletes its own objects; their colors change, so that they pass in and out of selections."""

    def __init__(self, client: Client, number: int) -> None:
        self.client = client
        self.names = [f"o{number}-{each}" for each in range(NAMES // WRITERS)]
        self.random = random.Random(number)
        self.here: dict[str, str] = {}
        """Name -> revision."""
        self.acknowledged: set[tuple[int, str, str]] = set()
        self.deleted = 0

    async def write(self, count: int) -> None:
        for _ in range(count):
            name = self.random.choice(self.names)
            if name in self.here and self.random.random() < 0.1:
                await self.client.delete(CONFIG_MAPS, name, NS)
                del self.here[name]
                self.deleted += 1
                continue
            value = f"{self.random.random()}"
            metadata = {"name": name, "labels": {"color": self.random.choice(("red", "blue"))}}
            verb = self.client.update if name in self.here else self.client.create
            made = await verb(CONFIG_MAPS, {"metadata": metadata, "data": {"value": value}}, NS)
            self.here[name] = made["metadata"]["resourceVersion"]
            self.acknowledged.add((int(self.here[name]), name, value))


@asynccontextmanager
async def serving(directory: Path) -> AsyncGenerator[tuple[ApiProcess, HttpClient]]:
    """A server on loopback in this event loop, on the memory store; and a client over TLS."""
    authority = Authority.new("watches")
    certificate, key = keep_pair(directory, "server", authority.server("kube-apiserver", ["localhost"], ["127.0.0.1"]))
    admin = keep_pair(directory, "admin", authority.client("admin", "system:masters"))
    ca, _ = keep_pair(directory, "ca", (authority.pem, authority.key_pem))
    config = ApiServerConfig(client_ca_pem=authority.pem, token_key_pem=new_key_pem())
    places = ServingConfig(host="127.0.0.1", port=0, certificate=certificate, key=key)
    api = await ApiProcess.start(places, config, None, RealWorld())
    client = HttpClient(f"https://127.0.0.1:{api.port}", ca=ca, certificate=admin)
    try:
        yield api, client
    finally:
        await client.close()
        await api.stop()


@pytest.mark.timeout(900)
async def test_watches_show_every_event_once_and_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fanout, "BOOKMARK_SECONDS", 0.2)
    async with serving(tmp_path) as (api, outside):
        inside, log = api.server.system, Log()
        begin = api.server.caches.revision
        api.server.caches.store.watch("/registry/core/configmaps/default/o", 0, log.sink)
        watchers = [
            Watcher(outside, begin, stamina=4_000),
            Watcher(outside, begin, labels="color=red"),
            Watcher(outside, begin, labels="color=blue", stamina=1_000),
            Watcher(inside, begin, labels="color!=red", stamina=300),
            Watcher(inside, begin, fields="metadata.name=o1-3"),
        ]
        tasks = [asyncio.create_task(watcher.run()) for watcher in watchers]
        writers = [Writer(inside, number) for number in range(WRITERS)]
        for _ in range(EVENTS // ROUND):
            await asyncio.gather(*(writer.write(ROUND // WRITERS) for writer in writers))
            await until(
                "the watchers follow",
                lambda: all(w.revision > log.events[-1][0] - BEHIND for w in watchers[:4]),
                seconds=PATIENCE,
            )
        last = [
            wanted.seen_by(_wanted(watcher))[-1].revision for watcher, wanted in zip(watchers, [log] * 5, strict=True)
        ]
        ends = list(zip(watchers, last, strict=True))
        await until("all is seen", lambda: all(w.revision >= r for w, r in ends), seconds=PATIENCE)
        for task in tasks:
            task.cancel()
        _judge(log, writers, watchers)
        await _resume(outside, log, api.server)


def _wanted(watcher: Watcher) -> Callable[[str, str], bool]:
    if watcher.fields:
        return lambda name, color: name == "o1-3"
    wanted = {"": ("red", "blue"), "color=red": ("red",)}.get(watcher.labels, ("blue",))
    return lambda name, color: color in wanted


def _judge(log: Log, writers: list[Writer], watchers: list[Watcher]) -> None:
    assert len(log.events) == EVENTS
    stored = {(revision, name, now.value) for revision, name, _, now in log.events if now is not None}
    assert stored == set().union(*(writer.acknowledged for writer in writers))
    assert len(log.events) - len(stored) == sum(writer.deleted for writer in writers)
    for watcher in watchers:
        assert not watcher.problems
        assert watcher.bookmarks > 0 or watcher.stamina
        assert watcher.resumed > 5 or not watcher.stamina
        expected = log.seen_by(_wanted(watcher))
        assert len(watcher.seen) == len(expected)
        assert watcher.seen == expected


async def _resume(client: HttpClient, log: Log, server: ApiServer) -> None:
    """From any revision that is still known, all that came after it; from an older one, 410."""
    rng = random.Random(1)
    recent = [revision for revision, *_ in log.events[-4_000:]]
    for start in [recent[-1], *rng.sample(recent, 6)]:
        expected = log.seen_by(lambda name, color: True, start)
        watcher = Watcher(client, start)
        task = asyncio.create_task(watcher.run())
        await until("all that came after", lambda w=watcher, e=expected: len(w.seen) >= len(e) and w.bookmarks)
        task.cancel()
        assert watcher.seen == expected and not watcher.problems
    with pytest.raises(StatusError, match="too old resource version"):
        async for _ in client.watch(CONFIG_MAPS, NS, resource_version=str(log.events[0][0])):
            pass
