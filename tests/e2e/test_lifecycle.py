"""A cluster's life on its machine: two side by side, parts that are killed, and nothing left in the end."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.support.harness import Cluster, Network, new_cluster, run, wait_for

from navarch.cluster.config import ClusterConfig

PARTS = ("supervisor", "containerd", "control-plane", "node")


@pytest.fixture(scope="module")
def beside(network: Network, archives: Path, tmp_path_factory: pytest.TempPathFactory) -> Generator[Cluster]:
    """A second cluster next to the session's."""
    made = new_cluster("beside", tmp_path_factory.mktemp("beside"), archives)
    made.up()
    yield made
    made.navarch("down", check=False)


def start(cluster: Cluster, name: str) -> dict[str, Any]:
    """A pod that runs; its container's status."""
    script = "trap 'exit 0' TERM; while true; do sleep 0.2; done"
    cluster.kubectl("run", name, "--image=busybox", "--", "sh", "-c", script)
    cluster.kubectl("wait", "--for=condition=Ready", f"pod/{name}", "--timeout=60s")
    return cluster.get("pod", name)["status"]["containerStatuses"][0]


def ready(cluster: Cluster) -> bool:
    listed = cluster.kubectl("get", "nodes", check=False).stdout
    return " Ready " in listed


def kill(cluster: Cluster, part: str) -> int:
    """SIGKILLs a part of the cluster; returns once another process has its place."""
    before = cluster.process(part)
    os.kill(before, signal.SIGKILL)

    def replaced() -> int:
        after = cluster.process(part)
        os.kill(after, 0)
        return after if after != before else 0

    return wait_for(f"a new {part}", replaced)


def test_two_clusters_do_not_meet(cluster: Cluster, beside: Cluster) -> None:
    one, other = cluster.config, beside.config
    assert {one.pod_cidr, one.service_cidr, one.bridge, one.table}.isdisjoint(
        {other.pod_cidr, other.service_cidr, other.bridge, other.table}
    )
    start(beside, "here")
    address = beside.get("pod", "here")["status"]["podIP"]
    assert address.startswith(other.pod_cidr.rpartition(".0.0")[0])
    assert "NotFound" in cluster.kubectl("get", "pod", "here", check=False).stderr


def test_a_second_up_changes_nothing(beside: Cluster) -> None:
    processes = {part: beside.process(part) for part in PARTS}
    node = beside.get("nodes")["items"][0]["metadata"]["uid"]
    started = start(beside, "stays")
    beside.up()
    assert {part: beside.process(part) for part in PARTS} == processes
    assert beside.get("nodes")["items"][0]["metadata"]["uid"] == node
    assert beside.get("pod", "stays")["status"]["containerStatuses"][0]["containerID"] == started["containerID"]


@pytest.mark.parametrize("part", ["node", "control-plane", "containerd", "supervisor"])
def test_pods_outlive_what_is_killed(beside: Cluster, part: str) -> None:
    name = f"outlives-{part}"
    started = start(beside, name)
    if part == "supervisor":
        os.kill(beside.process(part), signal.SIGKILL)
        beside.up()
    else:
        kill(beside, part)
    wait_for("the API answers and the node is ready", lambda: ready(beside))
    start(beside, f"after-{part}")
    status = beside.get("pod", name)["status"]
    assert status["phase"] == "Running"
    assert status["containerStatuses"][0]["containerID"] == started["containerID"]
    assert status["containerStatuses"][0]["restartCount"] == 0
    beside.kubectl("delete", "pod", name, f"after-{part}", "--grace-period=1")


