"""Hollow nodes against the API server with its controllers and scheduler: pods live and end there as they say."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.support.hollow import cluster, until

from navarch.client.resources import DEPLOYMENTS, LEASES, NODES, PODS

CONTAINER = {"name": "c", "image": "nginx"}


def pod(name: str, policy: str = "Always", **notes: str) -> dict[str, Any]:
    annotations = {f"navarch.hollow/{key.replace('_', '-')}": value for key, value in notes.items()}
    spec = {"containers": [CONTAINER], "restartPolicy": policy}
    return {"metadata": {"name": name, "annotations": annotations}, "spec": spec}


async def test_a_deployment_gets_ready_and_goes() -> None:
    async with cluster(4) as (server, _):
        template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [CONTAINER]}}
        spec = {"replicas": 12, "selector": {"matchLabels": {"a": "b"}}, "template": template}
        client = server.system
        await client.create(DEPLOYMENTS, {"metadata": {"name": "d"}, "spec": spec}, "default")
        resource = server.registries

        def available() -> bool:
            entry = next(r for k, r in resource.items() if k.resource == "deployments").cache.get("default", "d")
            return bool(entry) and entry.obj.get("status", {}).get("availableReplicas") == 12

        await until("all are available", available)
        pods = (await client.list(PODS, "default")).items
        assert {p["status"]["phase"] for p in pods} == {"Running"}
        assert len({p["status"]["podIP"] for p in pods}) == 12
        assert {p["spec"]["nodeName"] for p in pods} == {f"hollow-{i}" for i in range(4)}
        await client.delete(DEPLOYMENTS, "d", "default")
        cache = next(r for k, r in resource.items() if k.resource == "pods").cache
        await until("no pod is left", lambda: not list(cache.range("default")))


async def test_pods_end_as_they_say() -> None:
    async with cluster(1) as (server, _):
        client = server.system
        await client.create(PODS, pod("good", "Never", run_seconds="0.1"), "default")
        await client.create(PODS, pod("bad", "Never", run_seconds="0.1", exit_code="3"), "default")
        await client.create(PODS, pod("unready", ready="false"), "default")
        cache = next(r for k, r in server.registries.items() if k.resource == "pods").cache

        def phases() -> dict[str, str]:
            return {entry.name: entry.obj["status"]["phase"] for entry in cache.range("default")}

        await until("they ended", lambda: phases() == {"good": "Succeeded", "bad": "Failed", "unready": "Running"})
        bad = (await client.get(PODS, "bad", "default"))["status"]
        assert bad["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 3
        unready = (await client.get(PODS, "unready", "default"))["status"]
        assert {"type": "Ready", "status": "False"}.items() <= unready["conditions"][2].items()


async def test_nodes_have_leases_and_zones() -> None:
    async with cluster(3) as (server, _):
        nodes = (await server.system.list(NODES)).items
        assert [n["metadata"]["labels"]["topology.kubernetes.io/zone"] for n in nodes] == ["a", "b", "a"]

        async def leases() -> int:
            return len((await server.system.list(LEASES, "kube-node-lease")).items)

        for _ in range(100):
            if await leases() == 3:
                break
            await asyncio.sleep(0.02)
        assert await leases() == 3
