"""Autoscalers on hollow nodes, with the metrics API that is there from the start."""

from __future__ import annotations

from tests.support.hollow import cluster, until

from navarch.apiserver.server import ApiServer
from navarch.client.resources import DEPLOYMENTS
from navarch.controllers import objects
from navarch.controllers.autoscaling.decision import AUTOSCALERS
from navarch.machinery.types import GroupResource, Obj

NS = "default"
HPAS = GroupResource("autoscaling", "horizontalpodautoscalers")


def deployment(replicas: int, cpu: str) -> Obj:
    labels = {"app": "web"}
    container = {"name": "c", "image": "a", "resources": {"requests": {"cpu": "500m"}}}
    template = {
        "metadata": {"labels": labels, "annotations": {"navarch.hollow/cpu": cpu}},
        "spec": {"containers": [container]},
    }
    return {
        "metadata": {"name": "web"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template},
    }


def autoscaler(name: str, target: str, **spec: object) -> Obj:
    reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": target}
    memory = {"name": "memory", "target": {"type": "AverageValue", "averageValue": "512Ki"}}
    metrics = [{"type": "Resource", "resource": memory}]
    return {
        "metadata": {"name": name},
        "spec": {"scaleTargetRef": reference, "minReplicas": 1, "maxReplicas": 5, "metrics": metrics, **spec},
    }


def condition(server: ApiServer, name: str, kind: str) -> tuple[str, str]:
    status = (server.lookup(HPAS, NS, name) or {}).get("status") or {}
    found = objects.condition_of(status, kind) or {}
    return found.get("status", ""), found.get("reason", "")


async def test_a_deployment_grows_with_what_its_pods_use() -> None:
    """Each hollow container uses 1 MiB where half is wanted: twice as many pods are."""
    async with cluster(2) as (server, _):
        client = server.system
        await client.create(DEPLOYMENTS, deployment(2, "450m"), NS)

        def ready() -> bool:
            found = server.lookup(GroupResource("apps", "deployments"), NS, "web") or {}
            return (found.get("status") or {}).get("readyReplicas") == 2

        await until("its pods run", ready)
        await client.create(AUTOSCALERS, autoscaler("h", "web"), NS)

        def grown() -> bool:
            return (server.lookup(GroupResource("apps", "deployments"), NS, "web") or {})["spec"]["replicas"] == 4

        await until("it has grown", grown)
        await until("it says so", lambda: condition(server, "h", "AbleToScale") == ("True", "SucceededRescale"))
        status = (server.lookup(HPAS, NS, "h") or {})["status"]
        assert (status["currentReplicas"], status["desiredReplicas"]) == (2, 4)
        assert status["currentMetrics"][0]["resource"]["current"] == {"averageValue": "1Mi"}

        def told() -> bool:
            events = (entry.obj for entry in server.registries[GroupResource("", "events")].cache.range(NS))
            about = [event["reason"] for event in events if event["involvedObject"]["name"] == "h"]
            return "SuccessfulRescale" in about

        await until("it is told", told)


async def test_what_cannot_be_scaled_or_measured_is_told() -> None:
    async with cluster(1) as (server, _):
        client = server.system
        await client.create(AUTOSCALERS, autoscaler("none", "nothing"), NS)
        await until("no target", lambda: condition(server, "none", "AbleToScale") == ("False", "FailedGetScale"))
        await client.create(DEPLOYMENTS, deployment(1, "1m"), NS)
        queue = {"metric": {"name": "queue"}, "target": {"type": "Value", "value": "1"}}
        outside = autoscaler("outside", "web", metrics=[{"type": "External", "external": queue}])
        await client.create(AUTOSCALERS, outside, NS)
        await until(
            "no such metrics",
            lambda: condition(server, "outside", "ScalingActive") == ("False", "FailedGetExternalMetric"),
        )
        status = (server.lookup(HPAS, NS, "outside") or {})["status"]
        found = objects.condition_of(status, "ScalingActive") or {}
        assert "unable to fetch metrics from external metrics API" in found["message"]
