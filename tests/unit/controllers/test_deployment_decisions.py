"""Deployments: numbers, revisions, conditions and the order of a rollout."""

from __future__ import annotations

from typing import Any

import pytest

from navarch.client.resources import DEPLOYMENTS, REPLICA_SETS
from navarch.controllers.deployment import numbers, revisions
from navarch.controllers.deployment.controller import DeploymentController, Observed
from navarch.controlloop.plan import Create, Delete, Emit, Patch, Plan, Update
from navarch.machinery.clock import rfc3339
from navarch.machinery.errors import StatusError

NOW = 1_700_000_000.0


def make(
    replicas: int = 3, image: str = "a", surge: Any = "25%", unavailable: Any = "25%", **spec: Any
) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default", "uid": "d", "generation": 1, "resourceVersion": "5"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"image": image}]}},
            "progressDeadlineSeconds": 600,
            "revisionHistoryLimit": 10,
            **spec,
        },
    }


def set_for(
    deployment: dict[str, Any], replicas: int, available: int | None = None, revision: int = 1
) -> dict[str, Any]:
    made = revisions.new_set(deployment, [])
    available = replicas if available is None else available
    made["metadata"].update(uid=made["metadata"]["name"], generation=1, resourceVersion="9")
    made["metadata"]["creationTimestamp"] = rfc3339(NOW - 1000 + revision)
    made["metadata"]["annotations"][revisions.REVISION] = str(revision)
    made["spec"]["replicas"] = replicas
    made["status"] = {
        "replicas": replicas,
        "availableReplicas": available,
        "readyReplicas": available,
        "terminatingReplicas": 0,
        "observedGeneration": 1,
    }
    return made


def decide(deployment: dict[str, Any], *sets: dict[str, Any], **more: Any) -> Plan:
    return DeploymentController().reconcile(Observed(deployment, sets, **more), NOW)


def scales(plan: Plan) -> dict[str, int]:
    return {
        a.key.name: a.patch["spec"]["replicas"]
        for a in plan.actions
        if isinstance(a, Patch) and a.resource == REPLICA_SETS and "spec" in a.patch
    }


def status(plan: Plan) -> dict[str, Any]:
    return [a for a in plan.actions if isinstance(a, Update) and a.subresource == "status"][-1].object["status"]


def condition(plan: Plan, kind: str) -> dict[str, Any]:
    return next(c for c in status(plan)["conditions"] if c["type"] == kind)


def events(plan: Plan) -> list[str]:
    return [a.message for a in plan.actions if isinstance(a, Emit)]


@pytest.mark.parametrize(
    ("replicas", "surge", "unavailable", "expected"),
    [
        (10, "25%", "25%", (3, 2)),
        (1, "25%", "25%", (1, 0)),
        (1, 0, "25%", (0, 1)),
        (4, 0, 0, (0, 1)),
        (10, 3, 2, (3, 2)),
        (3, "100%", 0, (3, 0)),
    ],
)
def test_surge_rounds_up_and_unavailable_down(replicas: int, surge: Any, unavailable: Any, expected: Any) -> None:
    assert numbers.fenceposts(make(replicas, surge=surge, unavailable=unavailable)) == expected


