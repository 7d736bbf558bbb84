"""A Job counts each of its pods exactly once: whatever happens to the pods, wherever a round is cut short, and though the controller
forgets all it knew. Its status is one that the API takes, at each step; and it comes to an end."""

from __future__ import annotations

import itertools
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from navarch.api.batch.jobstatus import validate_status_update
from navarch.client.resources import JOBS
from navarch.controllers import objects
from navarch.controllers.job import pods as rules
from navarch.controllers.job.backoff import Failures
from navarch.controllers.job.controller import JobController, Observed
from navarch.controllers.job.intervals import Intervals
from navarch.controlloop.plan import Action, Call, Create, Delete, Patch, Update
from navarch.machinery import trees
from navarch.machinery.clock import rfc3339
from navarch.machinery.errors import FieldErrors

LABELS = {"a": "b"}


class Cluster:
    """A Job and its pods, with what the API and the nodes do."""

    def __init__(self, **spec: Any) -> None:
        self.now = 1_700_000_000.0
        self.counter = itertools.count(1)
        self.job: dict[str, Any] = {
            "metadata": {"name": "j", "namespace": "n", "uid": "j", "generation": 1, "resourceVersion": "1"},
            "spec": {
                "selector": {"matchLabels": LABELS},
                "template": {"metadata": {"labels": LABELS}, "spec": {"restartPolicy": "Never"}},
                "podReplacementPolicy": "TerminatingOrFailed",
                **spec,
            },
        }
        self.pods: dict[str, dict[str, Any]] = {}
        self.ended: set[str] = set()
        """Uids of pods that ended, or were deleted, before they had been counted or given up."""
        self.succeeded: set[str] = set()
        self.restart()

    def restart(self) -> None:
        self.controller = JobController()
        self.failures = Failures()

    def round(self, upto: int | None = None) -> bool:
        self.now += 1
        observed = Observed(trees.copy(self.job), trees.copy(list(self.pods.values())), self.failures)
        if rules.is_finished(self.job):
            return False
        plan = self.controller.reconcile(observed, self.now)
        for action in plan.actions[:upto]:
            self.apply(action)
        if plan.requeue_after is not None:
            self.now += plan.requeue_after
        return bool(plan.actions) or plan.requeue_after is not None

    def apply(self, action: Action) -> None:
        match action:
            case Create(_, obj):
                number, pod = next(self.counter), trees.copy(obj)
                pod["metadata"].update(
                    name=f"p-{number:04}", uid=f"uid-{number}", creationTimestamp=rfc3339(self.now), labels=LABELS
                )
                pod["status"] = {"phase": "Pending"}
                self.pods[pod["metadata"]["name"]] = pod
            case Delete(_, key):
                self.delete(key.name)
            case Patch(key=key, patch=patch):
                gone = patch["metadata"]["$deleteFromPrimitiveList/finalizers"]
                meta = self.pods[key.name]["metadata"]
                meta["finalizers"] = [f for f in meta["finalizers"] if f not in gone]
                self.sweep()
            case Update(resource, obj, "status"):
                assert resource == JOBS
                errors = FieldErrors()
                validate_status_update(obj, self.job, errors)
                assert not errors.items, errors.items
                self.job["status"] = trees.copy(obj["status"])
            case Call(_, run):
                run()
                _, self.failures = self.controller._failures.get(key_of_job, ("", Failures()))  # type: ignore[attr-defined]
            case _:
                pass

    def sweep(self) -> None:
        """Pods that are being deleted go when they have ended and nothing holds them."""
        for name, pod in list(self.pods.items()):
            if objects.is_deleting(pod) and not pod["metadata"].get("finalizers") and objects.is_terminal(pod):
                del self.pods[name]

    def delete(self, name: str) -> None:
        if (pod := self.pods.get(name)) is not None and not objects.is_deleting(pod):
            pod["metadata"]["deletionTimestamp"] = rfc3339(self.now)
            if rules.is_tracked(pod):
                self.ended.add(pod["metadata"]["uid"])
            self.sweep()

    def end(self, name: str, phase: str) -> None:
        pod = self.pods[name]
        if objects.is_terminal(pod):
            return
        pod["status"] = {"phase": phase}
        if rules.is_tracked(pod):
            self.ended.add(pod["metadata"]["uid"])
            if phase == "Succeeded" and not objects.is_deleting(pod):
                self.succeeded.add(pod["metadata"]["uid"])
        self.sweep()

    def counted(self) -> int:
        status = self.job.get("status") or {}
        listed = status.get("uncountedTerminatedPods") or {}
        return status.get("succeeded", 0) + status.get("failed", 0) + sum(map(len, listed.values()))

    def settle(self) -> None:
        """All that runs succeeds in the end."""
        for _ in range(300):
            changed = self.round()
            assert self.counted() <= len(self.ended)
            for name in list(self.pods):
                if objects.is_deleting(self.pods[name]) or not changed:
                    self.end(name, "Succeeded")
            if not changed and (rules.is_finished(self.job) or self.job["spec"].get("suspend")):
                return
        raise AssertionError("no end")


