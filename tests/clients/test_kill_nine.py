"""The control plane is killed twenty times under write load: nothing acknowledged is lost, and watchers see it all."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.support.restarts import Failure, Server

from navarch.client.http import HttpClient
from navarch.client.resources import CONFIG_MAPS
from navarch.machinery.errors import StatusError

KILLS = 20
WRITERS = 4
BETWEEN_SECONDS = 0.35
NS = "default"


class Writer:
    """Creates, updates and deletes objects of its own, and remembers what was acknowledged."""

    def __init__(self, number: int, kubeconfig: Path) -> None:
        self.number = number
        self.client = HttpClient.from_kubeconfig(kubeconfig)
        self.acknowledged: dict[str, tuple[int, str] | None] = {}
        """Name -> (revision, value), or None for a deletion; only what is certain."""
        self.lost: list[str] = []
        self.writes = 0
        self.stopping = False

    async def run(self) -> None:
        step = 0
        while not self.stopping:
            step += 1
            name = f"w{self.number}-{step % 20}"
            try:
                await self._write(name, step)
                self.writes += 1
            except Failure:
                await self._settle(name, step)

    async def _write(self, name: str, step: int) -> None:
        known = self.acknowledged.get(name)
        body = {"metadata": {"name": name}, "data": {"value": str(step)}}
        if known is None:
            made = await self.client.create(CONFIG_MAPS, body, NS)
        elif step % 7 == 0:
            await self.client.delete(CONFIG_MAPS, name, NS)
            self.acknowledged[name] = None
            return
        else:
            body["metadata"]["resourceVersion"] = str(known[0])
            made = await self.client.update(CONFIG_MAPS, body, NS)
        self.acknowledged[name] = (int(made["metadata"]["resourceVersion"]), made["data"]["value"])

    async def _settle(self, name: str, step: int) -> None:
        """After a failure nobody knows whether the write happened: there is what was acknowledged last, or that write."""
        before = self.acknowledged.pop(name, None)
        while not self.stopping:
            try:
                found = _state(await self.client.get(CONFIG_MAPS, name, NS))
            except StatusError as error:
                if error.code != 404:
                    raise
                if before is not None and step % 7:
                    self.lost.append(f"{name}: acknowledged {before}, and is gone")
                self.acknowledged[name] = None
                return
            except (ConnectionError, OSError):
                await asyncio.sleep(0.02)
                continue
            if found != before and found[1] != str(step):
                self.lost.append(f"{name}: acknowledged {before}, wrote {step}, found {found}")
            self.acknowledged[name] = found
            return


class Watcher:
    """Follows all config maps across restarts, resuming from what it saw; its state must end as the truth."""

    def __init__(self, kubeconfig: Path) -> None:
        self.client = HttpClient.from_kubeconfig(kubeconfig)
        self.state: dict[str, tuple[int, str]] = {}
        self.revision = 0
        self.backwards = self.events = 0
        self.stopping = False

    async def run(self) -> None:
        while not self.stopping:
            try:
                if not self.revision:
                    await self._list()
                async for batch in self.client.watch(CONFIG_MAPS, NS, resource_version=str(self.revision)):
                    for event in batch:
                        self._take(event.type, event.object)
            except Failure as error:
                if isinstance(error, StatusError) and error.code == 410:
                    self.revision = 0  # what came before the restart is forgotten: list anew, as every client does
                await asyncio.sleep(0.02)

    async def _list(self) -> None:
        listed = await self.client.list(CONFIG_MAPS, NS)
        self.state = {o["metadata"]["name"]: _state(o) for o in listed.items}
        self.revision = int(listed.resource_version)

    def _take(self, type: str, obj: Any) -> None:
        revision = int(obj["metadata"]["resourceVersion"])
        self.events += 1
        if revision < self.revision:
            self.backwards += 1
        self.revision = max(self.revision, revision)
        if type == "DELETED":
            self.state.pop(obj["metadata"]["name"], None)
        elif type != "BOOKMARK":
            self.state[obj["metadata"]["name"]] = _state(obj)


def _state(obj: Any) -> tuple[int, str]:
    return int(obj["metadata"]["resourceVersion"]), (obj.get("data") or {}).get("value", "")


@pytest.mark.slow
async def test_twenty_kills_lose_nothing(tmp_path: Path) -> None:
    server = Server(tmp_path)
    await server.start()
    writers = [Writer(number, server.kubeconfig) for number in range(WRITERS)]
    watchers = [Watcher(server.kubeconfig) for _ in range(3)]
    tasks = [asyncio.create_task(w.run()) for w in (*writers, *watchers)]
    try:
        for _ in range(KILLS):
            await asyncio.sleep(BETWEEN_SECONDS)
            server.kill()
            await server.start()
        await asyncio.sleep(BETWEEN_SECONDS)
        for writer in writers:
            writer.stopping = True
        await asyncio.gather(*tasks[:WRITERS])
        await _judge(server, writers, watchers)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        server.kill()


async def _judge(server: Server, writers: list[Writer], watchers: list[Watcher]) -> None:
    truth = HttpClient.from_kubeconfig(server.kubeconfig)
    listed = await truth.list(CONFIG_MAPS, NS)
    stored = {o["metadata"]["name"]: _state(o) for o in listed.items}
    for writer in writers:
        assert writer.writes > KILLS
        assert not writer.lost
        for name, known in writer.acknowledged.items():
            assert stored.get(name) == known, f"{name}: acknowledged {known}, stored {stored.get(name)}"
    for watcher in watchers:
        async with asyncio.timeout(20):
            while watcher.state != stored:
                await asyncio.sleep(0.02)
        assert watcher.backwards == 0
        assert watcher.events > KILLS
    await truth.close()
