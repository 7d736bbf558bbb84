"""Resource quotas on hollow nodes: limits are published, and what goes is given back."""

from __future__ import annotations

from collections.abc import Callable

from tests.support.hollow import cluster, until

from navarch.apiserver.server import ApiServer
from navarch.client.resources import CONFIG_MAPS, PODS, RESOURCE_QUOTAS, SERVICES
from navarch.machinery.types import GroupResource, Obj

NS = "default"
QUOTAS = GroupResource("", "resourcequotas")


def used(server: ApiServer, **wanted: str) -> Callable[[], bool]:
    def holds() -> bool:
        status = (server.lookup(QUOTAS, NS, "q") or {}).get("status") or {}
        names = {name.replace("_", "/", 1).replace("__", "."): value for name, value in wanted.items()}
        return {name: (status.get("used") or {}).get(name) for name in names} == names

    return holds


def pod(name: str, seconds: str = "") -> Obj:
    meta: Obj = {"name": name}
    if seconds:
        meta["annotations"] = {"navarch.hollow/run-seconds": seconds}
    container = {"name": "c", "image": "a", "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}}}
    return {"metadata": meta, "spec": {"containers": [container], "restartPolicy": "Never"}}


async def test_what_is_there_is_counted_and_what_goes_is_given_back() -> None:
    async with cluster(1) as (server, _):
        client = server.system
        await client.create(PODS, pod("a"), NS)
        await client.create(CONFIG_MAPS, {"metadata": {"name": "m"}}, NS)
        hard = {"pods": "5", "requests.cpu": "2", "count/pods": "9", "count/widgets.example.com": "1"}
        hard |= {"count/configmaps": "3", "services": "2", "services.nodeports": "1"}
        await client.create(RESOURCE_QUOTAS, {"metadata": {"name": "q"}, "spec": {"hard": hard}}, NS)
        await until("it is counted", used(server, pods="1", count_pods="1", services="1", count_configmaps="1"))
        status = (server.lookup(QUOTAS, NS, "q") or {})["status"]
        assert status["hard"] == hard
        assert status["used"]["requests.cpu"] == "500m"
        assert "count/widgets.example.com" not in status["used"]
        await client.delete(CONFIG_MAPS, "m", NS)
        await until("the config map is given back", used(server, count_configmaps="0"))
        await client.delete(PODS, "a", NS)
        await until("the pod is given back", used(server, pods="0", count_pods="0"))
        service = {"metadata": {"name": "s"}, "spec": {"type": "NodePort", "ports": [{"port": 1}]}}
        await client.create(SERVICES, service, NS)
        await client.patch(RESOURCE_QUOTAS, "q", {"spec": {"hard": {"secrets": "7"}}}, NS)
        await until("counted anew", used(server, services="2", secrets="0"))
        assert (server.lookup(QUOTAS, NS, "q") or {})["status"]["used"]["services.nodeports"] == "1"
        await client.patch(SERVICES, "s", {"spec": {"type": "ClusterIP"}}, NS)
        await until("the port is given back", lambda: _of(server, "services.nodeports") == "0")


async def test_a_pod_that_is_over_takes_no_more_than_its_place() -> None:
    async with cluster(1) as (server, _):
        client = server.system
        await client.create(PODS, pod("a", "0.05"), NS)
        await client.create(PODS, pod("b"), NS)
        hard = {"pods": "5", "count/pods": "5", "requests.memory": "8Gi"}
        await client.create(RESOURCE_QUOTAS, {"metadata": {"name": "q"}, "spec": {"hard": hard}}, NS)
        await until("one is over", used(server, pods="1", count_pods="2"))
        assert _of(server, "requests.memory") == "1Gi"


def _of(server: ApiServer, name: str) -> str:
    return (server.lookup(QUOTAS, NS, "q") or {})["status"]["used"][name]
