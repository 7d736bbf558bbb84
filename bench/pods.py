"""Pods: how long they take to start, against the bare calls to the container runtime, and many at once.

    script/bench pods [--json FILE] [--rounds N]

In a network namespace of its own, with a cluster of its own: the bare loop asks the cluster's own containerd for a
sandbox, a container and its start, exactly as configured for a pod; `kubectl run` is timed from the command's start to
the Ready condition's event at a watch; a Deployment goes from 0 to 50 available, and back until the last pod is gone.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.support.harness import BIN, Cluster, Network, build_archives, new_cluster

from bench.report import Report, median, percentile, write_json
from navarch.client.http import HttpClient
from navarch.client.interface import Client
from navarch.client.resources import DEPLOYMENTS, PODS
from navarch.kubelet.cri import Cri, connect

MANY = 50
STAYS = ("sh", "-c", "trap 'exit 0' TERM; while :; do sleep 3600 & wait; done")
"""Runs until it is told to end."""
UPSTREAM = {"kubectl run to Ready": "560-600", "50 pods available": "8400", "50 pods gone": "8800"}
"""The real kubelet 1.36.2 with runc, on such a machine (2 cores); ms."""


def bare_config(cluster: Cluster, index: int) -> tuple[dict[str, Any], dict[str, Any]]:
    uid = f"bench-{index}"
    linux = {
        "cgroup_parent": f"{cluster.config.cgroup}/kubepods/besteffort/pod{uid}",
        "security_context": {"namespace_options": {}, "seccomp": {"profile_type": 1}},
    }
    sandbox = {
        "metadata": {"name": uid, "uid": uid, "namespace": "bench", "attempt": 0},
        "hostname": uid,
        "log_directory": f"/tmp/navarch-bench/{uid}",
        "linux": linux,
    }
    container = {
        "metadata": {"name": "c", "attempt": 0},
        "image": {"image": "docker.io/library/busybox:latest"},
        "args": list(STAYS),
        "log_path": "c/0.log",
        "linux": {
            "resources": {"cpu_shares": 2, "oom_score_adj": 1000},
            "security_context": {"namespace_options": {"pid": 1}, "seccomp": {"profile_type": 1}},
        },
    }
    return sandbox, container


async def bare(cri: Cri, cluster: Cluster, index: int) -> float:
    """Milliseconds of one bare start."""
    sandbox_config, container_config = bare_config(cluster, index)
    Path(sandbox_config["log_directory"], "c").mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    sandbox = await cri.run_sandbox(sandbox_config)
    container = await cri.create_container(sandbox, container_config, sandbox_config)
    await cri.start_container(container)
    took = (time.perf_counter() - began) * 1000
    await cri.stop_sandbox(sandbox)
    await cri.remove_sandbox(sandbox)
    return took


def is_ready(pod: dict[str, Any]) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod.get("status", {}).get("conditions", []))


async def until(client: Client, name: str, *, gone: bool = False) -> None:
    """Returns at the event that makes the pod Ready (or takes it away)."""
    async for batch in client.watch(PODS, "default", field_selector=f"metadata.name={name}"):
        for event in batch:
            if event.type == "BOOKMARK":
                continue
            if (event.type == "DELETED") if gone else is_ready(event.object):
                return


async def by_kubectl(cluster: Cluster, client: Client, name: str) -> float:
    """Milliseconds from the start of `kubectl run` to Ready."""
    waiting = asyncio.create_task(until(client, name))
    await asyncio.sleep(0.05)
    began = time.perf_counter()
    command = [str(BIN / "kubectl"), "run", name, "--image=busybox", "--", *STAYS]
    process = await asyncio.create_subprocess_exec(
        *command, env=cluster.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    await waiting
    took = (time.perf_counter() - began) * 1000
    await process.wait()
    await remove(client, name)
    return took


async def by_request(client: Client, name: str) -> float:
    """Milliseconds from a bare request to Ready."""
    spec = {"containers": [{"name": "c", "image": "busybox", "args": list(STAYS)}]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
    waiting = asyncio.create_task(until(client, name))
    await asyncio.sleep(0.05)
    began = time.perf_counter()
    await client.create(PODS, pod, "default")
    await waiting
    took = (time.perf_counter() - began) * 1000
    await remove(client, name)
    return took


async def remove(client: Client, name: str) -> None:
    waiting = asyncio.create_task(until(client, name, gone=True))
    await asyncio.sleep(0.02)
    await client.delete(PODS, name, "default", grace_period_seconds=1)
    await waiting


async def many(client: Client) -> tuple[float, float]:
    """Milliseconds until a Deployment's pods are all available, and until the last of them is gone."""
    container = {"name": "c", "image": "nginx"}
    template = {"metadata": {"labels": {"app": "many"}}, "spec": {"containers": [container]}}
    spec = {"replicas": MANY, "selector": {"matchLabels": {"app": "many"}}, "template": template}
    made = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "many"}, "spec": spec}
    began = time.perf_counter()
    await client.create(DEPLOYMENTS, made, "default")
    async for batch in client.watch(DEPLOYMENTS, "default", field_selector="metadata.name=many"):
        if any(e.object.get("status", {}).get("availableReplicas") == MANY for e in batch):
            break
    available = (time.perf_counter() - began) * 1000
    listed = await client.list(PODS, "default")
    left = {pod["metadata"]["name"] for pod in listed.items}
    began = time.perf_counter()
    await client.patch(DEPLOYMENTS, "many", {"spec": {"replicas": 0}}, "default")
    async for batch in client.watch(PODS, "default", resource_version=listed.resource_version):
        left -= {e.object["metadata"]["name"] for e in batch if e.type == "DELETED"}
        if not left:
            break
    return available, (time.perf_counter() - began) * 1000


async def measure(cluster: Cluster, rounds: int) -> Report:
    client = HttpClient.from_kubeconfig(cluster.kubeconfig)
    report = Report("Pods (milliseconds)", ["", "p50", "p99", "n", "to bare", "upstream"])
    times: dict[str, list[float]] = {"bare": [], "request": [], "kubectl": []}
    async with connect(cluster.config.containerd_socket) as cri:
        for index in range(rounds + 1):  # one of each in turn: what else the machine does meets them all
            found = await bare(cri, cluster, index), await by_request(client, f"made-{index}")
            more = await by_kubectl(cluster, client, f"run-{index}")
            if index:
                for name, value in zip(times, (*found, more), strict=True):
                    times[name].append(value)
    report.begin()
    floor = median(times["bare"])

    def add(what: str, values: list[float], ratio: bool = True) -> None:
        middle = median(values)
        shown = round(middle / floor, 2) if ratio else ""
        report.add(what, middle, percentile(values, 0.99), len(values), shown, UPSTREAM.get(what, ""))

    add("bare CRI calls", times["bare"])
    add("pod created to Ready", times["request"])
    add("kubectl run to Ready", times["kubectl"])
    available, gone = await many(client)
    add(f"{MANY} pods available", [available], False)
    add(f"{MANY} pods gone", [gone], False)
    await client.close()
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    parser.add_argument("--rounds", type=int, default=20, help="starts measured of each kind")
    options = parser.parse_args()
    archives = build_archives()
    network = Network()
    with tempfile.TemporaryDirectory(prefix="navarch-bench-") as directory:
        cluster = new_cluster("bench", Path(directory), archives)
        try:
            cluster.up()
            report = asyncio.run(measure(cluster, options.rounds))
        finally:
            cluster.navarch("down", check=False)
            network.leave()
    write_json(options.json, [report])


if __name__ == "__main__":
    main()
