"""The course's session, as a person types it: the two manifests unchanged, a stock kubectl, real containers."""

from __future__ import annotations

import subprocess
import time
import urllib.request
from collections import Counter
from typing import Any

import pytest
from tests.support.harness import BIN, ROOT, Cluster, Network, wait_for

EXAMPLES = ROOT / "examples" / "nginx"


def fetch(address: str, timeout: float = 5) -> str:
    with urllib.request.urlopen(f"http://{address}/", timeout=timeout) as answer:
        return answer.read().decode()


@pytest.fixture(scope="module")
def address(cluster: Cluster) -> str:
    """The course's Deployment and Service, running; the Service's cluster IP."""
    applied = cluster.kubectl("apply", "-f", str(EXAMPLES))
    assert "extensions/v1beta1 Deployment is deprecated" in applied.stderr
    assert "use apps/v1 Deployment" in applied.stderr
    cluster.kubectl("rollout", "status", "deployment/ngx", "--timeout=60s")
    return cluster.get("service", "ngx")["spec"]["clusterIP"]


def living(cluster: Cluster) -> dict[str, Any]:
    """A pod of the deployment that is there to stay: others may be on their way out."""
    cluster.kubectl("rollout", "status", "deployment/ngx", "--timeout=60s")
    pods = cluster.get("pods", "-l", "run=ngx")["items"]
    return next(pod for pod in pods if "deletionTimestamp" not in pod["metadata"])


def test_everything_is_listed(cluster: Cluster, address: str) -> None:
    listed = cluster.kubectl("get", "nodes,pods,services", "-A", "-o", "wide").stdout
    lines = listed.splitlines()
    assert any(line.startswith("node/") and " Ready " in line and "containerd://" in line for line in lines)
    assert any("pod/ngx-" in line and "1/1" in line and "Running" in line for line in lines)
    assert any("service/ngx" in line and address in line and "80/TCP" in line for line in lines)
    assert any("service/kubernetes" in line for line in lines)


def test_nginx_answers_on_its_cluster_ip(address: str) -> None:
    assert "Welcome to nginx!" in fetch(address)


def test_a_pod_reaches_it_by_name(cluster: Cluster, address: str) -> None:
    url = "http://ngx.default.svc.cluster.local/"
    done = cluster.kubectl("run", "-i", "--rm", "--restart=Never", "box", "--image=busybox", "--", "wget", "-qO-", url)
    assert "Welcome to nginx!" in done.stdout


def test_a_deleted_pod_is_replaced_and_the_service_goes_on(cluster: Cluster, address: str) -> None:
    before = living(cluster)["metadata"]["name"]
    cluster.kubectl("delete", "pod", "-l", "run=ngx")
    cluster.kubectl("rollout", "status", "deployment/ngx", "--timeout=60s")
    after = [p["metadata"]["name"] for p in cluster.get("pods", "-l", "run=ngx")["items"]]
    assert before not in after and len(after) == 1
    assert "Welcome to nginx!" in wait_for("the service answers", lambda: fetch(address))


def served_by(cluster: Cluster) -> Counter[str]:
    """Requests in every pod's own log."""
    pods = [p["metadata"]["name"] for p in cluster.get("pods", "-l", "run=ngx")["items"]]
    return Counter({pod: cluster.kubectl("logs", pod).stdout.count("GET / HTTP") for pod in pods})


def test_requests_spread_over_five(cluster: Cluster, address: str) -> None:
    cluster.kubectl("scale", "deployment", "ngx", "--replicas=5")
    cluster.kubectl("rollout", "status", "deployment/ngx", "--timeout=60s")
    wait_for("five endpoints", lambda: len(endpoints(cluster)) == 5)
    before = served_by(cluster)
    for _ in range(100):
        fetch(address)
    after = wait_for("all requests are logged", lambda: (c := served_by(cluster) - before).total() >= 100 and c)
    assert len(after) == 5
    cluster.kubectl("scale", "deployment", "ngx", "--replicas=1")


def endpoints(cluster: Cluster) -> list[dict[str, Any]]:
    slices = cluster.get("endpointslices", "-l", "kubernetes.io/service-name=ngx")["items"]
    return [e for s in slices for e in s.get("endpoints") or [] if e["conditions"]["ready"]]


def test_a_new_image_rolls_out_and_back(cluster: Cluster, address: str) -> None:
    # The retired version lets one pod be missing during a rollout: with three, the others go on.
    cluster.kubectl("scale", "deployment", "ngx", "--replicas=3")
    cluster.kubectl("rollout", "status", "deployment/ngx", "--timeout=60s")
    cluster.kubectl("set", "image", "deployment/ngx", "ngx=busybox-that-does-not-exist:1")
    wait_for(
        "the new pod cannot pull",
        lambda: any(
            word in cluster.kubectl("get", "pods", "-l", "run=ngx").stdout
            for word in ("ErrImagePull", "ImagePullBackOff")
        ),
    )
    assert "Welcome to nginx!" in fetch(address)
    cluster.kubectl("rollout", "undo", "deployment/ngx")
    cluster.kubectl("rollout", "status", "deployment/ngx", "--timeout=60s")
    image = cluster.get("deployment", "ngx")["spec"]["template"]["spec"]["containers"][0]["image"]
    assert image == "nginx"
    history = cluster.kubectl("rollout", "history", "deployment/ngx").stdout
    assert "deployment.apps/ngx" in history and "3" in history
    cluster.kubectl("scale", "deployment", "ngx", "--replicas=1")
    wait_for("one pod is left", lambda: len(cluster.get("pods", "-l", "run=ngx")["items"]) == 1)


