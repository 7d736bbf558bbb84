"""How many pods a Job should have, and which: those to make and those to remove. Pure.

Source of the rules: upstream's manageJob and what it looks at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from navarch.client.resources import PODS
from navarch.controllers import objects
from navarch.controllers.job import pods as pod_rules
from navarch.controllers.job.backoff import Failures, index_wait
from navarch.controllers.job.intervals import Intervals
from navarch.controllers.job.policies import judge
from navarch.controllers.job.tracking import without_finalizer
from navarch.controllers.replicaset import delete_pod
from navarch.controlloop.plan import Action, Create, Emit, Report
from navarch.machinery.types import Obj

BURST = 500
"""Pods made or removed in one round."""
Remember: TypeAlias = "Callable[[Obj, Failures], None]"


@dataclass(frozen=True, slots=True)
class Seen:
    """A job and what its pods say."""

    job: Obj
    pods: Sequence[Obj]
    active: Sequence[Obj]
    terminating: int
    succeeded: int
    """Counted, about to be counted, and new; of an indexed job the indexes."""
    failed: int
    failures: Failures
    """In a row, the new ones among them."""
    before: Intervals
    """Indexes that had succeeded by the status."""
    indexes: Intervals
    """Indexes that have succeeded."""
    failed_indexes: Intervals | None
    """None where failures are not counted by index."""
    last_failed: Mapping[int, Obj]
    """By index: the pod whose replacement takes over its count of failures."""

    @property
    def ready(self) -> int:
        return sum(map(objects.is_ready, self.active))


@dataclass(frozen=True, slots=True)
class Managed:
    """What is done with the pods, and what the counts will be then."""

    active: int
    ready: int
    terminating: int
    actions: Sequence[Action] = ()
    wait: float | None = None
    """Seconds until there is more to do."""
    finished: Obj | None = None
    """The condition that the job ends with."""
    conditions: list[Obj] | None = None
    """Where they change."""
    events: Sequence[Emit] = ()
    reasons: Sequence[str] = ()


def look(job: Obj, pods: Sequence[Obj], failures: Failures, now: float) -> Seen:
    """Reads the pods that are the job's."""
    spec, status = job["spec"], job.get("status") or {}
    uncounted = {field: set(uids) for field, uids in (status.get("uncountedTerminatedPods") or {}).items()}
    listed_ok, listed_bad = uncounted.get("succeeded", set[str]()), uncounted.get("failed", set[str]())
    indexed, policy = pod_rules.is_indexed(job), spec.get("podFailurePolicy")
    valid = [p for p in pods if pod_rules.is_tracked(p) and (not indexed or pod_rules.valid_index(job, p) is not None)]
    good = [p for p in valid if objects.uid_of(p) not in listed_ok and objects.phase_of(p) == "Succeeded"]
    bad = [p for p in valid if objects.uid_of(p) not in listed_bad and pod_rules.has_failed(job, p)]
    succeeded = status.get("succeeded", 0) + len(good) + len(listed_ok)
    failed = status.get("failed", 0) + sum(judge(policy, p).counts for p in bad) + len(listed_bad)
    active = [pod for pod in pods if objects.is_active(pod)]
    before = indexes = Intervals()
    failed_indexes: Intervals | None = None
    last_failed: dict[int, Obj] = {}
    if indexed:
        completions = int(spec.get("completions") or 0)
        before = Intervals.parse(status.get("completedIndexes"), completions)
        done = (pod_rules.valid_index(job, p) for p in valid if objects.phase_of(p) == "Succeeded")
        indexes = before | Intervals.of(index for index in done if index is not None)
        succeeded = indexes.total()
        if pod_rules.per_index(job) is not None:
            failed_indexes = _failed_indexes(job, valid, completions)
            running = {pod_rules.index_of(pod) for pod in active}
            last_failed = {
                index: pod
                for index, pod in _last_failed(job, valid).items()
                if not (indexes.has(index) or failed_indexes.has(index) or index in running)
            }
    terminating = sum(map(pod_rules.is_terminating, pods))
    return Seen(
        job, pods, active, terminating, succeeded, failed, failures.then(good, bad), before, indexes, failed_indexes, last_failed
    )  # fmt: skip


def _failed_indexes(job: Obj, valid: Sequence[Obj], completions: int) -> Intervals:
    """Those of the status, and those whose pod has failed once too often."""
    limit, policy = pod_rules.per_index(job) or 0, job["spec"].get("podFailurePolicy")
    found: list[int] = []
    for pod in valid:
        if not pod_rules.has_failed(job, pod) or (index := pod_rules.valid_index(job, pod)) is None:
            continue
        verdict = judge(policy, pod)
        if verdict.action == "FailIndex" or (verdict.counts and pod_rules.failures_of(pod) >= limit):
            found.append(index)
    return Intervals.parse((job.get("status") or {}).get("failedIndexes"), completions) | Intervals.of(found)


