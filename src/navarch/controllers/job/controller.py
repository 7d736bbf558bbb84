"""Jobs: pods until so many of them, or one of every index, have succeeded.

Source of the rules: upstream's pkg/controller/job. `reconcile` is its syncJob: what to do with the pods (`managing.py`), how
the job ends (`ending.py`), and the counting (`tracking.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from navarch.client.resources import JOBS, PODS
from navarch.controllers import objects
from navarch.controllers.job import ending, managing
from navarch.controllers.job import pods as pod_rules
from navarch.controllers.job import status as status_rules
from navarch.controllers.job.backoff import Failures
from navarch.controllers.job.managing import Managed, Seen
from navarch.controllers.job.tracking import Tracked, track
from navarch.controllers.replicaset import ORPHAN, OWNER, delete_pod, owner_index
from navarch.controlloop.plan import Action, Caches, Emit, Plan, Watch
from navarch.machinery.clock import rfc3339
from navarch.machinery.types import Key, Obj, key_of

KIND = "Job"
OURS = "kubernetes.io/job-controller"
"""What managedBy says of jobs that are ours; null says the same."""
OPEN = "open-of-job"
"""Index of pods: the uid of the controller, for those that have not ended or are not counted. A job with thousands of
pods behind it costs what the few do that are left."""


def open_index(pod: Obj) -> Iterable[str]:
    done = objects.is_terminal(pod) and not pod_rules.is_tracked(pod)
    return () if done else (objects.controller_uid(pod),)


@dataclass(frozen=True, slots=True)
class Observed:
    job: Obj
    pods: Sequence[Obj]
    """Pods that the job controls, but for those that are counted; and orphans of its namespace that it selects."""
    failures: Failures = field(default_factory=Failures)


class JobController:
    name = "job-controller"

    def __init__(self) -> None:
        self._failures: dict[Key, tuple[str, Failures]] = {}
        """By job, with its uid. After a restart counting begins anew, as upstream's does."""
        self.watches = (
            Watch(JOBS, lambda old, new, caches: [key_of(o) for o in (new or old,) if o is not None]),
            Watch(PODS, self._pod_keys, {OWNER: owner_index, OPEN: open_index}),
        )

    def _pod_keys(self, old: Obj | None, new: Obj | None, caches: Caches) -> Iterable[Key]:
        keys = objects.owner_keys(old, new, KIND)
        if new is not None and objects.controller_of(new) is None and not objects.is_deleting(new):
            labels = objects.labels_of(new)
            jobs = caches[JOBS].list(new["metadata"]["namespace"])
            keys.update(key_of(job) for job in jobs if objects.selects(job["spec"].get("selector"), labels))
        return keys

    def observe(self, key: Key, caches: Caches) -> Observed | None:
        job = caches[JOBS].get(key.namespace, key.name)
        if job is None or pod_rules.is_finished(job):
            self._failures.pop(key, None)
            return None
        uid, selector = objects.uid_of(job), job["spec"].get("selector")
        orphans = caches[PODS].by_index(OWNER, ORPHAN + key.namespace)
        pods = [
            *caches[PODS].by_index(OPEN, uid),
            *(pod for pod in orphans if objects.selects(selector, objects.labels_of(pod))),
        ]
        of, failures = self._failures.get(key, (uid, Failures()))
        return Observed(job, pods, failures if of == uid else Failures())

    def reconcile(self, observed: Observed, now: float) -> Plan:
        job = observed.job
        if (manager := job["spec"].get("managedBy")) not in (None, OURS):
            return Plan(reasons=[f"managed by {manager}"])
        if pod_rules.is_finished(job):
            return Plan(reasons=["finished"])
        round = _Round(observed, now, self._remember)
        return round.run()

    def _remember(self, job: Obj, failures: Failures) -> None:
        if failures.in_a_row:
            self._failures[key_of(job)] = (objects.uid_of(job), failures)
        else:
            self._failures.pop(key_of(job), None)


