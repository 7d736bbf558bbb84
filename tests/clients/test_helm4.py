"""Helm 4's own library against the API server: a release's whole life, by server-side apply."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.support import kubectls
from tests.support.harness import BIN
from tests.support.processes import Processes

helm: Any = pytest.importorskip("helm_python", reason="no Helm 4 for this machine")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not kubectls.HERE, reason="no Helm for this machine")]

RELEASE = """
import sys
import helm_python as helm

kubeconfig, namespace, chart = sys.argv[1:]
assert helm.helm_sdk_version().startswith("v4.")
with helm.Config(kubeconfig_path=kubeconfig, namespace=namespace) as config:
    made = config.install(chart, "site", {}, wait="watcher", timeout=60)
    assert (made["revision"], made["status"]) == (1, "deployed"), made
    made = config.upgrade(chart, "site", {"replicaCount": 2}, wait="watcher", timeout=60)
    assert (made["revision"], made["status"]) == (2, "deployed"), made
    config.rollback("site", version=1)
    assert [release["revision"] for release in config.history("site")] == [1, 2, 3]
    assert [release["name"] for release in config.list()] == ["site"]
    print("up", flush=True)
    sys.stdin.readline()
    config.uninstall("site")
    assert not config.list()
"""


def test_a_release(server: Processes, nodes: None, namespace: str, tmp_path: Path) -> None:
    subprocess.run([BIN / "helm-3", "create", "web"], cwd=tmp_path, check=True, capture_output=True, timeout=30)
    # a process of its own: the library brings a runtime with signals and threads of its own
    words = [sys.executable, "-c", RELEASE, str(server.kubeconfig), namespace, str(tmp_path / "web")]
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        assert run.stdin and run.stdout and run.stderr
        if run.stdout.readline() != "up\n":
            raise AssertionError(run.stderr.read())
        deployment = server.get("deployment", "site-web", "-n", namespace, "--show-managed-fields")
        assert deployment["spec"]["replicas"] == 1
        managers = {entry["manager"]: entry["operation"] for entry in deployment["metadata"]["managedFields"]}
        assert "Apply" in managers.values()
        _, trouble = run.communicate("\n", timeout=60)
    assert run.returncode == 0, trouble
    assert server.get("deployments,services,secrets", "-n", namespace)["items"] == []
