"""All controllers against the real API server on the memory store; the test plays the kubelet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from navarch.apiserver.request import User
from navarch.apiserver.server import ApiServer
from navarch.client.interface import Client, Resource
from navarch.client.resources import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    ENDPOINTS,
    EVENTS,
    NAMESPACES,
    NODES,
    PODS,
    REPLICA_SETS,
    SERVICE_ACCOUNTS,
    SERVICE_CIDRS,
    SERVICES,
)
from navarch.cluster.config import ClusterConfig
from navarch.controllers import objects, registry
from navarch.controllers.attributesclasses import CLASSES
from navarch.machinery.clock import RealWorld, rfc3339
from navarch.machinery.errors import StatusError
from navarch.machinery.types import Key, Obj
from navarch.store.memory import MemoryStore

BOUND = 10.0
NS = "default"


class Cluster:
    """A client, and a kubelet of one function."""

    def __init__(self, client: Client, running: registry.Running | None = None) -> None:
        self.client = client
        self.running = running

    async def eventually(self, check: Callable[[], Awaitable[Any]]) -> Any:
        """Waits until `check` returns something true; plays the kubelet meanwhile."""
        async with asyncio.timeout(BOUND):
            while True:
                await self.run_pods()
                try:
                    if found := await check():
                        return found
                except StatusError as error:
                    if error.code != 404:
                        raise
                await asyncio.sleep(0.01)

    async def run_pods(self) -> None:
        """Pods become ready; those that are being deleted end."""
        for pod in (await self.client.list(PODS)).items:
            name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
            try:
                if objects.is_deleting(pod):
                    await self.client.delete(PODS, name, namespace, grace_period_seconds=0)
                elif not objects.is_ready(pod):
                    await self.client.patch(PODS, name, ready(pod), namespace, type="strategic", subresource="status")
            except StatusError as error:
                if error.code != 404:
                    raise

    async def available(self, replicas: int) -> Obj | None:
        deployment = await self.client.get(DEPLOYMENTS, "web", NS)
        status = deployment.get("status", {})
        counts = {status.get(name) for name in ("replicas", "updatedReplicas", "availableReplicas")}
        seen = status.get("observedGeneration") == deployment["metadata"]["generation"]
        return deployment if counts == {replicas} and seen else None

    async def names(self, resource: Resource, namespace: str = NS) -> list[str]:
        return [obj["metadata"]["name"] for obj in (await self.client.list(resource, namespace)).items]


def ready(pod: Obj) -> Obj:
    number = int(pod["metadata"]["uid"][:4], 16)
    ip = f"10.244.{number // 256}.{number % 256}"
    condition = {"type": "Ready", "status": "True", "lastTransitionTime": rfc3339(1_700_000_000)}
    return {"status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "conditions": [condition]}}


def deployment(replicas: int = 3, image: str = "a") -> Obj:
    labels = {"app": "web"}
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": image}]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": pod}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec}


def service() -> Obj:
    spec = {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": spec}


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    store, world = MemoryStore(), RealWorld(1)
    server = ApiServer(store, world)
    await server.start()

    def client_for(name: str) -> Client:
        return server.client(User(name, groups=("system:masters",)))

    running = await registry.run(client_for, world, ClusterConfig(), root_ca="CERTIFICATE")
    yield Cluster(server.system, running)
    await running.stop()
    await server.stop()
    await store.close()


async def test_a_deployment_rolls_out_scales_and_rolls_back(cluster: Cluster) -> None:
    client = cluster.client
    await client.create(DEPLOYMENTS, deployment(3), NS)
    first = await cluster.eventually(lambda: cluster.available(3))
    assert first["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "1"
    await client.patch(DEPLOYMENTS, "web", deployment(3, "b"), NS)
    second = await cluster.eventually(lambda: cluster.available(3))
    assert second["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "2"
    await client.patch(DEPLOYMENTS, "web", {"spec": {"replicas": 5}}, NS)
    await cluster.eventually(lambda: cluster.available(5))
    await client.patch(DEPLOYMENTS, "web", deployment(5, "a"), NS)
    third = await cluster.eventually(lambda: cluster.available(5))
    assert third["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "3"
    assert len(await cluster.names(REPLICA_SETS)) == 2
    reasons = {c["type"]: c["reason"] for c in third["status"]["conditions"]}
    assert reasons == {"Available": "MinimumReplicasAvailable", "Progressing": "NewReplicaSetAvailable"}

    async def told() -> bool:
        events = (await client.list(EVENTS, NS)).items
        return {"ScalingReplicaSet", "SuccessfulCreate", "SuccessfulDelete"} <= {event["reason"] for event in events}

    await cluster.eventually(told)
    assert cluster.running is not None
    why = cluster.running.why("deployment-controller", Key(NS, "web"))
    assert why is not None and why.reasons


async def test_a_deleted_pod_is_replaced_and_services_follow(cluster: Cluster) -> None:
    client = cluster.client
    await client.create(SERVICES, service(), NS)
    await client.create(DEPLOYMENTS, deployment(2), NS)
    await cluster.eventually(lambda: cluster.available(2))
    victim = (await cluster.names(PODS))[0]
    await client.delete(PODS, victim, NS)

    async def replaced() -> bool:
        names = await cluster.names(PODS)
        (found,) = [
            s
            for s in (await client.list(ENDPOINT_SLICES, NS)).items
            if s["metadata"]["labels"]["kubernetes.io/service-name"] == "web"
        ]
        targets = {e["targetRef"]["name"] for e in found.get("endpoints") or () if e["conditions"]["ready"]}
        subsets = (await client.get(ENDPOINTS, "web", NS)).get("subsets") or [{}]
        return victim not in names and targets == set(names) and len(subsets[0].get("addresses", ())) == 2

    await cluster.eventually(replaced)


@pytest.mark.parametrize("propagation", ["Background", "Foreground"])
async def test_deleting_a_deployment_takes_everything_along(cluster: Cluster, propagation: Any) -> None:
    await cluster.client.create(DEPLOYMENTS, deployment(2), NS)
    await cluster.eventually(lambda: cluster.available(2))
    await cluster.client.delete(DEPLOYMENTS, "web", NS, propagation=propagation)

    async def gone() -> bool:
        return not [name for kind in (DEPLOYMENTS, REPLICA_SETS, PODS) for name in await cluster.names(kind)]

    await cluster.eventually(gone)


async def test_orphaning_leaves_the_replica_set_free(cluster: Cluster) -> None:
    await cluster.client.create(DEPLOYMENTS, deployment(2), NS)
    await cluster.eventually(lambda: cluster.available(2))
    await cluster.client.delete(DEPLOYMENTS, "web", NS, propagation="Orphan")

    async def orphaned() -> bool:
        sets = (await cluster.client.list(REPLICA_SETS, NS)).items
        return not await cluster.names(DEPLOYMENTS) and not sets[0]["metadata"].get("ownerReferences")

    await cluster.eventually(orphaned)
    assert len(await cluster.names(PODS)) == 2


async def test_a_namespace_is_furnished_and_emptied(cluster: Cluster) -> None:
    await cluster.client.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "x"}})

    async def furnished() -> bool:
        ca = await cluster.client.get(CONFIG_MAPS, "kube-root-ca.crt", "x")
        return ca["data"]["ca.crt"] == "CERTIFICATE" and "default" in await cluster.names(SERVICE_ACCOUNTS, "x")

    await cluster.eventually(furnished)
    await cluster.client.create(DEPLOYMENTS, deployment(2), "x")
    await cluster.client.delete(NAMESPACES, "x")

    async def gone() -> bool:
        return "x" not in await cluster.names(NAMESPACES, "")

    await cluster.eventually(gone)


async def test_a_node_gets_its_pod_range(cluster: Cluster) -> None:
    await cluster.client.create(NODES, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}})

    async def ranged() -> Any:
        return (await cluster.client.get(NODES, "n1")).get("spec", {}).get("podCIDR")

    assert await cluster.eventually(ranged) == "10.244.0.0/24"


async def test_an_idle_cluster_writes_nothing(cluster: Cluster) -> None:
    await cluster.client.create(SERVICES, service(), NS)
    await cluster.client.create(DEPLOYMENTS, deployment(2), NS)
    await cluster.eventually(lambda: cluster.available(2))
    assert cluster.running is not None
    running = cluster.running

    async def idle() -> bool:
        return running.idle

    await cluster.eventually(idle)

    async def quiet() -> bool:
        before = (await cluster.client.list(PODS)).resource_version
        await asyncio.sleep(1)
        return (await cluster.client.list(PODS)).resource_version == before

    await cluster.eventually(quiet)


async def test_a_service_range_is_ready_and_stays_while_an_address_is_used(cluster: Cluster) -> None:
    client = cluster.client
    await client.create(SERVICE_CIDRS, {"metadata": {"name": "more"}, "spec": {"cidrs": ["10.77.0.0/24"]}})

    async def ready() -> bool:
        found = await client.get(SERVICE_CIDRS, "more")
        condition = objects.condition_of(found.get("status") or {}, "Ready") or {}
        return condition.get("status") == "True" and bool(found["metadata"].get("finalizers"))

    await cluster.eventually(ready)
    service = {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 1}], "clusterIP": "10.77.0.9"}}
    await client.create(SERVICES, service, NS)
    await client.delete(SERVICE_CIDRS, "more")

    async def kept() -> bool:
        found = await client.get(SERVICE_CIDRS, "more")
        return (objects.condition_of(found["status"], "Ready") or {}).get("reason") == "Terminating"

    await cluster.eventually(kept)


async def test_a_class_of_attributes_is_deleted_when_nobody_uses_it(cluster: Cluster) -> None:
    client = cluster.client
    wanted = {"metadata": {"name": "v"}, "driverName": "d.example.com", "parameters": {"a": "b"}}
    made = await client.create(CLASSES, wanted)
    assert made["metadata"]["finalizers"] == ["kubernetes.io/vac-protection"]
    await client.delete(CLASSES, "v")

    async def gone() -> bool:
        return not (await client.list(CLASSES)).items

    await cluster.eventually(gone)
