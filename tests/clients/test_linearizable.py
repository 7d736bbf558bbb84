"""Clients write and read a few objects at once while the API server is killed again and again: one order explains it all.

NAVARCH_KILLS=100 makes it longer.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import time
from pathlib import Path
from typing import Any

import pytest
from tests.support.history import ABSENT, NEVER, Listed, Operation, unexplained
from tests.support.restarts import Failure, Server

from navarch.client.http import HttpClient
from navarch.client.resources import CONFIG_MAPS
from navarch.machinery.errors import StatusError

KILLS = int(os.environ.get("NAVARCH_KILLS", "4"))
CLIENTS = 8
KEYS = 5
BETWEEN = 250
"""Answers between two kills."""
NS = "default"
REFUSED = (404, 409)


class Player:
    """One client: random operations, each with what came of it. It knows what it saw last, and expects that."""

    def __init__(self, number: int, kubeconfig: Path) -> None:
        self.client = HttpClient.from_kubeconfig(kubeconfig)
        self.random = random.Random(number)
        self.number = number
        self.seen: dict[str, tuple[str, str]] = {}
        """Key -> (value, revision)."""
        self.numbers = itertools.count()
        self.operations: list[Operation] = []
        self.lists: list[Listed] = []
        self.stopping = False

    async def run(self) -> None:
        while not self.stopping:
            if self.random.random() < 0.1:
                await self._list()
            else:
                await self._operate(f"key-{self.random.randrange(KEYS)}")

    async def _operate(self, key: str) -> None:
        kind: Any = self.random.choice(("create", "update", "update", "update", "delete", "get", "get", "get"))
        value, revision = self.seen.get(key, (ABSENT, ""))
        if kind in ("update", "delete") and not revision:
            kind = self.random.choice(("create", "get"))
        operation = Operation(kind, key, time.monotonic())
        if kind in ("create", "update"):
            operation.value = f"{self.number}-{next(self.numbers)}"
        if kind in ("update", "delete"):
            operation.expects = value
        if kind == "delete" and self.random.random() < 0.5:
            operation.expects, revision = None, ""
        self.operations.append(operation)
        try:
            found = await self._send(operation, revision)
        except StatusError as error:
            if error.code not in REFUSED:
                raise
            operation.ended = time.monotonic()
            operation.done = kind == "get"
            self.seen.pop(key, None)
        except Failure as error:
            self.seen.pop(key, None)
            if kind == "get" or isinstance(error.__cause__, ConnectionRefusedError):  # nothing can have happened
                self.operations.remove(operation)
            await asyncio.sleep(0.1)
        else:
            operation.ended, operation.done = time.monotonic(), True
            self._saw(operation, found)

    async def _send(self, operation: Operation, revision: str) -> Any:
        key = operation.key
        match operation.kind:
            case "get":
                return await self.client.get(CONFIG_MAPS, key, NS)
            case "create":
                body = {"metadata": {"name": key}, "data": {"value": operation.value}}
                return await self.client.create(CONFIG_MAPS, body, NS)
            case "update":
                body = {"metadata": {"name": key, "resourceVersion": revision}, "data": {"value": operation.value}}
                return await self.client.update(CONFIG_MAPS, body, NS)
            case "delete":
                return await self.client.delete(CONFIG_MAPS, key, NS, resource_version=revision)

    def _saw(self, operation: Operation, found: Any) -> None:
        if operation.kind == "delete":
            self.seen.pop(operation.key, None)
            return
        value, revision = found["data"]["value"], found["metadata"]["resourceVersion"]
        operation.revision = int(revision)
        self.seen[operation.key] = value, revision
        if operation.kind == "get":
            operation.value = value
        assert operation.value == value

    async def _list(self) -> None:
        began = time.monotonic()
        try:
            found = await self.client.list(CONFIG_MAPS, NS)
        except Failure:
            await asyncio.sleep(0.1)
            return
        items = {o["metadata"]["name"]: o for o in found.items if o["metadata"]["name"].startswith("key-")}
        values = {name: (o["data"]["value"], int(o["metadata"]["resourceVersion"])) for name, o in items.items()}
        self.lists.append(Listed(began, time.monotonic(), int(found.resource_version), values))


@pytest.mark.slow
async def test_one_order_explains_what_clients_saw_through_kills(tmp_path: Path) -> None:
    server = Server(tmp_path)
    await server.start()
    players = [Player(number, server.kubeconfig) for number in range(CLIENTS)]
    tasks = [asyncio.create_task(player.run()) for player in players]
    try:
        for kill in range(KILLS + 1):
            while sum(len(player.operations) for player in players) < BETWEEN * (kill + 1):
                await asyncio.sleep(0.01)
            if kill < KILLS:
                server.kill()
                await server.start()
        for player in players:
            player.stopping = True
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        server.kill()
    operations = [each for player in players for each in player.operations]
    lists = [each for player in players for each in player.lists]
    assert not unexplained(operations, lists)
    assert sum(o.done for o in operations) > 50 * KILLS and lists
    assert any(o.ended == NEVER for o in operations), "no kill came between a request and its answer"
