"""Node health, taints, evictions, pod ranges and pod clean-up."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import pytest

from navarch.client.resources import NODES, PODS
from navarch.controllers.nodes import eviction, ipam, lifecycle, podgc, ttl
from navarch.controllers.nodes.zones import Zones
from navarch.controlloop.plan import Delete, Patch, Plan, Update
from navarch.machinery.clock import RealWorld, rfc3339
from navarch.machinery.types import Key

NOW = 1_700_000_000.0


def node(ready: str = "True", taints: list[Any] | None = None, **spec: Any) -> dict[str, Any]:
    if taints:
        spec["taints"] = taints
    return {
        "metadata": {"name": "n1", "uid": "n", "resourceVersion": "3", "creationTimestamp": rfc3339(NOW - 1000)},
        "spec": spec,
        "status": {"conditions": [{"type": "Ready", "status": ready, "reason": "KubeletReady"}]},
    }


def judge(of: dict[str, Any], silent: float, any_ready: bool = True, pods: Any = ()) -> Plan:
    observed = lifecycle.Observed(of, NOW - silent, any_ready, pods)
    return lifecycle.NodeLifecycleController(RealWorld(1)).reconcile(observed, NOW)


def taints_in(plan: Plan) -> list[tuple[str, str]]:
    for action in plan.actions:
        if isinstance(action, Patch) and action.resource == NODES and "spec" in action.patch:
            return [(t["key"].split("/")[1], t["effect"]) for t in action.patch["spec"]["taints"] or ()]
    return []


def test_a_healthy_node_costs_nothing_but_a_timer() -> None:
    plan = judge(node(), silent=10)
    assert plan.actions == []
    assert plan.requeue_after == pytest.approx(40, abs=0.1)


def test_a_silent_node_turns_unknown_and_unreachable() -> None:
    plan = judge(node(), silent=51)
    status = next(a.object["status"] for a in plan.actions if isinstance(a, Update))
    ready = next(c for c in status["conditions"] if c["type"] == "Ready")
    assert (ready["status"], ready["reason"], ready["message"]) == (
        "Unknown",
        "NodeStatusUnknown",
        "Kubelet stopped posting node status.",
    )
    assert taints_in(plan) == [("unreachable", "NoExecute"), ("unreachable", "NoSchedule")]


def test_nobody_is_evicted_where_every_node_is_lost() -> None:
    assert taints_in(judge(node("False"), silent=1, any_ready=False)) == [("not-ready", "NoSchedule")]


def test_pods_of_a_lost_node_wait_for_their_zones_turn() -> None:
    observed = lifecycle.Observed(node("False"), NOW - 1, True, turn=NOW + 7)
    plan = lifecycle.NodeLifecycleController(RealWorld(1)).reconcile(observed, NOW)
    assert (taints_in(plan), plan.requeue_after) == ([("not-ready", "NoSchedule")], 7)
    told = {"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"}
    swapped = lifecycle.Observed(node("False", [told]), NOW - 1, True, turn=NOW + 7)
    plan = lifecycle.NodeLifecycleController(RealWorld(1)).reconcile(swapped, NOW)
    assert taints_in(plan) == [("not-ready", "NoExecute"), ("not-ready", "NoSchedule")]


def named(name: str, zone: str = "a") -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": {"topology.kubernetes.io/zone": zone}}}


def filled(lost: int, well: int, zone: str = "a") -> Zones:
    zones = Zones()
    for number in range(lost + well):
        zones.note(named(f"n{number}", zone), number >= lost)
    return zones


@pytest.mark.parametrize(
    ("lost", "well", "turns"),
    [
        (2, 8, [0, 10]),  # a node in ten seconds
        (2, 1, [0, 10]),  # two are never many
        (6, 4, [math.inf] * 6),  # much of a small zone: none
        (5, 5, [0, 10, 20, 30, 40]),
        (40, 20, [0, 100, 200]),  # much of a large zone: one in a hundred seconds
        (3, 0, [0, 10, 20]),  # a whole zone: as usual, for others are well
    ],
)
def test_how_fast_the_lost_nodes_of_a_zone_give_up_their_pods(lost: int, well: int, turns: list[float]) -> None:
    zones = filled(lost, well)
    zones.note(named("other", "b"), True)
    assert zones.any_ready
    assert [zones.turn(f"n{number}", NOW) - NOW for number in range(len(turns))] == turns
    assert [zones.turn(f"n{number}", NOW + 5) - NOW for number in range(len(turns))] == turns


def test_turns_change_with_the_state_of_the_zone() -> None:
    zones = filled(5, 5)
    assert [zones.turn(f"n{number}", NOW) - NOW for number in (0, 1)] == [0, 10]
    assert set(zones.note(named("n5"), False)) == {"n0", "n1"}
    assert zones.turn("n1", NOW + 20) == math.inf
    assert list(zones.note(named("n5"), True)) == []
    assert zones.turn("n1", NOW + 30) == NOW + 30
    zones.forget("n1")
    assert not Zones().any_ready


def test_the_size_of_the_cluster_says_how_long_kubelets_remember() -> None:
    class Nodes:
        found: ClassVar[list[Any]] = []

        def __getitem__(self, resource: object) -> Any:
            return self

        def list(self, namespace: str = "") -> Any:
            return self.found

        def get(self, namespace: str, name: str) -> Any:
            return next((one for one in self.found if one["metadata"]["name"] == name), None)

    controller, caches = ttl.TtlController(), Nodes()
    watch = controller.watches[0]

    def seconds() -> int:
        found = controller.observe(Key("", "n0"), caches)
        assert found is not None
        return found.seconds

    seen: dict[int, int] = {}
    for number in range(120):
        made = named(f"n{number}")
        caches.found.append(made)
        keys = list(watch.keys(None, made, caches))
        seen[number + 1] = seconds()
        assert len(keys) == (101 if number == 100 else 1)
    assert (seen[100], seen[101]) == (0, 15)
    while len(caches.found) > 80:
        gone = caches.found.pop()
        list(watch.keys(gone, None, caches))
        seen[len(caches.found)] = seconds()
    assert (seen[90], seen[89]) == (15, 0)
    plan = controller.reconcile(ttl.Observed({"metadata": {"name": "n0", "uid": "u"}}, 15), NOW)
    assert [a.patch["metadata"]["annotations"] for a in plan.actions if isinstance(a, Patch)] == [
        {"node.alpha.kubernetes.io/ttl": "15"}
    ]


def test_a_node_that_is_well_again_loses_only_our_taints() -> None:
    ours = {"key": "node.kubernetes.io/not-ready", "effect": "NoExecute"}
    theirs = {"key": "dedicated", "effect": "NoSchedule"}
    assert taints_in(judge(node(taints=[ours, {**theirs, "key": "x/dedicated"}]), silent=1)) == [
        ("dedicated", "NoSchedule")
    ]


def test_a_cordoned_node_is_tainted() -> None:
    assert taints_in(judge(node(unschedulable=True), silent=1)) == [("unschedulable", "NoSchedule")]


def test_pods_of_a_lost_node_are_not_ready() -> None:
    pod = {
        "metadata": {"name": "p", "namespace": "d", "uid": "u"},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    }
    patches = [a for a in judge(node("Unknown"), 60, pods=[pod]).actions if isinstance(a, Patch) and a.resource == PODS]
    assert patches[0].patch["status"]["conditions"][0]["status"] == "False"


NOT_READY = {"key": "node.kubernetes.io/not-ready", "effect": "NoExecute", "timeAdded": rfc3339(NOW - 100)}


@pytest.mark.parametrize(
    ("tolerations", "stays"),
    [
        ([], 0.0),
        ([{"operator": "Exists"}], None),
        ([{"key": NOT_READY["key"], "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}], 200.0),
        ([{"key": NOT_READY["key"], "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60}], 0.0),
        ([{"operator": "Exists", "tolerationSeconds": -5}], 0.0),
        ([{"key": "other", "operator": "Exists"}], 0.0),
        ([{"key": NOT_READY["key"], "value": "x"}], 0.0),
    ],
)
def test_how_long_a_pod_may_stay(tolerations: list[Any], stays: float | None) -> None:
    pod = {"metadata": {"name": "p", "namespace": "d", "uid": "u"}, "spec": {"tolerations": tolerations}}
    assert eviction.tolerated_for(pod, [NOT_READY], NOW) == stays


def test_each_taint_is_tolerated_from_its_own_time_on() -> None:
    later = {"key": "late", "effect": "NoExecute", "timeAdded": rfc3339(NOW - 10)}
    tolerations = [
        {"key": NOT_READY["key"], "operator": "Exists", "tolerationSeconds": 300},
        {"key": "late", "operator": "Exists", "tolerationSeconds": 600},
    ]
    pod = {"metadata": {"name": "p", "namespace": "d", "uid": "u"}, "spec": {"tolerations": tolerations}}
    assert eviction.tolerated_for(pod, [NOT_READY, later], NOW) == 200


def test_an_eviction_marks_then_deletes() -> None:
    pod = {"metadata": {"name": "p", "namespace": "d", "uid": "u"}, "spec": {}}
    plan = eviction.TaintEvictionController().reconcile(eviction.Observed(pod, [NOT_READY]), NOW)
    mark = next(a for a in plan.actions if isinstance(a, Patch))
    assert mark.patch["status"]["conditions"][0]["reason"] == "DeletionByTaintManager"
    assert isinstance(plan.actions[-1], Delete)


def test_every_node_gets_a_range_of_its_own() -> None:
    nodes = [
        {"metadata": {"name": f"n{i}", "uid": str(i)}, "spec": {"podCIDR": "10.244.1.0/24"} if i == 0 else {}}
        for i in range(4)
    ]
    plan = ipam.NodeIpamController("10.244.0.0/22").reconcile(ipam.Observed(nodes), NOW)
    assert [a.patch["spec"]["podCIDR"] for a in plan.actions if isinstance(a, Patch)] == [
        "10.244.0.0/24",
        "10.244.2.0/24",
        "10.244.3.0/24",
    ]


def test_a_pod_of_a_lost_node_goes_after_quarantine() -> None:
    pod = {"metadata": {"name": "p", "namespace": "d", "uid": "u"}, "spec": {"nodeName": "x"}, "status": {}}
    controller = podgc.PodGcController(RealWorld(1), None)  # type: ignore[arg-type]
    early = controller.reconcile(podgc.Observed(pod, None, NOW - 10), NOW)
    assert (early.actions, early.requeue_after) == ([], 30)
    late = controller.reconcile(podgc.Observed(pod, None, NOW - 41), NOW)
    assert [type(a).__name__ for a in late.actions] == ["Call", "Patch", "Delete"]
    assert late.actions[-1].grace_period_seconds == 0  # type: ignore[union-attr]


def test_a_pod_that_was_never_bound_goes_at_once_when_deleted() -> None:
    meta = {"name": "p", "namespace": "d", "uid": "u", "deletionTimestamp": rfc3339(NOW)}
    pod = {"metadata": meta, "spec": {}, "status": {"phase": "Pending"}}
    plan = podgc.PodGcController(RealWorld(1), None).reconcile(podgc.Observed(pod), NOW)  # type: ignore[arg-type]
    assert isinstance(plan.actions[-1], Delete)
