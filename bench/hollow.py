"""script/bench hollow: a large cluster of hollow nodes, API server, controllers and scheduler in one process.

A Deployment gets all its pods running, rolls over to a new template, and goes; a Job of many short pods; a DaemonSet on every
node, and its update; then an idle cluster of many nodes: what it writes, and what it costs; then the largest cluster, on
a durable store: what it takes of memory at most. All through the ordinary parts, only the containers are missing. Each in
a process of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import multiprocessing
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import uvloop

from bench.report import Report, write_json
from navarch.apiserver.server import ApiServer
from navarch.client.resources import DAEMON_SETS, DEPLOYMENTS, JOBS
from navarch.cluster.controlplane import GC_THRESHOLDS
from navarch.machinery.clock import RealWorld
from navarch.machinery.types import GroupResource
from navarch.store.sqlite import SqliteStore
from navarch.testing.inside import api_server, control_plane
from navarch.testing.options import Options

PODS = GroupResource("", "pods")
SETS = GroupResource("apps", "deployments")
LIMIT_SECONDS = 300.0
LARGE_SECONDS = 1_200.0
DEPLOYMENT_PODS = 1_000
"""Of each of the Deployments of the largest cluster."""


async def until(holds: Callable[[], bool], limit: float = LIMIT_SECONDS) -> float:
    """Seconds it took."""
    started = time.perf_counter()
    while not holds():
        if time.perf_counter() - started > limit:
            raise SystemExit("gave up waiting")
        await asyncio.sleep(0.02)
    return time.perf_counter() - started


def available(server: ApiServer, replicas: int, image: str) -> bool:
    entry = server.lookup(SETS, "default", "web")
    status = (entry or {}).get("status") or {}
    counts = [status.get(field) or 0 for field in ("replicas", "updatedReplicas", "availableReplicas")]
    current = entry is not None and status.get("observedGeneration") == entry["metadata"]["generation"]
    return current and counts == [replicas] * 3 and entry["spec"]["template"]["spec"]["containers"][0]["image"] == image


def deployment(replicas: int) -> dict[str, Any]:
    labels = {"app": "web"}
    resources = {"requests": {"cpu": "10m", "memory": "16Mi"}}
    container = {"name": "c", "image": "app:1", "resources": resources}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    return {
        "metadata": {"name": "web"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template},
    }


async def rollout(report: Report, nodes: int, replicas: int) -> None:
    options = Options(controllers=True, scheduler=True, nodes=nodes)
    async with api_server() as server, control_plane(server, options):
        client = server.system
        await client.create(DEPLOYMENTS, deployment(replicas), "default")
        up = await until(lambda: available(server, replicas, "app:1"))
        report.add(f"{replicas} replicas on {nodes} nodes: all available", round(up, 1), 10)
        patch = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "app:2"}]}}}}
        await client.patch(DEPLOYMENTS, "web", patch, "default", type="strategic")
        over = await until(lambda: available(server, replicas, "app:2"))
        report.add("rolled over", round(over, 1), 30)
        await client.delete(DEPLOYMENTS, "web", "default")
        gone = await until(lambda: not server.registries[PODS].cache.range("default"))
        report.add("deleted, and no pod left", round(gone, 1), "")


async def job(report: Report, nodes: int, pods: int) -> None:
    """Pods that have ended as soon as they run, a tenth of them at a time."""
    template = deployment(1)["spec"]["template"]
    template["metadata"]["annotations"] = {"navarch.hollow/run-seconds": "0.01"}
    template["spec"]["restartPolicy"] = "Never"
    spec = {"completions": pods, "parallelism": max(pods // 10, 1), "template": template}
    options = Options(controllers=True, scheduler=True, nodes=nodes)

    def complete() -> bool:
        found = server.lookup(GroupResource("batch", "jobs"), "default", "work") or {}
        return "completionTime" in (found.get("status") or {})

    async with api_server() as server, control_plane(server, options):
        await server.system.create(JOBS, {"metadata": {"name": "work"}, "spec": spec}, "default")
        report.add(f"a Job of {pods} pods, {spec['parallelism']} at a time", round(await until(complete), 1), "")


async def daemons(report: Report, nodes: int) -> None:
    options = Options(controllers=True, scheduler=True, nodes=nodes)

    def current(generation: int) -> bool:
        status = (server.lookup(GroupResource("apps", "daemonsets"), "default", "web") or {}).get("status") or {}
        counts = [status.get(field) for field in ("numberAvailable", "updatedNumberScheduled")]
        return status.get("observedGeneration") == generation and counts == [nodes] * 2

    async with api_server() as server, control_plane(server, options):
        template = deployment(1)["spec"]
        del template["replicas"]
        template["updateStrategy"] = {"rollingUpdate": {"maxUnavailable": "10%"}}
        await server.system.create(DAEMON_SETS, {"metadata": {"name": "web"}, "spec": template}, "default")
        report.add(f"a DaemonSet on {nodes} nodes", round(await until(lambda: current(1)), 1), "")
        patch = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "app:2"}]}}}}
        await server.system.patch(DAEMON_SETS, "web", patch, "default", type="strategic")
        report.add("updated, a tenth at a time", round(await until(lambda: current(2)), 1), "")


async def idle(report: Report, nodes: int, seconds: float) -> None:
    options = Options(controllers=True, scheduler=True, nodes=nodes)
    async with api_server() as server, control_plane(server, options):
        written: Counter[str] = Counter()
        handle = server.store.watch(
            "/registry/", 0, lambda events: written.update(event.key.split("/")[3] for event in events)
        )
        settled = False
        while not settled:  # registration, and the events that tell of it
            written.clear()
            await asyncio.sleep(10)
            settled = sum(written.values()) == written["leases"]
        written.clear()
        cpu, started = sum(psutil.Process().cpu_times()[:2]), time.perf_counter()
        await asyncio.sleep(seconds)
        used = (sum(psutil.Process().cpu_times()[:2]) - cpu) / (time.perf_counter() - started)
        handle.cancel()
        others = {resource: count for resource, count in written.items() if resource != "leases"}
        report.add(f"{nodes} nodes, idle: % of a core, nodes included", round(used * 100, 1), 10)
        said = ", ".join(f"{count} {resource}" for resource, count in others.items())
        report.add("writes that are no leases", said or 0, 0)
        report.facts["written"] = dict(written)
        report.add("memory, MB", round(psutil.Process().memory_info().rss / 1e6), "")


async def large(report: Report, nodes: int, pods: int) -> None:
    options = Options(controllers=True, scheduler=True, nodes=nodes)
    count = max(pods // DEPLOYMENT_PODS, 1)
    process = psutil.Process()

    def all_available() -> bool:
        found = (server.lookup(SETS, "default", f"web-{number}") or {} for number in range(count))
        return all((each.get("status") or {}).get("availableReplicas") == pods // count for each in found)

    with tempfile.TemporaryDirectory(prefix="navarch-bench-") as home:
        store = await SqliteStore.open(Path(home) / "store.db", RealWorld())
        async with api_server(store=store) as server:
            began = time.perf_counter()
            async with control_plane(server, options):
                report.add(f"{nodes} nodes registered: s", round(time.perf_counter() - began, 1), "")
                report.add("memory then, MB", round(process.memory_info().rss / 1e6), "")
                for number in range(count):
                    web = deployment(pods // count)
                    web["metadata"]["name"] = f"web-{number}"
                    labels = {"app": f"web-{number}"}
                    web["spec"]["selector"]["matchLabels"] = web["spec"]["template"]["metadata"]["labels"] = labels
                    await server.system.create(DEPLOYMENTS, web, "default")
                took = await until(all_available, LARGE_SECONDS)
                report.add(f"{pods} pods available: s", round(took, 1), "")
                report.add("CPU of it all, s", round(sum(process.cpu_times()[:2]), 1), "")
                report.add("memory, MB", round(process.memory_info().rss / 1e6), "")
                report.add("... at most", round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3), 3000)


CASES: dict[str, Callable[..., Any]] = {
    "rollout": rollout, "job": job, "daemons": daemons, "idle": idle, "large": large,
}  # fmt: skip


def run_case(report: Report, name: str, arguments: list[Any], rows: Any) -> None:
    gc.set_threshold(*GC_THRESHOLDS)  # as in a control plane's process
    uvloop.run(CASES[name](report, *arguments))
    rows.put((report.rows, report.facts))


def main() -> None:
    parser = argparse.ArgumentParser(prog="script/bench hollow", description=__doc__)
    parser.add_argument("--only", choices=list(CASES), action="append", help="one of the cases")
    parser.add_argument("--nodes", type=int, default=100, help="for the Deployment")
    parser.add_argument("--replicas", type=int, default=1000)
    parser.add_argument("--job-pods", type=int, default=2000)
    parser.add_argument("--daemon-nodes", type=int, default=500)
    parser.add_argument("--idle-nodes", type=int, default=1000)
    parser.add_argument("--idle-seconds", type=float, default=60.0)
    parser.add_argument("--large-nodes", type=int, default=5000)
    parser.add_argument("--large-pods", type=int, default=30_000)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    report = Report("Hollow nodes", ["what", "measured", "at most"])
    report.begin()
    arguments = {
        "rollout": [options.nodes, options.replicas],
        "job": [options.nodes, options.job_pods],
        "daemons": [options.daemon_nodes],
        "idle": [options.idle_nodes, options.idle_seconds],
        "large": [options.large_nodes, options.large_pods],
    }
    context = multiprocessing.get_context("spawn")
    for name in options.only or CASES:
        rows = context.SimpleQueue()
        case = context.Process(
            target=run_case, args=(Report(report.title, report.columns), name, arguments[name], rows)
        )
        case.start()
        case.join()
        if case.exitcode:
            raise SystemExit(f"{name} failed")
        found, facts = rows.get()
        report.rows += found
        report.facts |= facts
    write_json(options.json, [report])


if __name__ == "__main__":
    main()
