"""The smallest change that would make a pod fit."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.scheduler.test_scheduler_cycle import cycle, node, pod

from navarch.scheduler.advice import smallest_change
from navarch.scheduler.cycle import Cycle
from navarch.scheduler.podinfo import PodInfo

TAINT = {"key": "dedicated", "value": "db", "effect": "NoSchedule"}


def full(**spec: Any) -> Cycle:
    on = cycle(node("a", cpu="4", **spec))
    on.nodes.set_pod(pod("there", cpu="3", ports=(80,)), "a")
    return on


@pytest.mark.parametrize(
    ("on", "asking", "said"),
    [
        (full(), pod(cpu="2"), "it requested 1 of cpu instead of 2"),
        (full(taints=[TAINT]), pod(), "it tolerated the taint dedicated=db:NoSchedule"),
        (full(unschedulable=True), pod(), "the node were uncordoned (kubectl uncordon a)"),
        (full(), pod(nodeSelector={"disk": "ssd"}), "the node had the label disk=ssd"),
        (full(), pod(ports=(80,)), "host port 80 were not taken there"),
        (
            full(taints=[TAINT]),
            pod(cpu="1500m"),
            "it requested 1 of cpu instead of 1500m and it tolerated the taint dedicated=db:NoSchedule",
        ),
    ],
)
def test_what_would_have_to_differ(on: Cycle, asking: PodInfo, said: str) -> None:
    before = on.decide(asking).message
    assert smallest_change(on, asking) == f"it would fit on node a if {said}"
    assert on.decide(asking).message == before  # nothing was really changed


def test_the_node_that_needs_least_is_named() -> None:
    on = cycle(node("a", cpu="1", taints=[TAINT]), node("b", cpu="7"), node("c", cpu="2"))
    assert smallest_change(on, pod(cpu="8")) == "it would fit on node b if it requested 7 of cpu instead of 8"


def test_a_larger_skew() -> None:
    on = cycle(node("a", labels={"zone": "x"}), node("b", labels={"zone": "y"}, unschedulable=True))
    labelled = {"metadata": {"name": "w", "namespace": "default", "uid": "w", "labels": {"app": "web"}}}
    constraint = {
        "maxSkew": 1,
        "topologyKey": "zone",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "web"}},
    }
    for name in ("one", "two"):
        one = {**pod().obj, "metadata": {**labelled["metadata"], "name": name, "uid": name}}
        on.nodes.set_pod(PodInfo.of(one), "a")
    asking = PodInfo.of({**pod(topologySpreadConstraints=[constraint], nodeSelector={"zone": "x"}).obj, **labelled})
    assert on.decide(asking).node == "a"  # nodes that the pod may not use do not count
    constraint["nodeAffinityPolicy"] = "Ignore"
    asking = PodInfo.of({**pod(topologySpreadConstraints=[constraint], nodeSelector={"zone": "x"}).obj, **labelled})
    assert smallest_change(on, asking) == (
        "it would fit on node a if its spread constraints allowed a maxSkew of 3 for zone"
    )


def test_nothing_is_said_of_pods_that_fit_or_are_beyond_help() -> None:
    on = full()
    assert smallest_change(on, pod()) == ""
    bound = pod(volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "missing"}}])
    assert smallest_change(on, bound) == ""