def test_a_ready_pod_stays_ready_while_the_node_restarts(beside: Cluster) -> None:
    """Its probe is slow, and its ConfigMap has gone meanwhile: neither makes it unready."""
    beside.kubectl("create", "configmap", "gone", "--from-literal=a=b")
    probe = {"exec": {"command": ["true"]}, "periodSeconds": 30}
    made = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "ready"},
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "volumes": [{"name": "v", "configMap": {"name": "gone"}}],
            "containers": [
                {
                    "name": "c",
                    "image": "nginx",
                    "readinessProbe": probe,
                    "volumeMounts": [{"name": "v", "mountPath": "/v"}],
                }
            ],
        },
    }
    beside.apply(made)
    beside.kubectl("wait", "--for=condition=Ready", "pod/ready", "--timeout=60s")
    before = beside.get("pod", "ready")["status"]["conditions"]
    beside.kubectl("delete", "configmap", "gone")
    kill(beside, "node")
    start(beside, "another")
    assert beside.get("pod", "ready")["status"]["conditions"] == before
    beside.kubectl("delete", "pod", "ready", "another", "--grace-period=1")


def test_pods_that_were_starting_start_after_all(beside: Cluster) -> None:
    """The runtime, and then the node, are killed in the midst of it, again and again."""
    beside.kubectl("create", "deployment", "many", "--image=nginx", "--replicas=1")
    for replicas, part in ((10, "containerd"), (15, "containerd"), (20, "node")):
        beside.kubectl("scale", "deployment", "many", f"--replicas={replicas}")
        time.sleep(0.3)  # some have been created by then, some not
        kill(beside, part)
    beside.kubectl("rollout", "status", "deployment/many", "--timeout=60s")
    beside.kubectl("delete", "deployment", "many")
    wait_for("all are gone", lambda: "many-" not in beside.kubectl("get", "pods").stdout)


def test_what_ended_while_the_node_was_away_is_noticed(beside: Cluster) -> None:
    """A pod deleted, and a container that died, while nobody looked."""
    start(beside, "deleted")
    died = start(beside, "died")
    shim = containers_of(beside, died["containerID"].partition("//")[2])
    os.kill(beside.process("supervisor"), signal.SIGKILL)
    os.kill(beside.process("node"), signal.SIGKILL)
    beside.kubectl("delete", "pod", "deleted", "--force", "--grace-period=0")
    for pid in shim:
        with suppress(ProcessLookupError):  # it went with its parent
            os.kill(pid, signal.SIGKILL)
    beside.up()
    wait_for(
        "the dead container was restarted",
        lambda: beside.get("pod", "died")["status"]["containerStatuses"][0]["restartCount"] == 1,
    )
    beside.kubectl("wait", "--for=condition=Ready", "pod/died", "--timeout=60s")
    wait_for("nothing of the deleted pod is left", lambda: not list((beside.config.logs / "pods").glob("*_deleted_*")))


def containers_of(cluster: Cluster, container: str) -> list[int]:
    """The processes of a container, by its cgroup."""
    root = Path("/sys/fs/cgroup")
    files = [f for f in root.rglob("cgroup.procs") if f.parent.name == container]
    assert files
    return [int(pid) for pid in files[0].read_text().split()]


def remains(config: ClusterConfig) -> list[str]:
    """What is left of a cluster on the machine."""
    found: list[str] = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if str(config.run) in words or str(config.containerd_socket) in words:
                found.append(f"process {entry.parent.name}: {words}")
    found += [str(p) for p in Path("/sys/fs/cgroup").glob(f"*{config.cgroup}")]
    found += [str(p) for p in Path("/sys/fs/cgroup").glob(f"*/{config.cgroup.lstrip('/')}")]
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    found += [line for line in mounts if str(config.state) in line or str(config.run) in line]
    found += [line for line in run("nft", "list", "tables").stdout.splitlines() if line.endswith(f" {config.table}")]
    found += [line for line in run("ip", "-o", "link").stdout.splitlines() if f" {config.bridge}:" in line]
    routes = run("ip", "route", "show", "table", "all").stdout.splitlines()
    found += [r for r in routes if config.pod_cidr in r or config.service_cidr in r]
    return found + [str(path) for path in (config.state, config.run) if path.exists()]


def test_down_leaves_nothing(beside: Cluster) -> None:
    config = beside.config
    assert remains(config)
    start(beside, "last")
    beside.navarch("down")
    assert remains(config) == []
    assert "navarch-beside" not in beside.kubeconfig.read_text()
