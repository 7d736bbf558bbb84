"""What is said of pods that fit, that do not, and that make room: word for word what kube-scheduler 1.36.2 said of the same
pods in the same cluster (kube_scheduler.json was recorded with it, against this API server)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
from tests.support import scheduler_cases as cases
from tests.support.apiserver import api_server
from tests.support.hollow import until

from navarch.apiserver.admission.settings import Settings
from navarch.apiserver.server import ApiServer, ApiServerConfig
from navarch.client.interface import Resource
from navarch.client.resources import (
    DISRUPTION_BUDGETS,
    EVENTS,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PODS,
    PRIORITY_CLASSES,
    STORAGE_CLASSES,
)
from navarch.machinery.types import GroupResource, Obj
from navarch.scheduler.scheduler import Scheduler

RECORDED: dict[str, Any] = orjson.loads(Path(__file__).with_name("kube_scheduler.json").read_bytes())
WITHOUT = frozenset(("ServiceAccount", "TaintNodesByCondition"))


async def prepare(server: ApiServer) -> None:
    there: list[tuple[Resource, list[Obj]]] = [
        (PRIORITY_CLASSES, cases.PRIORITIES),
        (STORAGE_CLASSES, cases.CLASSES),
        (PERSISTENT_VOLUME_CLAIMS, cases.CLAIMS),
        (DISRUPTION_BUDGETS, cases.BUDGETS),
        (NODES, cases.NODES),
        (PODS, cases.BOUND),
    ]
    for resource, objects in there:
        for obj in objects:
            await server.system.create(resource, obj, "default" if resource.namespaced else "")
    for node in cases.NODES:
        patch = {"status": node["status"]}
        await server.system.patch(NODES, node["metadata"]["name"], patch, subresource="status")


async def told(server: ApiServer, name: str, wanted: Obj) -> Obj:
    """What became of a pod and what was said, once as many events are there as are expected."""

    def settled() -> bool:
        pod = server.lookup(GroupResource("", "pods"), "default", name) or {}
        return bool(pod["spec"].get("nodeName") if wanted["node"] else pod["status"].get("conditions"))

    await until(f"something is said of {name}", settled)
    events: list[str] = []
    while len(events) < len(wanted["events"]):
        listed = await server.system.list(EVENTS, "default", field_selector=f"involvedObject.name={name}")
        events = sorted(f"{event['reason']}: {event['message']}" for event in listed.items)
    pod = server.lookup(GroupResource("", "pods"), "default", name) or {}
    conditions = [c for c in pod["status"].get("conditions") or () if c["type"] == "PodScheduled"]
    condition = conditions[0].get("message", "") if conditions else ""
    return {"node": pod["spec"].get("nodeName", ""), "condition": condition, "events": events}


async def test_the_same_is_said_and_done() -> None:
    async with api_server(config=ApiServerConfig(admission=Settings(disabled=WITHOUT))) as server:
        await prepare(server)
        scheduler = Scheduler(server.system, server.world)
        await scheduler.start()
        try:
            for pod in cases.PODS:
                name = pod["metadata"]["name"]
                await server.system.create(PODS, pod, "default")
                assert await told(server, name, RECORDED[name]) == RECORDED[name], name
                await server.system.delete(PODS, name, "default", grace_period_seconds=0)
            left = [pod["metadata"]["name"] for pod in (await server.system.list(PODS, "default")).items]
            assert sorted(left) == RECORDED["left"]
        finally:
            await scheduler.stop()
