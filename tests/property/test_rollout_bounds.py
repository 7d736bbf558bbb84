"""Whatever happens in which order, a rollout never breaks its bounds, and it ends.

The two real decisions (Deployment, ReplicaSet) play against a few lines that do what the API does with their actions.
"""

from __future__ import annotations

import itertools
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from navarch.client.resources import DEPLOYMENTS, PODS
from navarch.controllers import objects
from navarch.controllers.deployment import controller as deployments
from navarch.controllers.deployment import numbers, revisions
from navarch.controllers.replicaset import Observed as SetObserved
from navarch.controllers.replicaset import ReplicaSetController
from navarch.controlloop.plan import Create, Delete, Patch, Plan, Update
from navarch.machinery import trees
from navarch.machinery.clock import rfc3339


def merge(target: dict[str, Any], patch: dict[str, Any]) -> None:
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, dict):
            merge(target.setdefault(key, {}), value)
        else:
            target[key] = value


class Cluster:
    """A Deployment, its sets and their pods, with what the API does to each kind of action."""

    def __init__(self, replicas: int, surge: Any, unavailable: Any) -> None:
        self.now = 1_700_000_000.0
        self.counter = itertools.count(1)
        rolling = {"maxSurge": surge, "maxUnavailable": unavailable}
        self.deployment: dict[str, Any] = {
            "metadata": {"name": "d", "namespace": "n", "uid": "d", "generation": 1, "resourceVersion": "1"},
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": {"a": "b"}},
                "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"image": "0"}},
                "strategy": {"type": "RollingUpdate", "rollingUpdate": rolling},
                "progressDeadlineSeconds": 600,
                "revisionHistoryLimit": 2,
            },
        }
        self.sets: dict[str, dict[str, Any]] = {}
        self.pods: dict[str, dict[str, Any]] = {}

    def set_image(self, image: str) -> None:
        self.deployment["spec"]["template"]["spec"]["image"] = image
        self.deployment["metadata"]["generation"] += 1

    def pods_of(self, replica_set: dict[str, Any]) -> list[dict[str, Any]]:
        return [p for p in self.pods.values() if objects.controller_uid(p) == replica_set["metadata"]["uid"]]

    def reconcile_deployment(self) -> bool:
        name = revisions.set_name(self.deployment, revisions.template_hash(self.deployment))
        observed = deployments.Observed(
            trees.copy(self.deployment), trees.copy(list(self.sets.values())), {}, self.sets.get(name)
        )
        return self.apply(deployments.DeploymentController().reconcile(observed, self.now))

    def reconcile_set(self, name: str) -> bool:
        replica_set = self.sets[name]
        pods = self.pods_of(replica_set)
        return self.apply(ReplicaSetController().reconcile(SetObserved(trees.copy(replica_set), pods, pods), self.now))

    def make_ready(self, name: str) -> bool:
        stamp = rfc3339(self.now)
        if objects.is_ready(self.pods[name]):
            return False
        condition = {"type": "Ready", "status": "True", "lastTransitionTime": stamp}
        self.pods[name]["status"] = {"phase": "Running", "conditions": [condition]}
        return True

    def apply(self, plan: Plan) -> bool:
        changed = False
        for action in plan.actions:
            match action:
                case Create(resource, obj):
                    number = next(self.counter)
                    obj = trees.copy(obj)
                    meta = obj["metadata"]
                    meta.setdefault("name", f"{meta.get('generateName')}{number}")
                    meta.update(uid=f"uid-{number}", generation=1, resourceVersion="1")
                    meta["creationTimestamp"] = rfc3339(self.now + number)
                    (self.pods if resource == PODS else self.sets)[meta["name"]] = obj
                case Delete(resource, key):
                    (self.pods if resource == PODS else self.sets).pop(key.name)
                case Update(resource, obj, subresource):
                    self.update(resource, obj, subresource)
                case Patch(key=key, patch=patch):
                    body = {k: v for k, v in patch.items() if k != "metadata"}
                    merge(
                        self.sets[key.name],
                        {**body, "metadata": {"annotations": patch["metadata"].get("annotations", {})}},
                    )
                    self.sets[key.name]["metadata"]["generation"] += 1
                case _:
                    continue
            changed = True
        return changed

    def update(self, resource: Any, obj: dict[str, Any], subresource: str) -> None:
        target = self.deployment if resource == DEPLOYMENTS else self.sets[obj["metadata"]["name"]]
        if subresource:
            target["status"] = trees.copy(obj["status"])
        if not subresource or resource == DEPLOYMENTS:  # annotations may be changed through a Deployment's status
            target["metadata"]["annotations"] = dict(obj["metadata"].get("annotations") or {})

    def check(self, was_available: bool) -> None:
        wanted = numbers.replicas_of(self.deployment)
        assert numbers.total(list(self.sets.values())) <= wanted + numbers.max_surge(self.deployment)
        if was_available:
            available = sum(objects.is_ready(pod) for pod in self.pods.values())
            assert available >= wanted - numbers.max_unavailable(self.deployment)

    def settle(self, was_available: bool) -> None:
        """Runs until nothing changes, or fails: every plan must reach a fixpoint."""
        for _ in range(200):
            changed = self.reconcile_deployment()
            self.check(was_available)
            for name in list(self.sets):
                if name in self.sets:
                    changed = self.reconcile_set(name) or changed
                    self.check(was_available)
            for name in list(self.pods):
                changed = self.make_ready(name) or changed
            if not changed:
                return
        raise AssertionError("no fixpoint")


bound = st.one_of(st.integers(0, 4), st.sampled_from(["0%", "10%", "25%", "50%", "100%"]))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    replicas=st.integers(0, 9),
    surge=bound,
    unavailable=bound,
    steps=st.lists(
        st.tuples(st.sampled_from(["deployment", "set", "ready", "image"]), st.integers(0, 99)), max_size=60
    ),
)
@example(replicas=2, surge=0, unavailable=0, steps=[("deployment", 0)] * 3 + [("image", 2)])  # a status from before
def test_a_rollout_keeps_its_bounds_and_ends(replicas: int, surge: Any, unavailable: Any, steps: Any) -> None:
    cluster = Cluster(replicas, surge, unavailable)
    cluster.settle(was_available=False)
    cluster.set_image("1")
    for what, number in steps:
        if what == "deployment":
            cluster.reconcile_deployment()
        elif what == "set" and cluster.sets:
            cluster.reconcile_set(sorted(cluster.sets)[number % len(cluster.sets)])
        elif what == "ready" and cluster.pods:
            cluster.make_ready(sorted(cluster.pods)[number % len(cluster.pods)])
        elif what == "image":
            cluster.set_image(str(number % 4))
        cluster.check(was_available=True)
    cluster.settle(was_available=True)
    status = cluster.deployment["status"]
    wanted = [status.get(name, 0) for name in ("replicas", "updatedReplicas", "availableReplicas")]
    assert wanted == [replicas] * 3
    assert len(cluster.pods) == replicas
    assert len(cluster.sets) <= 3
