"""What nodes and pods use, as a stock kubectl shows it."""

from __future__ import annotations

import os
import shutil
import subprocess
import time

import pytest

from navarch.testing import Cluster

BUSY = """
apiVersion: v1
kind: Pod
metadata: {name: busy, labels: {a: b}, annotations: {navarch.hollow/cpu: 250m, navarch.hollow/memory: 64Mi}}
spec: {containers: [{name: web, image: nginx}, {name: side, image: nginx}]}
"""


def running(cluster: Cluster) -> bool:
    return (cluster.client.get("pod", "busy").get("status") or {}).get("phase") == "Running"


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="no kubectl")
def test_kubectl_top_shows_what_is_used() -> None:
    with Cluster(controllers=True, scheduler=True, nodes=1) as cluster:
        cluster.client.apply(BUSY)
        deadline = time.monotonic() + 20
        while not running(cluster):
            assert time.monotonic() < deadline, "it does not run"
            time.sleep(0.02)

        def kubectl(*words: str) -> list[list[str]]:
            env = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig)}
            done = subprocess.run(["kubectl", *words], env=env, capture_output=True, text=True, check=True, timeout=60)
            return [line.split() for line in done.stdout.splitlines()]

        assert kubectl("top", "nodes", "--no-headers") == [["hollow-0", "500m", "1%", "128Mi", "0%"]]
        assert kubectl("top", "pods", "-A", "--no-headers") == [["default", "busy", "500m", "128Mi"]]
        each = kubectl("top", "pod", "busy", "--containers", "--no-headers")
        assert each == [["busy", "side", "250m", "64Mi"], ["busy", "web", "250m", "64Mi"]]
        assert kubectl("top", "pod", "-l", "a=c") == []
        (row,) = kubectl("get", "apiservice", "v1beta1.metrics.k8s.io", "--no-headers")
        assert row[:3] == ["v1beta1.metrics.k8s.io", "Local", "True"]
