"""Components as processes of their own: an API server without containers or root, controllers and scheduler beside it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from tests.support.harness import BIN, wait_for

KUBECTL = str(BIN / "kubectl")


class Processes:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.kubeconfig = directory / "admin.kubeconfig"
        self.running: list[subprocess.Popen[bytes]] = []

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        log = open(self.directory / f"{words[0]}-{len(self.running)}.log", "wb")  # noqa: SIM115
        command = [sys.executable, "-m", "navarch.cli.main", *words]
        process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        self.running.append(process)
        return process

    def kubectl(self, *words: str, check: bool = True, input: str | None = None) -> str:
        environment = {**os.environ, "KUBECONFIG": str(self.kubeconfig), "HOME": str(self.directory)}
        done = subprocess.run(
            [KUBECTL, *words], capture_output=True, text=True, timeout=30, env=environment, input=input, check=False
        )
        if check and done.returncode:
            raise AssertionError(done.stdout + done.stderr)
        return done.stdout + done.stderr

    def get(self, *words: str) -> Any:
        return json.loads(self.kubectl("get", *words, "-o", "json"))


@pytest.fixture
def processes(tmp_path: Path) -> Generator[Processes]:
    made = Processes(tmp_path)
    yield made
    for process in reversed(made.running):
        process.terminate()
    for process in made.running:
        process.wait(10)


def test_parts_by_themselves_and_one_of_two_leads(processes: Processes, tmp_path: Path) -> None:
    server = processes.start("apiserver", "--secure-port", "0", "--data-dir", str(tmp_path))
    wait_for("the kubeconfig", processes.kubeconfig.exists, 20)
    wait_for("it is ready", lambda: processes.kubectl("get", "--raw", "/readyz", check=False) == "ok", 20)
    config = ("--kubeconfig", str(processes.kubeconfig))
    first = processes.start("controller-manager", *config)
    processes.start("scheduler", *config)
    lease = ("lease", "kube-controller-manager", "-n", "kube-system")
    holder = wait_for("one leads", lambda: processes.get(*lease)["spec"]["holderIdentity"], 20)
    assert holder.endswith(f"_{first.pid}")

    processes.kubectl("create", "deployment", "web", "--image=nginx", "--replicas=3")
    node = {
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"},
        "status": {
            "allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110"},
            "conditions": [{"type": "Ready", "status": "True", "reason": "x", "message": "x"}],
        },
    }  # fmt: skip
    processes.kubectl("apply", "-f", "-", input=json.dumps(node))
    wait_for(
        "three pods are bound",
        lambda: [p["spec"].get("nodeName") for p in processes.get("pods")["items"]] == ["n1"] * 3,
        30,
    )

    second = processes.start("controller-manager", *config)
    first.send_signal(signal.SIGTERM)
    assert first.wait(15) == 0
    wait_for("the other leads", lambda: processes.get(*lease)["spec"]["holderIdentity"].endswith(f"_{second.pid}"), 30)
    processes.kubectl("scale", "deployment", "web", "--replicas=1")
    wait_for("it scales", lambda: processes.get("deployment", "web")["status"].get("replicas") == 1, 30)

    server.terminate()
    assert server.wait(15) == 0
    processes.start("apiserver", "--secure-port", "0", "--data-dir", str(tmp_path))
    wait_for("nothing is lost", lambda: processes.get("deployment", "web")["spec"]["replicas"] == 1, 30)


def test_bad_options_are_explained(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "navarch.cli.main", "apiserver", "--service-cluster-ip-range", "10.0.0.0/99"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 2
    assert "--service-cluster-ip-range" in done.stderr
