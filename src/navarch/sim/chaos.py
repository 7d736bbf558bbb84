"""A whole cluster under seeded chaos, on virtual time: what a seed does to it, and whether it kept its promises.

    report = simulate(seed)      report.violations is empty where all was kept; the same seed gives the same report

Parts: the store survives everything. The API server, and the controllers and the scheduler beside it, are one process
that may die at any write; each node has a line of its own, which may be cut.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import hashlib
import logging
import multiprocessing
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

from navarch.apiserver.request import User
from navarch.apiserver.server import ApiServer, ApiServerConfig
from navarch.client.interface import Client
from navarch.cluster.config import ClusterConfig
from navarch.cluster.controlplane import GC_THRESHOLDS, ControlPlane
from navarch.sim import virtual
from navarch.sim.faults import CALM, ROUGH, FaultyClient, Line
from navarch.sim.hollow import HollowNodes, Shape
from navarch.sim.ledger import Ledger
from navarch.sim.scenario import Scenario
from navarch.store.interface import Event, Store
from navarch.store.memory import MemoryStore

CAPACITY = {"cpu": "8", "memory": "16Gi", "ephemeral-storage": "20Gi", "pods": "40"}
CHAOS_SECONDS = 240.0
CALM_SECONDS = 900.0
"""How long a cluster may take to come to rest once nothing goes wrong any more."""
IDLE_SECONDS = 120.0
Tasks = dict[asyncio.Task[Any], None]
_owner: contextvars.ContextVar[Tasks | None] = contextvars.ContextVar("owner", default=None)


@dataclass(slots=True)
class Report:
    seed: int
    violations: list[str]
    story: list[str]
    """What was done and what went wrong, with the seconds."""
    digest: str
    """Of every byte written, in order."""
    writes: int
    seconds: float
    """Virtual ones."""


@dataclass(slots=True)
class Node:
    name: str
    line: Line
    hollow: HollowNodes


class _Disk:
    """The store as one process has it: what a dead one still has under way never gets there."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self.lost = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def commit(self, writes: Any) -> Any:
        if self.lost:
            await asyncio.get_running_loop().create_future()
        return await self._store.commit(writes)


class _Plane(ControlPlane):
    """Controllers and scheduler behind a line that may go bad."""

    def __init__(self, server: ApiServer, line: Line) -> None:
        super().__init__(server)
        self._line = line

    def client_for(self, user: str) -> Any:
        client = super().client_for(user)
        return FaultyClient(lambda: client, self._line)


class _Errors(logging.Handler):
    """What the product itself takes for a fault of its own."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.ERROR or (record.exc_info and record.exc_info[1] is not None):
            self._tell(f"logged: {record.name}: {record.getMessage()}: {record.exc_info and record.exc_info[1]!r}")


@dataclass(slots=True)
class Cluster:
    """The parts of one run, and what can be done to them."""

    seed: int
    world: virtual.VirtualWorld
    store: MemoryStore
    ledger: Ledger
    story: list[str] = field(default_factory=list[str])
    nodes: dict[str, Node] = field(default_factory=dict[str, Node])
    rough: bool = True
    server: ApiServer | None = None
    _line: Line | None = None
    _disk: _Disk | None = None
    _tasks: Tasks = field(default_factory=dict[Any, None])
    _generation: int = 0

    def tell(self, what: str) -> None:
        self.story.append(f"{asyncio.get_running_loop().time():8.2f}  {what}")

    def violated(self, what: str) -> None:
        self.ledger.violations.append(what)
        self.tell(f"VIOLATED {what}")

    # -- the control plane

    async def start(self) -> None:
        """A new process: API server over the store, controllers, scheduler."""
        self._generation += 1
        rates = ROUGH if self.rough else CALM
        self._line = Line(self.seed * 1000 + self._generation, rates)
        self._line.on_crash = lambda: self._later(self.crash("died after a write"))
        self._tasks = tasks = Tasks()
        self._disk = _Disk(self.store)
        _owner.set(tasks)
        server = ApiServer(cast("Store", self._disk), self.world, CONFIG)
        await server.start()
        self.server = server
        plane = _Plane(server, self._line)
        starting = asyncio.get_running_loop().create_task(plane.start(ClusterConfig(), ""))
        starting.add_done_callback(self._started)
        _owner.set(None)

    def _started(self, starting: asyncio.Task[None]) -> None:
        if not starting.cancelled() and (error := starting.exception()):
            self._later(self.crash(f"it did not start: {error}"))

    def die_after(self, writes: int) -> None:
        if self._line is not None and not self._line.dead:
            self.tell(f"the control plane will die after {writes} more writes")
            self._line.die_after(writes)

    async def crash(self, why: str, away: float = 2.0) -> None:
        """The process is gone at once, and back after `away` seconds."""
        server, line, disk = self.server, self._line, self._disk
        if server is None or line is None or disk is None:
            return
        self.tell(f"the control plane is gone: {why}")
        self.server, line.dead, disk.lost = None, True, True
        for task in list(self._tasks):
            task.cancel()
        await server.stop()
        await asyncio.sleep(away)
        await self.start()
        self.tell("the control plane is back")

    def calm(self) -> None:
        """Nothing goes wrong from now on."""
        self.rough = False
        if self._line is not None:
            self._line.rates = CALM
            self._line.die_after(0)
        for node in self.nodes.values():
            node.line.rates, node.line.cut = CALM, False

    @staticmethod
    def _later(work: Coroutine[Any, Any, None]) -> None:
        token = _owner.set(None)
        task = asyncio.get_running_loop().create_task(work)
        task.add_done_callback(asyncio.Task.result)
        _owner.reset(token)

    @property
    def last_lost(self) -> float:
        """When the controllers last missed an answer, on the loop's clock."""
        return self._line.last_lost if self._line is not None else float("-inf")

    def _there(self) -> ApiServer:
        if self.server is None:
            raise ConnectionError("no API server is up")
        return self.server

    def system(self) -> Client:
        return self._there().system

    def user(self) -> Client:
        """A client of somebody who may do everything."""
        return self._there().client(User("admin", groups=("system:masters",)))

    async def up(self) -> ApiServer:
        while self.server is None:
            await asyncio.sleep(0.1)
        return self.server

    # -- nodes

    async def add_node(self, index: int) -> None:
        name = f"node-{index}"
        line = Line(self.seed * 1000 + 500 + index, ROUGH)
        shape = Shape(capacity=CAPACITY, labels={"topology.kubernetes.io/zone": f"zone-{index % 2}"})
        hollow = HollowNodes(FaultyClient(self.system, line), self.world, 1, shape=shape, prefix=f"{name}-")
        self.nodes[f"{name}-0"] = Node(f"{name}-0", line, hollow)
        while True:
            try:
                await hollow.start()
                return
            except ConnectionError:
                await asyncio.sleep(1)


