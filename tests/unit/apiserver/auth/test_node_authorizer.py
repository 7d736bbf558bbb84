"""What a node may read: what its own pods need, and no more."""

from __future__ import annotations

from typing import Any

from tests.support.apiserver import api_server

from navarch.apiserver.auth.interface import Attributes
from navarch.apiserver.request import User
from navarch.client.resources import PODS, SERVICE_ACCOUNTS

NAMESPACE = "default"


def node(name: str) -> User:
    return User(f"system:node:{name}", groups=("system:nodes", "system:authenticated"))


def may(
    server: Any, who: str, verb: str, resource: str, name: str = "", *,
    namespace: str = NAMESPACE, group: str = "", fields: str = "",
) -> bool:  # fmt: skip
    resource, _, sub = resource.partition("/")
    return server.decide(
        Attributes(node(who), verb, True, "", group, "v1", resource, sub, namespace, name, fields)
    ).allowed


def pod(name: str, where: str, **spec: Any) -> dict[str, Any]:
    container = {"name": "c", "image": "i", **spec.pop("container", {})}
    return {"metadata": {"name": name}, "spec": {"nodeName": where, "containers": [container], **spec}}


async def start(server: Any, *pods: dict[str, Any]) -> None:
    await server.system.create(SERVICE_ACCOUNTS, {"metadata": {"name": "default"}}, NAMESPACE)
    for one in pods:
        await server.system.create(PODS, one, NAMESPACE)