def _last_failed(job: Obj, valid: Sequence[Obj]) -> dict[int, Obj]:
    last: dict[int, Obj] = {}
    for pod in valid:
        index = pod_rules.valid_index(job, pod)
        if index is None or not pod_rules.has_failed(job, pod):
            continue
        other = last.get(index)
        if other is None or (
            pod_rules.all_failures_of(other) <= pod_rules.all_failures_of(pod)
            and pod_rules.finished_at(pod) >= pod_rules.finished_at(other)
        ):
            last[index] = pod
    return last


def nothing(seen: Seen, wait: float | None = None, why: str = "") -> Managed:
    return Managed(len(seen.active), seen.ready, seen.terminating, wait=wait, reasons=(why,) if why else ())


def without(seen: Seen, removed: Sequence[Obj], actions: Sequence[Action], why: str = "") -> Managed:
    """The counts once these active pods are being deleted."""
    ready = seen.ready - sum(map(objects.is_ready, removed))
    count = len(removed)
    return Managed(len(seen.active) - count, ready, seen.terminating + count, actions, reasons=(why,) if why else ())


def wanted_active(seen: Seen) -> int:
    spec = seen.job["spec"]
    parallelism, completions = int(spec.get("parallelism", 1)), spec.get("completions")
    if completions is None:
        # The first success says that the work is done: what runs goes on, and nothing is started any more.
        return len(seen.active) if seen.succeeded else parallelism
    return max(0, min(parallelism, int(completions) - seen.succeeded))


def manage(seen: Seen, now: float) -> Managed:
    """Removes or makes pods, never both in one round."""
    job, count = seen.job, len(seen.active)
    if pod_rules.is_suspended(job):
        return remove(seen, pod_rules.for_removal(job, seen.active, count), "suspended")
    wanted = wanted_active(seen)
    surplus = pod_rules.for_removal(job, seen.active, max(count - wanted, 0))[:BURST]
    if surplus:
        return remove(seen, surplus, f"{count} pods run where {wanted} are wanted")
    blocked = seen.terminating if pod_rules.replaces_failed_only(job) else 0
    missing = min(wanted - blocked - count, BURST)
    if missing <= 0:
        return nothing(seen, why=f"{count} pods run, as many as are wanted")
    if pod_rules.per_index(job) is None and (wait := seen.failures.wait(now)) > 0:
        return nothing(
            seen, wait, f"{seen.failures.in_a_row} pods have failed in a row: the next is made in {wait:.0f} s"
        )
    if not pod_rules.is_indexed(job):
        return make(seen, [None] * missing)
    return make_indexed(seen, missing, now)


def remove(seen: Seen, pods: Sequence[Obj], why: str) -> Managed:
    """Removed pods are not counted: their finalizers go first."""
    unmarked = [without_finalizer(pod) for pod in pods if pod_rules.is_tracked(pod)]
    return without(seen, pods, [*unmarked, *(delete_pod(seen.job, pod) for pod in pods)], why)


def make_indexed(seen: Seen, count: int, now: float) -> Managed:
    taken = seen.indexes | Intervals.of(
        index
        for pod in seen.pods
        if objects.is_active(pod) or (pod_rules.replaces_failed_only(seen.job) and pod_rules.is_terminating(pod))
        if (index := pod_rules.index_of(pod)) is not None
    )
    if seen.failed_indexes is not None:
        taken |= seen.failed_indexes
    indexes = taken.missing(count, int(seen.job["spec"].get("completions") or 0))
    waits = {index: index_wait(seen.last_failed.get(index), now) for index in indexes}
    due = [index for index, wait in waits.items() if wait == 0]
    later = min((wait for wait in waits.values() if wait > 0), default=None)
    if not due:
        return nothing(seen, later, "indexes wait after failures" if later else "no index is left to run")
    return make(seen, due, later)


def make(seen: Seen, indexes: Sequence[int | None], later: float | None = None) -> Managed:
    report = Report(seen.job, ("SuccessfulCreate", "Created pod: {name}"), ("FailedCreate", "Error creating: {error}"))
    creations = [
        Create(PODS, pod_rules.new_pod(seen.job, i, None if i is None else seen.last_failed.get(i)), report=report)
        for i in indexes
    ]
    why = f"{len(creations)} more pods are needed"
    return Managed(len(seen.active) + len(creations), seen.ready, seen.terminating, creations, later, reasons=(why,))
