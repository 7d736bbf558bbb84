"""Pods scheduled per second: the workloads of upstream's scheduler_perf, in their shapes and counts.

    script/bench scheduler [NAME ...] [--against KUBECONFIG] [--json FILE] [--store sqlite|memory] [--scale N] [--profile FILE]

API server (in process, on a durable store unless told otherwise), and the scheduler with its own rights; nodes are objects
without a kubelet, as upstream has them; the admission plugins that upstream's harness switches off are off (ServiceAccount,
TaintNodesByCondition, Priority). A workload's figure is the number of its measured pods through the seconds from the first
request to create one until a watch has seen the last with a node, creation and events included.

`--against` has each workload done by another cluster as well, right after: one with an API server and a scheduler, no other
controllers and no nodes, and the same plugins off. The scheduler's own limit of requests should be out of the way there
(clientConnection: qps and burst 5000 in its configuration, as scheduler_perf has it). All its pods and nodes go.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import gc
import itertools
import resource
import tempfile
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import uvloop

from bench.report import Report, write_json
from navarch.apiserver.admission.settings import Settings
from navarch.apiserver.request import User
from navarch.apiserver.server import ApiServer, ApiServerConfig
from navarch.client.http import HttpClient
from navarch.client.interface import Client, Resource
from navarch.client.resources import NAMESPACES, NODES, PODS
from navarch.cluster.controlplane import GC_THRESHOLDS
from navarch.machinery.clock import RealWorld
from navarch.machinery.errors import StatusError
from navarch.machinery.types import Obj
from navarch.scheduler.scheduler import Scheduler
from navarch.store.memory import MemoryStore
from navarch.store.sqlite import SqliteStore

SWITCHED_OFF = frozenset(("ServiceAccount", "TaintNodesByCondition", "Priority"))
CREATING = 64
"""Requests to create pods under way at once."""
LIMIT_SECONDS = 900.0
ZONE = "topology.kubernetes.io/zone"


# -- templates


def pod(prefix: str = "pod-", labels: dict[str, str] | None = None, cpu: str = "100m", **spec: Any) -> Obj:
    amounts = {"cpu": cpu, "memory": "500Mi"}
    container: Obj = {
        "name": "pause",
        "image": "registry.k8s.io/pause:3.10.2",
        "ports": [{"containerPort": 80}],
        "resources": {"limits": amounts, "requests": amounts},
    }
    meta: Obj = {"generateName": prefix, **({"labels": labels} if labels else {})}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {"containers": [container], **spec}}


def node(zones: tuple[str, ...], index: int) -> Obj:
    labels = {ZONE: zones[index % len(zones)]} if zones else {}
    name = f"scheduler-perf-{index}"
    return named_node(name, {"pods": "110", "cpu": "4", "memory": "32Gi"}, labels)


def named_node(name: str, capacity: dict[str, str], labels: dict[str, str]) -> Obj:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **labels}},
        "spec": {},
        "status": {"capacity": capacity, "conditions": [{"type": "Ready", "status": "True"}]},
    }


def near(kind: str, color: str, topology: str, hard: bool) -> Obj:
    """A pod with a term about pods of its colour in both namespaces."""
    term = {
        "labelSelector": {"matchLabels": {"color": color}},
        "topologyKey": topology,
        "namespaces": ["sched-1", "sched-0"],
    }
    terms = (
        {"requiredDuringSchedulingIgnoredDuringExecution": [term]}
        if hard
        else {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "podAffinityTerm": term}]}
    )
    return pod(f"{color}-pod-", {"color": color}, affinity={kind: terms})


def spreading(action: str) -> Obj:
    constraint = {
        "maxSkew": 5,
        "topologyKey": ZONE,
        "whenUnsatisfiable": action,
        "labelSelector": {"matchLabels": {"color": "blue"}},
    }
    return pod("spreading-pod-", {"color": "blue"}, topologySpreadConstraints=[constraint])


def on_nodes(**term: Any) -> Obj:
    required = {"nodeSelectorTerms": [term]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}


DEFAULT = pod()
BY_ZONE = pod(
    "node-affinity-",
    affinity=on_nodes(matchExpressions=[{"key": ZONE, "operator": "In", "values": ["zone1", "zone2"]}]),
)
DAEMON: Obj = pod(
    "daemonset-",
    affinity=on_nodes(matchFields=[{"key": "metadata.name", "operator": "In", "values": ["scheduler-perf-node"]}]),
)
DAEMON["spec"]["containers"] = [{"name": "pause", "image": "registry.k8s.io/pause:3.10.1"}]
LOW = pod(cpu="900m", terminationGracePeriodSeconds=0)
HIGH = pod("pod-high-priority-", cpu="3000m", priority=10)
TOO_LARGE = pod("pod-h-", cpu="9", priority=10)
TOGETHER = near("podAffinity", "blue", ZONE, True)
APART = near("podAntiAffinity", "green", "kubernetes.io/hostname", True)
LIKELY_TOGETHER = near("podAffinity", "red", "kubernetes.io/hostname", False)
LIKELY_APART = near("podAntiAffinity", "yellow", "kubernetes.io/hostname", False)


# -- workloads


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    floor: int
    """What upstream demands of its own scheduler, pods/s."""
    target: int
    nodes: int = 5000
    zones: tuple[str, ...] = ()
    extra_node: Obj | None = None
    first: tuple[tuple[int, Obj, str], ...] = ()
    """Pods that are there before: (how many, template, namespace)."""
    churn: Obj | None = None
    """One such pod is made every 200 ms meanwhile."""
    measured: tuple[int, Obj, str] = (0, {}, "default")


PLAIN = "default"
MOONS = ("moon-1", "moon-2", "moon-3")
WORKLOADS = {
    "SchedulingBasic": Workload(
        floor=680, target=2000, first=((1000, DEFAULT, PLAIN),), measured=(10_000, DEFAULT, PLAIN)
    ),
    "SchedulingBasic50k": Workload(
        floor=810, target=2000, first=((1000, DEFAULT, PLAIN),), measured=(50_000, DEFAULT, PLAIN)
    ),
    "TopologySpreading": Workload(
        floor=460,
        target=1500,
        zones=MOONS,
        first=((5000, DEFAULT, PLAIN),),
        measured=(5000, spreading("DoNotSchedule"), PLAIN),
    ),
    "PreferredTopologySpreading": Workload(
        floor=340,
        target=1500,
        zones=MOONS,
        first=((5000, DEFAULT, PLAIN),),
        measured=(5000, spreading("ScheduleAnyway"), PLAIN),
    ),
    "SchedulingNodeAffinity": Workload(
        floor=220, target=1500, zones=("zone1",), first=((5000, BY_ZONE, PLAIN),), measured=(10_000, BY_ZONE, PLAIN)
    ),
    "SchedulingPodAntiAffinity": Workload(
        floor=60, target=1000, first=((1000, APART, "sched-0"),), measured=(2000, APART, "sched-1")
    ),
    "SchedulingPodAffinity": Workload(
        floor=35,
        target=1000,
        zones=("zone1",),
        first=((5000, TOGETHER, "sched-0"),),
        measured=(5000, TOGETHER, "sched-1"),
    ),
    "SchedulingPreferredPodAffinity": Workload(
        floor=90,
        target=1000,
        first=((5000, LIKELY_TOGETHER, "sched-0"),),
        measured=(5000, LIKELY_TOGETHER, "sched-1"),
    ),
    "PreemptionAsync": Workload(
        floor=570, target=1000, first=((20_000, LOW, PLAIN),), churn=HIGH, measured=(5000, DEFAULT, PLAIN)
    ),
    "Unschedulable": Workload(
        floor=590, target=1500, first=((100, DEFAULT, PLAIN),), churn=TOO_LARGE, measured=(10_000, DEFAULT, PLAIN)
    ),
    "MixedSchedulingBasePod": Workload(
        floor=140,
        target=1000,
        zones=("zone1",),
        first=tuple((2000, each, "sched-0") for each in (DEFAULT, TOGETHER, APART, LIKELY_TOGETHER, LIKELY_APART)),
        measured=(5000, DEFAULT, PLAIN),
    ),
    "SchedulingDaemonset": Workload(
        floor=1100,
        target=2000,
        nodes=15_000,
        extra_node=named_node("scheduler-perf-node", {"pods": "90000", "cpu": "4", "memory": "32Gi"}, {}),
        measured=(30_000, DAEMON, PLAIN),
    ),
}


# -- running


@dataclass(slots=True)
class Bound:
    """Counts, at a watch, the pods of some names that have a node."""

    prefixes: dict[str, int] = field(default_factory=dict)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    seen: set[str] = field(default_factory=set)

    async def watch(self, client: Client) -> None:
        while True:  # a server ends the watch of one that falls behind
            async for batch in client.watch(PODS):
                for event in batch:
                    if event.type != "BOOKMARK" and event.object["spec"].get("nodeName"):
                        self._count(event.object["metadata"])
                self.changed.set()

    def _count(self, meta: Obj) -> None:
        key = f"{meta['namespace']}/{meta['name']}"
        if key not in self.seen:
            self.seen.add(key)
            run = meta.get("annotations", {}).get("run", "")
            self.prefixes[run] = self.prefixes.get(run, 0) + 1

    async def until(self, run: str, count: int) -> None:
        """Raises TimeoutError where they do not all get one."""
        async with asyncio.timeout(LIMIT_SECONDS):
            while self.prefixes.get(run, 0) < count:
                self.changed.clear()
                await self.changed.wait()


@asynccontextmanager
async def serving(store: str) -> AsyncGenerator[ApiServer]:
    with tempfile.TemporaryDirectory() as folder:
        world = RealWorld()
        made = await SqliteStore.open(Path(folder) / "store.db", world) if store == "sqlite" else MemoryStore()
        server = ApiServer(made, world, ApiServerConfig(admission=Settings(disabled=SWITCHED_OFF)))
        await server.start()
        try:
            yield server
        finally:
            await server.stop()
            if isinstance(made, SqliteStore):
                await made.close()


async def create(client: Client, objects: Iterator[Obj], resource: Any, at_once: int = CREATING) -> None:
    async def work() -> None:
        for obj in objects:
            namespace = obj["metadata"].get("namespace", "")
            made = await client.create(resource, obj, namespace)
            if resource is NODES and "status" not in made:
                raise AssertionError

    await asyncio.gather(*(work() for _ in range(at_once)))


def copies(count: int, template: Obj, namespace: str, run: str) -> Iterator[Obj]:
    meta = {**template["metadata"], "namespace": namespace, "annotations": {"run": run}}
    return ({**template, "metadata": meta} for _ in range(count))


async def churn(client: Client, template: Obj) -> None:
    for _ in itertools.count():
        await create(client, copies(1, template, PLAIN, "churn"), PODS, 1)
        await asyncio.sleep(0.2)


async def prepare(client: Client, workload: Workload, scale: int) -> None:
    for name in ("sched-0", "sched-1"):
        with suppress(StatusError):  # it may be there
            await client.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    nodes = [node(workload.zones, index) for index in range(-(-workload.nodes // scale))]
    if workload.extra_node:
        nodes.append(workload.extra_node)
    await create(client, iter(nodes), NODES)


@asynccontextmanager
async def ours(workload: Workload, store: str, scale: int) -> AsyncGenerator[Client]:
    """A client of a cluster of our own with the workload's nodes."""
    async with serving(store) as server:
        client = server.client(User("perf", groups=("system:masters", "system:authenticated")))
        await prepare(client, workload, scale)
        scheduler = Scheduler(
            server.client(User("system:kube-scheduler", groups=("system:authenticated",))), server.world
        )
        await scheduler.start()
        try:
            yield client
        finally:
            await scheduler.stop()