async def test_a_node_reads_what_its_pods_refer_to_and_only_by_name():
    spec = {
        "imagePullSecrets": [{"name": "pull"}],
        "volumes": [
            {"name": "a", "secret": {"secretName": "mounted"}},
            {"name": "b", "projected": {"sources": [{"secret": {"name": "p1"}}, {"configMap": {"name": "p2"}}]}},
            {"name": "c", "configMap": {"name": "files"}},
            {"name": "d", "csi": {"driver": "x", "nodePublishSecretRef": {"name": "csi"}}},
            {"name": "e", "persistentVolumeClaim": {"claimName": "data"}},
            {"name": "f", "ephemeral": {"volumeClaimTemplate": {"spec": {
                "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}}},
        ],
        "container": {
            "env": [{"name": "K", "valueFrom": {"secretKeyRef": {"name": "key", "key": "k"}}}],
            "envFrom": [{"configMapRef": {"name": "all"}}],
        },
    }  # fmt: skip
    async with api_server() as server:
        await start(server, pod("p", "one", **spec))
        for resource, names in (
            ("secrets", ("pull", "mounted", "p1", "csi", "key")),
            ("configmaps", ("p2", "files", "all")),
            ("persistentvolumeclaims", ("data", "p-f")),
        ):
            for name in names:
                assert may(server, "one", "get", resource, name), name
                assert not may(server, "two", "get", resource, name), name
                assert not may(server, "one", "get", resource, name, namespace="kube-system")
                assert not may(server, "one", "update", resource, name)
        assert may(server, "one", "watch", "secrets", "pull") and not may(server, "one", "list", "secrets")
        assert not may(server, "one", "get", "secrets", "other") and not may(server, "one", "list", "configmaps")
        assert may(server, "one", "create", "serviceaccounts/token", "default")
        assert may(server, "one", "get", "serviceaccounts", "default")
        assert not may(server, "two", "create", "serviceaccounts/token", "default")
        assert may(server, "one", "patch", "persistentvolumeclaims/status", "data")


async def test_what_a_node_may_read_ends_with_its_pods():
    async with api_server() as server:
        mounts = {"volumes": [{"name": "a", "secret": {"secretName": "s"}}]}
        await start(server, pod("p", "one", **mounts), pod("q", "one", **mounts))
        await server.system.delete(PODS, "p", NAMESPACE, grace_period_seconds=0)
        assert may(server, "one", "get", "secrets", "s")
        await server.system.delete(PODS, "q", NAMESPACE, grace_period_seconds=0)
        assert not may(server, "one", "get", "secrets", "s")


async def test_a_mirror_pod_opens_nothing():
    async with api_server() as server:
        mirror = pod("m", "one", volumes=[{"name": "a", "secret": {"secretName": "s"}}])
        mirror["metadata"]["annotations"] = {"kubernetes.io/config.mirror": "x"}
        from navarch.apiserver.auth.node import references_of

        assert list(references_of(mirror)) == []
        del mirror["metadata"]["annotations"]
        assert ("secrets", "", "s") in list(references_of(mirror))
        assert not may(server, "one", "get", "secrets", "s")


async def test_pods_that_need_nothing_come_and_go():
    async with api_server() as server:
        await start(server)
        for name in ("m1", "m2"):
            mirror = pod(name, "one")
            mirror["metadata"]["annotations"] = {"kubernetes.io/config.mirror": "x"}
            await server.system.create(PODS, mirror, NAMESPACE)
        for name in ("m1", "m2"):
            await server.system.delete(PODS, name, NAMESPACE, grace_period_seconds=0)
        mounts = {"volumes": [{"name": "a", "secret": {"secretName": "s"}}]}
        await server.system.create(PODS, pod("p", "one", **mounts), NAMESPACE)
        assert may(server, "one", "get", "secrets", "s")


async def test_a_node_sees_its_own_node_and_pods():
    async with api_server() as server:
        await start(server, pod("p", "one"), pod("q", "two"))
        assert may(server, "one", "get", "pods", "p") and not may(server, "one", "get", "pods", "q")
        assert may(server, "one", "list", "pods", fields="spec.nodeName=one", namespace="")
        for fields in ("", "spec.nodeName=two", "spec.nodeName!=one", "status.phase=Running", "spec.nodeName"):
            assert not may(server, "one", "watch", "pods", fields=fields, namespace=""), fields
        assert may(server, "one", "get", "nodes", "one", namespace="")
        assert not may(server, "one", "get", "nodes", "two", namespace="")
        assert not may(server, "one", "list", "nodes", namespace="")
        assert may(server, "one", "patch", "nodes/status", "one", namespace="")
        assert not may(server, "one", "delete", "nodes", "one", namespace="")
        assert may(server, "one", "create", "pods/eviction", "p") and not may(server, "one", "create", "pods/exec", "p")
        assert not may(server, "one", "update", "pods", "p") and may(server, "one", "update", "pods/status", "p")


async def test_leases_and_csi_nodes_are_the_nodes_own():
    async with api_server() as server:
        lease = {"group": "coordination.k8s.io", "namespace": "kube-node-lease"}
        assert may(server, "one", "update", "leases", "one", **lease)
        assert may(server, "one", "create", "leases", **lease)
        assert not may(server, "one", "update", "leases", "two", **lease)
        assert not may(server, "one", "list", "leases", **lease)
        assert not may(server, "one", "get", "leases", "one", group="coordination.k8s.io", namespace="kube-system")
        assert may(server, "one", "get", "csinodes", "one", group="storage.k8s.io", namespace="")
        assert not may(server, "one", "get", "csinodes", "two", group="storage.k8s.io", namespace="")


async def test_only_members_of_the_group_are_nodes():
    async with api_server() as server:
        stranger = User("system:node:one", groups=("system:authenticated",))
        asked = Attributes(stranger, "get", True, "", "", "v1", "nodes", "", "", "one")
        assert not server.decide(asked).allowed
        assert server.decide(asked._replace(user=node("one"))).allowed
        assert not server.decide(asked._replace(user=node(""))).allowed


async def test_through_http_the_field_selector_counts():
    async with api_server() as server:
        await start(server, pod("p", "one"))
        found = await server.client(node("one")).raw("GET", "/api/v1/pods", {"fieldSelector": "spec.nodeName=one"})
        assert [item["metadata"]["name"] for item in found["items"]] == ["p"]
        found = await server.client(node("one")).list(PODS, field_selector="spec.nodeName=one")
        assert len(found.items) == 1
