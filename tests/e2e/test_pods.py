"""Pods on a real node: how they start, restart, end, and what they may do. Containers tell by their termination message."""

from __future__ import annotations

import json
import os
import signal
import ssl
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.harness import NODE_ADDRESS, Cluster, Network, wait_for

Pod = dict[str, Any]
FOREVER = "trap 'exit 0' TERM; while true; do sleep 0.1; done"
SAYS = "/dev/termination-log"


def container(script: str = FOREVER, name: str = "c", **more: Any) -> dict[str, Any]:
    return {"name": name, "image": "busybox", "command": ["sh", "-c", script], **more}


def pod(name: str, *containers: dict[str, Any], **spec: Any) -> Pod:
    shape = {"terminationGracePeriodSeconds": 2, "containers": list(containers or (container(),)), **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": shape}


@pytest.fixture
def run(cluster: Cluster, namespace: str) -> Callable[[Pod], Callable[[], Pod]]:
    """Creates a pod in the test's namespace; the answer reads it again."""

    def create(made: Pod) -> Callable[[], Pod]:
        made["metadata"]["namespace"] = namespace
        cluster.apply(made)
        return lambda: cluster.get("pod", made["metadata"]["name"], "-n", namespace)

    return create


def status(found: Pod, name: str = "c") -> dict[str, Any]:
    every = [*found["status"].get("containerStatuses", []), *found["status"].get("initContainerStatuses", [])]
    return {s["name"]: s for s in every}[name]


def waiting(found: Pod, name: str = "c") -> str:
    return status(found, name)["state"].get("waiting", {}).get("reason", "")


def phase(read: Callable[[], Pod], wanted: str) -> Pod:
    return wait_for(f"the pod is {wanted}", lambda: (p := read())["status"].get("phase") == wanted and p, 30)


def said(run: Callable[[Pod], Callable[[], Pod]], made: Pod) -> str:
    """What a pod's container said; it runs to its end."""
    made["spec"]["restartPolicy"] = "Never"
    read = run(made)
    found = wait_for("the pod ends", lambda: (p := read())["status"].get("phase") in ("Succeeded", "Failed") and p, 30)
    return status(found)["state"]["terminated"].get("message", "")


def events(cluster: Cluster, namespace: str, reason: str) -> list[str]:
    listed = cluster.get("events", "-n", namespace, "--field-selector", f"reason={reason}")["items"]
    return [event["message"] for event in listed]


Run = Callable[[Pod], Callable[[], Pod]]


def test_a_failing_container_is_restarted_later_and_later(cluster: Cluster, namespace: str, run: Run) -> None:
    read = run(pod("crash", container(f"echo bye > {SAYS}; exit 3")))
    found = wait_for("a back-off", lambda: waiting(p := read()) == "CrashLoopBackOff" and p, 30)
    ended = status(found)["lastState"]["terminated"]
    assert (ended["exitCode"], ended["reason"], ended["message"]) == (3, "Error", "bye\n")
    assert status(found)["restartCount"] == 1
    assert "back-off 10s restarting failed container=c" in status(found)["state"]["waiting"]["message"]
    assert found["status"]["phase"] == "Running"
    assert any("Back-off restarting failed container c" in text for text in events(cluster, namespace, "BackOff"))


@pytest.mark.parametrize(
    ("policy", "code", "expected"), [("OnFailure", 0, "Succeeded"), ("Never", 1, "Failed"), ("Never", 0, "Succeeded")]
)
def test_restart_policies(run: Run, policy: str, code: int, expected: str) -> None:
    found = phase(run(pod("ends", container(f"exit {code}"), restartPolicy=policy)), expected)
    assert status(found)["restartCount"] == 0


def test_init_containers_run_in_order_and_sidecars_go_on(cluster: Cluster, namespace: str, run: Run) -> None:
    shared = [{"name": "v", "mountPath": "/v"}]
    inits = [
        container("echo 1 >> /v/f", "first", volumeMounts=shared),
        container(FOREVER, "sidecar", restartPolicy="Always"),
        container("echo 2 >> /v/f", "second", volumeMounts=shared),
    ]
    main = container(f"cat /v/f > {SAYS}", volumeMounts=shared)
    made = pod("inits", main, initContainers=inits, volumes=[{"name": "v", "emptyDir": {}}], restartPolicy="Never")
    found = phase(run(made), "Succeeded")
    assert status(found)["state"]["terminated"]["message"] == "1\n2\n"
    wait_for("the sidecar was stopped", lambda: "terminated" in status(run(made)(), "sidecar")["state"], 20)


def test_a_failing_init_container_keeps_the_pod_from_starting(run: Run) -> None:
    read = run(pod("stuck", initContainers=[container("exit 1", "bad")], restartPolicy="Never"))
    found = phase(read, "Failed")
    assert waiting(found) == "PodInitializing"


def test_a_deadline_ends_a_pod(cluster: Cluster, namespace: str, run: Run) -> None:
    found = phase(run(pod("late", activeDeadlineSeconds=1)), "Failed")
    assert found["status"]["reason"] == "DeadlineExceeded"
    assert events(cluster, namespace, "DeadlineExceeded")


def test_images_that_cannot_be_had(run: Run, cluster: Cluster, namespace: str) -> None:
    never = run(pod("never", {"name": "c", "image": "no-such-image:1", "imagePullPolicy": "Never"}))
    named = run(pod("named", {"name": "c", "image": "No Such::Image"}))
    wait_for("ErrImageNeverPull", lambda: waiting(never()) == "ErrImageNeverPull", 20)
    wait_for("InvalidImageName", lambda: waiting(named()) == "InvalidImageName", 20)
    assert 'Container image "no-such-image:1" is not present with pull policy of Never' in events(
        cluster, namespace, "ErrImageNeverPull"
    )


def test_a_command_that_does_not_exist(run: Run) -> None:
    read = run(pod("nothing", {"name": "c", "image": "busybox", "command": ["/does-not-exist"]}))
    found = wait_for("it fails to start", lambda: "terminated" in status(p := read()).get("lastState", {}) and p, 20)
    assert status(found)["lastState"]["terminated"]["exitCode"] == 128
    assert "no such file or directory" in status(found)["lastState"]["terminated"]["message"].lower()


def test_configuration_that_comes_late(cluster: Cluster, namespace: str, run: Run) -> None:
    reference = {"configMapKeyRef": {"name": "later", "key": "k"}}
    script = f'echo "$A" > {SAYS}'
    read = run(pod("config", container(script, env=[{"name": "A", "valueFrom": reference}]), restartPolicy="Never"))
    wait_for("it waits", lambda: waiting(read()) == "CreateContainerConfigError", 20)
    assert status(read())["state"]["waiting"]["message"] == 'configmap "later" not found'
    cluster.kubectl("create", "configmap", "later", "--from-literal=k=there", "-n", namespace)
    assert status(phase(read, "Succeeded"))["state"]["terminated"]["message"] == "there\n"


def test_users_groups_and_capabilities(run: Run) -> None:
    security = {"readOnlyRootFilesystem": True, "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    script = f"(id; touch /x; grep -e CapEff -e NoNewPrivs -e Seccomp: /proc/self/status) > {SAYS} 2>&1; exit 0"
    shared = {
        "runAsUser": 1000,
        "runAsGroup": 2000,
        "supplementalGroups": [3000],
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    text = said(run, pod("secure", container(script, securityContext=security), securityContext=shared))
    assert "uid=1000 gid=2000 groups=2000,3000" in text
    assert "Read-only file system" in text
    assert "CapEff:\t0000000000000000" in text
    assert "NoNewPrivs:\t1" in text and "Seccomp:\t2" in text


def test_privileged_containers_see_the_devices(run: Run) -> None:
    text = said(run, pod("priv", container(f"ls /dev | wc -l > {SAYS}", securityContext={"privileged": True})))
    assert int(text) > 30


def test_root_is_refused_where_it_must_not_be(run: Run) -> None:
    read = run(pod("root", container(securityContext={"runAsNonRoot": True})))
    found = wait_for("refused", lambda: waiting(p := read()) == "CreateContainerConfigError" and p, 20)
    assert "runAsNonRoot and image will run as root" in status(found)["state"]["waiting"]["message"]


def test_namespaces_that_are_shared(run: Run) -> None:
    host = said(run, pod("host", container(f"ls /sys/class/net > {SAYS}"), hostNetwork=True))
    assert "inside" in host.split()
    text = said(run, pod("pids", container(f"ps -o args > {SAYS}"), shareProcessNamespace=True))
    assert "pause" in text


def test_memory_is_limited(run: Run) -> None:
    limits = {"limits": {"memory": "20Mi", "cpu": "500m"}}
    found = phase(
        run(pod("oom", container("x=a; while true; do x=$x$x; done", resources=limits), restartPolicy="Never")),
        "Failed",
    )
    assert status(found)["state"]["terminated"]["reason"] == "OOMKilled"
    assert status(found)["state"]["terminated"]["exitCode"] == 137


def test_a_pods_cgroup_comes_and_goes(cluster: Cluster, namespace: str, run: Run) -> None:
    limits = {"limits": {"memory": "20Mi", "cpu": "500m"}}
    uid = phase(run(pod("limited", container(resources=limits))), "Running")["metadata"]["uid"]
    folders = list(Path("/sys/fs/cgroup").rglob(f"kubepods/pod{uid}"))
    values = [f.read_text().split()[0] for folder in folders for f in folder.glob("*") if f.name in LIMIT_FILES]
    assert sorted(values) == ["20971520", "50000"]
    cluster.kubectl("delete", "pod", "limited", "-n", namespace)
    wait_for("it is gone", lambda: not list(Path("/sys/fs/cgroup").rglob(f"*pod{uid}")), 20)


LIMIT_FILES = ("memory.limit_in_bytes", "cpu.cfs_quota_us", "memory.max", "cpu.max")


def test_liveness_restarts_and_readiness_takes_out(cluster: Cluster, namespace: str, run: Run) -> None:
    probe = {"exec": {"command": ["cat", "/fine"]}, "periodSeconds": 1, "failureThreshold": 1}
    read = run(pod("live", container(f"touch /fine; sleep 2; rm /fine; {FOREVER}", livenessProbe=probe)))
    wait_for("a restart", lambda: status(read())["restartCount"] >= 1, 30)
    assert any(
        "Container c failed liveness probe, will be restarted" in e for e in events(cluster, namespace, "Killing")
    )
    read = run(pod("unready", container(readinessProbe={"tcpSocket": {"port": 81}, "periodSeconds": 1})))
    phase(read, "Running")
    assert status(read())["ready"] is False
    wait_for(
        "why it is not", lambda: any("connection refused" in e for e in events(cluster, namespace, "Unhealthy")), 20
    )


def test_hooks_run_and_the_grace_period_is_kept(run: Run, cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    volume = {"name": "h", "hostPath": {"path": str(tmp_path), "type": "Directory"}}
    hooks = {
        "postStart": {"exec": {"command": ["sh", "-c", "echo post > /h/post"]}},
        "preStop": {"exec": {"command": ["sh", "-c", "echo pre > /h/pre"]}},
    }
    made = container(
        "trap 'echo term > /h/term; exit 0' TERM; while true; do sleep 0.1; done",
        lifecycle=hooks,
        volumeMounts=[{"name": "h", "mountPath": "/h"}],
    )
    phase(run(pod("hooks", made, volumes=[volume])), "Running")
    wait_for("postStart", lambda: (tmp_path / "post").exists())
    cluster.kubectl("delete", "pod", "hooks", "-n", namespace)
    assert (tmp_path / "pre").read_text() == "pre\n"
    assert (tmp_path / "term").read_text() == "term\n"


def test_a_pod_that_the_node_has_no_room_for(cluster: Cluster, run: Run) -> None:
    """Bound by hand, past the scheduler."""
    node = cluster.get("nodes")["items"][0]["metadata"]["name"]
    found = phase(run(pod("huge", container(resources={"requests": {"cpu": "1000"}}), nodeName=node)), "Failed")
    assert found["status"]["reason"] == "OutOfcpu"
    assert "requested: 1000000" in found["status"]["message"]


def test_static_pods_have_mirrors(cluster: Cluster) -> None:
    node = cluster.get("nodes")["items"][0]["metadata"]["name"]
    made = pod("static")
    made["metadata"]["namespace"] = "default"
    path = cluster.config.state / "manifests" / "static.json"
    path.write_text(json.dumps(made))
    name = f"static-{node}"
    running = lambda: cluster.get("pod", name)["status"].get("phase") == "Running"  # noqa: E731
    wait_for("the mirror shows it", running, 20)
    before = cluster.get("pod", name)
    cluster.kubectl("delete", "pod", name, "--wait=false")
    wait_for("another mirror", lambda: cluster.get("pod", name)["metadata"]["uid"] != before["metadata"]["uid"], 20)
    wait_for("of the same containers", running, 20)
    assert status(cluster.get("pod", name))["containerID"] == status(before)["containerID"]
    path.unlink()
    wait_for("it is gone", lambda: "NotFound" in cluster.kubectl("get", "pod", name, check=False).stderr, 20)


def test_a_node_is_as_upstreams(cluster: Cluster) -> None:
    node = cluster.get("nodes")["items"][0]
    name = node["metadata"]["name"]
    lease = cluster.get("lease", name, "-n", "kube-node-lease")
    assert lease["spec"]["holderIdentity"] == name and lease["spec"]["leaseDurationSeconds"] == 40
    conditions = {c["type"]: (c["status"], c["reason"]) for c in node["status"]["conditions"]}
    assert conditions["Ready"] == ("True", "KubeletReady")
    assert conditions["MemoryPressure"] == ("False", "KubeletHasSufficientMemory")
    assert node["status"]["nodeInfo"]["containerRuntimeVersion"].startswith("containerd://")
    assert node["spec"]["podCIDR"].endswith("/24")
    names = lambda: [n for i in cluster.get("node", name)["status"]["images"] for n in i["names"]]  # noqa: E731
    wait_for("its images are listed", lambda: "docker.io/library/busybox:latest" in names(), 30)


def test_a_new_image_restarts_the_container_in_place(cluster: Cluster, namespace: str, run: Run) -> None:
    read = run(pod("image", container()))
    before = phase(read, "Running")
    cluster.kubectl("set", "image", "pod/image", "c=docker.io/library/busybox:latest", "-n", namespace)
    wait_for("a restart", lambda: (s := status(read()))["restartCount"] == 1 and "running" in s["state"], 20)
    assert read()["status"]["podIP"] == before["status"]["podIP"]
    assert any("definition changed" in text for text in events(cluster, namespace, "Killing"))


def test_a_sandbox_that_dies_is_made_again(cluster: Cluster, namespace: str, run: Run) -> None:
    read = run(pod("sandbox", container()))
    found = phase(read, "Running")
    folder = f"pod{found['metadata']['uid']}"
    own = status(found)["containerID"].partition("//")[2]
    pause = next(
        file
        for file in Path("/sys/fs/cgroup").rglob("cgroup.procs")
        if file.parent.parent.name == folder and file.parent.name != own and file.read_text()
    )
    os.kill(int(pause.read_text().split()[0]), signal.SIGKILL)
    wait_for("the container was restarted", lambda: status(read())["restartCount"] == 1, 30)
    wait_for("it is ready", lambda: status(read())["ready"], 20)
    assert events(cluster, namespace, "SandboxChanged")


def test_a_host_port_leads_into_the_pod(run: Run, network: Network) -> None:
    server = {"name": "c", "image": "nginx", "ports": [{"containerPort": 80, "hostPort": 18080}]}
    phase(run(pod("port", server)), "Running")

    def answer(address: str) -> bool:
        with urllib.request.urlopen(f"http://{address}:18080/", timeout=2) as got:
            return "Welcome to nginx!" in got.read().decode()

    for address in (NODE_ADDRESS, "127.0.0.1"):
        wait_for(f"nginx at {address}", lambda address=address: answer(address), 20)


def test_an_ephemeral_container_sees_its_target(cluster: Cluster, namespace: str, run: Run) -> None:
    read = run(pod("target", container()))
    phase(read, "Running")
    script = f"ps -o args > {SAYS}"
    cluster.kubectl(
        "debug", "target", "-n", namespace, "--image=busybox", "--target=c", "-c", "dbg", "--", "sh", "-c", script
    )

    def ended() -> str:
        found = (read()["status"].get("ephemeralContainerStatuses") or [{"state": {}}])[0]
        return found["state"].get("terminated", {}).get("message", "")

    assert FOREVER in wait_for("what it saw", ended, 20)


def test_variables_of_the_pod_and_of_services(run: Run) -> None:
    env = [
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}}},
        {"name": "BOTH", "value": "$(NODE)-$(IP)-$$(NODE)"},
    ]
    limits = {"limits": {"cpu": "300m"}}
    script = f'echo "$BOTH $CPU $KUBERNETES_SERVICE_PORT" > {SAYS}'
    words = said(run, pod("env", container(script, env=env, resources=limits))).split()
    assert "-10.244.0." in words[0]
    assert words[0].endswith("-$(NODE)")
    assert words[1:] == ["300", "443"]


def test_a_token_that_the_api_server_takes(run: Run, cluster: Cluster, namespace: str) -> None:
    """The pod's own token, and what the API server calls its holder."""
    folder = "/var/run/secrets/kubernetes.io/serviceaccount"
    token = said(run, pod("token", container(f"cat {folder}/token > {SAYS}")))
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    request = urllib.request.Request(
        f"https://127.0.0.1:{cluster.config.api_port}/apis/authentication.k8s.io/v1/selfsubjectreviews",
        data=json.dumps(review).encode(),
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    trusted = ssl.create_default_context(cafile=str(cluster.config.pki / "ca.crt"))
    with urllib.request.urlopen(request, context=trusted, timeout=5) as answer:
        user = json.load(answer)["status"]["userInfo"]
    assert user["username"] == f"system:serviceaccount:{namespace}:default"
    assert user["extra"]["authentication.kubernetes.io/pod-name"] == ["token"]
