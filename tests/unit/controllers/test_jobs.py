"""Jobs on hollow nodes, every part with its own rights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.support.hollow import cluster, until

from navarch.apiserver.server import ApiServer
from navarch.client.interface import Resource
from navarch.client.resources import EVENTS, JOBS, PODS
from navarch.controllers import objects
from navarch.machinery.types import GroupResource, Obj

NS = "default"
RUN, CODE, READY = "navarch.hollow/run-seconds", "navarch.hollow/exit-code", "navarch.hollow/ready"
TRACKING = "batch.kubernetes.io/job-tracking"
INDEX = "batch.kubernetes.io/job-completion-index"


def job(run: float | None = 0.01, code: int = 0, name: str = "work", **spec: Any) -> Obj:
    notes = {CODE: str(code), **({} if run is None else {RUN: str(run)})}
    pod = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "a"}]}
    template = {"metadata": {"annotations": notes}, "spec": pod}
    return {"metadata": {"name": name}, "spec": {"template": template, **spec}}


def stored(server: ApiServer, resource: Resource) -> dict[str, Obj]:
    registry = server.registries[GroupResource(resource.group, resource.plural)]
    return {entry.name: entry.obj for entry in registry.cache.range(NS)}


def status(server: ApiServer, name: str = "work") -> Obj:
    return stored(server, JOBS)[name].get("status") or {}


def condition(server: ApiServer, kind: str, name: str = "work") -> Obj | None:
    found = objects.condition_of(status(server, name), kind)
    return found if found is not None and found["status"] == "True" else None


def ended(server: ApiServer, kind: str) -> Callable[[], Obj | None]:
    return lambda: condition(server, kind)


def reasons(server: ApiServer) -> set[str]:
    return {event["reason"] for event in stored(server, EVENTS).values()}


def active_pods(server: ApiServer) -> list[Obj]:
    return [pod for pod in stored(server, PODS).values() if objects.is_active(pod)]


async def set_phase(server: ApiServer, name: str, phase: str) -> None:
    await server.system.patch(PODS, name, {"status": {"phase": phase}}, NS, subresource="status")


async def test_a_job_completes_and_leaves_its_pods_counted() -> None:
    async with cluster(2) as (server, _):
        await server.system.create(JOBS, job(completions=4, parallelism=2), NS)
        done = await until("it completes", ended(server, "Complete"))
        assert (done["reason"], done["message"]) == ("CompletionsReached", "Reached expected number of succeeded pods")
        assert condition(server, "SuccessCriteriaMet") is not None
        seen = status(server)
        assert seen["succeeded"] == 4
        assert seen["completionTime"] >= seen["startTime"]
        assert (seen["ready"], seen["terminating"], seen["uncountedTerminatedPods"]) == (0, 0, {})
        assert not {"active", "failed"} & set(seen)
        pods = stored(server, PODS)
        assert len(pods) == 4
        assert not any(TRACKING in (pod["metadata"].get("finalizers") or ()) for pod in pods.values())
        assert {"SuccessfulCreate", "Completed"} <= reasons(server)


async def test_never_more_than_parallelism_run_and_it_may_change() -> None:
    async with cluster(2) as (server, _):
        await server.system.create(JOBS, job(None, completions=10, parallelism=3), NS)
        await until("three run", lambda: status(server).get("ready") == 3)
        assert status(server)["active"] == 3
        await server.system.patch(JOBS, "work", {"spec": {"parallelism": 5}}, NS)
        await until("five run", lambda: status(server).get("ready") == 5)
        await server.system.patch(JOBS, "work", {"spec": {"parallelism": 1}}, NS)
        await until("one runs", lambda: status(server).get("active") == 1 and len(stored(server, PODS)) == 1)
        assert "failed" not in status(server)
        assert "SuccessfulDelete" in reasons(server)


async def test_without_completions_one_success_ends_it() -> None:
    async with cluster(2) as (server, _):
        await server.system.create(JOBS, job(None, parallelism=2), NS)
        await until("two run", lambda: status(server).get("ready") == 2)
        first, second = stored(server, PODS)
        await set_phase(server, first, "Succeeded")
        await until("one is counted", lambda: status(server).get("succeeded") == 1)
        assert condition(server, "Complete") is None
        assert status(server)["active"] == 1
        await set_phase(server, second, "Failed")
        await until("it completes", ended(server, "Complete"))


async def test_failures_back_off_and_end_the_job_at_its_limit() -> None:
    async with cluster(1) as (server, _):
        await server.system.create(JOBS, job(code=1, backoffLimit=0), NS)
        failed = await until("it fails", ended(server, "Failed"))
        assert failed["reason"] == "BackoffLimitExceeded"
        assert condition(server, "FailureTarget") is not None
        assert status(server)["failed"] == 1
        assert "completionTime" not in status(server)
        assert len(stored(server, PODS)) == 1
        await server.system.create(JOBS, job(code=1, name="again"), NS)
        await until("it failed once", lambda: status(server, "again").get("failed") == 1)
        assert "active" not in status(server, "again")
        assert "BackoffLimitExceeded" in reasons(server)


async def test_a_failed_job_takes_down_what_still_runs() -> None:
    async with cluster(2) as (server, _):
        await server.system.create(JOBS, job(None, completions=3, parallelism=3, backoffLimit=0), NS)
        await until("three run", lambda: status(server).get("ready") == 3)
        await set_phase(server, next(iter(stored(server, PODS))), "Failed")
        await until("it fails", ended(server, "Failed"))
        assert status(server)["failed"] == 3
        assert active_pods(server) == []


async def test_every_index_runs_once_and_knows_itself() -> None:
    async with cluster(2) as (server, _):
        await server.system.create(JOBS, job(completions=4, parallelism=3, completionMode="Indexed"), NS)
        await until("it completes", ended(server, "Complete"))
        assert status(server)["completedIndexes"] == "0-3"
        assert status(server)["succeeded"] == 4
        pods = list(stored(server, PODS).values())
        assert sorted(pod["metadata"]["annotations"][INDEX] for pod in pods) == ["0", "1", "2", "3"]
        for pod in pods:
            index = pod["metadata"]["labels"][INDEX]
            assert pod["spec"]["hostname"] == f"work-{index}"
            assert pod["metadata"]["generateName"] == f"work-{index}-"
            (variable,) = pod["spec"]["containers"][0]["env"]
            assert variable["name"] == "JOB_COMPLETION_INDEX"
            assert variable["valueFrom"]["fieldRef"]["fieldPath"] == f"metadata.labels['{INDEX}']"


async def test_an_indexed_job_grows_and_shrinks() -> None:
    async with cluster(2) as (server, _):
        await server.system.create(JOBS, job(None, completions=2, parallelism=2, completionMode="Indexed"), NS)
        await until("two run", lambda: status(server).get("ready") == 2)
        await server.system.patch(JOBS, "work", {"spec": {"completions": 4, "parallelism": 4}}, NS)
        await until("four run", lambda: status(server).get("ready") == 4)
        await server.system.patch(JOBS, "work", {"spec": {"completions": 1, "parallelism": 1}}, NS)
        await until("one runs", lambda: status(server).get("active") == 1 and len(stored(server, PODS)) == 1)
        (pod,) = stored(server, PODS).values()
        assert pod["metadata"]["annotations"][INDEX] == "0"


async def test_indexes_fail_on_their_own_and_the_others_go_on() -> None:
    async with cluster(2) as (server, _):
        spec = job(None, completions=3, parallelism=3, completionMode="Indexed", backoffLimitPerIndex=0)
        await server.system.create(JOBS, spec, NS)
        await until("three run", lambda: status(server).get("ready") == 3)
        by_index = {pod["metadata"]["annotations"][INDEX]: name for name, pod in stored(server, PODS).items()}
        await set_phase(server, by_index["1"], "Failed")
        await until("one index has failed", lambda: status(server).get("failedIndexes") == "1")
        assert status(server)["active"] == 2
        await set_phase(server, by_index["0"], "Succeeded")
        await set_phase(server, by_index["2"], "Succeeded")
        failed = await until("it fails", ended(server, "Failed"))
        assert failed["reason"] == "FailedIndexes"
        assert status(server)["completedIndexes"] == "0,2"
        assert (status(server)["succeeded"], status(server)["failed"]) == (2, 1)


async def test_too_many_failed_indexes_end_the_job() -> None:
    async with cluster(2) as (server, _):
        limits = {"backoffLimitPerIndex": 0, "maxFailedIndexes": 0}
        await server.system.create(
            JOBS, job(None, completions=2, parallelism=2, completionMode="Indexed", **limits), NS
        )
        await until("two run", lambda: status(server).get("ready") == 2)
        await set_phase(server, next(iter(stored(server, PODS))), "Failed")
        failed = await until("it fails", ended(server, "Failed"))
        assert failed["reason"] == "MaxFailedIndexesExceeded"
        assert active_pods(server) == []


async def test_a_failure_policy_fails_the_job_at_once() -> None:
    async with cluster(1) as (server, _):
        rule = {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}}
        await server.system.create(JOBS, job(code=42, podFailurePolicy={"rules": [rule]}), NS)
        failed = await until("it fails", ended(server, "Failed"))
        (name,) = stored(server, PODS)
        assert failed["reason"] == "PodFailurePolicy"
        assert failed["message"] == (
            f"Container c for pod default/{name} failed with exit code 42 matching FailJob rule at index 0"
        )


async def test_a_success_policy_ends_it_early() -> None:
    async with cluster(2) as (server, _):
        rule = {"succeededIndexes": "0", "succeededCount": 1}
        spec = job(None, completions=3, parallelism=3, completionMode="Indexed", successPolicy={"rules": [rule]})
        await server.system.create(JOBS, spec, NS)
        await until("three run", lambda: status(server).get("ready") == 3)
        by_index = {pod["metadata"]["annotations"][INDEX]: name for name, pod in stored(server, PODS).items()}
        await set_phase(server, by_index["0"], "Succeeded")
        done = await until("it completes", ended(server, "Complete"))
        assert (done["reason"], done["message"]) == ("SuccessPolicy", "Matched rules at index 0")
        assert status(server)["completedIndexes"] == "0"
        assert "failed" not in status(server)
        assert active_pods(server) == []


async def test_a_suspended_job_has_no_pods_and_starts_when_it_is_resumed() -> None:
    async with cluster(1) as (server, _):
        client = server.system
        await client.create(JOBS, job(None, suspend=True), NS)
        await until("it sleeps", ended(server, "Suspended"))
        assert "startTime" not in status(server)
        assert stored(server, PODS) == {}
        await client.patch(JOBS, "work", {"spec": {"suspend": False}}, NS)
        await until("it runs", lambda: status(server).get("ready") == 1)
        assert condition(server, "Suspended") is None
        assert "startTime" in status(server)
        await client.patch(JOBS, "work", {"spec": {"suspend": True}}, NS)
        await until("it sleeps again", lambda: condition(server, "Suspended") and not stored(server, PODS))
        assert "failed" not in status(server)
        await until("all was told", lambda: {"Suspended", "Resumed"} <= reasons(server))


async def test_a_job_that_takes_too_long_fails() -> None:
    async with cluster(1) as (server, _):
        await server.system.create(JOBS, job(None, activeDeadlineSeconds=1), NS)
        failed = await until("it fails", ended(server, "Failed"))
        assert failed["reason"] == "DeadlineExceeded"
        assert status(server)["failed"] == 1


async def test_a_deleted_pod_counts_as_failed() -> None:
    async with cluster(1) as (server, _):
        await server.system.create(JOBS, job(None), NS)
        await until("it runs", lambda: status(server).get("ready") == 1)
        await server.system.delete(PODS, next(iter(stored(server, PODS))), NS)
        await until("it counts", lambda: status(server).get("failed") == 1)


async def test_somebody_elses_job_is_left_alone() -> None:
    async with cluster(1) as (server, _):
        await server.system.create(JOBS, job(managedBy="example.com/other"), NS)
        await server.system.create(JOBS, job(name="mine"), NS)
        await until("mine completes", lambda: condition(server, "Complete", "mine"))
        assert status(server) == {}
        assert len(stored(server, PODS)) == 1


async def test_pods_of_a_deleted_job_go_with_it() -> None:
    async with cluster(1) as (server, _):
        for propagation in ("Background", "Foreground"):
            await server.system.create(JOBS, job(None), NS)
            await until("it runs", lambda: status(server).get("ready") == 1)
            await server.system.delete(JOBS, "work", NS, propagation=propagation)  # type: ignore[arg-type]
            await until("all is gone", lambda: not stored(server, JOBS) and not stored(server, PODS))


async def test_pods_left_behind_lose_the_finalizer_and_can_be_adopted() -> None:
    async with cluster(1) as (server, _):
        client = server.system
        await client.create(JOBS, job(None), NS)
        await until("it runs", lambda: status(server).get("ready") == 1)
        (name,) = stored(server, PODS)
        await client.patch(PODS, name, {"metadata": {"labels": {"batch.kubernetes.io/controller-uid": "other"}}}, NS)
        await until("another is made", lambda: len(stored(server, PODS)) == 2 and status(server).get("active") == 1)
        meta = stored(server, PODS)[name]["metadata"]
        assert not meta.get("ownerReferences")
        assert not meta.get("finalizers")
        spec = job(None, name="heir", manualSelector=True, selector={"matchLabels": {"w": "x"}})
        spec["spec"]["template"]["metadata"]["labels"] = {"w": "x"}
        await client.patch(PODS, name, {"metadata": {"labels": {"w": "x"}}}, NS)
        await client.create(JOBS, spec, NS)
        await until("it is adopted", lambda: status(server, "heir").get("active") == 1)
        meta = stored(server, PODS)[name]["metadata"]
        assert objects.controller_of(stored(server, PODS)[name])["name"] == "heir"  # type: ignore[index]
        assert meta["finalizers"] == [TRACKING]
