"""CronJobs: a Job at each time of a schedule.

A job's name follows from the time it was due, so that none is made twice. What was made is seen in the jobs themselves, in
the round that the making brings about: nothing is lost where the process ends in between.
Source of the rules: upstream's pkg/controller/cronjob.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from email.utils import format_datetime
from typing import Any

from navarch.api.schedules import Schedule, ScheduleError, parse_schedule, parse_zone
from navarch.client.resources import CRON_JOBS, JOBS
from navarch.controllers import objects
from navarch.controllers.cronjob import times
from navarch.controllers.job.pods import is_finished
from navarch.controllers.job.status import holds
from navarch.controllers.replicaset import OWNER, owner_index
from navarch.controlloop.plan import Caches, Create, Delete, Emit, Plan, Report, Watch
from navarch.machinery import trees
from navarch.machinery.clock import World, rfc3339
from navarch.machinery.types import Key, Obj, key_of

KIND = "CronJob"
SCHEDULED = "batch.kubernetes.io/cronjob-scheduled-timestamp"
LATE = 0.1
"""Seconds after the time that a round begins: clocks differ a little."""


@dataclass(frozen=True, slots=True)
class Observed:
    cron: Obj
    jobs: Sequence[Obj]
    """Those it controls."""
    rescheduled: float = 0.0
    """When its schedule was last changed, as far as is known: times before it are not due."""


class CronJobController:
    name = "cronjob-controller"

    def __init__(self, world: World) -> None:
        self._world = world
        self._rescheduled: dict[Key, tuple[str, float]] = {}
        """By key, with the uid."""
        self.watches = (
            Watch(CRON_JOBS, self._keys),
            Watch(JOBS, lambda old, new, caches: objects.owner_keys(old, new, KIND), {OWNER: owner_index}),
        )

    def _keys(self, old: Obj | None, new: Obj | None, caches: Caches) -> Iterable[Key]:
        if old is not None and new is not None and _when(old) != _when(new):
            self._rescheduled[key_of(new)] = (objects.uid_of(new), self._world.now())
        return [key_of(cron) for cron in (new or old,) if cron is not None]

    def observe(self, key: Key, caches: Caches) -> Observed | None:
        cron = caches[CRON_JOBS].get(key.namespace, key.name)
        if cron is None:
            self._rescheduled.pop(key, None)
            return None
        uid = objects.uid_of(cron)
        of, at = self._rescheduled.get(key, (uid, 0.0))
        return Observed(cron, caches[JOBS].by_index(OWNER, uid), at if of == uid else 0.0)

    def reconcile(self, observed: Observed, now: float) -> Plan:
        return _Round(observed, now).run()


def _when(cron: Obj) -> tuple[Any, Any]:
    return cron["spec"].get("schedule"), cron["spec"].get("timeZone")


def job_name(cron: Obj, time: float) -> str:
    return f"{cron['metadata']['name']}-{int(time) // 60}"


def scheduled_at(cron: Obj, job: Obj) -> float | None:
    """The time that the job was due at; None where it was not made for any."""
    try:
        time = objects.time_of(objects.annotations_of(job).get(SCHEDULED))
    except ValueError:
        return None
    return time if time and job["metadata"]["name"] == job_name(cron, time) else None


@dataclass(slots=True)
class _Round:
    """One round over a CronJob."""

    observed: Observed
    now: float
    plan: Plan = field(default_factory=Plan)
    active: list[Obj] = field(default_factory=list[Obj])
    """The status's references."""
    status: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def cron(self) -> Obj:
        return self.observed.cron

    def run(self) -> Plan:
        self.status = dict(self.cron.get("status") or {})
        self.active = list(self.status.get("active") or ())
        self.clean("successfulJobsHistoryLimit", "Complete")
        self.clean("failedJobsHistoryLimit", "Failed")
        self.look()
        if not objects.is_deleting(self.cron):
            self.schedule()
        self.status.pop("active", None)
        if self.active:
            self.status["active"] = self.active
        if (write := objects.status_update(CRON_JOBS, self.cron, self.status)) is not None:
            self.plan.actions.append(write)
        return self.plan

    def emit(self, kind: Any, reason: str, message: str) -> None:
        self.plan.actions.append(Emit(self.cron, kind, reason, message))
        self.plan.reasons.append(message)

    # -- the jobs that there are

    def clean(self, limit: str, condition: str) -> None:
        """Removes the oldest of those that ended so."""
        if (most := self.cron["spec"].get(limit)) is None:
            return
        ended = [job for job in self.observed.jobs if holds(job.get("status") or {}, condition)]
        ended.sort(key=lambda job: ((job.get("status") or {}).get("startTime") or "~", job["metadata"]["name"]))
        for job in ended[: max(len(ended) - most, 0)]:
            self.delete(job)

    def delete(self, job: Obj) -> None:
        if objects.is_deleting(job):
            return
        report = Report(self.cron, ("SuccessfulDelete", "Deleted job {name}"), ("FailedDelete", "Deleted job: {error}"))
        uid = objects.uid_of(job)
        self.plan.actions.append(Delete(JOBS, key_of(job), uid, propagation="Background", report=report))
        self.forget(uid)

    def forget(self, uid: str) -> None:
        self.active = [reference for reference in self.active if reference.get("uid") != uid]

    def is_active(self, job: Obj) -> bool:
        return any(reference.get("uid") == objects.uid_of(job) for reference in self.active)

    def look(self) -> None:
        """Brings the status up to date with the jobs."""
        deleted = {action.uid for action in self.plan.actions if isinstance(action, Delete)}
        for job in self.observed.jobs:
            if objects.uid_of(job) not in deleted:
                self.look_at(job)
        known = {objects.uid_of(job) for job in self.observed.jobs}
        for reference in list(self.active):
            if reference.get("uid") not in known:
                self.emit("Normal", "MissingJob", f"Active job went missing: {reference.get('name')}")
                self.forget(reference.get("uid", ""))

    def look_at(self, job: Obj) -> None:
        name, time = job["metadata"]["name"], scheduled_at(self.cron, job)
        new = time is not None and time > objects.time_of(self.status.get("lastScheduleTime"))
        if new and time is not None:
            self.status["lastScheduleTime"] = rfc3339(time)
        if not is_finished(job):
            if new and not self.is_active(job):
                self.active.append(reference_to(job))
            elif not self.is_active(job) and not objects.is_deleting(job):
                text = f"Saw a job that the controller did not create or forgot: {name}"
                self.emit("Warning", "UnexpectedJob", text)
            return
        complete = holds(job["status"], "Complete") is not None
        if self.is_active(job) or new:
            self.forget(objects.uid_of(job))
            outcome = "Complete" if complete else "Failed"
            self.emit("Normal", "SawCompletedJob", f"Saw completed job: {name}, condition: {outcome}")
        ended = job["status"].get("completionTime")
        if complete and ended and objects.time_of(ended) > objects.time_of(self.status.get("lastSuccessfulTime")):
            self.status["lastSuccessfulTime"] = ended

    # -- the next one

    def schedule(self) -> None:
        spec = self.cron["spec"]
        try:
            zone = parse_zone(spec["timeZone"]) if spec.get("timeZone") is not None else None
        except ScheduleError as error:
            self.emit("Warning", "UnknownTimeZone", f'invalid timeZone: "{spec["timeZone"]}": {error}')
            return
        if spec.get("suspend"):
            self.plan.reasons.append("suspended")
            return
        if "TZ" in spec["schedule"]:
            self.emit("Warning", "UnsupportedSchedule", unsupported(spec["schedule"]))
        try:
            schedule = parse_schedule(spec["schedule"])
            in_zone = parse_zone(schedule.zone) if schedule.zone else zone or UTC
        except ScheduleError as error:
            self.emit("Warning", "UnparseableSchedule", f'unparseable schedule: "{spec["schedule"]}" : {error}')
            return
        try:
            due = self.due(schedule, in_zone)
            if due is not None:
                self.start(due, zone or UTC)
            self.plan.requeue_after = times.next_due(schedule, self.since(), self.now, in_zone) - self.now + LATE
        except times.NeverDue as error:
            self.emit("Warning", "InvalidSchedule", f"invalid schedule: {spec['schedule']} : {error}")

    def since(self) -> float:
        last = self.status.get("lastScheduleTime")
        return max(objects.time_of(last) if last else objects.created_at(self.cron), self.observed.rescheduled)

    def due(self, schedule: Schedule, zone: tzinfo) -> float | None:
        """The time for which a job is to be made now."""
        earliest, deadline = self.since(), self.cron["spec"].get("startingDeadlineSeconds")
        if deadline is not None:
            earliest = max(earliest, self.now - deadline)
        seen = times.missed(schedule, earliest, self.now, zone)
        if seen.times > times.MANY:
            text = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew"
            self.emit("Warning", "TooManyMissedTimes", text)
        time = seen.latest
        if time is None:
            self.plan.reasons.append("no time has come since the last")
            return None
        if deadline is not None and time + deadline < self.now:
            at = format_datetime(datetime.fromtimestamp(time, UTC))
            self.emit("Warning", "MissSchedule", f"Missed scheduled time to start a job: {at}")
            return None
        named = any(reference.get("name") == job_name(self.cron, time) for reference in self.active)
        if named or objects.time_of(self.status.get("lastScheduleTime")) == time:
            return None
        return time

    def start(self, time: float, zone: tzinfo) -> None:
        policy = self.cron["spec"].get("concurrencyPolicy")
        if policy == "Forbid" and self.active:
            text = "Not starting job because prior execution is running and concurrency policy is Forbid"
            self.emit("Normal", "JobAlreadyActive", text)
            return
        if policy == "Replace":
            running = {reference.get("uid") for reference in self.active}
            for job in self.observed.jobs:
                if objects.uid_of(job) in running:
                    self.delete(job)
        report = Report(
            self.cron, ("SuccessfulCreate", "Created job {name}"), ("FailedCreate", "Error creating job: {error}")
        )
        self.plan.actions.append(Create(JOBS, new_job(self.cron, time, zone), exists_ok=True, report=report))
        self.plan.reasons.append(f"a job was due at {rfc3339(time)}")


def unsupported(schedule: str) -> str:
    return (
        f'CRON_TZ or TZ used in schedule "{schedule}" is not officially supported, see '
        "https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details"
    )


def reference_to(job: Obj) -> Obj:
    meta = job["metadata"]
    named = {"apiVersion": "batch/v1", "kind": "Job", "name": meta["name"], "namespace": meta["namespace"]}
    return {**named, "uid": meta["uid"], "resourceVersion": meta["resourceVersion"]}


def new_job(cron: Obj, time: float, zone: tzinfo) -> Obj:
    template = cron["spec"].get("jobTemplate") or {}
    meta = template.get("metadata") or {}
    stamp = datetime.fromtimestamp(time, zone).isoformat().replace("+00:00", "Z")
    made: Obj = {
        "name": job_name(cron, time),
        "namespace": cron["metadata"]["namespace"],
        "annotations": {**(meta.get("annotations") or {}), SCHEDULED: stamp},
        "ownerReferences": [objects.controller_reference(cron, "batch/v1", KIND)],
    }
    if meta.get("labels"):
        made["labels"] = dict(meta["labels"])
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": made, "spec": trees.copy(template.get("spec") or {})}
