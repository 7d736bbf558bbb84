"""Resizing in place: what counts as a change, what it asks for, and what the status says of it."""

from __future__ import annotations

from typing import Any

import pytest

from navarch.kubelet.admission import lacking
from navarch.kubelet.cri_tables import RUNNING
from navarch.kubelet.resizing import amounts, needs_restart, sizes_of, summary, with_sizes
from navarch.kubelet.runtime_state import Container, PodRuntime, Sandbox
from navarch.kubelet.status import View, pod_status
from navarch.kubelet.status_writer import status_patch

SMALL, LARGE = {"requests": {"cpu": "100m", "memory": "32Mi"}}, {"requests": {"cpu": "1", "memory": "32Mi"}}


def pod(size: dict[str, Any], **more: Any) -> dict[str, Any]:
    container = {"name": "c", "image": "a", "resources": size, **more}
    meta = {"name": "p", "namespace": "n", "uid": "u", "generation": 2}
    return {"metadata": meta, "spec": {"containers": [container]}, "status": {"phase": "Running"}}


def running() -> PodRuntime:
    return PodRuntime((Sandbox("s", 0, True, 1.0, ("10.0.0.1",)),), {"c": (Container("id", "c", 0, RUNNING),)})


def test_a_pod_is_seen_with_what_it_was_given() -> None:
    given = sizes_of(pod(SMALL))
    assert with_sizes(pod(LARGE), given)["spec"]["containers"][0]["resources"] == SMALL
    assert with_sizes(pod(SMALL), given) == pod(SMALL)


def test_equal_amounts_are_no_change() -> None:
    assert amounts({"limits": {"cpu": "1000m"}}) == amounts({"limits": {"cpu": "1"}})
    assert amounts({"limits": {"cpu": "1", "example.com/x": "1"}}) == amounts({"limits": {"cpu": "1"}})


@pytest.mark.parametrize(("resource", "restarts"), [("cpu", True), ("memory", False)])
def test_a_policy_asks_for_a_restart_where_its_resource_changes(resource: str, restarts: bool) -> None:
    policy = [{"resourceName": resource, "restartPolicy": "RestartContainer"}]
    assert needs_restart({"resizePolicy": policy}, SMALL, LARGE) is restarts


def test_a_node_without_room_says_what_is_lacking() -> None:
    node = {"status": {"allocatable": {"cpu": "1500m", "memory": "1Gi", "pods": "10"}}}
    assert lacking(pod(LARGE)["spec"], [pod(SMALL)], node) is None
    why = lacking(pod(LARGE)["spec"], [pod(LARGE)], node)
    assert why == "Node didn't have enough resource: cpu, requested: 1000, used: 1000, capacity: 1500"


def test_the_status_shows_what_is_given_what_is_there_and_what_is_under_way() -> None:
    view = View(1.0, "h", actuated={"c": SMALL}, resizing=[("PodResizeInProgress", "", "", 2)])
    status = pod_status(pod(LARGE), running(), view)
    (container,) = status["containerStatuses"]
    assert container["allocatedResources"] == LARGE["requests"] and container["resources"] == SMALL
    (condition,) = [c for c in status["conditions"] if c["type"] == "PodResizeInProgress"]
    assert condition["status"] == "True" and condition["observedGeneration"] == 2
    after = pod_status({**pod(LARGE), "status": status}, running(), View(2.0, "h"))
    assert after["containerStatuses"][0]["resources"] == LARGE
    patch = status_patch(status, after)
    assert {"$patch": "delete", "type": "PodResizeInProgress"} in patch["conditions"]


def test_the_status_shows_mounts() -> None:
    mounts = [{"name": "a", "mountPath": "/a"}, {"name": "b", "mountPath": "/b", "readOnly": True}]
    (container,) = pod_status(pod(SMALL, volumeMounts=mounts), running(), View(1.0, "h"))["containerStatuses"]
    read_only = {"name": "b", "mountPath": "/b", "readOnly": True, "recursiveReadOnly": "Disabled"}
    assert container["volumeMounts"] == [{"name": "a", "mountPath": "/a"}, read_only]


def test_events_name_containers_and_their_sizes() -> None:
    said = summary(pod(SMALL), 2, "no room")
    assert said.startswith('{"containers":[{"name":"c","resources":{"requests":') and said.endswith(
        '"error":"no room"}'
    )
