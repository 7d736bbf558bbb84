"""Pod groups to schedule, each in a cluster of its own: what a real kube-scheduler made of them is recorded in
tests/unit/scheduler/kube_scheduler_groups.json (see tests/unit/scheduler/test_pod_groups_together.py)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from navarch.client.interface import Resource
from navarch.client.resources import NODES, POD_GROUPS, PODS, PRIORITY_CLASSES

Obj = dict[str, Any]
Step = tuple[Resource, Obj]
HIGH = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "high"}, "value": 1000}


def node(name: str, cpu: str = "2", **labels: str) -> Step:
    room = {"cpu": cpu, "memory": "8Gi", "pods": "10"}
    meta = {"name": name, "labels": {"kubernetes.io/hostname": name, **labels}}
    status = {"allocatable": room, "capacity": room, "conditions": [{"type": "Ready", "status": "True"}]}
    return NODES, {"apiVersion": "v1", "kind": "Node", "metadata": meta, "status": status}


def pod(name: str, cpu: str = "2", group: str = "g", **spec: Any) -> Step:
    if group:
        spec["schedulingGroup"] = {"podGroupName": group}
    container = {"name": "c", "image": "x", "resources": {"requests": {"cpu": cpu}}}
    fixed = {"terminationGracePeriodSeconds": 0, "automountServiceAccountToken": False, "containers": [container]}
    meta = {"name": name, "namespace": "default", "labels": {"app": name}}
    return PODS, {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {**fixed, **spec}}


def group(least: int, name: str = "g", **spec: Any) -> Step:
    policy: Obj = {"gang": {"minCount": least}} if least else {"basic": {}}
    meta = {"name": name, "namespace": "default"}
    made = {"apiVersion": "scheduling.k8s.io/v1alpha2", "kind": "PodGroup", "metadata": meta}
    return POD_GROUPS, {**made, "spec": {"schedulingPolicy": policy, **spec}}


def nodes(count: int) -> list[Step]:
    return [node(f"n{index}") for index in range(count)]


def pods(count: int, **spec: Any) -> list[Step]:
    return [pod(f"p{index}", **spec) for index in range(count)]


def lesser(count: int, group: str = "") -> list[Step]:
    return [pod(f"low{index}", group=group, nodeName=f"n{index}") for index in range(count)]


def by_zone(least: int) -> Step:
    return group(least, schedulingConstraints={"topology": [{"key": "zone"}]})


PREEMPTING = [(PRIORITY_CLASSES, HIGH), *nodes(2)]
WITHOUT_CLAIM = [{"name": "v", "persistentVolumeClaim": {"claimName": "no"}}]
CASES: dict[str, Sequence[Step]] = {
    "fits": [*nodes(3), group(3), *pods(3)],
    "third_comes": [*nodes(3), group(3), *pods(3)],
    "no_room": [*nodes(2), group(3), *pods(3)],
    "group_late": [*nodes(3), *pods(3), group(3)],
    "min_two": [*nodes(2), group(2), *pods(3)],
    "basic": [node("n0"), group(0), *pods(2)],
    "basic_none": [node("n0", cpu="1"), group(0), *pods(2)],
    "no_nodes": [group(2), *pods(2)],
    "preempt": [*PREEMPTING, *lesser(2), group(2), *pods(2, priorityClassName="high")],
    "preempt_not_enough": [*PREEMPTING, *lesser(2), group(3), *pods(3, priorityClassName="high")],
    "preempt_one": [*PREEMPTING, *lesser(1), group(2), *pods(2, priorityClassName="high")],
    "preempt_group": [
        *PREEMPTING,
        *lesser(2),
        group(2, priorityClassName="high"),
        *pods(2, priorityClassName="high"),
    ],
    "preempt_group_never": [
        *PREEMPTING,
        *lesser(2),
        group(3, priorityClassName="high"),
        *pods(3, priorityClassName="high"),
    ],
    "preempt_a_group": [
        *PREEMPTING,
        group(2, "low", disruptionMode="PodGroup"),
        *lesser(2, group="low"),
        group(1, priorityClassName="high"),
        pod("p0", priorityClassName="high"),
    ],
    "topology": [
        node("a0", zone="a"),
        node("a1", cpu="1", zone="a"),
        node("b0", zone="b"),
        node("b1", zone="b"),
        by_zone(2),
        *pods(2),
    ],
    "topology_none": [node("a0", zone="a"), node("b0", zone="b"), by_zone(2), *pods(2)],
    "topology_no_key": [node("a0"), node("b0"), by_zone(2), *pods(2)],
    "extra": [*nodes(2), group(2), *pods(2), pod("p9")],
    "mixed": [*nodes(2), group(3), pod("p0"), pod("p1", nodeSelector={"a": "b"}), pod("p2")],
    "volume": [node("n0"), group(2), pod("p0", cpu="1"), pod("p1", cpu="1", volumes=WITHOUT_CLAIM)],
}
EACH = ("fits", "no_room", "min_two", "basic", "preempt", "preempt_not_enough", "preempt_one", "mixed", "volume")
"""Those that were recorded with GenericWorkload and GangScheduling alone, too: room is made for each pod by itself there."""
