"""The Node object that a kubelet keeps."""

from __future__ import annotations

from typing import Any

from navarch.kubelet import node_status
from navarch.kubelet.node_status import NodeFacts


def facts(**more: Any) -> NodeFacts:
    given: dict[str, Any] = {
        "name": "n", "addresses": ["192.0.2.1"], "port": 10250, "cpus": 2, "memory": 4 << 30, "storage": 100 << 30, **more,
    }  # fmt: skip
    return NodeFacts(**given)


def condition(status: dict[str, Any], kind: str) -> dict[str, Any]:
    return next(c for c in status["conditions"] if c["type"] == kind)


def test_a_new_node_says_what_it_has_and_keeps_back_a_reserve() -> None:
    node = node_status.new_node(facts(), 0.0)
    assert node["metadata"]["labels"]["kubernetes.io/hostname"] == "n"
    assert node["status"]["capacity"]["cpu"] == "2"
    assert node["status"]["capacity"]["memory"] == "4194304Ki"
    assert node["status"]["allocatable"]["memory"] == "4091904Ki"
    assert node["status"]["nodeInfo"]["kubeletVersion"].startswith("v1.36")
    assert condition(node["status"], "Ready")["reason"] == "KubeletReady"


def test_a_node_without_a_network_is_not_ready_and_says_why() -> None:
    ready = condition(node_status.status({}, facts(problems=["network is not ready"]), 0.0), "Ready")
    assert (ready["status"], ready["reason"], ready["message"]) == ("False", "KubeletNotReady", "network is not ready")


def test_transition_times_change_with_the_status_only() -> None:
    first = node_status.status({}, facts(), 0.0)
    second = node_status.status(first, facts(disk_pressure=True), 60.0)
    assert condition(second, "Ready")["lastTransitionTime"] == "1970-01-01T00:00:00Z"
    assert condition(second, "Ready")["lastHeartbeatTime"] == "1970-01-01T00:01:00Z"
    assert condition(second, "DiskPressure")["lastTransitionTime"] == "1970-01-01T00:01:00Z"


def test_heartbeats_alone_are_no_change() -> None:
    first = node_status.status({}, facts(), 0.0)
    assert not node_status.changed(first, node_status.status(first, facts(), 60.0))
    assert node_status.changed(first, node_status.status(first, facts(memory_pressure=True), 60.0))


def test_conditions_of_others_are_kept() -> None:
    old = {"conditions": [{"type": "NetworkUnavailable", "status": "False"}]}
    assert condition(node_status.status(old, facts(), 0.0), "NetworkUnavailable")["status"] == "False"