@asynccontextmanager
async def theirs(workload: Workload, kubeconfig: Path, scale: int) -> AsyncGenerator[Client]:
    """The same of the other cluster, emptied before."""
    client = HttpClient.from_kubeconfig(kubeconfig)
    try:
        for namespace in (PLAIN, "sched-0", "sched-1"):
            await empty(client, PODS, namespace)
        await empty(client, NODES)
        await prepare(client, workload, scale)
        yield client
    finally:
        await client.close()


async def empty(client: Client, resource: Resource, namespace: str = "") -> None:
    """Deletes all there is. The server may give a request up before it is through."""
    path = resource.path(namespace)
    for _ in range(60):
        with suppress(StatusError):
            await client.raw("DELETE", path, {"gracePeriodSeconds": "0"})
        if not (await client.raw("GET", path, {"limit": "1"}))["items"]:
            return
    raise SystemExit(f"{path} does not become empty")


async def run(workload: Workload, client: Client, scale: int, profiler: cProfile.Profile | None) -> dict[str, Any]:
    bound = Bound()
    watching = asyncio.create_task(bound.watch(client))
    for index, (count, template, namespace) in enumerate(workload.first):
        await create(client, copies(count // scale, template, namespace, f"first-{index}"), PODS)
        await bound.until(f"first-{index}", count // scale)
    churning = asyncio.create_task(churn(client, workload.churn)) if workload.churn else None
    gc.collect()
    gc.freeze()
    count, template, namespace = workload.measured
    count //= scale
    if profiler:
        profiler.enable()
    began, cpu = time.perf_counter(), time.process_time()
    await create(client, copies(count, template, namespace, "measured"), PODS)
    created = time.perf_counter() - began
    await bound.until("measured", count)
    took, cpu = time.perf_counter() - began, time.process_time() - cpu
    if profiler:
        profiler.disable()
    for task in (churning, watching):
        if task:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return {"rate": count / took, "cpu_us": cpu / count * 1e6, "created": count / created, "memory": memory}


def measure(name: str, store: str, scale: int, profile: Path | None) -> dict[str, Any]:
    gc.set_threshold(*GC_THRESHOLDS)
    profiler = cProfile.Profile(time.thread_time) if profile else None
    workload = WORKLOADS[name]

    async def here() -> dict[str, Any]:
        async with ours(workload, store, scale) as client:
            return await run(workload, client, scale, profiler)

    found = uvloop.run(here())
    if profiler and profile:
        profiler.dump_stats(profile)
    return found


def measure_other(name: str, kubeconfig: Path, scale: int) -> dict[str, Any]:
    workload = WORKLOADS[name]

    async def there() -> dict[str, Any]:
        async with theirs(workload, kubeconfig, scale) as client:
            return await run(workload, client, scale, None)

    return uvloop.run(there())


def apart(function: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """What it finds in a process, and so a heap, of its own."""
    with ProcessPoolExecutor(1, get_context("spawn")) as alone:
        return alone.submit(function, *arguments).result()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(WORKLOADS))
    parser.add_argument("--against", type=Path, metavar="KUBECONFIG", help="another cluster that does the same")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--store", choices=("sqlite", "memory"), default="sqlite")
    parser.add_argument("--scale", type=int, default=1, help="divides nodes and pods")
    parser.add_argument("--profile", type=Path, help="writes a profile of the measured part")
    asked = parser.parse_args()
    columns = ["pods/s", "floor", "target", "reached", "CPU us/pod", "peak MB"]
    if asked.against:
        columns += ["other, pods/s", "ratio"]
    report = Report("Scheduler: end to end through the API server", ["workload", *columns])
    report.facts.update(store=asked.store, scale=asked.scale)
    report.begin()
    for name in asked.names or WORKLOADS:
        workload = WORKLOADS[name]
        found = apart(measure, name, asked.store, asked.scale, asked.profile)
        reached = "yes" if found["rate"] >= workload.target else "no"
        row = [found["rate"], workload.floor, workload.target, reached, found["cpu_us"], found["memory"]]
        if asked.against:
            other = apart(measure_other, name, asked.against, asked.scale)["rate"]
            row += [other, found["rate"] / other]
        report.add(name, *row)
    write_json(asked.json, [report])


if __name__ == "__main__":
    main()
