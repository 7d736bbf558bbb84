"""Seeded faults between a party and the API server: late, refused and lost requests, watches that lag, break or expire, a
party that dies after a write, and a line that is cut.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from navarch.client.interface import Client, ListResult, Resource, WatchEvent
from navarch.machinery import errors
from navarch.machinery.types import GroupResource

UNREACHABLE_SECONDS = 1.0
"""How long a request takes to find out that nobody answers."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Of how many requests (of watches: batches) this happens to."""

    slow: float = 0.0
    slow_seconds: float = 3.0
    refused: float = 0.0
    """Never arrives."""
    lost: float = 0.0
    """Is carried out, but the answer never arrives."""
    conflict: float = 0.0
    """An update finds that another came first."""
    watch_lags: float = 0.0
    watch_breaks: float = 0.0
    watch_expires: float = 0.0


CALM = Rates()
ROUGH = Rates(
    slow=0.05, refused=0.01, lost=0.01, conflict=0.02, watch_lags=0.05, watch_breaks=0.01, watch_expires=0.002
)


class Line:
    """What one party's requests go through. A dead party's never come back."""

    def __init__(self, seed: int, rates: Rates = CALM) -> None:
        self.rates = rates
        self.cut = False
        self.dead = False
        self.on_crash: Callable[[], None] = lambda: None
        self.last_lost = float("-inf")
        """When an answer was last lost, on the loop's clock."""
        self._random = random.Random(seed)
        self._writes_left = 0

    def die_after(self, writes: int) -> None:
        """The party dies once it has written so often, before it hears of the last one; 0: it lives on."""
        self._writes_left = writes

    def happens(self, rate: float) -> bool:
        return rate > 0 and self._random.random() < rate

    async def silence(self) -> None:
        """As long as a dead party's requests take."""
        await asyncio.get_running_loop().create_future()

    async def pass_request(self) -> None:
        if self.dead:
            await self.silence()
        if self.cut:
            await asyncio.sleep(UNREACHABLE_SECONDS)
            raise ConnectionError("the line is cut")
        if self.happens(self.rates.slow):
            await asyncio.sleep(self._random.random() * self.rates.slow_seconds)
            if self.dead:
                await self.silence()
        if self.happens(self.rates.refused):
            raise ConnectionError("refused")

    async def pass_answer(self) -> None:
        """Of a write."""
        if self._writes_left:
            self._writes_left -= 1
            if not self._writes_left:
                self.dead = True
                self.on_crash()
        if self.dead:
            await self.silence()
        if self.happens(self.rates.lost):
            self.last_lost = asyncio.get_running_loop().time()
            raise ConnectionError("the answer was lost")

    async def pass_events(self) -> None:
        if self.dead:
            await self.silence()
        if self.cut or self.happens(self.rates.watch_breaks):
            raise ConnectionError("the watch broke")
        if self.happens(self.rates.watch_expires):
            raise errors.expired("too old resource version")
        if self.happens(self.rates.watch_lags):
            await asyncio.sleep(self._random.random() * self.rates.slow_seconds)


class FaultyClient:
    """A Client over a line. `target` gives the client of the server that is up now, and raises ConnectionError when none
    is."""

    def __init__(self, target: Callable[[], Client], line: Line) -> None:
        self._target = target
        self._line = line

    async def get(self, resource: Resource, name: str, namespace: str = "", *, subresource: str = "") -> Any:
        await self._line.pass_request()
        return await self._target().get(resource, name, namespace, subresource=subresource)

    async def list(self, resource: Resource, namespace: str = "", **options: Any) -> ListResult:
        await self._line.pass_request()
        return await self._target().list(resource, namespace, **options)

    async def watch(
        self, resource: Resource, namespace: str = "", **options: Any
    ) -> AsyncGenerator[Sequence[WatchEvent]]:
        await self._line.pass_request()
        events: Any = self._target().watch(resource, namespace, **options)
        try:
            async for batch in events:
                await self._line.pass_events()
                yield batch
        finally:
            await events.aclose()

    async def create(self, resource: Resource, obj: Any, namespace: str = "", **options: Any) -> Any:
        return await self._write(lambda to: to.create(resource, obj, namespace, **options))

    async def update(self, resource: Resource, obj: Any, namespace: str = "", **options: Any) -> Any:
        if self._line.happens(self._line.rates.conflict):
            await self._line.pass_request()
            raise errors.conflict(GroupResource(resource.group, resource.plural), obj["metadata"]["name"])
        return await self._write(lambda to: to.update(resource, obj, namespace, **options))

    async def patch(self, resource: Resource, name: str, patch: Any, namespace: str = "", **options: Any) -> Any:
        return await self._write(lambda to: to.patch(resource, name, patch, namespace, **options))

    async def delete(self, resource: Resource, name: str, namespace: str = "", **options: Any) -> Any:
        return await self._write(lambda to: to.delete(resource, name, namespace, **options))

    async def delete_collection(self, resource: Resource, namespace: str = "", **options: Any) -> None:
        await self._write(lambda to: to.delete_collection(resource, namespace, **options))

    async def raw(self, method: str, path: str, query: Any = None, body: Any = None) -> Any:
        if method == "GET":
            await self._line.pass_request()
            return await self._target().raw(method, path, query, body)
        return await self._write(lambda to: to.raw(method, path, query, body))

    async def _write(self, send: Callable[[Client], Awaitable[Any]]) -> Any:
        await self._line.pass_request()
        answer = await send(self._target())
        await self._line.pass_answer()
        return answer