key_of_job = ("n", "j")
WHAT = ["round", "round", "part", "succeed", "fail", "delete", "restart", "parallelism", "suspend"]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    completions=st.integers(0, 6),
    parallelism=st.integers(1, 4),
    limit=st.integers(0, 4),
    replacement=st.sampled_from(["Failed", "TerminatingOrFailed"]),
    steps=st.lists(st.tuples(st.sampled_from(WHAT), st.integers(0, 99)), max_size=60),
)
def test_every_pod_counts_exactly_once(
    completions: int, parallelism: int, limit: int, replacement: str, steps: list[tuple[str, int]]
) -> None:
    cluster = Cluster(
        completions=completions, parallelism=parallelism, backoffLimit=limit, podReplacementPolicy=replacement
    )
    play(cluster, steps)
    cluster.job["spec"].update(suspend=False, parallelism=parallelism)
    cluster.settle()
    status = cluster.job["status"]
    assert not any(status["uncountedTerminatedPods"].values())
    assert not any(map(rules.is_tracked, cluster.pods.values()))
    assert status.get("succeeded", 0) + status.get("failed", 0) == len(cluster.ended)
    assert status.get("succeeded", 0) >= len(cluster.succeeded)
    if objects.condition_of(status, "Complete") is not None:
        assert status.get("succeeded", 0) >= completions
    else:
        assert status.get("failed", 0) > limit


def play(cluster: Cluster, steps: list[tuple[str, int]]) -> None:
    for what, number in steps:
        names = sorted(cluster.pods)
        name = names[number % len(names)] if names else ""
        if what in ("round", "part"):
            cluster.round(None if what == "round" else number % 5)
        elif what == "restart":
            cluster.restart()
        elif what == "parallelism":
            cluster.job["spec"]["parallelism"] = number % 5
        elif what == "suspend":
            cluster.job["spec"]["suspend"] = bool(number % 2)
        elif name and what == "delete":
            cluster.delete(name)
        elif name:
            cluster.end(name, "Succeeded" if what == "succeed" else "Failed")
        assert cluster.counted() <= len(cluster.ended)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    completions=st.integers(1, 6),
    parallelism=st.integers(1, 4),
    limit=st.integers(0, 2),
    steps=st.lists(
        st.tuples(st.sampled_from([w for w in WHAT if w != "parallelism"]), st.integers(0, 99)), max_size=60
    ),
)
def test_every_index_succeeds_or_fails_once(
    completions: int, parallelism: int, limit: int, steps: list[tuple[str, int]]
) -> None:
    cluster = Cluster(
        completions=completions,
        parallelism=parallelism,
        backoffLimit=2**31 - 1,
        backoffLimitPerIndex=limit,
        completionMode="Indexed",
    )
    play(cluster, steps)
    cluster.job["spec"]["suspend"] = False
    cluster.settle()
    status = cluster.job["status"]
    good = Intervals.parse(status.get("completedIndexes"), completions)
    bad = Intervals.parse(status.get("failedIndexes"), completions)
    assert good.common(bad) == 0
    assert (good | bad).total() == completions
    assert status.get("succeeded", 0) == good.total()
    assert (objects.condition_of(status, "Failed") is not None) == (bad.total() > 0)
    running = [rules.index_of(p) for p in cluster.pods.values() if objects.is_active(p)]
    assert not running
