"""Volumes, devices, taints, ports, spreading, affinity and what else keeps pods off nodes, alone and mixed: what a
kube-scheduler 1.36.2 beside a kube-apiserver made of each of these pods, one after another (kube_scheduler_more.json)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import orjson
from tests.support.apiserver import api_server
from tests.support.hollow import until
from tests.support.requests import send

from navarch.apiserver.admission.settings import Settings
from navarch.apiserver.request import User
from navarch.apiserver.server import ApiServer, ApiServerConfig
from navarch.machinery.types import GroupResource, Obj
from navarch.scheduler.scheduler import Scheduler

RECORDED: dict[str, Any] = orjson.loads(Path(__file__).with_name("kube_scheduler_more.json").read_bytes())
WITHOUT = frozenset(("ServiceAccount", "TaintNodesByCondition"))
PODS = "/api/v1/namespaces/default/pods"
UID = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}")


def told(server: ApiServer, name: str) -> Obj:
    pod = server.lookup(GroupResource("", "pods"), "default", name) or {}
    status = pod["status"]
    conditions = [c for c in status.get("conditions") or () if c["type"] == "PodScheduled"]
    events = [entry.obj for entry in server.registries[GroupResource("", "events")].cache.range()]
    said = {f"{e['reason']}: {e['message']}" for e in events if e["involvedObject"]["name"] == name}
    return {
        "node": pod["spec"].get("nodeName", ""),
        "nominated": status.get("nominatedNodeName", ""),
        "cond": [f"{c['status']} {c.get('reason', '')}: {c.get('message', '')}" for c in conditions],
        "events": sorted(UID.sub("UID", text) for text in said),
    }


async def test_the_same_is_said_of_many_more() -> None:
    tokens = {"t": User("admin", groups=("system:masters",))}
    config = ApiServerConfig(fixed_tokens=tokens, admission=Settings(disabled=WITHOUT))
    async with api_server(config=config) as server:
        for method, path, kind, body in RECORDED["setup"]:
            status, answer = await send(server, method, path, body, token="t", headers={"content-type": kind})
            assert status in (200, 201), answer
        scheduler = Scheduler(server.system, server.world)
        await scheduler.start()
        try:
            for case in RECORDED["pods"]:
                name, wanted = case["pod"]["metadata"]["name"], case["told"]
                await send(server, "POST", PODS, case["pod"], token="t")
                try:
                    await until(name, lambda name=name, wanted=wanted: told(server, name) == wanted)
                except AssertionError:
                    assert told(server, name) == wanted, name
                await send(server, "DELETE", f"{PODS}/{name}", {"gracePeriodSeconds": 0}, token="t")
        finally:
            await scheduler.stop()
