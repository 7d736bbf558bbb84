"""Pods of a group get nodes together or not at all; what is said of them and of their groups is word for word what
kube-scheduler 1.36.2 said of the same ones (kube_scheduler_groups.json was recorded with it and a kube-apiserver)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import orjson
import pytest
from tests.support import gang_cases as cases
from tests.support.apiserver import api_server
from tests.support.hollow import until

from navarch.api import features
from navarch.api.features import Features
from navarch.apiserver.admission.settings import Settings
from navarch.apiserver.server import ApiServer, ApiServerConfig
from navarch.client.resources import NODES, POD_GROUPS, PODS
from navarch.machinery.types import GroupResource, Obj
from navarch.scheduler.scheduler import Scheduler

RECORDED: dict[str, dict[str, Any]] = orjson.loads(Path(__file__).with_name("kube_scheduler_groups.json").read_bytes())
WITHOUT = frozenset(("ServiceAccount", "TaintNodesByCondition"))
ALL = features.parse("AllAlpha=true", "api/all=true")
GANGS = features.parse("GenericWorkload=true,GangScheduling=true", "api/all=true")


def shown(obj: Obj, *kinds: str) -> list[str]:
    conditions = (obj.get("status") or {}).get("conditions") or ()
    return sorted(
        f"{c['type']}={c['status']} {c.get('reason', '')}: {c.get('message', '')}"
        for c in conditions
        if c["type"] in kinds
    )


def state(server: ApiServer) -> Obj:
    """Which of a group's pods comes first is nobody's business: they are told without their names."""
    found = [entry.obj for entry in server.registries[GroupResource("", "pods")].cache.range()]
    pods = [
        [bool(p["spec"].get("nodeName")), bool(p["status"].get("nominatedNodeName")), *shown(p, "PodScheduled")]
        for p in found
    ]
    groups = server.registries[GroupResource("scheduling.k8s.io", "podgroups")].cache.range()
    return {"pods": sorted(pods), "groups": {g.name: shown(g.obj, "PodGroupScheduled") for g in groups}}


def said(server: ApiServer) -> set[str]:
    events = server.registries[GroupResource("", "events")].cache.range()
    return {anonymous(f"{entry.obj['reason']}: {entry.obj['message']}") for entry in events}


def anonymous(text: str) -> str:
    text = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "UID", text)
    return re.sub(r"default/\S+ to \S+", "POD to NODE", re.sub(r"on node [abn]\d$", "on node NODE", text))


async def play(on: Features, name: str, wanted: Obj) -> None:
    settings = Settings(disabled=WITHOUT)
    async with api_server(config=ApiServerConfig(features=on, admission=settings)) as server:
        scheduler = Scheduler(server.system, server.world, features=on)
        await scheduler.start()
        try:
            for resource, obj in cases.CASES[name]:
                await server.system.create(resource, obj, "default" if resource.namespaced else "")
                if resource == NODES:
                    await server.system.patch(
                        NODES, obj["metadata"]["name"], {"status": obj["status"]}, subresource="status"
                    )
            await until(f"it is as recorded: {name}", lambda: state(server) == wanted["state"])
            await until(f"all is said: {name}", lambda: set(wanted["events"]) <= said(server))
        finally:
            await scheduler.stop()


@pytest.mark.parametrize("name", cases.CASES)
async def test_the_same_is_made_of_groups(name: str) -> None:
    await play(ALL, name, RECORDED["all"][name])


@pytest.mark.parametrize("name", cases.EACH)
async def test_the_same_is_made_of_gangs_where_room_is_made_for_each_pod(name: str) -> None:
    await play(GANGS, name, RECORDED["gangs"][name])


async def test_pods_wait_for_their_group_and_for_each_other() -> None:
    async with api_server(config=ApiServerConfig(features=ALL, admission=Settings(disabled=WITHOUT))) as server:
        scheduler = Scheduler(server.system, server.world, features=ALL)
        await scheduler.start()
        try:
            for _, obj in cases.nodes(3):
                await server.system.create(NODES, obj)
                await server.system.patch(
                    NODES, obj["metadata"]["name"], {"status": obj["status"]}, subresource="status"
                )
            for _, obj in cases.pods(2):
                await server.system.create(PODS, obj, "default")
            why = await until("it is known", lambda: scheduler.why("default", "p1"))
            assert why["waits"] == 'waiting for pods\'s pod group "g" to appear in scheduling queue'
            await server.system.create(POD_GROUPS, cases.group(3)[1], "default")
            wanted = "waiting for minCount pods from a gang to appear in scheduling queue"
            await until("it waits for others", lambda: (scheduler.why("default", "p0") or {})["waits"] == wanted)
            assert (scheduler.why("default", "p0") or {})["group"] == {
                "name": "g",
                "pods": 2,
                "scheduled": 0,
                "least": 3,
            }
            alone = cases.pod("alone", cpu="1", group="")[1]
            await server.system.create(PODS, alone, "default")
            pods = GroupResource("", "pods")
            await until(
                "others are not held up", lambda: server.lookup(pods, "default", "alone")["spec"].get("nodeName")
            )
            assert not any(server.lookup(pods, "default", name)["spec"].get("nodeName") for name in ("p0", "p1"))
            await server.system.delete(PODS, "alone", "default", grace_period_seconds=0)
            await server.system.create(PODS, cases.pod("p2")[1], "default")
            for name in ("p0", "p1", "p2"):
                await until(
                    "all have nodes", lambda name=name: server.lookup(pods, "default", name)["spec"].get("nodeName")
                )
        finally:
            await scheduler.stop()
