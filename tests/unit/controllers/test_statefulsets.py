"""StatefulSets on hollow nodes, every part with its own rights: order, identity, claims, updates and rollbacks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from tests.support.hollow import cluster, until

from navarch.apiserver.server import ApiServer
from navarch.client.interface import Resource
from navarch.client.resources import EVENTS, PERSISTENT_VOLUME_CLAIMS, PODS, STATEFUL_SETS
from navarch.controllers.history import REVISIONS
from navarch.machinery.types import GroupResource, Obj

NS = "default"
LABELS = {"app": "db"}


CLAIM = {
    "metadata": {"name": "data"},
    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
}


def stateful_set(replicas: int = 3, **spec: Any) -> Obj:
    pod = {"metadata": {"labels": LABELS}, "spec": {"containers": [{"name": "c", "image": "a"}]}}
    made = {"replicas": replicas, "serviceName": "db", "selector": {"matchLabels": LABELS}, "template": pod}
    return {"metadata": {"name": "db"}, "spec": {**made, **spec}}


def stored(server: ApiServer, resource: Resource) -> dict[str, Obj]:
    registry = server.registries[GroupResource(resource.group, resource.plural)]
    return {entry.name: entry.obj for entry in registry.cache.range(NS)}


def settled(server: ApiServer, replicas: int) -> Callable[[], bool]:
    """The set's status says that all are as they should be, and so many pods are there."""

    def holds() -> bool:
        found = stored(server, STATEFUL_SETS)["db"]
        status = found.get("status") or {}
        seen = status.get("observedGeneration") == found["metadata"]["generation"]
        counts = {status.get(name) or 0 for name in ("replicas", "readyReplicas", "availableReplicas")}
        return seen and counts == {replicas} and len(stored(server, PODS)) == replicas

    return holds


def images(server: ApiServer) -> dict[str, str]:
    return {name: pod["spec"]["containers"][0]["image"] for name, pod in stored(server, PODS).items()}


async def change(server: ApiServer, spec: Obj) -> None:
    await server.system.patch(STATEFUL_SETS, "db", {"spec": spec}, NS)


def template(image: str) -> Obj:
    return {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}


@asynccontextmanager
async def comings_and_goings(server: ApiServer) -> AsyncIterator[list[str]]:
    """Pods as they come (`+name`) and go (`-name`) from now on."""
    revision = (await server.system.list(PODS, NS)).resource_version
    seen: list[str] = []
    signs = {"ADDED": "+", "DELETED": "-"}

    async def follow() -> None:
        async for batch in server.system.watch(PODS, NS, resource_version=revision):
            seen.extend(signs[e.type] + e.object["metadata"]["name"] for e in batch if e.type in signs)

    task = asyncio.create_task(follow())
    try:
        yield seen
    finally:
        task.cancel()


async def test_pods_come_in_order_and_go_in_reverse() -> None:
    async with cluster(2) as (server, _):
        client = server.system
        async with comings_and_goings(server) as seen:
            await client.create(STATEFUL_SETS, stateful_set(), NS)
            await until("all are there", lambda: settled(server, 3)() and len(seen) >= 3)
        assert seen == ["+db-0", "+db-1", "+db-2"]
        pods = stored(server, PODS)
        for ordinal, (name, pod) in enumerate(sorted(pods.items())):
            assert (pod["spec"]["hostname"], pod["spec"]["subdomain"]) == (name, "db")
            labels = pod["metadata"]["labels"]
            assert labels["statefulset.kubernetes.io/pod-name"] == name
            assert labels["apps.kubernetes.io/pod-index"] == str(ordinal)
        for ordinal in (0, 1):
            before, after = pods[f"db-{ordinal}"], pods[f"db-{ordinal + 1}"]
            assert before["metadata"]["uid"] != after["metadata"]["uid"]
            assert int(after["metadata"]["resourceVersion"]) > int(before["metadata"]["resourceVersion"])
        async with comings_and_goings(server) as seen:
            await change(server, {"replicas": 1})
            await until("two have gone", lambda: settled(server, 1)() and len(seen) >= 2)
        assert seen == ["-db-2", "-db-1"]


