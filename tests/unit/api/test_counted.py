"""What a pod counts with while it is being resized."""

from __future__ import annotations

from typing import Any

from navarch.api.podspec.resources import counted, requests_of


def pod(wanted: str, has: str, allocated: str, **status: Any) -> dict[str, Any]:
    told = {"name": "c", "allocatedResources": {"cpu": allocated}, "resources": {"requests": {"cpu": has}}}
    container = {"name": "c", "resources": {"requests": {"cpu": wanted}}}
    return {"spec": {"containers": [container]}, "status": {"containerStatuses": [told], **status}}


def cpu(obj: dict[str, Any]) -> int:
    return requests_of(counted(obj))["cpu"]


def test_the_most_of_all_three_counts() -> None:
    assert cpu(pod("3", "1", "1")) == 3000
    assert cpu(pod("1", "2", "1500m")) == 2000
    assert cpu(pod("1", "1", "2500m")) == 2500


def test_what_cannot_be_had_does_not_count() -> None:
    pending = {"type": "PodResizePending", "status": "True", "reason": "Infeasible"}
    assert cpu(pod("30", "1", "2", conditions=[pending])) == 2000
    assert cpu(pod("30", "1", "2", conditions=[{**pending, "reason": "Deferred"}])) == 30000


def test_where_all_agree_the_spec_is_as_it_is() -> None:
    agreed = pod("1", "1", "1")
    assert counted(agreed) is agreed["spec"]


def test_init_containers_count_by_their_spec_unless_they_stay() -> None:
    told = {"name": "i", "resources": {"requests": {"cpu": "4"}}}
    init: dict[str, Any] = {"name": "i", "resources": {"requests": {"cpu": "1"}}}
    spec = {"containers": [{"name": "c"}], "initContainers": [init]}
    assert cpu({"spec": spec, "status": {"initContainerStatuses": [told]}}) == 1000
    spec = {"containers": [{"name": "c"}], "initContainers": [{**init, "restartPolicy": "Always"}]}
    assert cpu({"spec": spec, "status": {"initContainerStatuses": [told]}}) == 4000


def test_what_the_pod_itself_requests_is_counted_likewise() -> None:
    spec = {"containers": [{"name": "c"}], "resources": {"requests": {"cpu": "1"}}}
    status = {"resources": {"requests": {"cpu": "2"}}, "allocatedResources": {"cpu": "1"}}
    assert cpu({"spec": spec, "status": status}) == 2000
