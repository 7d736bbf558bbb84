"""ReplicaSets: which pods are made, kept, adopted, released and deleted, and what the status says."""

from __future__ import annotations

from typing import Any

import pytest

from navarch.client.resources import PODS
from navarch.controllers import replicaset
from navarch.controllers.replicaset import Observed, ReplicaSetController, pods_to_delete
from navarch.controlloop.plan import Create, Delete, Patch, Plan, Update
from navarch.machinery.clock import rfc3339

NOW = 1_700_000_000.0


def make_set(replicas: int = 3, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"name": "web", "namespace": "default", "uid": "rs-1", "generation": 1, "resourceVersion": "7"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c"}]}},
            **spec,
        },
    }


def make_pod(name: str, *, ready_for: float | None = None, owner: str = "rs-1", **over: Any) -> dict[str, Any]:
    owners = [{"kind": "ReplicaSet", "name": "web", "uid": owner, "controller": True}] if owner else []
    conditions = []
    if ready_for is not None:
        stamp = rfc3339(NOW - ready_for)
        conditions = [{"type": "Ready", "status": "True", "lastTransitionTime": stamp}]
    phase = over.pop("phase", "Running")
    node = over.pop("node", "n1")
    meta = {
        "name": name,
        "namespace": "default",
        "uid": f"uid-{name}",
        "labels": over.pop("labels", {"app": "web"}),
        "annotations": over.pop("annotations", {}),
        "creationTimestamp": rfc3339(NOW - over.pop("age", 100)),
        "ownerReferences": owners,
        **over.pop("meta", {}),
    }
    status = {"phase": phase, "conditions": conditions, **over}
    return {"metadata": meta, "spec": {"nodeName": node} if node else {}, "status": status}


def decide(replica_set: dict[str, Any], *pods: dict[str, Any]) -> Plan:
    return ReplicaSetController().reconcile(Observed(replica_set, pods, pods), NOW)


def of(plan: Plan, kind: type) -> list[Any]:
    return [action for action in plan.actions if isinstance(action, kind)]


def status(plan: Plan) -> dict[str, Any]:
    return next(a.object["status"] for a in plan.actions if isinstance(a, Update) and a.subresource == "status")


def test_missing_pods_are_created_with_the_template_and_the_owner() -> None:
    made = of(decide(make_set(2)), Create)
    assert len(made) == 2
    pod = made[0].object
    assert pod["metadata"]["generateName"] == "web-"
    assert pod["metadata"]["labels"] == {"app": "web"}
    reference = pod["metadata"]["ownerReferences"][0]
    assert (reference["kind"], reference["uid"], reference["controller"]) == ("ReplicaSet", "rs-1", True)
    assert made[0].report.done == ("SuccessfulCreate", "Created pod: {name}")


def test_a_burst_is_bounded() -> None:
    assert len(of(decide(make_set(2000)), Create)) == replicaset.BURST


@pytest.mark.parametrize("phase", ["Failed", "Succeeded"])
def test_ended_pods_are_replaced(phase: str) -> None:
    assert len(of(decide(make_set(1), make_pod("a", phase=phase)), Create)) == 1


def test_a_pod_being_deleted_is_replaced_and_counted_as_terminating() -> None:
    dying = make_pod("a", meta={"deletionTimestamp": rfc3339(NOW)})
    assert len(of(decide(make_set(1), dying), Create)) == 1
    assert status(decide(make_set(0), dying))["terminatingReplicas"] == 1


def test_an_orphan_that_matches_is_adopted() -> None:
    patches = of(decide(make_set(1), make_pod("a", owner="")), Patch)
    assert [(p.resource, p.key.name) for p in patches] == [(PODS, "a")]
    assert patches[0].patch["metadata"]["ownerReferences"][0]["uid"] == "rs-1"
    assert patches[0].patch["metadata"]["uid"] == "uid-a"


def test_a_pod_that_no_longer_matches_is_released_and_replaced() -> None:
    plan = decide(make_set(1), make_pod("a", labels={"app": "other"}))
    assert of(plan, Patch)[0].patch["metadata"]["ownerReferences"] == [{"$patch": "delete", "uid": "rs-1"}]
    assert len(of(plan, Create)) == 1


def test_a_set_being_deleted_touches_no_pods() -> None:
    dying = make_set(3)
    dying["metadata"]["deletionTimestamp"] = rfc3339(NOW)
    plan = decide(dying, make_pod("a", owner=""))
    assert not of(plan, Create) and not of(plan, Patch)


@pytest.mark.parametrize(
    ("loses", "stays"),
    [
        (make_pod("a", node=""), make_pod("b")),
        (make_pod("a", phase="Pending"), make_pod("b")),
        (make_pod("a"), make_pod("b", ready_for=5)),
        (
            make_pod("a", ready_for=500, annotations={replicaset.DELETION_COST: "-1"}),
            make_pod("b", ready_for=5),
        ),
        (make_pod("a", ready_for=5), make_pod("b", ready_for=5000)),
        (
            make_pod("a", containerStatuses=[{"restartCount": 3}]),
            make_pod("b", containerStatuses=[{"restartCount": 1}]),
        ),
        (make_pod("a", age=10), make_pod("b", age=10_000)),
    ],
    ids=["unassigned", "pending", "not ready", "cost", "ready for less time", "restarts", "younger"],
)
def test_which_pod_goes_first(loses: dict[str, Any], stays: dict[str, Any]) -> None:
    for pods in ([loses, stays], [stays, loses]):
        assert pods_to_delete(pods, pods, 1, NOW) == [loses]


def test_pods_that_share_a_node_go_first() -> None:
    pods = [make_pod("a", node="n1"), make_pod("b", node="n2"), make_pod("c", node="n2")]
    assert pods_to_delete(pods, pods, 1, NOW)[0]["spec"]["nodeName"] == "n2"


def test_too_many_pods_are_deleted_by_uid() -> None:
    deletes = of(decide(make_set(1), make_pod("a", ready_for=10), make_pod("b")), Delete)
    assert [(d.key.name, d.uid) for d in deletes] == [("b", "uid-b")]


def test_the_status_counts_and_observes() -> None:
    replica_set = make_set(2, minReadySeconds=30)
    plan = decide(replica_set, make_pod("a", ready_for=100), make_pod("b", ready_for=10))
    assert status(plan) == {
        "replicas": 2,
        "fullyLabeledReplicas": 2,
        "readyReplicas": 2,
        "availableReplicas": 1,
        "terminatingReplicas": 0,
        "observedGeneration": 1,
    }
    assert plan.requeue_after == 20


def test_nothing_to_do_writes_nothing_and_says_why() -> None:
    replica_set = make_set(1)
    pod = make_pod("a", ready_for=10)
    replica_set["status"] = status(decide(replica_set, pod))
    plan = decide(replica_set, pod)
    assert plan.actions == []
    assert plan.reasons == ["1 pods are wanted and exist"]


def test_a_failed_creation_becomes_a_condition_that_success_removes() -> None:
    plan = decide(make_set(1))
    assert plan.on_error is not None
    failed = status(plan.on_error(RuntimeError("quota")))["conditions"][0]
    assert (failed["type"], failed["reason"], failed["message"]) == ("ReplicaFailure", "FailedCreate", "quota")
    recovered = make_set(1)
    recovered["status"] = {"replicas": 0, "conditions": [failed]}
    assert "conditions" not in status(decide(recovered, make_pod("a")))
