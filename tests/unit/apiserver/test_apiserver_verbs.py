"""What each verb does, seen through the in-process client."""

from __future__ import annotations

import asyncio
import importlib.util
from pathlib import Path
from typing import Any

import pytest

from navarch.client.interface import WatchEvent
from navarch.client.resources import CONFIG_MAPS, NAMESPACES, PODS, SERVICE_ACCOUNTS, SERVICES
from navarch.machinery.errors import StatusError
from navarch.machinery.types import GroupResource

_spec = importlib.util.spec_from_file_location(
    "support_apiserver", Path(__file__).parents[2] / "support" / "apiserver.py"
)
assert _spec is not None and _spec.loader is not None
_support = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_support)
api_server = _support.api_server


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "data": data}


async def test_create_sets_the_system_fields_and_a_second_create_conflicts():
    async with api_server() as server:
        made = await server.system.create(CONFIG_MAPS, config_map("a", k="v"), "default")
        assert made["metadata"]["uid"] and made["metadata"]["creationTimestamp"]
        assert made["metadata"]["namespace"] == "default"
        with pytest.raises(StatusError) as caught:
            await server.system.create(CONFIG_MAPS, config_map("a"), "default")
        assert (caught.value.code, caught.value.reason) == (409, "AlreadyExists")
        assert caught.value.message == 'configmaps "a" already exists'


async def test_generated_names_differ():
    async with api_server() as server:
        obj = {"metadata": {"generateName": "x-"}}
        names = {(await server.system.create(CONFIG_MAPS, obj, "default"))["metadata"]["name"] for _ in range(20)}
        assert len(names) == 20 and all(n.startswith("x-") and len(n) == 7 for n in names)


async def test_an_update_with_an_old_resource_version_conflicts():
    async with api_server() as server:
        client = server.system
        first = await client.create(CONFIG_MAPS, config_map("a", k="1"), "default")
        await client.update(CONFIG_MAPS, config_map("a", k="2"), "default")
        with pytest.raises(StatusError) as caught:
            await client.update(CONFIG_MAPS, first, "default")
        assert caught.value.message.startswith('Operation cannot be fulfilled on configmaps "a": the object has been')


