"""What a node tells of itself and its pods, through the API server."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from tests.support.harness import Cluster, wait_for


@pytest.fixture
def raw(cluster: Cluster) -> Callable[[str], str]:
    """A path of the node's own server."""
    node = cluster.get("nodes")["items"][0]["metadata"]["name"]
    return lambda path: cluster.kubectl("get", "--raw", f"/api/v1/nodes/{node}/proxy/{path}").stdout


def test_metrics_and_statistics_are_those_of_what_runs(
    cluster: Cluster, namespace: str, raw: Callable[[str], str]
) -> None:
    container = {
        "name": "c",
        "image": "busybox",
        "command": ["sleep", "600"],
        "resources": {"limits": {"memory": "64Mi"}},
    }
    spec: dict[str, Any] = {"terminationGracePeriodSeconds": 0, "containers": [container]}
    cluster.apply(
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "seen", "namespace": namespace}, "spec": spec}
    )
    cluster.kubectl("wait", "--for=condition=Ready", "pod/seen", "-n", namespace, "--timeout=30s")
    of_pod = f'namespace="{namespace}",pod="seen"'

    def sample(text: str, name: str, container: str) -> float:
        found = re.search(rf'^{name}\{{container="{container}",[^}}]*{of_pod}[^}}]*\}} (\S+)$', text, re.MULTILINE)
        return float(found.group(1)) if found else -1.0

    text = raw("metrics/cadvisor")
    assert sample(text, "container_spec_memory_limit_bytes", "c") == 64 << 20
    assert sample(text, "container_memory_working_set_bytes", "c") > 0
    assert sample(text, "container_cpu_usage_seconds_total", "c") > 0
    assert sample(text, "container_network_receive_bytes_total", "") >= 0
    assert sample(raw("metrics/resource"), "container_memory_working_set_bytes", "c") > 0
    assert 'pod="seen"' not in raw("metrics/probes")
    assert re.search(r"^kubelet_running_pods [1-9]", raw("metrics"), re.MULTILINE)

    def summary() -> Any:
        pods = json.loads(raw("stats/summary"))["pods"]
        return next((p for p in pods if p["podRef"]["name"] == "seen" and p["podRef"]["namespace"] == namespace), None)

    found = wait_for("the pod in the summary", summary)
    assert found["containers"][0]["memory"]["workingSetBytes"] > 0 and found["network"]["name"] == "eth0"
