"""The reconcile loop: caches -> queue -> workers -> observe -> reconcile -> execute. One for all controllers."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from navarch.client.informer import Informer, InformerFactory
from navarch.client.interface import Client, Resource
from navarch.controlloop.execute import Executor, Outcome, is_conflict
from navarch.controlloop.plan import Controller, Plan, Watch
from navarch.controlloop.queue import BACKOFF_LAST, ShutDown, WorkQueue
from navarch.controlloop.recorder import Recorder
from navarch.machinery.clock import World, work_clock
from navarch.machinery.errors import StatusError
from navarch.machinery.types import Key, Obj

T = TypeVar("T")
REASONS_KEPT = 1000
SLICE_SECONDS = 0.005
"""A worker lets everybody else go on after so long."""
log = logging.getLogger(__name__)


class Why(NamedTuple):
    """The last decision about a key."""

    at: float
    reasons: Sequence[str]
    error: str = ""


@dataclass(slots=True)
class Metrics:
    """Counters of one controller; `seconds` is time spent deciding (not waiting for the API)."""

    reconciles: int = 0
    errors: int = 0
    conflicts: int = 0
    seconds: float = 0.0


class CacheSet:
    """The caches one controller reads."""

    def __init__(self, informers: dict[Resource, Informer]) -> None:
        self._informers = informers

    def __getitem__(self, resource: Resource) -> Informer:
        return self._informers[resource]


class ControllerLoop(Generic[T]):
    """Runs one controller. A key is free for the next round only when the caches show what the last one wrote."""

    def __init__(
        self,
        controller: Controller[T],
        client: Client,
        informers: InformerFactory,
        world: World,
        *,
        concurrency: int = 5,
        backoff_last: float = BACKOFF_LAST,
    ) -> None:
        self.name = controller.name
        self.queue: WorkQueue[Key] = WorkQueue(world, backoff_last)
        self.metrics = Metrics()
        self._controller = controller
        self._world = world
        self._concurrency = concurrency
        self._recorder = Recorder(client, world, getattr(controller, "event_source", controller.name))
        self._informers: dict[Resource, Informer] = {}
        unfiltered: dict[Resource, Informer] = {}
        for watch in controller.watches:
            informer = informers.informer(watch.resource, watch.label_selector, watch.field_selector)
            for name, function in watch.indexes.items():
                informer.add_index(name, function)
            self._informers[watch.resource] = informer
            if not watch.label_selector and not watch.field_selector:
                unfiltered[watch.resource] = informer
        self._caches = CacheSet(self._informers)
        self._executor = Executor(client, world, self._recorder, unfiltered)
        self._why: OrderedDict[Key, Why] = OrderedDict()
        self._unsubscribe: list[Any] = []
        self._workers: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Waits until every cache is filled, then reconciles. The informers are started by whoever owns them."""
        await asyncio.gather(*(asyncio.shield(informer.synced) for informer in self._informers.values()))
        self._unsubscribe = [
            self._informers[watch.resource].add_handler(self._handler(watch)) for watch in self._controller.watches
        ]
        loop = asyncio.get_running_loop()
        self._workers = [loop.create_task(self._work(), name=self.name) for _ in range(self._concurrency)]

    async def stop(self) -> None:
        for remove in self._unsubscribe:
            remove()
        self.queue.shut_down()
        for worker in self._workers:
            worker.cancel()
        for worker in self._workers:
            with suppress(asyncio.CancelledError):
                await worker
        await self._recorder.stop()

    def why(self, key: Key) -> Why | None:
        """The reasons of the last plan for the key."""
        return self._why.get(key)

    def _handler(self, watch: Watch) -> Any:
        def handle(old: Obj | None, new: Obj | None) -> None:
            for key in watch.keys(old, new, self._caches):
                self.queue.add(key)

        return handle

    async def _work(self) -> None:
        clock = work_clock()
        began = clock()
        while True:
            if clock() - began > SLICE_SECONDS:  # a store in memory never waits: events would, until the queue is empty
                await asyncio.sleep(0)
                began = clock()
            try:
                key = await self.queue.get()
            except ShutDown:
                return
            outcome = Outcome()
            try:
                outcome = await self._round(key)
            except Exception as error:
                self._failed(key, error)
            self._executor.settle(outcome.writes, lambda key=key, wait=outcome.gather: self._free(key, wait))

    def _free(self, key: Key, wait: float) -> None:
        if wait > 0:
            self._world.call_later(wait, lambda: self.queue.done(key))
        else:
            self.queue.done(key)

    async def _round(self, key: Key) -> Outcome:
        started = time.monotonic()
        plan = self._decide(key)
        self.metrics.reconciles += 1
        self.metrics.seconds += time.monotonic() - started
        if plan is None:
            self.queue.forget(key)
            self._why.pop(key, None)
            return Outcome()
        self._remember(key, Why(self._world.now(), plan.reasons))
        if not plan.actions:
            self._succeeded(key, plan)
            return Outcome(gather=plan.gather)
        outcome = await self._executor.run(plan)
        if outcome.reasons:
            self._remember(key, Why(self._world.now(), [*plan.reasons, *outcome.reasons]))
        if outcome.error is None:
            if outcome.requeue_after is not None:
                plan.requeue_after = min(outcome.requeue_after, plan.requeue_after or outcome.requeue_after)
            self._succeeded(key, plan)
        else:
            self._failed(key, outcome.error)
        return outcome

    def _decide(self, key: Key) -> Plan | None:
        observed = self._controller.observe(key, self._caches)
        return None if observed is None else self._controller.reconcile(observed, self._world.now())

    def _succeeded(self, key: Key, plan: Plan) -> None:
        self.queue.forget(key)
        if plan.requeue_after is not None:
            self.queue.add_after(key, max(plan.requeue_after, 0.001))

    def _failed(self, key: Key, error: Exception) -> None:
        if is_conflict(error) or _is_gone(error):
            # Whatever was written about changed or went away meanwhile: the caches will tell, and it is decided anew.
            self.metrics.conflicts += 1
        else:
            self.metrics.errors += 1
            log.warning("%s: %s: %s", self.name, key, error, exc_info=not _is_answer(error))
        last = self._why.get(key)
        self._remember(key, Why(self._world.now(), last.reasons if last else (), str(error)))
        self.queue.add_rate_limited(key)

    def _remember(self, key: Key, why: Why) -> None:
        self._why[key] = why
        self._why.move_to_end(key)
        if len(self._why) > REASONS_KEPT:
            self._why.popitem(last=False)


def _is_gone(error: Exception) -> bool:
    return isinstance(error, StatusError) and error.code == 404


def _is_answer(error: Exception) -> bool:
    return isinstance(error, StatusError | ConnectionError | OSError)