def test_logs_follow(cluster: Cluster, address: str) -> None:
    follow = subprocess.Popen(
        [str(BIN / "kubectl"), "logs", "-f", "--tail=0", "deployment/ngx"],
        stdout=subprocess.PIPE,
        text=True,
        env=cluster.environment,
    )
    try:
        time.sleep(0.5)
        fetch(address)
        assert follow.stdout
        assert "GET / HTTP/1.1" in follow.stdout.readline()
    finally:
        follow.terminate()
        follow.wait()


def test_exec_runs_a_command_with_its_input_and_exit_code(cluster: Cluster, address: str) -> None:
    done = cluster.kubectl("exec", "-i", "deployment/ngx", "--", "sh", "-c", "cat; exit 3", input="hello", check=False)
    assert done.stdout == "hello"
    assert done.returncode == 3


def test_exec_with_a_terminal(cluster: Cluster, address: str) -> None:
    words = [str(BIN / "kubectl"), "exec", "-it", "deployment/ngx", "--", "sh", "-c", "test -t 0 && echo a-terminal"]
    done = subprocess.run(
        ["script", "-qec", " ".join(f"'{w}'" for w in words), "/dev/null"],
        capture_output=True, text=True, env=cluster.environment, timeout=30, check=False,
    )  # fmt: skip
    assert "a-terminal" in done.stdout


def test_port_forward(cluster: Cluster, address: str) -> None:
    forward = subprocess.Popen(
        [str(BIN / "kubectl"), "port-forward", "deployment/ngx", ":80"],
        stdout=subprocess.PIPE,
        text=True,
        env=cluster.environment,
    )
    try:
        assert forward.stdout
        port = forward.stdout.readline().split(":")[1].split()[0]
        for _ in range(3):
            assert "Welcome to nginx!" in fetch(f"127.0.0.1:{port}")
    finally:
        forward.terminate()
        forward.wait()


def test_files_are_copied_both_ways(cluster: Cluster, address: str) -> None:
    pod = living(cluster)["metadata"]["name"]
    local = cluster.directory / "page.html"
    local.write_text("copied in\n")
    cluster.kubectl("cp", str(local), f"{pod}:/usr/share/nginx/html/copied.html")
    assert "copied in" in cluster.kubectl("exec", pod, "--", "cat", "/usr/share/nginx/html/copied.html").stdout
    back = cluster.directory / "back.html"
    cluster.kubectl("cp", f"{pod}:/usr/share/nginx/html/copied.html", str(back))
    assert back.read_text() == "copied in\n"


def test_describe_tells_the_story(cluster: Cluster, address: str) -> None:
    pod = living(cluster)["metadata"]["name"]
    told = cluster.kubectl("describe", "pod", pod).stdout
    for word in (
        "Scheduled",
        "Successfully assigned",
        "Pulled",
        "Created",
        "Started",
        "Controlled By:  ReplicaSet/ngx-",
    ):
        assert word in told
    deployment = cluster.kubectl("describe", "deployment", "ngx").stdout
    assert "ScalingReplicaSet" in deployment and "MinimumReplicasAvailable" in deployment
    assert "Endpoints:" in cluster.kubectl("describe", "service", "ngx").stdout


def test_explain_and_edit(cluster: Cluster, address: str) -> None:
    explained = cluster.kubectl("explain", "deployment.spec.strategy.rollingUpdate.maxSurge").stdout
    assert "VERSION:    v1" in explained and "IntOrString" in explained
    environment = {**cluster.environment, "EDITOR": "sed -i 's/replicas: 1/replicas: 2/'"}
    subprocess.run(
        [str(BIN / "kubectl"), "edit", "deployment", "ngx"], env=environment, check=True, capture_output=True
    )
    assert cluster.get("deployment", "ngx")["spec"]["replicas"] == 2
    cluster.kubectl("scale", "deployment", "ngx", "--replicas=1")


def test_why_says_why(cluster: Cluster, address: str) -> None:
    pod = living(cluster)
    said = cluster.navarch("why", "pod", pod["metadata"]["name"]).stdout
    assert pod["spec"]["nodeName"] in said
    cluster.kubectl("run", "nowhere", "--image=busybox", '--overrides={"spec":{"nodeSelector":{"disk":"ssd"}}}')
    waiting = wait_for(
        "the scheduler has tried",
        lambda: "didn't match" in (text := cluster.navarch("why", "pod", "nowhere").stdout) and text,
    )
    assert "NodeAffinity" in waiting
    cluster.kubectl("delete", "pod", "nowhere", "--wait=false")


def test_nothing_for_a_pod_or_a_service_leaves_the_machine(cluster: Cluster, network: Network, address: str) -> None:
    """Addresses in the cluster's ranges that nobody holds are refused at once."""
    network.left_the_machine()
    prefix = address.rpartition(".")[0]
    for unheld in (f"{prefix}.254", "10.244.200.1"):
        started = time.monotonic()
        with pytest.raises(OSError):
            fetch(unheld, timeout=5)
        assert time.monotonic() - started < 4
    outside = [packet for packet in network.left_the_machine() if packet[16] == 10]
    assert outside == []
