"""What a deleted Deployment or StatefulSet leaves behind is taken over by one that asks for the same, under whatever name."""

from __future__ import annotations

from typing import Any

from tests.support.hollow import cluster, until

from navarch.apiserver.server import ApiServer
from navarch.client.interface import Resource
from navarch.client.resources import DEPLOYMENTS, PODS, REPLICA_SETS, STATEFUL_SETS
from navarch.controllers import objects
from navarch.controllers.history import REVISIONS
from navarch.machinery.types import GroupResource, Obj

NS = "default"
LABELS = {"app": "web"}


def workload(name: str, **spec: Any) -> Obj:
    template = {"metadata": {"labels": LABELS}, "spec": {"containers": [{"name": "c", "image": "a"}]}}
    full = {"replicas": 2, "selector": {"matchLabels": LABELS}, "template": template, **spec}
    return {"metadata": {"name": name}, "spec": full}


def stored(server: ApiServer, resource: Resource) -> dict[str, Obj]:
    registry = server.registries[GroupResource(resource.group, resource.plural)]
    return {entry.name: entry.obj for entry in registry.cache.range(NS)}


def ready(server: ApiServer, resource: Resource, name: str) -> bool:
    status = stored(server, resource)[name].get("status") or {}
    return status.get("readyReplicas") == status.get("replicas") == 2


def owners(server: ApiServer, resource: Resource) -> set[str]:
    return {(objects.controller_of(obj) or {}).get("name", "") for obj in stored(server, resource).values()}


async def test_a_deployment_takes_over_a_set_with_its_template() -> None:
    async with cluster(1) as (server, _):
        client = server.system
        await client.create(DEPLOYMENTS, workload("first"), NS)
        await until("it runs", lambda: ready(server, DEPLOYMENTS, "first"))
        pods = set(stored(server, PODS))
        await client.delete(DEPLOYMENTS, "first", NS, propagation="Orphan")
        await until("its set is free", lambda: owners(server, REPLICA_SETS) == {""})
        await client.create(DEPLOYMENTS, workload("second"), NS)
        await until("the set has an owner", lambda: owners(server, REPLICA_SETS) == {"second"})
        await until("it runs", lambda: ready(server, DEPLOYMENTS, "second"))
        assert len(stored(server, REPLICA_SETS)) == 1
        assert set(stored(server, PODS)) == pods


async def test_a_stateful_set_takes_over_pods_and_revisions() -> None:
    async with cluster(1) as (server, _):
        client = server.system
        await client.create(STATEFUL_SETS, workload("db", serviceName="db"), NS)
        await until("it runs", lambda: ready(server, STATEFUL_SETS, "db"))
        uids = {objects.uid_of(pod) for pod in stored(server, PODS).values()}
        await client.delete(STATEFUL_SETS, "db", NS, propagation="Orphan")
        await until("its pods are free", lambda: owners(server, PODS) == owners(server, REVISIONS) == {""})
        await client.create(STATEFUL_SETS, workload("db", serviceName="db"), NS)
        await until("they have an owner", lambda: owners(server, PODS) == owners(server, REVISIONS) == {"db"})
        await until("it runs", lambda: ready(server, STATEFUL_SETS, "db"))
        assert {objects.uid_of(pod) for pod in stored(server, PODS).values()} == uids
        assert len(stored(server, REVISIONS)) == 1