async def test_a_pod_that_is_lost_comes_back_under_its_name() -> None:
    async with cluster(2) as (server, _):
        await server.system.create(STATEFUL_SETS, stateful_set(), NS)
        await until("all are there", settled(server, 3))
        uid = stored(server, PODS)["db-1"]["metadata"]["uid"]
        await server.system.delete(PODS, "db-1", NS)

        def another() -> bool:
            found = stored(server, PODS).get("db-1")
            return found is not None and found["metadata"]["uid"] != uid and settled(server, 3)()

        await until("another db-1 is there", another)


async def test_an_update_goes_from_the_top_down_to_its_partition_and_back() -> None:
    async with cluster(2) as (server, _):
        await server.system.create(STATEFUL_SETS, stateful_set(), NS)
        await until("all are there", settled(server, 3))
        first = stored(server, STATEFUL_SETS)["db"]["status"]["currentRevision"]
        held = {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}}
        async with comings_and_goings(server) as seen:
            await change(server, {**held, **template("b")})
            await until("two are new", lambda: settled(server, 3)() and len(seen) >= 4)
        assert images(server) == {"db-0": "a", "db-1": "b", "db-2": "b"}
        assert seen == ["-db-2", "+db-2", "-db-1", "+db-1"]
        status = stored(server, STATEFUL_SETS)["db"]["status"]
        assert (status["currentReplicas"], status["updatedReplicas"]) == (1, 2)
        assert status["currentRevision"] == first != status["updateRevision"]
        whole = {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}}
        await change(server, whole)
        await until("all are new", lambda: settled(server, 3)() and set(images(server).values()) == {"b"})
        await until(
            "the new revision is the current one",
            lambda: stored(server, STATEFUL_SETS)["db"]["status"]["currentRevision"] == status["updateRevision"],
        )
        await change(server, template("a"))
        await until("all are as they were", lambda: settled(server, 3)() and set(images(server).values()) == {"a"})
        numbers = {r["metadata"]["name"]: r["revision"] for r in stored(server, REVISIONS).values()}
        assert numbers == {first: 3, status["updateRevision"]: 2}


async def test_ordered_pods_wait_for_one_that_is_not_ready() -> None:
    async with cluster(1) as (server, _):
        body = stateful_set()
        body["spec"]["template"]["metadata"]["annotations"] = {"navarch.hollow/ready": "false"}
        await server.system.create(STATEFUL_SETS, body, NS)
        await until("the first one runs", lambda: _phase(server, "db-0") == "Running")
        await until("nothing is left to do", lambda: "db-0" in stored(server, PODS))
        assert list(stored(server, PODS)) == ["db-0"]
        assert stored(server, STATEFUL_SETS)["db"]["status"].get("readyReplicas") is None


def _phase(server: ApiServer, name: str) -> str:
    return (stored(server, PODS).get(name) or {}).get("status", {}).get("phase", "")


async def test_claims_are_made_kept_and_given_up_as_the_policy_says() -> None:
    """In parallel: no pod waits for another, and none for its volume."""
    async with cluster(1) as (server, _):
        policy = {"whenScaled": "Delete", "whenDeleted": "Retain"}
        more = {"podManagementPolicy": "Parallel", "persistentVolumeClaimRetentionPolicy": policy}
        await server.system.create(STATEFUL_SETS, stateful_set(3, volumeClaimTemplates=[CLAIM], **more), NS)
        names = {"data-db-0", "data-db-1", "data-db-2"}
        await until("claims are there", lambda: set(stored(server, PERSISTENT_VOLUME_CLAIMS)) == names)
        await until("pods are there", lambda: len(stored(server, PODS)) == 3)
        assert stored(server, PODS)["db-1"]["spec"]["volumes"][0] == {
            "name": "data",
            "persistentVolumeClaim": {"claimName": "data-db-1"},
        }
        await change(server, {"replicas": 1})
        kept = lambda: set(stored(server, PERSISTENT_VOLUME_CLAIMS)) == {"data-db-0"}  # noqa: E731
        await until("claims of pods that went are gone", kept)
        await server.system.delete(STATEFUL_SETS, "db", NS)
        await until("the pods are gone", lambda: not stored(server, PODS))
        assert kept()


async def test_events_tell_what_was_done() -> None:
    async with cluster(1) as (server, _):
        await server.system.create(STATEFUL_SETS, stateful_set(1), NS)

        def told() -> bool:
            text = "Create Pod db-0 in StatefulSet db successful"
            return any(e.get("message", e.get("note")) == text for e in stored(server, EVENTS).values())

        await until("the creation is told", told)
