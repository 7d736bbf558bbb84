"""Components as processes of their own: an API server without containers or root, controllers and scheduler beside it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

from tests.support.harness import wait_for
from tests.support.processes import Processes


def test_parts_by_themselves_and_one_of_two_leads(processes: Processes) -> None:
    server = processes.api_server()
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
    processes.api_server()
    assert processes.get("deployment", "web")["spec"]["replicas"] == 1


def test_bad_options_are_explained() -> None:
    command = [sys.executable, "-m", "navarch.cli.main", "apiserver", "--service-cluster-ip-range", "10.0.0.0/99"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 2
    assert "--service-cluster-ip-range" in done.stderr
