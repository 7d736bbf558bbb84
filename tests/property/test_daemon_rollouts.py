"""A DaemonSet's update, step by step in any order: never more pods away, never more beside old ones, than was allowed; one pod
per node at the end; and a plan of which only a part was done leads to the same end."""

from __future__ import annotations

import itertools
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from navarch.client.resources import PODS
from navarch.controllers import history, objects
from navarch.controllers.daemonset import placement, rolling
from navarch.controllers.daemonset.controller import DaemonSetController, Observed
from navarch.controlloop.plan import Action, Create, Delete, Patch, Update
from navarch.machinery import trees
from navarch.machinery.clock import rfc3339

LABELS = {"a": "b"}


class Cluster:
    """A DaemonSet on some nodes, with what the API does to its actions."""

    def __init__(self, nodes: int, bounds: dict[str, Any]) -> None:
        self.now = 1_700_000_000.0
        self.counter = itertools.count(1)
        self.set: dict[str, Any] = {
            "metadata": {"name": "d", "namespace": "n", "uid": "d", "generation": 1, "resourceVersion": "1"},
            "spec": {
                "selector": {"matchLabels": LABELS},
                "template": {"metadata": {"labels": LABELS}, "spec": {"image": "0"}},
                "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": bounds},
                "revisionHistoryLimit": 2,
            },
        }
        self.nodes = [{"metadata": {"name": f"n{i}"}, "spec": {}} for i in range(nodes)]
        self.pods: dict[str, dict[str, Any]] = {}
        self.revisions: dict[str, dict[str, Any]] = {}
        self.controller = DaemonSetController()

    def set_image(self, image: str) -> None:
        self.set["spec"]["template"]["spec"]["image"] = image
        self.set["metadata"]["generation"] += 1

    def reconcile(self, upto: int | None = None) -> bool:
        observed = Observed(
            trees.copy(self.set),
            self.nodes,
            trees.copy(list(self.pods.values())),
            trees.copy(list(self.revisions.values())),
        )
        actions = self.controller.reconcile(observed, self.now).actions
        for action in actions[:upto]:
            self.apply(action)
        return bool(actions)

    def apply(self, action: Action) -> None:
        match action:
            case Create(resource, obj):
                number, obj = next(self.counter), trees.copy(obj)
                meta = obj["metadata"]
                meta.setdefault("name", f"{meta.get('generateName')}{number}")
                meta.update(uid=f"uid-{number}", creationTimestamp=rfc3339(self.now + number))
                (self.pods if resource == PODS else self.revisions).setdefault(meta["name"], obj)
            case Delete(resource, key):
                (self.pods if resource == PODS else self.revisions).pop(key.name, None)
            case Patch(key=key, patch=patch):
                self.revisions[key.name]["revision"] = patch["revision"]
            case Update(_, obj, "status"):
                self.set["status"] = trees.copy(obj["status"])
            case _:
                raise AssertionError(action)

    def make_ready(self, name: str) -> bool:
        pod = self.pods[name]
        if objects.is_ready(pod):
            return False
        pod["spec"]["nodeName"] = placement.target_node(pod)
        condition = {"type": "Ready", "status": "True", "lastTransitionTime": rfc3339(self.now)}
        pod["status"] = {"phase": "Running", "conditions": [condition]}
        return True

    def check(self) -> None:
        limits = rolling.bounds(self.set, len(self.nodes))
        by_node: dict[str, list[dict[str, Any]]] = {n["metadata"]["name"]: [] for n in self.nodes}
        for pod in self.pods.values():
            by_node[placement.target_node(pod)].append(pod)
        available = sum(any(map(objects.is_ready, pods)) for pods in by_node.values())
        assert available >= len(self.nodes) - (0 if limits.surge else limits.unavailable)
        assert all(len(pods) <= (2 if limits.surge else 1) for pods in by_node.values())
        assert sum(len(pods) == 2 for pods in by_node.values()) <= limits.surge

    def settle(self, check: bool) -> None:
        for _ in range(200):
            changed = self.reconcile()
            if check:
                self.check()
            for name in list(self.pods):
                changed = self.make_ready(name) or changed
            if not changed:
                return
        raise AssertionError("no fixpoint")


bound = st.one_of(st.integers(1, 4), st.sampled_from(["10%", "25%", "50%", "100%"]))


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    nodes=st.integers(1, 8),
    bounds=st.one_of(
        bound.map(lambda b: {"maxSurge": b, "maxUnavailable": 0}),
        bound.map(lambda b: {"maxUnavailable": b, "maxSurge": 0}),
    ),
    steps=st.lists(st.tuples(st.sampled_from(["round", "part", "ready", "image"]), st.integers(0, 99)), max_size=60),
)
def test_an_update_keeps_its_bounds_and_ends(nodes: int, bounds: dict[str, Any], steps: list[tuple[str, int]]) -> None:
    cluster = Cluster(nodes, bounds)
    cluster.settle(check=False)
    cluster.set_image("1")
    for what, number in steps:
        if what == "round":
            cluster.reconcile()
        elif what == "part":
            cluster.reconcile(number % 4)
        elif what == "ready" and cluster.pods:
            cluster.make_ready(sorted(cluster.pods)[number % len(cluster.pods)])
        elif what == "image":
            cluster.set_image(str(number % 4))
        cluster.check()
    cluster.settle(check=True)
    assert sorted(p["spec"]["nodeName"] for p in cluster.pods.values()) == [
        n["metadata"]["name"] for n in cluster.nodes
    ]
    assert {p["spec"]["image"] for p in cluster.pods.values()} == {cluster.set["spec"]["template"]["spec"]["image"]}
    status = cluster.set["status"]
    assert {status[n] for n in ("desiredNumberScheduled", "numberAvailable", "updatedNumberScheduled")} == {nodes}
    assert len(cluster.revisions) <= 3
    numbers = [r["revision"] for r in history.by_number(cluster.revisions.values())]
    assert numbers == sorted(set(numbers))
