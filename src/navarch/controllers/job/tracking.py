"""Counts a Job's pods, each exactly once, whatever is interrupted. Pure.

A pod that has ended keeps a finalizer until it is counted. Its uid is first written into the status, as uncounted; then
its finalizer goes; then the uid goes from the status and the count goes up. Each step says by itself how far the
counting is, so that after a crash the next round goes on from there. Indexes that have succeeded count once by being named.
Source of the rules: KEP 2307, upstream's trackJobStatusAndRemoveFinalizers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from navarch.client.resources import JOBS, PODS
from navarch.controllers import objects
from navarch.controllers.job import pods as pod_rules
from navarch.controllers.job import status as status_rules
from navarch.controllers.job.intervals import Intervals
from navarch.controllers.job.policies import judge
from navarch.controlloop.plan import Action, Call, Emit, Patch, Update
from navarch.machinery.types import Obj, key_of

MAX_UNCOUNTED = 500
"""Uids in a status, so that it stays below 20 KB; and finalizers removed in one round."""


@dataclass(frozen=True, slots=True)
class Tracked:
    """What the counting starts from."""

    job: Obj
    pods: Sequence[Obj]
    """All of the job's."""
    status: Obj
    """With the new number of active pods and the like, not yet with new counts."""
    finished: Obj | None
    """The condition that the job ends with, once all pods are counted: interim or final."""
    before: Intervals
    """Indexes that had succeeded by the status."""
    succeeded: Intervals
    """By the pods, too."""
    failed: Intervals | None
    kept: frozenset[str]
    """Uids of failed pods that stay until another pod of their index takes over their count of failures."""
    events: Sequence[Emit]
    remember: Callable[[], None]
    """Called once the new pods are in the status."""
    now: float


def track(seen: Tracked) -> list[Action]:
    with_finalizer = {objects.uid_of(pod) for pod in seen.pods if pod_rules.is_tracked(pod)}
    status, done, more = _taken(seen, _counted(seen.status, with_finalizer))
    finished = seen.finished
    if finished is not None and finished["type"] in ("FailureTarget", "SuccessCriteriaMet"):
        if objects.condition_of(status, finished["type"]) is None:
            status = {**status, "conditions": [*status.get("conditions", ()), finished]}
        final = "Failed" if finished["type"] == "FailureTarget" else "Complete"
        finished = status_rules.condition(final, finished["reason"], finished["message"], seen.now)
    actions: list[Action] = []
    first = _write(seen.job, seen.job.get("status") or {}, status)
    if first:
        actions += [*first, Call("remember the failures", seen.remember)]
    actions += seen.events
    actions += [without_finalizer(pod) for pod in done]
    after = _counted(status, with_finalizer - {objects.uid_of(pod) for pod in done})
    ended = finished is not None and not more and _is_over(after)
    if finished is not None and ended:
        after = {**after, "conditions": status_rules.with_condition(after.get("conditions", ()), finished)}
        if finished["type"] == "Complete":
            after["completionTime"] = finished["lastTransitionTime"]
    actions += _write(seen.job, status, after)
    if finished is not None and ended:
        actions += _told(seen.job, after, finished)
    return actions


def without_finalizer(pod: Obj) -> Patch:
    patch = {"metadata": {"uid": objects.uid_of(pod), "$deleteFromPrimitiveList/finalizers": [pod_rules.FINALIZER]}}
    return Patch(PODS, key_of(pod), patch, "strategic")


def _write(job: Obj, old: Obj, status: Obj) -> list[Action]:
    wanted = status_rules.shown(status)
    return [] if status_rules.shown(old) == wanted else [Update(JOBS, {**job, "status": wanted}, "status")]


def _counted(status: Obj, with_finalizer: set[str]) -> Obj:
    """Uids whose pods have no finalizer any more become numbers."""
    uncounted = status.get("uncountedTerminatedPods") or {}
    made = {**status, "uncountedTerminatedPods": {}}
    for field in ("succeeded", "failed"):
        uids: list[str] = uncounted.get(field) or []
        left = [uid for uid in uids if uid in with_finalizer]
        made["uncountedTerminatedPods"][field] = left
        if len(left) < len(uids):
            made[field] = (status.get(field) or 0) + len(uids) - len(left)
    return made


def _taken(seen: Tracked, status: Obj) -> tuple[Obj, list[Obj], bool]:
    """(the status with the uids of pods that have ended, those pods, whether there are more of them)"""
    job, indexed, policy = seen.job, pod_rules.is_indexed(seen.job), seen.job["spec"].get("podFailurePolicy")
    uncounted = {field: list(uids) for field, uids in status["uncountedTerminatedPods"].items()}
    known = {field: set(uids) for field, uids in uncounted.items()}
    indexes = 0
    done: list[Obj] = []
    more = False
    ordered = sorted(seen.pods, key=lambda p: pod_rules.index_of(p) or 0) if indexed else seen.pods
    for pod in ordered:
        if not pod_rules.is_tracked(pod) or not _may_go(seen, pod):
            continue
        done.append(pod)
        uid, index = objects.uid_of(pod), pod_rules.valid_index(job, pod)
        succeeded = objects.phase_of(pod) == "Succeeded" and uid not in known["failed"]
        if succeeded and indexed:
            indexes += index is not None and not seen.before.has(index)
        elif succeeded:
            if uid not in known["succeeded"]:
                uncounted["succeeded"].append(uid)
        elif _fails(seen, pod) and uid not in known["failed"] and (not indexed or index is not None):
            uncounted["failed"] += [uid] if judge(policy, pod).counts else []
        if indexes + sum(map(len, uncounted.values())) >= MAX_UNCOUNTED:
            more = True
            break
    made = {**status, "uncountedTerminatedPods": uncounted}
    if indexed:
        made["succeeded"], made["completedIndexes"] = seen.succeeded.total(), str(seen.succeeded)
        made["failedIndexes"] = None if seen.failed is None else str(seen.failed)
    return made, done, more


def _may_go(seen: Tracked, pod: Obj) -> bool:
    """Whether the pod's finalizer has done its service."""
    over = objects.is_deleting(seen.job) or seen.finished is not None
    if over or objects.phase_of(pod) == "Succeeded":
        return True
    return pod_rules.has_failed(seen.job, pod) and objects.uid_of(pod) not in seen.kept


def _fails(seen: Tracked, pod: Obj) -> bool:
    """When a job fails, each pod that has not ended counts as failed."""
    if pod_rules.has_failed(seen.job, pod):
        return True
    return seen.finished is not None and seen.finished["type"] != "SuccessCriteriaMet"


def _is_over(status: Obj) -> bool:
    """Whether every pod is counted and none is still on its way out."""
    return not any(status["uncountedTerminatedPods"].values()) and not status.get("terminating")


def _told(job: Obj, status: Obj, finished: Obj) -> list[Action]:
    if finished["type"] != "Complete":
        return [Emit(job, "Warning", finished["reason"], finished["message"])]
    done = Emit(job, "Normal", "Completed", "Job completed")
    completions = job["spec"].get("completions")
    if completions is not None and status.get("succeeded", 0) > completions:
        text = "Too many succeeded pods running after completion count reached"
        return [Emit(job, "Warning", "TooManySucceededPods", text), done]
    return [done]