@dataclass(slots=True)
class _Round:
    """One round over a job."""

    observed: Observed
    now: float
    remember: managing.Remember
    plan: Plan = field(default_factory=lambda: Plan(parallel=True))
    adopted: set[str] = field(default_factory=set[str])

    def run(self) -> Plan:
        job, now = self.observed.job, self.now
        self.plan.gather = objects.gathering(len(self.observed.pods))
        seen = managing.look(job, self.claim(), self.observed.failures, now)
        finished = ending.before_managing(seen, now)
        self.plan.requeue_after = ending.deadline_in(job, now) if finished is None else None
        started = self.started(job)
        if finished is not None:
            managed = self.stop(seen, finished)
        else:
            managed = managing.manage(seen, now) if not objects.is_deleting(job) else managing.nothing(seen)
            managed = self.conclude(seen, managed)
        if managed.wait is not None:
            self.plan.requeue_after = min(managed.wait, self.plan.requeue_after or managed.wait)
        self.plan.reasons.extend(managed.reasons)
        self.plan.actions.extend([*managed.actions, *self.track(seen, managed, started)])
        undone = replace(managing.nothing(seen), events=managed.events, conditions=managed.conditions)
        self.plan.on_error = lambda error: Plan(self.track(seen, undone, started))
        return self.plan

    def claim(self) -> list[Obj]:
        """The job's pods, after adoption and release."""
        job, uid = self.observed.job, objects.uid_of(self.observed.job)
        claimed: list[Obj] = []
        for pod in self.observed.pods:
            fits = objects.selects(job["spec"].get("selector"), objects.labels_of(pod))
            if objects.controller_uid(pod) == uid:
                if fits:
                    claimed.append(pod)
                elif not objects.is_deleting(job):
                    self.plan.actions.append(objects.release(PODS, pod, job, pod_rules.FINALIZER))
            elif fits and not objects.is_deleting(job) and not objects.is_deleting(pod):
                self.plan.actions.append(objects.adopt(PODS, pod, job, "batch/v1", KIND, pod_rules.FINALIZER))
                finalizers = {*(pod["metadata"].get("finalizers") or ()), pod_rules.FINALIZER}
                claimed.append({**pod, "metadata": {**pod["metadata"], "finalizers": sorted(finalizers)}})
        return claimed

    def started(self, job: Obj) -> str | None:
        time = (job.get("status") or {}).get("startTime")
        return rfc3339(self.now) if time is None and not pod_rules.is_suspended(job) else time

    def stop(self, seen: Seen, finished: Obj) -> Managed:
        """The job has ended, well or badly: what still runs goes, and keeps its finalizer until it is counted."""
        deletions = [delete_pod(seen.job, pod) for pod in seen.active]
        return replace(
            managing.without(seen, seen.active, deletions), finished=finished, reasons=(finished["message"],)
        )

    def conclude(self, seen: Seen, managed: Managed) -> Managed:
        """Whether the job is complete; and whether it sleeps."""
        job = seen.job
        if ending.is_complete(job, seen.succeeded, managed.active):
            message = "Reached expected number of succeeded pods"
            done = status_rules.condition("SuccessCriteriaMet", "CompletionsReached", message, self.now)
            return replace(managed, finished=done)
        if objects.is_deleting(job):
            return managed
        suspended = pod_rules.is_suspended(job)
        reason, message, event = (
            ("JobSuspended", "Job suspended", "Suspended") if suspended else ("JobResumed", "Job resumed", "Resumed")
        )
        wanted = status_rules.condition("Suspended", reason, message, self.now, "True" if suspended else "False")
        old = (job.get("status") or {}).get("conditions") or []
        conditions = status_rules.with_condition(old, wanted)
        if conditions == list(old):
            return managed
        return replace(managed, conditions=conditions, events=(Emit(job, "Normal", event, message),))

    def track(self, seen: Seen, managed: Managed, started: str | None) -> list[Action]:
        job = seen.job
        status = dict(job.get("status") or {})
        status.update(active=managed.active, ready=managed.ready, terminating=managed.terminating, startTime=started)
        if managed.conditions is not None:
            # A job that sleeps has no start; one that wakes starts now.
            status["conditions"] = managed.conditions
            status["startTime"] = None if pod_rules.is_suspended(job) else rfc3339(self.now)
        failures = seen.failures
        return track(
            Tracked(
                job, seen.pods, status, managed.finished, seen.before, seen.indexes, seen.failed_indexes,
                frozenset(objects.uid_of(pod) for pod in seen.last_failed.values()), managed.events,
                lambda: self.remember(job, failures), self.now,
            )
        )  # fmt: skip