def test_the_first_set_is_created_with_hash_revision_and_event() -> None:
    plan = decide(make(3))
    new = next(a.object for a in plan.actions if isinstance(a, Create))
    hashed = new["metadata"]["labels"]["pod-template-hash"]
    assert new["metadata"]["name"] == f"web-{hashed}"
    assert new["spec"]["selector"]["matchLabels"] == {"app": "web", "pod-template-hash": hashed}
    assert new["spec"]["template"]["metadata"]["labels"]["pod-template-hash"] == hashed
    assert new["metadata"]["annotations"] == {
        "deployment.kubernetes.io/revision": "1",
        "deployment.kubernetes.io/desired-replicas": "3",
        "deployment.kubernetes.io/max-replicas": "4",
    }
    assert events(plan) == [f"Scaled up replica set web-{hashed} from 0 to 3"]
    assert condition(plan, "Progressing")["reason"] == "NewReplicaSetCreated"
    annotated = next(a.object for a in plan.actions if isinstance(a, Update) and a.resource == DEPLOYMENTS)
    assert annotated["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "1"


def test_a_failed_creation_is_a_condition_and_an_event() -> None:
    plan = decide(make(3))
    assert plan.on_error is not None
    after = plan.on_error(StatusError(403, "Forbidden", "exceeded quota"))
    assert condition(after, "Progressing")["reason"] == "ReplicaSetCreateError"
    assert "exceeded quota" in events(after)[0]


def test_a_taken_name_raises_the_collision_count_and_changes_the_hash() -> None:
    deployment = make()
    plan = decide(deployment, named={"metadata": {"name": "taken"}})
    assert status(plan)["collisionCount"] == 1
    before = revisions.template_hash(deployment)
    deployment["status"] = {"collisionCount": 1}
    assert revisions.template_hash(deployment) != before


def test_a_complete_rollout_says_so() -> None:
    deployment = make(3)
    deployment["metadata"]["annotations"] = {revisions.REVISION: "1"}
    current = set_for(deployment, 3)
    plan = decide(deployment, current)
    assert scales(plan) == {}
    assert condition(plan, "Available")["reason"] == "MinimumReplicasAvailable"
    progressing = condition(plan, "Progressing")
    assert progressing["reason"] == "NewReplicaSetAvailable"
    assert progressing["message"] == f'ReplicaSet "{current["metadata"]["name"]}" has successfully progressed.'
    deployment["status"] = status(plan)
    assert decide(deployment, current).actions == []


def test_a_rollout_first_grows_the_new_set_then_shrinks_the_old() -> None:
    old, target = make(10, image="a"), make(10, image="b")
    was = set_for(old, 10)
    new = set_for(target, 0, revision=2)
    assert scales(decide(target, was, new)) == {new["metadata"]["name"]: 3}
    grown = set_for(target, 3, available=0, revision=2)
    assert scales(decide(target, was, grown)) == {was["metadata"]["name"]: 8}


def test_pods_of_old_sets_that_are_not_available_go_first() -> None:
    old, target = make(10, image="a"), make(10, image="b")
    was, new = set_for(old, 10, available=8), set_for(target, 3, available=0, revision=2)
    assert scales(decide(target, was, new)) == {was["metadata"]["name"]: 8}


def test_recreate_waits_for_old_pods_to_end() -> None:
    recreate = {"strategy": {"type": "Recreate"}}
    old, target = make(2, image="a", **recreate), make(2, image="b", **recreate)
    was = set_for(old, 2)
    assert scales(decide(target, was)) == {was["metadata"]["name"]: 0}
    emptied = set_for(old, 0)
    running = {"metadata": {"name": "p"}, "spec": {}, "status": {"phase": "Running"}}
    waiting = decide(target, emptied, old_pods_of={emptied["metadata"]["uid"]: [running]})
    assert not any(isinstance(a, Create) for a in waiting.actions)
    done = decide(target, emptied)
    assert next(a.object for a in done.actions if isinstance(a, Create))["spec"]["replicas"] == 2


def test_scaling_during_a_rollout_is_proportional() -> None:
    old, target = make(10, image="a", surge=3, unavailable=2), make(20, image="b", surge=3, unavailable=2)
    was, new = set_for(old, 8), set_for(make(10, image="b", surge=3, unavailable=2), 5, revision=2)
    sizes = scales(decide(target, was, new))
    assert sum(sizes.values()) == 23
    assert sizes[was["metadata"]["name"]] == 14
    assert sizes[new["metadata"]["name"]] == 9


def test_a_paused_deployment_scales_but_does_not_roll() -> None:
    old, target = make(3, image="a"), make(5, image="b", paused=True)
    was = set_for(old, 3)
    plan = decide(target, was)
    assert scales(plan) == {was["metadata"]["name"]: 5}
    assert not any(isinstance(a, Create) for a in plan.actions)
    assert condition(plan, "Progressing")["reason"] == "DeploymentPaused"


def test_rolling_back_gives_the_old_set_a_new_revision_and_keeps_its_history() -> None:
    first, second = make(3, image="a"), make(3, image="b")
    plan = decide(first, set_for(first, 0, revision=1), set_for(second, 3, revision=2))
    patch = next(a.patch for a in plan.actions if isinstance(a, Patch))
    assert patch["metadata"]["annotations"] == {revisions.REVISION: "3", revisions.HISTORY: "1"}


def test_a_rollout_without_progress_times_out() -> None:
    deployment = make(3)
    deployment["metadata"]["annotations"] = {revisions.REVISION: "1"}
    current = set_for(deployment, 3, available=0)
    stamp = rfc3339(NOW - 601)
    deployment["status"] = {
        "observedGeneration": 1,
        "replicas": 3,
        "updatedReplicas": 3,
        "conditions": [
            {
                "type": "Progressing",
                "status": "True",
                "reason": "ReplicaSetUpdated",
                "lastUpdateTime": stamp,
                "lastTransitionTime": stamp,
            }
        ],
    }
    progressing = condition(decide(deployment, current), "Progressing")
    assert (progressing["status"], progressing["reason"]) == ("False", "ProgressDeadlineExceeded")
    stamp = rfc3339(NOW - 590)
    deployment["status"]["conditions"][0]["lastUpdateTime"] = stamp
    assert decide(deployment, current).requeue_after == pytest.approx(11, abs=1)


def test_history_beyond_the_limit_is_deleted_oldest_first() -> None:
    current = make(1, image="z", revisionHistoryLimit=1)
    current["metadata"]["annotations"] = {revisions.REVISION: "9"}
    old = [set_for(make(1, image=str(i)), 0, revision=i) for i in (3, 1, 2)]
    new = set_for(current, 1, revision=9)
    current["status"] = {"replicas": 1, "updatedReplicas": 1, "availableReplicas": 1, "observedGeneration": 1}
    gone = [a.key.name for a in decide(current, new, *old).actions if isinstance(a, Delete)]
    assert gone == [old[1]["metadata"]["name"], old[2]["metadata"]["name"]]


def test_an_empty_selector_is_refused_in_words() -> None:
    assert events(decide(make(selector={}))) == [
        "This deployment is selecting all pods. A non-empty selector is required."
    ]
