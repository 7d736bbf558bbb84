"""The scheduler at work in a cluster of hollow nodes: what users see of it through the API."""

from __future__ import annotations

from typing import Any

from tests.support.hollow import cluster, until

from navarch.apiserver.server import ApiServer
from navarch.client.resources import EVENTS, PODS, PRIORITY_CLASSES
from navarch.machinery.types import GroupResource, Obj


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
