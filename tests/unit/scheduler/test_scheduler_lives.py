"""The scheduler at work in a cluster of hollow nodes: what users see of it through the API."""

from __future__ import annotations

from typing import Any

from tests.support.apiserver import api_server
from tests.support.hollow import cluster, until

from navarch.apiserver.admission.settings import Settings
from navarch.apiserver.server import ApiServer, ApiServerConfig
from navarch.client.resources import EVENTS, NODES, PODS, PRIORITY_CLASSES
from navarch.controlloop.recorder import Recorder
from navarch.machinery.types import GroupResource, Obj
from navarch.scheduler.scheduler import Scheduler

WITHOUT = frozenset(("ServiceAccount", "TaintNodesByCondition"))


def manifest(name: str, cpu: str, **spec: Any) -> Obj:
    container = {"name": "c", "image": "x", "resources": {"requests": {"cpu": cpu}}}
    meta = {"name": name, "namespace": "default"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": meta,
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 0, **spec},
    }


def seen(server: ApiServer, name: str) -> Obj:
    return server.lookup(GroupResource("", "pods"), "default", name) or {}


def is_running(server: ApiServer, name: str) -> bool:
    return seen(server, name).get("status", {}).get("phase") == "Running"


async def classes(server: ApiServer, **values: int) -> None:
    for name, value in values.items():
        made = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}}
        await server.system.create(PRIORITY_CLASSES, {**made, "value": value})


async def said(server: ApiServer, reason: str) -> list[str]:
    events = (await server.system.list(EVENTS, "default")).items
    return [event["message"] for event in events if event.get("reason") == reason]


async def test_a_more_important_pod_takes_the_place_of_a_lesser() -> None:
    async with cluster(1) as (server, _):
        await classes(server, low=1, high=100)
        await server.system.create(PODS, manifest("lesser", "20", priorityClassName="low"), "default")
        await until("running", lambda: is_running(server, "lesser"))
        lesser = seen(server, "lesser")
        high = await server.system.create(PODS, manifest("greater", "20", priorityClassName="high"), "default")
        await until("running", lambda: is_running(server, "greater"))
        assert not seen(server, "lesser")
        assert seen(server, "greater")["status"].get("nominatedNodeName") is None
        node = lesser["spec"]["nodeName"]
        assert f"Preempted by pod {high['metadata']['uid']} on node {node}" in await said(server, "Preempted")
        assert "0/1 nodes are available: 1 Insufficient cpu." in await said(server, "FailedScheduling")


async def test_a_pod_that_may_not_preempt_waits_and_says_so() -> None:
    async with cluster(1) as (server, _):
        made = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "high"}}
        await server.system.create(PRIORITY_CLASSES, {**made, "value": 100, "preemptionPolicy": "Never"})
        await server.system.create(PODS, manifest("lesser", "20"), "default")
        await until("running", lambda: is_running(server, "lesser"))
        patient = manifest("patient", "20", priorityClassName="high")
        await server.system.create(PODS, patient, "default")
        condition = await until("refused", lambda: (seen(server, "patient")["status"].get("conditions") or [None])[0])
        assert condition["message"] == (
            "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, "
            "preemption: not eligible due to preemptionPolicy=Never."
        )
        await server.system.delete(PODS, "lesser", "default")
        await until("running", lambda: is_running(server, "patient"))


async def test_pods_of_another_scheduler_and_gated_pods_are_left_alone_until_the_gate_goes() -> None:
    async with cluster(1) as (server, _):
        await server.system.create(PODS, manifest("other", "1", schedulerName="mine"), "default")
        await server.system.create(PODS, manifest("gated", "1", schedulingGates=[{"name": "wait.for/it"}]), "default")
        await server.system.create(PODS, manifest("plain", "1"), "default")
        await until("running", lambda: is_running(server, "plain"))
        assert not seen(server, "other")["spec"].get("nodeName")
        assert not seen(server, "gated")["spec"].get("nodeName")
        await server.system.patch(PODS, "gated", {"spec": {"schedulingGates": None}}, "default")
        await until("running", lambda: is_running(server, "gated"))
        assert not seen(server, "other")["spec"].get("nodeName")


async def test_a_pod_that_is_being_resized_counts_with_the_most_of_what_it_has_and_wants() -> None:
    async with api_server(config=ApiServerConfig(admission=Settings(disabled=WITHOUT))) as server:
        client, scheduler = server.system, Scheduler(server.system, server.world)
        room = {"cpu": "4", "memory": "8Gi", "pods": "10"}
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}, "status": {"allocatable": room}}
        await client.create(NODES, node)
        await client.create(PODS, {**manifest("resized", "1", nodeName="n1")}, "default")
        await scheduler.start()
        try:
            given = {"name": "c", "image": "x", "imageID": "x", "ready": True, "restartCount": 0}
            held = {"allocatedResources": {"cpu": "3"}, "resources": {"requests": {"cpu": "2"}}}
            status = {"containerStatuses": [{**given, **held}]}
            await client.patch(PODS, "resized", {"status": status}, "default", subresource="status")
            await client.create(PODS, manifest("second", "2"), "default")
            condition = await until(
                "refused", lambda: (seen(server, "second")["status"].get("conditions") or [None])[0]
            )
            assert condition["message"].startswith("0/1 nodes are available: 1 Insufficient cpu.")
            held = {"allocatedResources": {"cpu": "1"}, "resources": {"requests": {"cpu": "1"}}}
            status = {"containerStatuses": [{**given, **held}]}
            await client.patch(PODS, "resized", {"status": status}, "default", subresource="status")
            await until("it fits", lambda: seen(server, "second")["spec"].get("nodeName"))
        finally:
            await scheduler.stop()


async def test_everything_said_of_a_burst_is_told() -> None:
    async with api_server() as server:
        recorder = Recorder(server.system, server.world, "default-scheduler", "here", in_series=True)
        for number in range(1200):
            pod = {**manifest(f"p{number}", "1")}
            recorder.emit(pod, "Normal", "Scheduled", f"Successfully assigned default/p{number} to n", "Binding")
        told = server.registries[GroupResource("", "events")].cache
        await until("all is told", lambda: len(list(told.range())) == 1200)
        await recorder.stop()
        assert len(set(await said(server, "Scheduled"))) == 1200 and recorder.dropped == 0
