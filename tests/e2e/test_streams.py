"""exec, attach, logs, port-forward, cp and proxies with releases of kubectl that speak SPDY and WebSocket."""

from __future__ import annotations

import os
import subprocess
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support import kubectls
from tests.support.harness import BIN, Cluster, wait_for

PROGRAMS = {"1.27": "kubectl-1.27", "1.32": "kubectl-1.32", "1.37": "kubectl"}
Run = Callable[..., str]


@pytest.fixture(scope="module")
def pod(cluster: Cluster) -> str:
    """A web server that logs, and a shell beside it."""
    page = "mkdir -p /www && echo hello >/www/index.html && httpd -f -v -p 8080 -h /www"
    counting = "i=0; while true; do i=$((i+1)); echo line $i; sleep 0.2; done"
    containers = [
        {"name": "web", "image": "busybox", "command": ["sh", "-c", page], "ports": [{"containerPort": 8080}]},
        {"name": "loud", "image": "busybox", "command": ["sh", "-c", counting], "stdin": True},
    ]
    spec = {"containers": containers, "terminationGracePeriodSeconds": 0}
    cluster.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "streams"}, "spec": spec})
    cluster.kubectl("wait", "--for=condition=Ready", "pod/streams", "--timeout=60s")
    return "streams"


@pytest.fixture(params=PROGRAMS)
def program(request: pytest.FixtureRequest) -> str:
    if not kubectls.HERE and request.param != "1.37":
        pytest.skip("not for this machine")
    return str(BIN / PROGRAMS[request.param])


@pytest.fixture
def kubectl(cluster: Cluster, program: str) -> Run:
    def run(*words: str, input: str | None = None, check: bool = True) -> str:
        done = cluster.kubectl(*words, program=program, input=input, check=check)
        return done.stdout + done.stderr

    return run


def test_exec(kubectl: Run, pod: str) -> None:
    assert kubectl("exec", pod, "-c", "web", "--", "sh", "-c", "echo out; echo err >&2").split() == ["out", "err"]
    assert "one two" in kubectl("exec", "-i", pod, "-c", "web", "--", "cat", input="one two")
    assert "exit code 3" in kubectl("exec", pod, "-c", "web", "--", "sh", "-c", "exit 3", check=False)
    assert "No such file or directory" in kubectl("exec", pod, "-c", "web", "--", "nothing-there", check=False)
    assert "container nope is not valid for pod" in kubectl("exec", pod, "-c", "nope", "--", "ls", check=False)


def test_much_goes_both_ways(kubectl: Run, pod: str) -> None:
    text = "0123456789abcdef" * 64 * 1024 * 2
    assert kubectl("exec", "-i", pod, "-c", "web", "--", "cat", input=text) == text


def test_copies(kubectl: Run, pod: str, tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(os.urandom(300_000))
    kubectl("cp", "-c", "web", str(tmp_path / "there"), f"{pod}:/tmp/there")
    kubectl("cp", "-c", "web", f"{pod}:/tmp/there", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == (tmp_path / "there").read_bytes()


def test_logs(cluster: Cluster, kubectl: Run, program: str, pod: str) -> None:
    wait_for("lines", lambda: kubectl("logs", pod, "-c", "loud").count("\n") >= 3)
    assert kubectl("logs", pod, "-c", "loud").startswith("line 1\nline 2\n")
    assert kubectl("logs", pod, "-c", "loud", "--tail=1").count("\n") == 1
    assert len(kubectl("logs", pod, "-c", "loud", "--limit-bytes=5")) == 5
    assert "T" in kubectl("logs", pod, "-c", "loud", "--timestamps").split()[0]
    assert "[pod/streams/loud] line 1\n" in kubectl("logs", pod, "--all-containers", "--prefix")
    words = [program, "logs", "-f", pod, "-c", "loud", "--tail=1"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=cluster.environment) as following:
        assert following.stdout
        seen = [int(following.stdout.readline().split()[1]) for _ in range(4)]
        following.kill()
    assert seen == list(range(seen[0], seen[0] + 4))


def test_attach(cluster: Cluster, program: str, pod: str) -> None:
    words = [program, "attach", pod, "-c", "loud"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=cluster.environment) as attached:
        assert attached.stdout
        lines = [attached.stdout.readline() for _ in range(3)]
        attached.kill()
    assert all(line.startswith("line ") for line in lines)


def test_port_forward(cluster: Cluster, program: str, pod: str) -> None:
    words = [program, "port-forward", pod, ":8080"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=cluster.environment) as forwarding:
        try:
            assert forwarding.stdout
            address = forwarding.stdout.readline().split()[2]
            for _ in range(5):
                with urllib.request.urlopen(f"http://{address}/", timeout=10) as answer:
                    assert answer.read() == b"hello\n"
        finally:
            forwarding.kill()


def test_proxies(cluster: Cluster, kubectl: Run, pod: str) -> None:
    base = f"/api/v1/namespaces/default/pods/{pod}"
    assert kubectl("get", "--raw", f"{base}:8080/proxy/index.html") == "hello\n"
    assert kubectl("get", "--raw", f"{base}/proxy/") == "hello\n"
    missing = kubectl("get", "--raw", f"{base}:8080/proxy/nothing", check=False)
    assert missing.startswith("Error from server (NotFound): the server could not find the requested resource")
    closed = kubectl("get", "--raw", f"{base}:81/proxy/", check=False)
    assert "error trying to reach service" in closed and "connection refused" in closed
    node = kubectl("get", "nodes", "-o", "jsonpath={.items[0].metadata.name}")
    assert '"PodList"' in kubectl("get", "--raw", f"/api/v1/nodes/{node}/proxy/pods")


def test_a_tunnel_outlives_silence(cluster: Cluster, kubectl: Run, pod: str) -> None:
    """Nothing is sent for a while, then something: nobody has taken the tunnel down meanwhile."""
    started = time.monotonic()
    assert kubectl("exec", pod, "-c", "web", "--", "sh", "-c", "sleep 5; echo awake").strip() == "awake"
    assert time.monotonic() - started > 4
