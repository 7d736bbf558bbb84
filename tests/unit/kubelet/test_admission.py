"""Which pods a node refuses, and what it says of them."""

from __future__ import annotations

from typing import Any

import pytest

from navarch.kubelet.admission import admit


def pod(cpu: str = "", **spec: Any) -> dict[str, Any]:
    resources = {"requests": {"cpu": cpu}} if cpu else {}
    containers = [{"name": "c", "image": "i", "resources": resources, "ports": spec.pop("ports", [])}]
    return {"metadata": {"name": "p", "uid": "u"}, "spec": {"containers": containers, **spec}}


def node(**more: Any) -> dict[str, Any]:
    allocatable = {"cpu": "2", "memory": "1Gi", "pods": "3"}
    return {
        "metadata": {"name": "n", "labels": {"disk": "ssd"}},
        "spec": {},
        "status": {"allocatable": allocatable},
        **more,
    }


def test_what_the_runtime_cannot_do_is_refused() -> None:
    refused = admit(pod(securityContext={"supplementalGroupsPolicy": "Strict"}), [], node())
    assert refused and refused.reason == "SupplementalGroupsPolicyNotSupported"
    assert admit(pod(securityContext={"supplementalGroupsPolicy": "Merge"}), [], node()) is None


def test_only_safe_sysctls_are_let_in() -> None:
    def with_sysctl(name: str, **spec: Any) -> dict[str, Any]:
        return pod(securityContext={"sysctls": [{"name": name, "value": "1"}]}, **spec)

    assert admit(with_sysctl("kernel.shm_rmid_forced"), [], node()) is None
    assert admit(with_sysctl("kernel/shm_rmid_forced"), [], node()) is None
    refused = admit(with_sysctl("kernel.msgmax"), [], node())
    assert refused == ("SysctlForbidden", 'forbidden sysctl: "kernel.msgmax" not allowlisted')
    assert admit(with_sysctl("kernel.msgmax"), [], node(), ["kernel.msg*"]) is None
    refused = admit(with_sysctl("net.ipv4.tcp_syncookies", hostNetwork=True), [], node())
    assert refused and refused.message.endswith('"net.ipv4.tcp_syncookies" not allowed with host net enabled')


def test_a_pod_that_fits_is_admitted() -> None:
    assert admit(pod("500m"), [pod("1500m")], node()) is None


def test_too_little_cpu_is_named_with_its_amounts() -> None:
    refused = admit(pod("600m"), [pod("1500m")], node())
    assert refused
    assert refused.reason == "OutOfcpu"
    assert "Node didn't have enough resource: cpu, requested: 600, used: 1500, capacity: 2000" in refused.message


def test_the_number_of_pods_is_bounded() -> None:
    refused = admit(pod(), [pod(), pod(), pod()], node())
    assert refused and refused.reason == "OutOfpods"


def test_resources_the_node_does_not_know_are_not_its_business() -> None:
    wanting = pod()
    wanting["spec"]["containers"][0]["resources"] = {"requests": {"example.com/gpu": "1"}}
    assert admit(wanting, [], node()) is None


@pytest.mark.parametrize(
    "spec",
    [
        {"nodeSelector": {"disk": "hdd"}},
        {
            "affinity": {
                "nodeAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": {
                        "nodeSelectorTerms": [
                            {"matchExpressions": [{"key": "disk", "operator": "NotIn", "values": ["ssd"]}]}
                        ]
                    }
                }
            }
        },
    ],
)
def test_a_pod_meant_for_another_node(spec: dict[str, Any]) -> None:
    refused = admit(pod(**spec), [], node())
    assert refused and refused.reason == "NodeAffinity"


def test_a_host_port_that_is_taken() -> None:
    port = {"containerPort": 80, "hostPort": 8080, "protocol": "TCP"}
    refused = admit(pod(ports=[port]), [pod(ports=[{**port, "hostIP": "127.0.0.1"}])], node())
    assert refused and refused.reason == "NodePorts"
    assert admit(pod(ports=[port]), [pod(ports=[{**port, "protocol": "UDP"}])], node()) is None


def test_only_no_execute_taints_count() -> None:
    tainted = node(spec={"taints": [{"key": "k", "effect": "NoSchedule"}]})
    assert admit(pod(), [], tainted) is None
    evicting = node(spec={"taints": [{"key": "k", "effect": "NoExecute"}]})
    refused = admit(pod(), [], evicting)
    assert refused and refused.reason == "TaintToleration"
    assert admit(pod(tolerations=[{"operator": "Exists"}]), [], evicting) is None
