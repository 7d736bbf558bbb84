"""Cluster addresses: every one a service has is an object, and ranges are objects too."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.apiserver import api_server

from navarch.apiserver.server import ApiServer, ApiServerConfig
from navarch.client.resources import IP_ADDRESSES, SERVICE_CIDRS, SERVICES
from navarch.machinery.errors import StatusError
from navarch.machinery.types import GroupResource
from navarch.store.interface import Write
from navarch.store.memory import MemoryStore

PORTS = [{"port": 80}]


async def make(server: ApiServer, name: str, **spec: Any) -> dict[str, Any]:
    return await server.system.create(
        SERVICES, {"metadata": {"name": name}, "spec": {"ports": PORTS, **spec}}, "default"
    )


async def holders(server: ApiServer) -> dict[str, str]:
    """Address -> who has it."""
    found = (await server.system.list(IP_ADDRESSES)).items
    return {a["metadata"]["name"]: a["spec"]["parentRef"]["name"] for a in found}


async def test_addresses_come_and_go_with_their_services() -> None:
    async with api_server() as server:
        made = await make(server, "a")
        address = made["spec"]["clusterIP"]
        assert (await holders(server))[address] == "a"
        shown = await server.system.get(IP_ADDRESSES, address)
        assert shown["metadata"]["labels"] == {
            "ipaddress.kubernetes.io/ip-family": "IPv4",
            "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
        }
        assert shown["spec"]["parentRef"] == {"resource": "services", "namespace": "default", "name": "a"}
        external = {**made, "spec": {"type": "ExternalName", "externalName": "b.example"}}
        await server.system.update(SERVICES, external, "default")
        assert address not in await holders(server)
        again = await make(server, "b", clusterIP=address)
        assert again["spec"]["clusterIP"] == address
        await server.system.delete(SERVICES, "b", "default")
        assert address not in await holders(server)


async def test_an_address_that_somebody_else_has_is_not_given() -> None:
    async with api_server(config=ApiServerConfig(service_cidr="10.96.0.0/29")) as server:
        reference = {"group": "gateway.example", "resource": "gateways", "namespace": "n", "name": "g"}
        for last in (2, 3, 4):
            address = {"metadata": {"name": f"10.96.0.{last}"}, "spec": {"parentRef": reference}}
            await server.system.create(IP_ADDRESSES, address)
        with pytest.raises(StatusError, match="provided IP is already allocated"):
            await make(server, "a", clusterIP="10.96.0.3")
        given = {(await make(server, name))["spec"]["clusterIP"] for name in ("a", "b")}
        assert given == {"10.96.0.5", "10.96.0.6"}
        with pytest.raises(StatusError, match="range is full"):
            await make(server, "c")
        await server.system.delete(IP_ADDRESSES, "10.96.0.3")
        assert (await make(server, "c"))["spec"]["clusterIP"] == "10.96.0.3"


async def test_a_further_range_is_used_once_it_is_ready() -> None:
    async with api_server(config=ApiServerConfig(service_cidr="10.96.0.0/30")) as server:
        own = await server.system.get(SERVICE_CIDRS, "kubernetes")
        assert own["spec"]["cidrs"] == ["10.96.0.0/30"]
        assert own["status"]["conditions"][0]["type"] == "Ready"
        await make(server, "a")
        more = {"metadata": {"name": "more"}, "spec": {"cidrs": ["10.97.0.0/24"]}}
        range_ = await server.system.create(SERVICE_CIDRS, more)
        with pytest.raises(StatusError, match="the provided network does not match the current range"):
            await make(server, "b", clusterIP="10.97.0.9")
        now = "2026-01-01T00:00:00Z"
        ready = {"type": "Ready", "status": "True", "reason": "R", "message": "", "lastTransitionTime": now}
        await server.system.update(SERVICE_CIDRS, {**range_, "status": {"conditions": [ready]}}, subresource="status")
        assert (await make(server, "b", clusterIP="10.97.0.9"))["spec"]["clusterIP"] == "10.97.0.9"
        assert (await make(server, "c"))["spec"]["clusterIP"].startswith("10.97.0.")


async def test_an_address_deleted_by_hand_is_made_again() -> None:
    async with api_server() as server:
        address = (await make(server, "a"))["spec"]["clusterIP"]
        before = await server.system.get(IP_ADDRESSES, address)
        await server.system.delete(IP_ADDRESSES, address)
        after = await _appears(server, address)
        assert after["metadata"]["uid"] != before["metadata"]["uid"]
        with pytest.raises(StatusError, match="provided IP is already allocated"):
            await make(server, "b", clusterIP=address)


async def _appears(server: ApiServer, address: str) -> dict[str, Any]:
    async for events in server.system.watch(IP_ADDRESSES, field_selector=f"metadata.name={address}"):
        for event in events:
            if event.type == "ADDED":
                return event.object
    raise AssertionError("the watch ended")


async def test_a_start_mends_what_does_not_agree() -> None:
    store = MemoryStore()
    async with api_server(store=store) as server:
        address = (await make(server, "a"))["spec"]["clusterIP"]
        cache = server.registries[GroupResource("", "services")].cache
        (key,) = [e.key for e in cache.range() if e.obj["metadata"]["name"] == "a"]
        kept = await store.get(key)
        assert kept is not None
        await server.system.delete(SERVICES, "a", "default")
        orphan = (await make(server, "b"))["spec"]["clusterIP"]
        (gone,) = [e.key for e in cache.range() if e.obj["metadata"]["name"] == "b"]
    await store.commit([Write(key, kept.value), Write(gone, None)])
    async with api_server(store=store) as server:
        found = await holders(server)
        assert found.get(address) == "a"
        assert orphan not in found


async def test_a_patched_address_is_the_whole_address() -> None:
    """What was allocated goes along with the field that a client without knowledge of it has changed."""
    async with api_server() as server:
        await make(server, "a", clusterIP="None", selector={"app": "a"})
        with pytest.raises(StatusError) as caught:
            await server.system.patch(SERVICES, "a", {"spec": {"clusterIP": "10.96.0.77"}}, "default")
        assert caught.value.code == 422
        assert "spec.clusterIPs[0]" in caught.value.message and "may not change once set" in caught.value.message


async def test_a_node_port_stays_with_its_ports_name() -> None:
    async with api_server() as server:
        ports = [{"name": "http", "port": 80}, {"name": "more", "port": 81}]
        made = await make(server, "a", type="NodePort", ports=ports)
        given = [port["nodePort"] for port in made["spec"]["ports"]]
        ports = [{"name": "more", "port": 80}, {"name": "http", "port": 8080, "protocol": "UDP"}]
        spec = {"type": "NodePort", "ports": ports}
        changed = await server.system.update(SERVICES, {"metadata": {"name": "a"}, "spec": spec}, "default")
        assert [port["nodePort"] for port in changed["spec"]["ports"]] == given[::-1]
