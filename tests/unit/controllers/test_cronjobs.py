"""CronJobs: a month on a clock that is set, and the rest on hollow nodes."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from tests.support.hollow import cluster, until

from navarch.apiserver.server import ApiServer
from navarch.client.interface import Resource
from navarch.client.resources import CRON_JOBS, EVENTS, JOBS
from navarch.controllers.cronjob.controller import CronJobController, Observed
from navarch.controlloop.plan import Create, Delete, Emit, Plan, Update
from navarch.machinery import trees
from navarch.machinery.clock import RealWorld, parse_time, rfc3339
from navarch.machinery.types import GroupResource, Key, Obj

START = "2026-03-01T00:00:00Z"
SCHEDULED = "batch.kubernetes.io/cronjob-scheduled-timestamp"


class Month:
    """A CronJob and its jobs, on a clock that goes from one thing to do to the next."""

    def __init__(self, schedule: str, lasts: float = 60.0, **spec: Any) -> None:
        self.now = parse_time(START)
        self.counter = itertools.count(1)
        template = {"metadata": {"labels": {"a": "b"}}, "spec": {"template": {"spec": {}}}}
        self.cron: Obj = {
            "metadata": {"name": "c", "namespace": "n", "uid": "c", "creationTimestamp": START, "resourceVersion": "1"},
            "spec": {
                "schedule": schedule,
                "jobTemplate": template,
                "successfulJobsHistoryLimit": 3,
                "failedJobsHistoryLimit": 1,
                **spec,
            },
        }
        self.lasts, self.fails = lasts, False
        self.jobs: dict[str, Obj] = {}
        self.made: list[str] = []
        """The times that jobs were made for."""
        self.events: list[str] = []
        self.overlapped = False
        self.controller = CronJobController(RealWorld(1))

    def end_jobs(self) -> None:
        for job in self.jobs.values():
            begun = parse_time(job["status"]["startTime"])
            if "conditions" in job["status"] or begun + self.lasts > self.now:
                continue
            kind = "Failed" if self.fails else "Complete"
            job["status"]["conditions"] = [{"type": kind, "status": "True", "lastTransitionTime": rfc3339(self.now)}]
            if not self.fails:
                job["status"]["completionTime"] = rfc3339(begun + self.lasts)

    def running(self) -> list[Obj]:
        return [job for job in self.jobs.values() if "conditions" not in job["status"]]

    def apply(self, plan: Plan) -> bool:
        changed = False
        for action in plan.actions:
            match action:
                case Create(_, obj):
                    meta = obj["metadata"]
                    assert meta["name"] not in self.jobs
                    self.made.append(meta["annotations"][SCHEDULED])
                    made = trees.copy(obj)
                    made["metadata"].update(uid=f"u{next(self.counter)}", resourceVersion="1")
                    made["status"] = {"startTime": rfc3339(self.now)}
                    self.jobs[meta["name"]] = made
                case Delete(_, key):
                    del self.jobs[key.name]
                case Update(_, obj, "status"):
                    self.cron["status"] = trees.copy(obj["status"])
                case Emit(reason=reason):
                    self.events.append(reason)
                    continue
                case _:
                    raise AssertionError(action)
            changed = True
        return changed

    def settle(self) -> float | None:
        for _ in range(10):
            self.end_jobs()
            plan = self.controller.reconcile(
                Observed(trees.copy(self.cron), trees.copy(list(self.jobs.values()))), self.now
            )
            if not self.apply(plan):
                return plan.requeue_after
            self.overlapped = self.overlapped or len(self.running()) > 1
        raise AssertionError("no fixpoint")

    def run(self, days: float) -> None:
        end = self.now + days * 86400
        while self.now < end:
            wait = self.settle()
            next_end = [parse_time(job["status"]["startTime"]) + self.lasts - self.now for job in self.running()]
            self.now += min(w for w in (wait, *next_end, end - self.now) if w is not None and w > 0)


def test_a_month_of_hourly_jobs() -> None:
    month = Month("5 * * * *")
    month.run(30)
    assert len(month.made) == 30 * 24
    assert month.made[0] == "2026-03-01T00:05:00Z"
    assert len(set(month.made)) == len(month.made)
    assert len(month.jobs) == 3
    assert month.cron["status"]["lastScheduleTime"] == "2026-03-30T23:05:00Z"
    assert month.cron["status"]["lastSuccessfulTime"] >= "2026-03-30T23:06:00Z"
    assert "active" not in month.cron["status"]
    assert "MissingJob" not in month.events
    assert "UnexpectedJob" not in month.events


def test_a_month_in_a_zone_whose_clock_changes() -> None:
    month = Month("30 2 * * *", timeZone="Europe/Berlin")
    month.run(31)
    assert len(month.made) == 30
    assert month.made[:2] == ["2026-03-01T02:30:00+01:00", "2026-03-02T02:30:00+01:00"]
    assert month.made[-1] == "2026-03-31T02:30:00+02:00"
    assert not any(time.startswith("2026-03-29") for time in month.made)


def test_forbid_waits_and_replace_does_not() -> None:
    month = Month("*/10 * * * *", lasts=25 * 60, concurrencyPolicy="Forbid")
    month.run(1)
    assert not month.overlapped
    assert "JobAlreadyActive" in month.events
    assert 40 < len(month.made) < 60
    month = Month("*/10 * * * *", lasts=25 * 60, concurrencyPolicy="Replace")
    month.run(1)
    assert not month.overlapped
    assert len(month.made) == 143
    assert "MissingJob" not in month.events
    month = Month("*/10 * * * *", lasts=25 * 60, concurrencyPolicy="Allow")
    month.run(1)
    assert month.overlapped
    assert len(month.cron["status"]["active"]) == 2


def test_failures_are_kept_for_a_look() -> None:
    month = Month("0 * * * *")
    month.fails = True
    month.run(2)
    assert len(month.jobs) == 1
    assert "lastSuccessfulTime" not in month.cron["status"]


def test_what_was_missed_is_made_up_for_once_and_only_in_time() -> None:
    month = Month("0 * * * *")
    month.now += 5.5 * 3600
    month.settle()
    assert month.made == ["2026-03-01T05:00:00Z"]
    month = Month("0 * * * *", startingDeadlineSeconds=60)
    month.now += 5.5 * 3600
    month.settle()
    assert month.made == []
    month = Month("0 * * * *")
    month.now += 200 * 3600
    month.settle()
    assert month.made == ["2026-03-09T08:00:00Z"]
    assert "TooManyMissedTimes" in month.events


def test_a_suspended_one_makes_nothing_until_it_is_resumed() -> None:
    month = Month("0 * * * *", suspend=True)
    month.now += 5.5 * 3600
    assert month.settle() is None
    assert month.made == []
    month.cron["spec"]["suspend"] = False
    month.settle()
    assert month.made == ["2026-03-01T05:00:00Z"]


def test_a_job_that_was_made_before_a_crash_is_found_again() -> None:
    month = Month("0 * * * *")
    month.now += 3600.1
    plan = month.controller.reconcile(Observed(trees.copy(month.cron), []), month.now)
    month.apply(Plan([action for action in plan.actions if isinstance(action, Create)]))
    month.controller = CronJobController(RealWorld(1))
    month.settle()
    assert len(month.made) == 1
    assert [r["name"] for r in month.cron["status"]["active"]] == list(month.jobs)
    assert month.cron["status"]["lastScheduleTime"] == "2026-03-01T01:00:00Z"


def test_a_new_schedule_does_not_make_up_for_its_past() -> None:
    month = Month("0 3 * * *")
    month.now += 10 * 3600
    month.settle()
    assert len(month.made) == 1
    old, world = trees.copy(month.cron), RealWorld(1)
    month.cron["spec"]["schedule"] = "0 9 * * *"
    controller = CronJobController(world)
    assert list(controller._keys(old, month.cron, {}))  # type: ignore[arg-type]
    caches = Fixed(month.cron)
    observed = controller.observe(Key("n", "c"), caches)  # type: ignore[arg-type]
    assert observed is not None
    assert observed.rescheduled > 0
    later = Observed(month.cron, list(month.jobs.values()), month.now)
    plan = controller.reconcile(later, month.now)
    assert not any(isinstance(action, Create) for action in plan.actions)
    assert plan.requeue_after == pytest.approx(23 * 3600 + 0.1)


class Fixed:
    """Caches of one CronJob without jobs."""

    def __init__(self, cron: Obj) -> None:
        self.cron = cron

    def __getitem__(self, resource: Resource) -> Fixed:
        return self

    def get(self, namespace: str, name: str) -> Obj:
        return self.cron

    def by_index(self, index: str, value: str) -> list[Obj]:
        return []


# -- on hollow nodes

NS = "default"


def stored(server: ApiServer, resource: Resource) -> dict[str, Obj]:
    registry = server.registries[GroupResource(resource.group, resource.plural)]
    return {entry.name: entry.obj for entry in registry.cache.range(NS)}


def cron_job(schedule: str, run: str = "0.01", **spec: Any) -> Obj:
    pod = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "a"}]}
    template = {"metadata": {"annotations": {"navarch.hollow/run-seconds": run}}, "spec": pod}
    job = {"spec": {"template": template, "ttlSecondsAfterFinished": 3600}}
    return {"metadata": {"name": "tick"}, "spec": {"schedule": schedule, "jobTemplate": job, **spec}}


async def test_a_job_is_made_and_runs_and_goes_with_its_maker() -> None:
    async with cluster(1) as (server, _):
        await server.system.create(CRON_JOBS, cron_job("@every 1s"), NS)

        def status() -> Obj:
            return stored(server, CRON_JOBS)["tick"].get("status") or {}

        await until("it was successful", lambda: status().get("lastSuccessfulTime"))
        (job, *_) = stored(server, JOBS).values()
        scheduled = parse_time(job["metadata"]["annotations"][SCHEDULED])
        assert job["metadata"]["name"] == f"tick-{int(scheduled) // 60}"
        assert job["metadata"]["ownerReferences"][0]["kind"] == "CronJob"
        assert parse_time(status()["lastScheduleTime"]) >= scheduled

        def events() -> set[str]:
            return {event["reason"] for event in stored(server, EVENTS).values()}

        await until("it was told", lambda: {"SuccessfulCreate", "SawCompletedJob"} <= events())
        await server.system.patch(CRON_JOBS, "tick", {"spec": {"suspend": True, "successfulJobsHistoryLimit": 0}}, NS)
        await until("no history is kept", lambda: not stored(server, JOBS))
        assert not {"UnexpectedJob", "MissingJob"} & events()


async def test_what_runs_goes_with_its_maker() -> None:
    async with cluster(1) as (server, _):
        await server.system.create(CRON_JOBS, cron_job("@every 1s", run="1000"), NS)
        await until("it runs", lambda: any(job["status"].get("ready") for job in stored(server, JOBS).values()))
        (reference, *_) = stored(server, CRON_JOBS)["tick"]["status"]["active"]
        assert reference["name"] in stored(server, JOBS)
        await server.system.delete(CRON_JOBS, "tick", NS)
        await until("all is gone", lambda: not stored(server, JOBS))


async def test_a_job_with_a_time_to_live_goes_with_its_pods() -> None:
    async with cluster(1) as (server, _):
        made = cron_job("* * * * *")["spec"]["jobTemplate"]
        made["metadata"] = {"name": "brief"}
        made["spec"]["ttlSecondsAfterFinished"] = 0
        await server.system.create(JOBS, made, NS)
        await until("it is gone", lambda: not stored(server, JOBS))
