"""script/bench hollow: a large cluster of hollow nodes, API server, controllers and scheduler in one process.

A Deployment gets all its pods running, rolls over to a new template, and goes; then an idle cluster of many nodes: what it
writes, and what it costs. All through the ordinary parts, only the containers are missing.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import uvloop

from bench.report import Report, write_json
from navarch.apiserver.server import ApiServer
from navarch.client.resources import DEPLOYMENTS
from navarch.machinery.types import GroupResource
from navarch.testing.inside import api_server, control_plane
from navarch.testing.options import Options

PODS = GroupResource("", "pods")
SETS = GroupResource("apps", "deployments")
LIMIT_SECONDS = 300.0


async def until(holds: Callable[[], bool]) -> float:
    """Seconds it took."""
    started = time.perf_counter()
    while not holds():
        if time.perf_counter() - started > LIMIT_SECONDS:
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
        report.add("writes that are no leases", sum(others.values()), 0)
        report.facts["written"] = dict(written)
        report.add("memory, MB", round(psutil.Process().memory_info().rss / 1e6), "")


def main() -> None:
    parser = argparse.ArgumentParser(prog="script/bench hollow", description=__doc__)
    parser.add_argument("--nodes", type=int, default=100, help="for the Deployment")
    parser.add_argument("--replicas", type=int, default=1000)
    parser.add_argument("--idle-nodes", type=int, default=1000)
    parser.add_argument("--idle-seconds", type=float, default=60.0)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    report = Report("Hollow nodes", ["what", "measured", "at most"])
    report.begin()
    uvloop.run(rollout(report, options.nodes, options.replicas))
    uvloop.run(idle(report, options.idle_nodes, options.idle_seconds))
    write_json(options.json, [report])


if __name__ == "__main__":
    main()