CONFIG = ApiServerConfig()


def simulate(seed: int, *, nodes: int = 3, chaos: float = CHAOS_SECONDS) -> Report:
    """One run."""
    return virtual.run(_simulate(seed, nodes, chaos))


def simulate_many(
    seeds: Sequence[int], *, processes: int, nodes: int = 3, chaos: float = CHAOS_SECONDS
) -> Iterator[Report]:
    """Runs in several processes, in the order of the seeds."""
    one = partial(simulate, nodes=nodes, chaos=chaos)
    if processes < 2 or len(seeds) < 2:
        yield from map(one, seeds)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context, initializer=_collect_rarely) as pool:
        yield from pool.map(one, seeds, chunksize=min(10, -(-len(seeds) // processes)))


def _collect_rarely() -> None:
    """As in a control plane: trees need no collector. What was imported is never looked at again."""
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


async def _simulate(seed: int, nodes: int, chaos: float) -> Report:
    loop = asyncio.get_running_loop()
    loop.set_task_factory(_owned)
    store = MemoryStore()
    ledger = Ledger()
    cluster = Cluster(seed, virtual.VirtualWorld(seed), store, ledger)
    digest, writes = hashlib.blake2b(digest_size=16), 0

    def wrote(events: Any) -> None:
        nonlocal writes
        for event in events:
            digest.update(event.key.encode())
            digest.update(event.value or b"-")
            writes += 1
        _enter(cluster, events)

    store.watch("", 0, wrote)
    errors = _Errors(cluster.violated)
    logger = logging.getLogger("navarch")
    propagates, logger.propagate = logger.propagate, False
    logger.addHandler(errors)
    try:
        await cluster.start()
        await asyncio.gather(*(cluster.add_node(index) for index in range(nodes)))
        scenario = Scenario(cluster, seed)
        await scenario.play(chaos)
        cluster.calm()
        await scenario.heal()
        await _come_to_rest(cluster, scenario)
    finally:
        logger.removeHandler(errors)
        logger.propagate = propagates
    return Report(seed, ledger.violations, cluster.story, digest.hexdigest(), writes, loop.time())


def _enter(cluster: Cluster, events: list[Event]) -> None:
    now = asyncio.get_running_loop().time()
    for event in events:
        for what in cluster.ledger.enter(event, now, cluster.last_lost):
            cluster.tell(f"VIOLATED {what}")


async def _come_to_rest(cluster: Cluster, scenario: Scenario) -> None:
    ends = asyncio.get_running_loop().time() + CALM_SECONDS
    while missing := cluster.ledger.unsettled(scenario.expected()):
        if asyncio.get_running_loop().time() > ends:
            for what in missing:
                cluster.violated(f"never came to rest: {what}")
            return
        await asyncio.sleep(5)
    await asyncio.sleep(30)  # events and timers that follow what has just settled
    before = cluster.ledger.writes
    await asyncio.sleep(IDLE_SECONDS)
    for key, count in cluster.ledger.written_since(before).items():
        if count > 1 or "/events/" not in f"/{key}":  # a budget without pods may say so now and then
            cluster.violated(f"wrote {key} {count} times at rest")
    for what in cluster.ledger.unsettled(scenario.expected()):
        cluster.violated(f"did not stay at rest: {what}")


def _owned(loop: Any, coro: Any, **options: Any) -> asyncio.Task[Any]:
    """Tasks are remembered with the process that they are part of."""
    task = asyncio.Task(coro, loop=loop, **options)
    owner = _owner.get()
    if owner is not None:
        owner[task] = None
        task.add_done_callback(lambda done: owner.pop(done, None))
    return task
