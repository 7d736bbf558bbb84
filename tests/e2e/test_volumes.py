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


def test_a_claim_outlives_its_pods(
    cluster: Cluster, namespace: str, printed: Callable[[Pod], str], tmp_path: Path
) -> None:
    """The claim is bound by hand, as a volume's controller would do it."""
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
    uid = cluster.get("pvc", "data", "-n", namespace)["metadata"]["uid"]
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "hostPath": {"path": str(tmp_path / "disk"), "type": "DirectoryOrCreate"},
            "claimRef": {"kind": "PersistentVolumeClaim", "namespace": namespace, "name": "data", "uid": uid},
        },
    }
    cluster.apply(volume)
    bound = '{"status":{"phase":"Bound"}}'
    cluster.kubectl("patch", "pvc", "data", "-n", namespace, "--subresource=status", "--type=merge", "-p", bound)
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
