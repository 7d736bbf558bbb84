"""Custom resources that own or have a scale: autoscalers scale them, budgets count them, quotas bound them, what they owned goes."""

from __future__ import annotations

from typing import Any

from tests.support.hollow import cluster, until

from navarch.apiserver.server import ApiServer
from navarch.client.interface import Resource
from navarch.client.resources import DISRUPTION_BUDGETS, PODS, RESOURCE_QUOTAS
from navarch.controllers.autoscaling.decision import AUTOSCALERS
from navarch.machinery.types import GroupResource, Obj

NS = "default"
CRDS = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", namespaced=False)
FLEETS = Resource("example.com", "v1", "fleets")
LABELS = {"app": "fleet"}
INTEGER = {"type": "integer"}


def definition() -> Obj:
    status = {"type": "object", "properties": {"replicas": INTEGER, "selector": {"type": "string"}}}
    spec = {"type": "object", "properties": {"replicas": INTEGER}}
    schema = {"type": "object", "properties": {"spec": spec, "status": status}}
    scale = {
        "specReplicasPath": ".spec.replicas",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.selector",
    }
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    version["subresources"] = {"status": {}, "scale": scale}
    names = {"plural": "fleets", "singular": "fleet", "kind": "Fleet", "listKind": "FleetList"}
    spec = {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [version]}
    return {"metadata": {"name": "fleets.example.com"}, "spec": spec}


def lookup(server: ApiServer, group: str, plural: str, name: str) -> Obj:
    return server.lookup(GroupResource(group, plural), NS, name) or {}


async def a_fleet(server: ApiServer, replicas: int, pods: int) -> Obj:
    """A fleet with pods that somebody has made for it."""
    client = server.system
    await client.create(CRDS, definition())

    def served() -> bool:
        return GroupResource("example.com", "fleets") in server.registries

    await until("fleets are served", served)
    fleet = await client.create(
        FLEETS,
        {"apiVersion": "example.com/v1", "kind": "Fleet", "metadata": {"name": "f"}, "spec": {"replicas": replicas}},
        NS,
    )
    reference = {"apiVersion": "example.com/v1", "kind": "Fleet", "name": "f", "uid": fleet["metadata"]["uid"]}
    for number in range(pods):
        meta = {"name": f"p{number}", "labels": LABELS, "ownerReferences": [{**reference, "controller": True}]}
        container = {"name": "c", "image": "a"}
        await client.create(PODS, {"metadata": meta, "spec": {"containers": [container]}}, NS)
    status = {"status": {"replicas": pods, "selector": "app=fleet"}}
    return await client.patch(FLEETS, "f", status, NS, subresource="status")


def running(server: ApiServer) -> int:
    pods = server.registries[GroupResource("", "pods")].cache.range(NS)
    return sum((entry.obj.get("status") or {}).get("phase") == "Running" for entry in pods)


async def test_a_budget_counts_the_scale_of_a_custom_owner() -> None:
    async with cluster(1) as (server, _):
        await a_fleet(server, 3, 2)
        spec: dict[str, Any] = {"selector": {"matchLabels": LABELS}, "maxUnavailable": 2}
        await server.system.create(DISRUPTION_BUDGETS, {"metadata": {"name": "b"}, "spec": spec}, NS)

        def counted() -> bool:
            status = lookup(server, "policy", "poddisruptionbudgets", "b").get("status") or {}
            return (status.get("expectedPods"), status.get("disruptionsAllowed")) == (3, 1)

        await until("three are expected, one may go", counted)


async def test_an_autoscaler_scales_a_custom_resource() -> None:
    async with cluster(1) as (server, _):
        await a_fleet(server, 2, 2)
        await until("its pods run", lambda: running(server) == 2)
        memory = {"name": "memory", "target": {"type": "AverageValue", "averageValue": "512Ki"}}
        spec = {
            "scaleTargetRef": {"apiVersion": "example.com/v1", "kind": "Fleet", "name": "f"},
            "maxReplicas": 9,
            "metrics": [{"type": "Resource", "resource": memory}],
        }
        await server.system.create(AUTOSCALERS, {"metadata": {"name": "h"}, "spec": spec}, NS)
        await until("it has grown", lambda: lookup(server, "example.com", "fleets", "f")["spec"]["replicas"] == 4)


async def test_a_quota_bounds_custom_resources() -> None:
    async with cluster(1) as (server, _):
        await a_fleet(server, 0, 0)
        hard = {"count/fleets.example.com": "1"}
        await server.system.create(RESOURCE_QUOTAS, {"metadata": {"name": "q"}, "spec": {"hard": hard}}, NS)

        def used() -> str | None:
            status = lookup(server, "", "resourcequotas", "q").get("status") or {}
            return (status.get("used") or {}).get("count/fleets.example.com")

        await until("it is counted", lambda: used() == "1")
        await server.system.delete(FLEETS, "f", NS)
        await until("it is given back", lambda: used() == "0")


async def test_what_a_short_lived_owner_leaves_is_collected() -> None:
    """The owner goes before the collector has heard of its kind."""
    async with cluster(1) as (server, _):
        await a_fleet(server, 0, 1)
        await server.system.delete(FLEETS, "f", NS)
        await until("its pod is gone", lambda: not lookup(server, "", "pods", "p0"))
