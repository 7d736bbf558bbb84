"""A month of CronJobs through a whole API server and the controllers of jobs, on virtual time: in seconds of test time.

The world begins in January 2027; Berlin's clock does not change in this month, Sao Paulo's never again. (Changes of the clock are in
tests/unit/controllers/test_cronjobs.py.)
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from navarch.apiserver.server import ApiServer, ApiServerConfig
from navarch.client.informer import InformerFactory
from navarch.client.interface import Client
from navarch.client.resources import CRON_JOBS, JOBS
from navarch.cluster.controlplane import ControlPlane
from navarch.controllers.cronjob.controller import CronJobController
from navarch.controllers.job.controller import JobController
from navarch.controllers.job.expiry import JobExpiryController
from navarch.controllers.registry import account_user
from navarch.controlloop.loop import ControllerLoop
from navarch.machinery.types import Obj
from navarch.sim import virtual
from navarch.testing.inside import api_server

NS, DAYS = "default", 30
SCHEDULED = "batch.kubernetes.io/cronjob-scheduled-timestamp"


def cron_job(name: str, schedule: str, **spec: Any) -> Obj:
    """Its jobs have nothing to do: they are complete as soon as somebody looks."""
    pod = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "a"}]}
    job = {"spec": {"completions": 0, "parallelism": 0, "template": {"spec": pod}}}
    return {"metadata": {"name": name}, "spec": {"schedule": schedule, "jobTemplate": job, **spec}}


@asynccontextmanager
async def controllers(server: ApiServer) -> AsyncIterator[None]:
    """Those of jobs, each with its own rights."""
    accounts = {
        "cronjob-controller": CronJobController(server.world),
        "job-controller": JobController(),
        "ttl-after-finished-controller": JobExpiryController(),
    }
    informers = InformerFactory(server.system, server.world)
    loops: list[ControllerLoop[Any]] = []
    for account, controller in accounts.items():
        client = ControlPlane(server).client_for(account_user(account))
        loops.append(ControllerLoop(controller, client, informers, server.world))
    informers.start()
    await asyncio.gather(*(loop.start() for loop in loops))
    yield
    await asyncio.gather(*(loop.stop() for loop in loops))
    await informers.stop()


async def follow(client: Client, made: dict[str, str]) -> None:
    """Notes every job that comes, with the time it was due at."""
    async for batch in client.watch(JOBS, NS):
        for event in batch:
            if event.type == "ADDED":
                meta = event.object["metadata"]
                assert meta["name"] not in made
                made[meta["name"]] = meta["annotations"][SCHEDULED]


async def a_month() -> tuple[dict[str, str], dict[str, Obj], list[Obj]]:
    """The jobs that were made, the CronJobs at the end, and the jobs that are left."""
    config = ApiServerConfig(fairness=False)
    async with api_server(world=virtual.VirtualWorld(1), config=config) as server, controllers(server):
        client, made = server.system, dict[str, str]()
        for wanted in (
            cron_job("hourly", "5 * * * *"),
            cron_job("daily", "30 2 * * *", timeZone="Europe/Berlin", successfulJobsHistoryLimit=1),
            cron_job("weekly", "0 9 * * mon", timeZone="America/Sao_Paulo"),
            cron_job("monthly", "0 0 1 * *"),
            cron_job("asleep", "* * * * *", suspend=True),
        ):
            await client.create(CRON_JOBS, wanted, NS)
        task = asyncio.get_running_loop().create_task(follow(client, made))
        await asyncio.sleep(DAYS * 86400)
        task.cancel()
        crons = {cron["metadata"]["name"]: cron for cron in (await client.list(CRON_JOBS, NS)).items}
        return made, crons, list((await client.list(JOBS, NS)).items)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_month_of_cron_jobs() -> None:
    made, crons, left = virtual.run(a_month())
    begins = datetime.fromtimestamp(virtual.EPOCH, UTC)
    assert (begins.month, begins.day) == (1, 15)
    by_maker: dict[str, list[str]] = {name: [] for name in crons}
    for name, due in made.items():
        by_maker[name.rpartition("-")[0]].append(due)
    assert {name: len(due) for name, due in by_maker.items()} == {
        "hourly": DAYS * 24, "daily": DAYS, "weekly": 4, "monthly": 1, "asleep": 0,
    }  # fmt: skip
    assert all(due.endswith(":05:00Z") for due in by_maker["hourly"])
    assert all(due.endswith("T02:30:00+01:00") for due in by_maker["daily"])
    assert by_maker["weekly"][0] == "2027-01-18T09:00:00-03:00"
    assert by_maker["monthly"] == ["2027-02-01T00:00:00Z"]
    kept = sorted(job["metadata"]["name"].rpartition("-")[0] for job in left)
    assert kept == ["daily"] + ["hourly"] * 3 + ["monthly"] + ["weekly"] * 3
    assert crons["monthly"]["status"]["lastSuccessfulTime"] == "2027-02-01T00:00:00Z"
    assert not any(cron.get("status", {}).get("active") for cron in crons.values())