async def test_an_update_that_changes_nothing_keeps_the_resource_version():
    async with api_server() as server:
        made = await server.system.create(CONFIG_MAPS, config_map("a", k="1"), "default")
        again = await server.system.update(CONFIG_MAPS, config_map("a", k="1"), "default")
        assert again["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]


async def test_the_last_finalizer_removed_completes_a_deletion():
    async with api_server() as server:
        client = server.system
        await client.create(CONFIG_MAPS, {"metadata": {"name": "a", "finalizers": ["example.com/hold"]}}, "default")
        marked = await client.delete(CONFIG_MAPS, "a", "default")
        assert marked["metadata"]["deletionTimestamp"]
        assert (await client.get(CONFIG_MAPS, "a", "default"))["metadata"]["deletionGracePeriodSeconds"] == 0
        await client.patch(CONFIG_MAPS, "a", {"metadata": {"finalizers": None}}, "default")
        with pytest.raises(StatusError) as caught:
            await client.get(CONFIG_MAPS, "a", "default")
        assert caught.value.message == 'configmaps "a" not found'


async def test_delete_preconditions():
    async with api_server() as server:
        await server.system.create(CONFIG_MAPS, config_map("a"), "default")
        with pytest.raises(StatusError) as caught:
            await server.system.delete(CONFIG_MAPS, "a", "default", uid="other")
        assert caught.value.reason == "Conflict" and "the UID in the precondition (other)" in caught.value.message


async def test_pages_of_a_list_show_one_snapshot():
    async with api_server() as server:
        client = server.system
        for name in "abcde":
            await client.create(CONFIG_MAPS, config_map(name), "default")
        first = await client.list(CONFIG_MAPS, "default", limit=2)
        assert first.remaining == 3
        await client.delete(CONFIG_MAPS, "e", "default")
        await client.create(CONFIG_MAPS, config_map("cc"), "default")
        rest = await client.list(CONFIG_MAPS, "default", limit=10, continue_token=first.continue_token)
        names = [o["metadata"]["name"] for o in [*first.items, *rest.items]]
        assert names == ["a", "b", "c", "d", "e"] and rest.resource_version == first.resource_version


async def test_an_unknown_field_selector_is_a_400():
    async with api_server() as server:
        with pytest.raises(StatusError) as caught:
            await server.system.list(CONFIG_MAPS, field_selector="data=x")
        known = '"metadata.name", "metadata.namespace"'
        assert caught.value.message == f'"data" is not a known field selector: only {known}'


async def test_a_selector_turns_changes_into_arrivals_and_departures():
    async with api_server() as server:
        client = server.system
        seen: list[WatchEvent] = []

        async def follow() -> None:
            async for batch in client.watch(CONFIG_MAPS, "default", label_selector="on=yes"):
                seen.extend(batch)

        task = asyncio.create_task(follow())
        await asyncio.sleep(0)
        await client.create(CONFIG_MAPS, config_map("a"), "default")
        for value in ("yes", "yes", "no"):
            await client.patch(
                CONFIG_MAPS, "a", {"metadata": {"labels": {"on": value}}, "data": {value: "1"}}, "default"
            )
            await asyncio.sleep(0)
        async with asyncio.timeout(5):
            while len(seen) < 2:
                await asyncio.sleep(0)
        task.cancel()
        assert [e.type for e in seen] == ["ADDED", "DELETED"]
        assert seen[1].object["metadata"]["labels"] == {"on": "yes"}
        assert int(seen[1].object["metadata"]["resourceVersion"]) == server.caches.revision


async def test_a_watch_resumes_and_an_ancient_one_is_expired():
    async with api_server() as server:
        client = server.system
        first = await client.create(CONFIG_MAPS, config_map("a"), "default")
        await client.create(CONFIG_MAPS, config_map("b"), "default")
        watch = client.watch(CONFIG_MAPS, resource_version=first["metadata"]["resourceVersion"])
        batch = await anext(aiter(watch))
        assert [e.object["metadata"]["name"] for e in batch] == ["b"]
        await watch.aclose()
        server.caches[GroupResource("", "configmaps")].fanout.floor = 10**6
        server.caches.revision = 10**6
        with pytest.raises(StatusError) as caught:
            await anext(aiter(client.watch(CONFIG_MAPS, resource_version="2")))
        assert (caught.value.code, caught.value.reason) == (410, "Expired")


async def test_services_get_addresses_and_ports_and_give_them_back():
    async with api_server() as server:
        client = server.system
        spec = {"type": "NodePort", "clusterIP": "10.96.0.10", "ports": [{"port": 80, "nodePort": 30080}]}
        obj = {"metadata": {"name": "a"}, "spec": spec}
        made = await client.create(SERVICES, obj, "default")
        assert made["spec"]["clusterIPs"] == ["10.96.0.10"]
        with pytest.raises(StatusError) as caught:
            await client.create(SERVICES, {**obj, "metadata": {"name": "b"}}, "default")
        assert "failed to allocate IP 10.96.0.10: provided IP is already allocated" in caught.value.message
        await client.delete(SERVICES, "a", "default")
        await client.create(SERVICES, {**obj, "metadata": {"name": "b"}}, "default")


async def test_a_terminating_namespace_takes_nothing_new():
    async with api_server() as server:
        client = server.system
        await client.create(NAMESPACES, {"metadata": {"name": "n"}})
        gone = await client.delete(NAMESPACES, "n")
        assert gone["status"]["phase"] == "Terminating"
        with pytest.raises(StatusError) as caught:
            await client.create(CONFIG_MAPS, config_map("a"), "n")
        assert caught.value.code == 403 and "because it is being terminated" in caught.value.message


async def test_binding_a_pod_twice_is_a_conflict():
    async with api_server() as server:
        client = server.system
        await client.create(SERVICE_ACCOUNTS, {"metadata": {"name": "default"}}, "default")
        pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
        await client.create(PODS, pod, "default")
        binding = {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n1"}}
        await client.create(PODS, binding, "default", name="p", subresource="binding")
        bound = await client.get(PODS, "p", "default")
        assert bound["spec"]["nodeName"] == "n1"
        with pytest.raises(StatusError) as caught:
            await client.create(PODS, binding, "default", name="p", subresource="binding")
        assert 'pod p is already assigned to node "n1"' in caught.value.message
        graceful = await client.delete(PODS, "p", "default")
        assert graceful["metadata"]["deletionGracePeriodSeconds"] == 30
