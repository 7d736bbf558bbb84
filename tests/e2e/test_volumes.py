"""Volumes on a real node: what containers see of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.harness import Cluster, wait_for

Pod = dict[str, Any]


def pod(name: str, namespace: str, script: str, volume: dict[str, Any], mount: dict[str, Any], **spec: Any) -> Pod:
    container = {
        "name": "c",
        "image": "busybox",
        "command": ["sh", "-c", script],
        "volumeMounts": [{"name": "v", "mountPath": "/v", **mount}],
    }
    shape = {"terminationGracePeriodSeconds": 0, "restartPolicy": "Never", **spec}
    shape |= {"containers": [container], "volumes": [{"name": "v", **volume}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace}, "spec": shape}


@pytest.fixture
def printed(cluster: Cluster, namespace: str) -> Callable[[Pod], str]:
    """What a pod prints until it ends."""

    def run(made: Pod) -> str:
        cluster.apply(made)
        name = made["metadata"]["name"]

        def ended() -> bool:
            found = cluster.get("pod", name, "-n", namespace)
            return found["status"].get("phase") in ("Succeeded", "Failed")

        wait_for("the pod ends", ended, 30)
        return cluster.kubectl("logs", name, "-n", namespace).stdout

    return run


def phase(cluster: Cluster, kind: str, name: str, namespace: str) -> str:
    return cluster.get(kind, name, "-n", namespace)["status"].get("phase", "")


def test_a_claim_outlives_its_pods(
    cluster: Cluster, namespace: str, printed: Callable[[Pod], str], tmp_path: Path
) -> None:
    name = f"disk-{namespace[-20:].strip('-')}"
    claim: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data", "namespace": namespace},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
            "storageClassName": "",
            "volumeName": name,
        },
    }
    cluster.apply(claim)
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "hostPath": {"path": str(tmp_path / "disk"), "type": "DirectoryOrCreate"},
        },
    }
    cluster.apply(volume)
    wait_for("the claim is bound", lambda: phase(cluster, "pvc", "data", namespace) == "Bound", 30)
    source = {"persistentVolumeClaim": {"claimName": "data"}}
    assert printed(pod("writer", namespace, "echo kept > /v/file", source, {"subPath": "sub"})) == ""
    assert (tmp_path / "disk" / "sub" / "file").read_text() == "kept\n"
    cluster.kubectl("delete", "pod", "writer", "-n", namespace, "--grace-period=0")
    assert printed(pod("reader", namespace, "cat /v/sub/file; touch /v/x", source, {"readOnly": True})) != ""
    assert not (tmp_path / "disk" / "x").exists()
    cluster.kubectl("delete", "pv", name, "--wait=false")


def test_a_group_may_write_what_it_is_given(namespace: str, printed: Callable[[Pod], str]) -> None:
    security = {"runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 2000}
    script = "touch /v/file && stat -c '%g %a' /v/file /v && id -G"
    made = pod("group", namespace, script, {"emptyDir": {}}, {"subPath": "a/b"}, securityContext=security)
    lines = printed(made).splitlines()
    assert lines[:2] == ["2000 644", "2000 2777"] and "2000" in lines[2].split()


def test_memory_is_a_file_system_of_its_size(namespace: str, printed: Callable[[Pod], str]) -> None:
    volume = {"emptyDir": {"medium": "Memory", "sizeLimit": "8Mi"}}
    assert printed(pod("memory", namespace, "df -k /v | tail -1", volume, {})).split()[:2] == ["tmpfs", "8192"]


def test_a_stateful_set_needs_no_set_up(cluster: Cluster, namespace: str) -> None:
    """Its volume is a folder of the node, is there for the next pod, grows, and goes with its claim."""
    labels = {"app": "db"}
    claim = {
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    container = {
        "name": "c",
        "image": "busybox",
        "command": ["sh", "-c", "date >> /v/starts; wc -l < /v/starts; sleep 10000"],
        "volumeMounts": [{"name": "data", "mountPath": "/v"}],
    }
    spec = {
        "serviceName": "db",
        "selector": {"matchLabels": labels},
        "template": {
            "metadata": {"labels": labels},
            "spec": {"containers": [container], "terminationGracePeriodSeconds": 0},
        },
        "volumeClaimTemplates": [claim],
    }
    meta = {"name": "db", "namespace": namespace}
    cluster.apply({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": meta, "spec": spec})

    def printed() -> str:
        return cluster.kubectl("logs", "db-0", "-n", namespace, check=False).stdout.strip()

    wait_for("it runs", lambda: printed() == "1", 60)
    cluster.kubectl("delete", "pod", "db-0", "-n", namespace)
    wait_for("the next pod has its volume", lambda: printed() == "2", 60)
    folders = cluster.config.state / "volumes"
    (folder,) = [path for path in folders.iterdir() if namespace in path.name]
    larger = '{"spec":{"resources":{"requests":{"storage":"2Gi"}}}}'
    cluster.kubectl("patch", "pvc", "data-db-0", "-n", namespace, "-p", larger)
    wait_for(
        "it has grown",
        lambda: cluster.get("pvc", "data-db-0", "-n", namespace)["status"]["capacity"] == {"storage": "2Gi"},
        30,
    )
    cluster.kubectl("delete", "statefulset", "db", "-n", namespace)
    cluster.kubectl("delete", "pvc", "data-db-0", "-n", namespace)
    wait_for("the folder is gone", lambda: not folder.exists(), 60)


def test_a_pod_that_takes_more_disk_than_it_may_is_evicted(cluster: Cluster, namespace: str) -> None:
    script = "dd if=/dev/zero of=/v/file bs=1M count=8; sleep 10000"
    cluster.apply(pod("greedy", namespace, script, {"emptyDir": {"sizeLimit": "1Mi"}}, {}))
    wait_for("the pod is evicted", lambda: phase(cluster, "pod", "greedy", namespace) == "Failed", 60)
    status = cluster.get("pod", "greedy", "-n", namespace)["status"]
    assert status["reason"] == "Evicted"
    assert status["message"] == 'Usage of EmptyDir volume "v" exceeds the limit "1Mi". '


def test_a_container_grows_in_place(cluster: Cluster, namespace: str) -> None:
    size = {"limits": {"cpu": "100m", "memory": "64Mi"}}
    made = pod("grows", namespace, "sleep 10000", {"emptyDir": {}}, {})
    made["spec"]["containers"][0]["resources"] = size
    cluster.apply(made)

    def status() -> dict[str, Any]:
        return cluster.get("pod", "grows", "-n", namespace)["status"]["containerStatuses"][0]

    wait_for("it runs", lambda: "running" in status()["state"], 30)
    before = status()["containerID"]
    patch = (
        '{"spec":{"containers":[{"name":"c","resources":{"limits":{"memory":"96Mi"},"requests":{"memory":"96Mi"}}}]}}'
    )
    cluster.kubectl("patch", "pod", "grows", "-n", namespace, "--subresource=resize", "-p", patch)
    wait_for("it has grown", lambda: status()["resources"]["limits"]["memory"] == "96Mi", 30)
    files = "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null"
    shown = cluster.kubectl("exec", "grows", "-n", namespace, "--", "sh", "-c", files, check=False).stdout
    assert shown.split() == [str(96 << 20)] and status()["containerID"] == before


def test_collectors_find_logs_where_they_look(cluster: Cluster, namespace: str, printed: Callable[[Pod], str]) -> None:
    assert printed(pod("speaker", namespace, "echo said it", {"emptyDir": {}}, {})) == "said it\n"
    script = f"cat /var/log/containers/speaker_{namespace}_c-*.log; ls /var/log/pods | grep {namespace}_speaker"
    shown = printed(pod("collector", namespace, script, {"hostPath": {"path": "/var/log"}}, {"mountPath": "/var/log"}))
    assert "said it" in shown
