"""Queueing hints: what that happens elsewhere makes a waiting pod worth another try."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.scheduler.test_scheduler_cycle import node, pod

from navarch.machinery.types import Obj
from navarch.scheduler.hints import DEVICE, NODE, OTHER, POD, VOLUME, Happening, may_help
from navarch.scheduler.podinfo import PodInfo

TAINT = {"key": "k", "effect": "NoSchedule"}
NEAR = {"labelSelector": {"matchLabels": {"app": "web"}}, "topologyKey": "zone"}
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


def labelled(name: str, labels: dict[str, str], namespace: str = "default", **spec: Any) -> Obj:
    made = pod(name, **spec).obj
    return {**made, "metadata": {**made["metadata"], "labels": labels, "namespace": namespace}}


WEB = labelled("w", {"app": "web"})
DB = labelled("d", {"app": "db"})
AWAY = pod(affinity={"podAntiAffinity": {REQUIRED: [NEAR]}})
CLOSE = pod(affinity={"podAffinity": {REQUIRED: [NEAR]}})
EVEN = PodInfo.of(
    labelled(
        "e",
        {"app": "web"},
        topologySpreadConstraints=[
            {
                "maxSkew": 1,
                "topologyKey": "zone",
                "whenUnsatisfiable": "DoNotSchedule",
                "labelSelector": {"matchLabels": {"app": "web"}},
            }
        ],
    )
)


@pytest.mark.parametrize(
    ("waiting", "plugin", "what", "old", "new", "helps"),
    [
        (pod(cpu="2"), "NodeResourcesFit", NODE, None, node("n", cpu="4"), True),
        (pod(cpu="2"), "NodeResourcesFit", NODE, None, node("n", cpu="1"), False),
        (pod(cpu="2"), "NodeResourcesFit", NODE, node("n", cpu="4"), node("n", cpu="4", labels={"a": "b"}), False),
        (pod(cpu="2"), "NodeResourcesFit", NODE, node("n", cpu="3"), node("n", cpu="4"), True),
        (pod(cpu="2"), "NodeResourcesFit", POD, pod("gone", cpu="1").obj, None, True),
        (pod(cpu="2"), "NodeResourcesFit", POD, None, pod("came", cpu="1").obj, False),
        (pod(cpu="2"), "NodeResourcesFit", POD, pod("less", cpu="2").obj, pod("less", cpu="1").obj, True),
        (pod(cpu="2"), "NodeResourcesFit", POD, pod("less", memory="2Gi").obj, pod("less", memory="1Gi").obj, False),
        (pod(), "TaintToleration", NODE, node("n", taints=[TAINT]), node("n"), True),
        (pod(), "TaintToleration", NODE, node("n"), node("n", cpu="9"), False),
        (pod(), "TaintToleration", NODE, None, node("n", taints=[TAINT]), False),
        (pod(), "NodeUnschedulable", NODE, node("n", unschedulable=True), node("n"), True),
        (pod(), "NodeUnschedulable", POD, WEB, None, False),
        (pod(nodeSelector={"a": "b"}), "NodeAffinity", NODE, node("n"), node("n", labels={"a": "b"}), True),
        (pod(nodeSelector={"a": "b"}), "NodeAffinity", NODE, None, node("n"), False),
        (pod(ports=(80,)), "NodePorts", POD, pod("gone", ports=(80,)).obj, None, True),
        (pod(ports=(80,)), "NodePorts", POD, pod("gone", ports=(81,)).obj, None, False),
        (CLOSE, "InterPodAffinity", POD, None, WEB, True),
        (CLOSE, "InterPodAffinity", POD, None, DB, False),
        (CLOSE, "InterPodAffinity", POD, None, labelled("x", {"app": "web"}, "other"), False),
        (CLOSE, "InterPodAffinity", NODE, node("n"), node("n", labels={"zone": "a"}), True),
        (CLOSE, "InterPodAffinity", NODE, node("n"), node("n", labels={"rack": "a"}), False),
        (AWAY, "InterPodAffinity", POD, WEB, None, True),
        (AWAY, "InterPodAffinity", POD, DB, None, False),
        (pod(), "InterPodAffinity", POD, AWAY.obj, None, True),
        (pod(), "InterPodAffinity", OTHER, None, {"metadata": {"name": "space"}}, True),
        (EVEN, "PodTopologySpread", POD, None, WEB, True),
        (EVEN, "PodTopologySpread", POD, None, DB, False),
        (EVEN, "PodTopologySpread", NODE, node("n"), None, True),
        (EVEN, "PodTopologySpread", NODE, node("n"), node("n", cpu="9"), False),
        (pod(), "VolumeBinding", VOLUME, None, {"metadata": {"name": "v"}}, True),
        (pod(), "VolumeBinding", POD, None, WEB, False),
        (pod(), "DynamicResources", DEVICE, None, {"metadata": {"name": "s"}}, True),
        (pod(), "DynamicResources", VOLUME, None, {"metadata": {"name": "v"}}, False),
        (pod(), "SomebodyElses", OTHER, None, None, True),
    ],
)
def test_what_helps(waiting: PodInfo, plugin: str, what: str, old: Obj | None, new: Obj | None, helps: bool) -> None:
    assert may_help(waiting, frozenset([plugin]), Happening(what, old, new)) == helps


def test_any_of_the_plugins_may_hope() -> None:
    happening = Happening(NODE, node("n", unschedulable=True), node("n"))
    assert may_help(pod(cpu="9"), frozenset(["NodeResourcesFit", "NodeUnschedulable"]), happening)
    assert not may_help(pod(cpu="9"), frozenset(["NodeResourcesFit"]), happening)
