"""Helm 3 against the API server: a release's whole life."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from tests.support import kubectls
from tests.support.harness import BIN
from tests.support.processes import Processes

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not kubectls.HERE, reason="no Helm for this machine")]


@pytest.fixture
def chart(tmp_path: Path) -> Path:
    """The chart that `helm create` makes: deployment, service, account, and a test pod."""
    subprocess.run([BIN / "helm-3", "create", "web"], cwd=tmp_path, check=True, capture_output=True, timeout=30)
    return tmp_path / "web"


def test_a_release(server: Processes, nodes: None, namespace: str, chart: Path) -> None:
    environment = {**os.environ, "KUBECONFIG": str(server.kubeconfig), "HOME": str(chart.parent)}

    def helm(*words: str) -> str:
        done = subprocess.run(
            [BIN / "helm-3", *words, "-n", namespace],
            capture_output=True, text=True, timeout=120, env=environment, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert "STATUS: deployed" in helm("install", "site", str(chart), "--wait", "--timeout", "60s")
    assert server.get("deployment", "site-web", "-n", namespace)["status"]["readyReplicas"] == 1
    helm("upgrade", "site", str(chart), "--set", "replicaCount=2", "--wait", "--timeout", "60s")
    assert server.get("deployment", "site-web", "-n", namespace)["status"]["readyReplicas"] == 2
    helm("rollback", "site", "1", "--wait", "--timeout", "60s")
    assert server.get("deployment", "site-web", "-n", namespace)["spec"]["replicas"] == 1
    assert [r["revision"] for r in json.loads(helm("history", "site", "-o", "json"))] == [1, 2, 3]
    assert json.loads(helm("list", "-o", "json"))[0]["status"] == "deployed"
    assert "kind: Deployment" in helm("get", "manifest", "site")
    helm("uninstall", "site", "--wait")
    assert json.loads(helm("list", "-o", "json")) == []
    assert server.get("deployments,services,secrets", "-n", namespace)["items"] == []
