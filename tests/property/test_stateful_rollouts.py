"""A StatefulSet, step by step in any order: an ordered one makes a pod only when all before it are available and removes the
last first; an update takes one pod at a time, from the top, and none below the partition; and a plan of which only a part
was done leads to the same end."""

from __future__ import annotations

import itertools
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from navarch.client.resources import PERSISTENT_VOLUME_CLAIMS, PODS
from navarch.controllers import history, objects
from navarch.controllers.statefulset import pods as rules
from navarch.controllers.statefulset.controller import Observed, StatefulSetController
from navarch.controlloop.plan import Action, Create, Delete, Patch, Update
from navarch.machinery import trees
from navarch.machinery.clock import rfc3339

LABELS = {"a": "b"}


class Cluster:
    """A StatefulSet with what the API and the nodes do. Deleted pods end a step later."""

    def __init__(self, replicas: int, policy: str, start: int) -> None:
        self.now = 1_700_000_000.0
        self.counter = itertools.count(1)
        template = {"metadata": {"labels": LABELS}, "spec": {"containers": [{"name": "c", "image": "0"}]}}
        claim = {"metadata": {"name": "data"}, "spec": {}}
        self.set: dict[str, Any] = {
            "metadata": {"name": "s", "namespace": "n", "uid": "s", "generation": 1, "resourceVersion": "1"},
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": LABELS},
                "template": template,
                "serviceName": "s",
                "podManagementPolicy": policy,
                "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
                "ordinals": {"start": start},
                "volumeClaimTemplates": [claim],
                "revisionHistoryLimit": 2,
            },
        }
        self.ordered, self.start = policy == "OrderedReady", start
        self.stores: dict[Any, dict[str, dict[str, Any]]] = {
            PODS: {},
            history.REVISIONS: {},
            PERSISTENT_VOLUME_CLAIMS: {},
        }

    @property
    def pods(self) -> dict[str, dict[str, Any]]:
        return self.stores[PODS]

    def set_image(self, image: str) -> None:
        self.set["spec"]["template"]["spec"]["containers"][0]["image"] = image
        self.set["metadata"]["generation"] += 1

    def resize(self, replicas: int) -> None:
        self.set["spec"]["replicas"] = replicas
        self.set["metadata"]["generation"] += 1

    def reconcile(self, upto: int | None = None) -> bool:
        seen = trees.copy({resource.plural: list(store.values()) for resource, store in self.stores.items()})
        observed = Observed(
            trees.copy(self.set), seen["pods"], seen["controllerrevisions"], seen["persistentvolumeclaims"]
        )
        actions = StatefulSetController().reconcile(observed, self.now).actions
        for action in actions[:upto]:
            self.apply(action)
        return bool(actions)

    def apply(self, action: Action) -> None:
        match action:
            case Create(resource, obj):
                number, obj = next(self.counter), trees.copy(obj)
                name = obj["metadata"]["name"]
                obj["metadata"].update(uid=f"uid-{number}", creationTimestamp=rfc3339(self.now + number))
                if resource == PODS:
                    assert name not in self.pods
                    self.check_creation(name)
                    obj["status"] = {"phase": "Pending"}
                self.stores[resource].setdefault(name, obj)
            case Delete(resource, key):
                if resource == PODS and key.name in self.pods:
                    self.check_deletion(key.name)
                    self.pods[key.name]["metadata"]["deletionTimestamp"] = rfc3339(self.now)
                elif resource != PODS:
                    self.stores[resource].pop(key.name, None)
            case Patch(resource, key, patch):
                self.stores[resource][key.name]["revision"] = patch["revision"]
            case Update(resource, obj, "status"):
                self.set["status"] = trees.copy(obj["status"])
            case _:
                raise AssertionError(action)

    def available(self, ordinal: int) -> bool:
        pod = self.pods.get(f"s-{ordinal}")
        return pod is not None and not objects.is_deleting(pod) and objects.is_ready(pod)

    def check_creation(self, name: str) -> None:
        ordinal = int(name[2:])
        assert self.start <= ordinal < self.start + self.set["spec"]["replicas"]
        assert f"data-s-{ordinal}" in self.stores[PERSISTENT_VOLUME_CLAIMS]
        if self.ordered:
            assert all(self.available(i) for i in range(self.start, ordinal))

    def check_deletion(self, name: str) -> None:
        ordinal, replicas = int(name[2:]), self.set["spec"]["replicas"]
        if ordinal >= self.start + replicas:
            if self.ordered:
                assert not any(int(other[2:]) > ordinal for other in self.pods)
            return
        assert ordinal >= self.start + self.set["spec"]["updateStrategy"]["rollingUpdate"]["partition"]
        assert all(self.available(i) for i in range(ordinal + 1, self.start + replicas))

    def step_pod(self, name: str) -> bool:
        """The next thing that happens to a pod on its node."""
        pod = self.pods[name]
        if objects.is_deleting(pod):
            del self.pods[name]
        elif not objects.is_ready(pod):
            condition = {"type": "Ready", "status": "True", "lastTransitionTime": rfc3339(self.now)}
            pod["status"] = {"phase": "Running", "conditions": [condition]}
        else:
            return False
        return True

    def settle(self) -> None:
        for _ in range(300):
            changed = self.reconcile()
            for name in list(self.pods):
                changed = self.step_pod(name) or changed
            if not changed:
                return
        raise AssertionError("no fixpoint")


WHAT = ["round", "round", "part", "pod", "pod", "image", "resize", "partition"]


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    replicas=st.integers(0, 5),
    policy=st.sampled_from(["OrderedReady", "Parallel"]),
    start=st.sampled_from([0, 3]),
    steps=st.lists(st.tuples(st.sampled_from(WHAT), st.integers(0, 99)), max_size=60),
)
def test_a_set_keeps_its_order_and_gets_where_it_should(
    replicas: int, policy: str, start: int, steps: list[tuple[str, int]]
) -> None:
    cluster = Cluster(replicas, policy, start)
    cluster.settle()
    rolling = cluster.set["spec"]["updateStrategy"]["rollingUpdate"]
    for what, number in steps:
        if what == "round":
            cluster.reconcile()
        elif what == "part":
            cluster.reconcile(number % 4)
        elif what == "pod" and cluster.pods:
            cluster.step_pod(sorted(cluster.pods)[number % len(cluster.pods)])
        elif what == "image":
            cluster.set_image(str(number % 4))
        elif what == "resize":
            cluster.resize(number % 6)
        elif what == "partition":
            rolling["partition"] = number % 4
    cluster.settle()
    wanted = range(start, start + cluster.set["spec"]["replicas"])
    assert sorted(cluster.pods) == sorted(f"s-{ordinal}" for ordinal in wanted)
    newest = cluster.set["spec"]["template"]["spec"]["containers"][0]["image"]
    for ordinal in wanted:
        pod = cluster.pods[f"s-{ordinal}"]
        if ordinal >= start + rolling["partition"]:
            assert pod["spec"]["containers"][0]["image"] == newest
        assert rules.ordinal_of(pod) == ordinal
    status = cluster.set["status"]
    assert {status.get(name, 0) for name in ("replicas", "readyReplicas", "availableReplicas")} == {len(wanted)}
    assert len(cluster.stores[history.REVISIONS]) <= 2 + 2 + len(wanted)
