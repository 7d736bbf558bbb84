"""Who has to make room, and for whom."""

from __future__ import annotations

import random
from typing import Any

from tests.unit.scheduler.test_scheduler_cycle import cycle, node, pod

from navarch.machinery.types import Key
from navarch.scheduler.cycle import Cycle
from navarch.scheduler.podinfo import PodInfo
from navarch.scheduler.preemption import Preemption, Preemptor

NOW = "2026-01-01T00:00:00Z"


def running(name: str, on: Cycle, where: str, *, since: str = NOW, labels: dict[str, str] | None = None, **spec: Any):
    info = pod(name, **spec)
    meta = {**info.obj["metadata"], "labels": labels or {}}
    made = PodInfo.of({**info.obj, "metadata": meta, "status": {"startTime": since}})
    on.nodes.set_pod(made, where)
    return made


def preempt(on: Cycle, info: PodInfo) -> Preemption:
    return Preemptor(on, random.Random(1)).preempt(info, on.verdict(info), NOW)


def victims(found: Preemption) -> tuple[str, list[str]]:
    assert found.candidate, found.message
    return found.candidate.node, [victim.key.name for victim in found.candidate.victims]


def test_the_fewest_and_least_important_go() -> None:
    on = cycle(node("a", cpu="2"), node("b", cpu="2"))
    running("a-mid", on, "a", cpu="2", priority=5)
    running("b-low", on, "b", cpu="1", priority=1)
    running("b-mid", on, "b", cpu="1", priority=5)
    assert victims(preempt(on, pod("high", cpu="1", priority=10))) == ("b", ["b-low"])
    assert victims(preempt(on, pod("high", cpu="2", priority=10))) == ("a", ["a-mid"])


def test_of_equals_the_one_that_started_last_goes() -> None:
    on = cycle(node("a", cpu="1"), node("b", cpu="1"))
    running("old", on, "a", cpu="1", since="2025-01-01T00:00:00Z")
    running("young", on, "b", cpu="1", since="2025-06-01T00:00:00Z")
    assert victims(preempt(on, pod("high", cpu="1", priority=10))) == ("b", ["young"])


def test_budgets_are_kept_where_another_node_will_do() -> None:
    on = cycle(node("a", cpu="1"), node("b", cpu="1"))
    running("kept", on, "a", cpu="1", priority=1, labels={"app": "db"})
    running("free", on, "b", cpu="1", priority=5)
    budget = {
        "metadata": {"name": "db", "namespace": "default"},
        "spec": {"selector": {"matchLabels": {"app": "db"}}},
        "status": {"disruptionsAllowed": 0},
    }
    on.around.budgets[Key("default", "db")] = budget
    assert victims(preempt(on, pod("high", cpu="1", priority=10))) == ("b", ["free"])
    on.nodes.remove_node("b")
    found = preempt(on, pod("high", cpu="1", priority=10))
    assert victims(found) == ("a", ["kept"])
    assert found.candidate and found.candidate.violations == 1


def test_within_a_node_the_unprotected_go_first() -> None:
    on = cycle(node("a", cpu="2"))
    running("kept", on, "a", cpu="1", priority=1, labels={"app": "db"})
    running("free", on, "a", cpu="1", priority=5)
    budget = {
        "metadata": {"name": "db", "namespace": "default"},
        "spec": {"selector": {"matchLabels": {"app": "db"}}},
        "status": {"disruptionsAllowed": 0},
    }
    on.around.budgets[Key("default", "db")] = budget
    assert victims(preempt(on, pod("high", cpu="1", priority=10))) == ("a", ["free"])


def test_pods_that_may_not_preempt_say_so() -> None:
    on = cycle(node("a", cpu="1"))
    running("low", on, "a", cpu="1")
    found = preempt(on, pod("high", cpu="1", priority=10, preemptionPolicy="Never"))
    assert (found.message, found.looked) == ("not eligible due to preemptionPolicy=Never.", False)


def test_nobody_preempts_equals_or_where_it_would_not_help() -> None:
    on = cycle(node("a", cpu="1"), node("b", cpu="1", taints=[{"key": "k", "effect": "NoSchedule"}]))
    running("same", on, "a", cpu="1", priority=10)
    running("low", on, "b", cpu="1")
    assert preempt(on, pod("high", cpu="1", priority=10)).message == (
        "0/2 nodes are available: 1 No preemption victims found for incoming pod, "
        "1 Preemption is not helpful for scheduling."
    )


def test_a_request_larger_than_the_node_makes_nobody_go() -> None:
    on = cycle(node("a", cpu="1"))
    running("low", on, "a", cpu="1")
    assert preempt(on, pod("high", cpu="2", priority=10)).message == (
        "0/1 nodes are available: 1 Preemption is not helpful for scheduling."
    )


def test_a_pod_waits_for_the_victims_that_are_leaving() -> None:
    on = cycle(node("a", cpu="1"))
    low = running("low", on, "a", cpu="1")
    going = {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}
    meta = {**low.obj["metadata"], "deletionTimestamp": NOW}
    on.nodes.set_pod(PodInfo.of({**low.obj, "metadata": meta, "status": {"conditions": [going]}}), "a")
    high = pod("high", cpu="1", priority=10)
    nominated = PodInfo.of({**high.obj, "status": {"nominatedNodeName": "a"}})
    found = preempt(on, nominated)
    assert (found.message, found.looked) == ("not eligible due to a terminating pod on the nominated node.", False)


def test_host_ports_are_made_free() -> None:
    on = cycle(node("a"), node("b"))
    running("a-low", on, "a", ports=(80,), priority=1)
    running("a-other", on, "a", ports=(81,))
    running("b-mid", on, "b", ports=(80,), priority=5)
    assert victims(preempt(on, pod("high", ports=(80,), priority=10))) == ("a", ["a-low"])


def test_pods_that_keep_others_away_are_made_to_go() -> None:
    on = cycle(node("a"), node("b", cpu="1"))
    away = {"labelSelector": {"matchLabels": {"app": "web"}}, "topologyKey": "kubernetes.io/hostname"}
    anti = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [away]}}
    running("rival", on, "a", priority=1, labels={"app": "web"})
    running("bystander", on, "a", priority=0)
    running("strong", on, "b", priority=50, labels={"app": "web"})
    high = pod("high", priority=10, affinity=anti)
    assert "2 node(s) didn't match pod anti-affinity rules" in on.decide(high).message
    assert victims(preempt(on, high)) == ("a", ["rival"])
    assert {info.key.name for info in on.nodes.pods_on(0)} == {"rival", "bystander"}


def test_room_that_is_being_made_is_kept_from_the_less_important() -> None:
    on = cycle(node("a", cpu="2"))
    on.nominations.set(pod("high", cpu="2", priority=10), "a")
    assert on.decide(pod("low", cpu="1", priority=5)).message == "0/1 nodes are available: 1 Insufficient cpu."
    assert on.decide(pod("higher", cpu="1", priority=11)).node == "a"
    assert on.decide(PodInfo.of({**pod("high", cpu="2", priority=10).obj, "status": {"nominatedNodeName": "a"}})).node
    assert not on.nodes.residents[0]
