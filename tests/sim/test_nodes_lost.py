"""Ten nodes are lost one after another, in seconds of test time: what ran there runs elsewhere."""

from __future__ import annotations

import asyncio
from typing import Any

from navarch.client.resources import DEPLOYMENTS, NODES, PODS
from navarch.sim import virtual
from navarch.testing.inside import api_server, control_plane
from navarch.testing.options import Options

LOST, LEFT = 10, 4
REPLICAS = 30


def deployment() -> dict[str, Any]:
    labels = {"app": "web"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "app:1"}]}}
    spec = {"replicas": REPLICAS, "selector": {"matchLabels": labels}, "template": template}
    return {"metadata": {"name": "web"}, "spec": spec}


async def lose_ten() -> None:
    options = Options(controllers=True, scheduler=True, nodes=LOST + LEFT)
    async with api_server(world=virtual.VirtualWorld(1)) as server, control_plane(server, options) as hollow:
        assert hollow
        client = server.system
        await client.create(DEPLOYMENTS, deployment(), "default")
        await asyncio.sleep(10)
        for number in range(LOST):
            hollow.heartbeat.stopped.add(hollow.names[number])
            await asyncio.sleep(30)
        await asyncio.sleep(400)  # until the last is given up (40 s), and its pods are (300 s)
        pods = [p for p in (await client.list(PODS, "default")).items if "deletionTimestamp" not in p["metadata"]]
        assert len(pods) == REPLICAS
        assert {pod["spec"]["nodeName"] for pod in pods} == set(hollow.names[LOST:])
        for node in (await client.list(NODES)).items:
            lost = node["metadata"]["name"] in hollow.heartbeat.stopped
            taints = {taint["key"] for taint in node["spec"].get("taints") or ()}
            ready = next(c["status"] for c in node["status"]["conditions"] if c["type"] == "Ready")
            assert (ready, "node.kubernetes.io/unreachable" in taints) == (
                ("Unknown", True) if lost else ("True", False)
            )


def test_ten_nodes_are_lost() -> None:
    virtual.run(lose_ten())
