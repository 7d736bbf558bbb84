"""Disruption budgets: what they count, by table; and evictions that spend them, on hollow nodes."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.hollow import cluster, until

from navarch.apiserver.server import ApiServer
from navarch.client.resources import DEPLOYMENTS, DISRUPTION_BUDGETS, PODS
from navarch.controllers.disruption import (
    Observed,
    Scaled,
    StaleDisruptionController,
    decide,
    target_since,
    unknown_owners,
)
from navarch.controlloop.plan import Emit, Patch, Update
from navarch.machinery.clock import rfc3339
from navarch.machinery.errors import StatusError
from navarch.machinery.types import GroupResource, Obj

NS, NOW = "default", 1_700_000_000.0
LABELS = {"app": "web"}


def pod(name: str, owner: str = "rs", ready: bool = True, **meta: Any) -> Obj:
    references = [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": owner, "uid": owner, "controller": True}]
    condition = {"type": "Ready", "status": "True" if ready else "False"}
    made = {"name": name, "namespace": NS, "uid": name, "labels": LABELS, **meta}
    if owner:
        made["ownerReferences"] = references
    return {"metadata": made, "status": {"phase": "Running", "conditions": [condition]}}


def budget(status: Obj | None = None, **spec: Any) -> Obj:
    meta = {"name": "b", "namespace": NS, "uid": "b", "generation": 3}
    return {"metadata": meta, "spec": {"selector": {"matchLabels": LABELS}, **spec}, "status": status or {}}


PODS_3 = [pod("a"), pod("b"), pod("c", ready=False)]


@pytest.mark.parametrize(
    ("spec", "pods", "scale", "counts"),
    [
        ({"minAvailable": 1}, PODS_3, 3, (1, 2, 1, 3)),
        ({"minAvailable": 2}, PODS_3, 3, (0, 2, 2, 3)),
        ({"minAvailable": 1}, PODS_3, 9, (1, 2, 1, 3)),
        ({"minAvailable": "50%"}, PODS_3, 4, (0, 2, 2, 4)),
        ({"minAvailable": "30%"}, PODS_3, 4, (0, 2, 2, 4)),
        ({"minAvailable": "25%"}, PODS_3, 4, (1, 2, 1, 4)),
        ({"maxUnavailable": 1}, PODS_3, 3, (0, 2, 2, 3)),
        ({"maxUnavailable": 2}, PODS_3, 3, (1, 2, 1, 3)),
        ({"maxUnavailable": "100%"}, PODS_3, 3, (2, 2, 0, 3)),
        ({"maxUnavailable": "34%"}, PODS_3, 3, (1, 2, 1, 3)),
        ({"maxUnavailable": 9}, PODS_3, 3, (2, 2, 0, 3)),
        ({"minAvailable": 0}, [], 0, (0, 0, 0, 0)),
        ({"minAvailable": 0}, [pod("a", deletionTimestamp="x"), pod("b")], 0, (1, 1, 0, 2)),
        ({}, PODS_3, 3, (0, 2, 0, 0)),
    ],
)
def test_counts(spec: Obj, pods: list[Obj], scale: int, counts: tuple[int, ...]) -> None:
    scales = {"rs": Scaled("deployment", scale)}
    plan = decide(Observed(budget(**spec), pods, scales), scales, NOW)
    (write,) = [action for action in plan.actions if isinstance(action, Update)]
    status = write.object["status"]
    names = ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods")
    assert tuple(status[name] for name in names) == counts
    assert status["observedGeneration"] == 3
    (condition,) = status["conditions"]
    wanted = ("True", "SufficientPods") if counts[0] else ("False", "InsufficientPods")
    assert (condition["status"], condition["reason"]) == wanted
    settled = Observed({**write.object}, pods, scales)
    assert not [action for action in decide(settled, scales, NOW + 9).actions if isinstance(action, Update)]


def test_pods_of_one_deployment_count_its_scale_once() -> None:
    pods = [pod("a", "old"), pod("b", "new"), pod("c", "new")]
    scales = {"old": Scaled("deployment", 3), "new": Scaled("deployment", 3)}
    plan = decide(Observed(budget(maxUnavailable=1), pods, scales), scales, NOW)
    assert plan.reasons == ["3 of 3 pods are healthy, 2 must be: 1 may be evicted"]


def test_evicted_pods_are_not_healthy_until_they_ought_to_be_gone() -> None:
    marked = {"disruptedPods": {"a": rfc3339(NOW - 60), "b": rfc3339(NOW - 121), "gone": rfc3339(NOW)}}
    seen = Observed(budget(marked, minAvailable=1), [pod("a"), pod("b")], {})
    plan = decide(seen, {}, NOW)
    told, write = plan.actions
    assert isinstance(told, Emit) and isinstance(write, Update)
    assert (told.reason, told.regarding["metadata"]["name"]) == ("NotDeleted", "b")
    assert write.object["status"]["disruptedPods"] == {"a": rfc3339(NOW - 60)}
    assert write.object["status"]["currentHealthy"] == 1
    assert plan.requeue_after == pytest.approx(60, abs=1)


def test_what_cannot_be_counted_allows_nothing() -> None:
    seen = Observed(budget({"disruptionsAllowed": 2}, maxUnavailable=1), [pod("a")], {})
    assert list(unknown_owners(seen)) == ["rs"]
    told, write = decide(seen, {}, NOW).actions
    assert isinstance(told, Emit) and told.reason == "CalculateExpectedPodCountFailed"
    assert isinstance(write, Update)
    status = write.object["status"]
    assert status["disruptionsAllowed"] == 0
    assert status["conditions"][0]["reason"] == "SyncFailed"
    assert status["conditions"][0]["message"] == 'found no controllers for pod "a"'


def test_pods_without_a_controller_are_told_of() -> None:
    plan = decide(Observed(budget(maxUnavailable=1), [pod("a", "")], {}), {}, NOW)
    assert [a.reason for a in plan.actions if isinstance(a, Emit)] == ["UnmanagedPods"]


@pytest.mark.parametrize(
    ("age", "reason", "phase", "taken"),
    [
        (121, "EvictionByEvictionAPI", "Running", True),
        (60, "EvictionByEvictionAPI", "Running", False),
        (999, "TerminationByKubelet", "Running", False),
        (999, "EvictionByEvictionAPI", "Failed", False),
    ],
)
def test_stale_marks_of_disruption_are_taken_back(age: float, reason: str, phase: str, taken: bool) -> None:
    found = pod("a")
    mark = {"type": "DisruptionTarget", "status": "True", "reason": reason, "lastTransitionTime": rfc3339(NOW - age)}
    found["status"] = {"phase": phase, "conditions": [mark]}

    patches: list[object] = []
    if target_since(found) is not None:
        patches = [a for a in StaleDisruptionController().reconcile(found, NOW).actions if isinstance(a, Patch)]
    assert bool(patches) == taken


# -- with a server, controllers and hollow nodes


def deployment(replicas: int, ready: bool = True) -> Obj:
    meta = {"labels": LABELS, "annotations": {} if ready else {"navarch.hollow/ready": "false"}}
    template = {"metadata": meta, "spec": {"containers": [{"name": "c", "image": "a"}]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": LABELS}, "template": template}
    return {"metadata": {"name": "web"}, "spec": spec}


def new_budget(**spec: Any) -> Obj:
    return {"metadata": {"name": "b"}, "spec": {"selector": {"matchLabels": LABELS}, **spec}}


def allowed(server: ApiServer) -> tuple[int, int] | None:
    found = server.lookup(GroupResource("policy", "poddisruptionbudgets"), NS, "b")
    status = (found or {}).get("status") or {}
    if found is None or status.get("observedGeneration") != found["metadata"]["generation"]:
        return None
    return status["disruptionsAllowed"], status["currentHealthy"]


async def evict(server: ApiServer, name: str, **options: Any) -> Obj:
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}, "deleteOptions": options}
    return await server.system.create(PODS, body, NS, name=name, subresource="eviction")


async def test_a_budget_is_spent_and_comes_back() -> None:
    async with cluster(2) as (server, _):
        client = server.system
        await client.create(DEPLOYMENTS, deployment(3), NS)
        await client.create(DISRUPTION_BUDGETS, new_budget(minAvailable=2), NS)
        await until("one may go", lambda: allowed(server) == (1, 3))
        first, second, third = sorted(p["metadata"]["name"] for p in (await client.list(PODS, NS)).items)
        assert (await evict(server, first, dryRun=["All"]))["status"] == "Success"
        assert allowed(server) == (1, 3)
        with pytest.raises(StatusError) as wrong:
            await evict(server, first, preconditions={"uid": "another"})
        assert wrong.value.code == 409
        await until("one may go", lambda: allowed(server) == (1, 3) or allowed(server) == (0, 2))
        await client.patch(DISRUPTION_BUDGETS, "b", {"status": {"disruptedPods": None}}, NS, subresource="status")
        await until("one may go", lambda: allowed(server) == (1, 3))
        await evict(server, second)
        with pytest.raises(StatusError) as refused:
            await evict(server, third)
        assert refused.value.code == 429
        cause = (refused.value.details or {})["causes"][0]
        assert cause["reason"] == "DisruptionBudget"
        await until("it was replaced", lambda: allowed(server) == (1, 3))
        await evict(server, third)


async def test_pods_that_are_not_ready_go_as_the_budget_says() -> None:
    async with cluster(1) as (server, _):
        client = server.system
        await client.create(DEPLOYMENTS, deployment(2, ready=False), NS)
        await client.create(DISRUPTION_BUDGETS, new_budget(maxUnavailable=1), NS)
        await until("counted", lambda: allowed(server) == (0, 0) and _running(server) == 2)
        name = (await client.list(PODS, NS)).items[0]["metadata"]["name"]
        with pytest.raises(StatusError) as refused:
            await evict(server, name)
        message = (refused.value.details or {})["causes"][0]["message"]
        assert message == "The disruption budget b needs 1 healthy pods and has 0 currently"
        await client.patch(DISRUPTION_BUDGETS, "b", {"spec": {"unhealthyPodEvictionPolicy": "AlwaysAllow"}}, NS)
        await evict(server, name)


def _running(server: ApiServer) -> int:
    pods = server.registries[GroupResource("", "pods")].cache.range(NS)
    return sum(entry.obj.get("status", {}).get("phase") == "Running" for entry in pods)


async def test_two_budgets_for_one_pod_are_refused_as_a_failure() -> None:
    async with cluster(1) as (server, _):
        client = server.system
        await client.create(DEPLOYMENTS, deployment(1), NS)
        for name in ("b", "c"):
            other = new_budget(minAvailable=0)
            other["metadata"]["name"] = name
            await client.create(DISRUPTION_BUDGETS, other, NS)
        await until("it runs", lambda: _running(server) == 1)
        name = (await client.list(PODS, NS)).items[0]["metadata"]["name"]
        with pytest.raises(StatusError) as refused:
            await evict(server, name)
        assert (refused.value.code, refused.value.reason) == (500, "")
