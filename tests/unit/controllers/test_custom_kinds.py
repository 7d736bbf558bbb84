"""Controllers that deal with every kind deal with custom ones: owners, namespaces, quotas."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.support.custom import GROUP, definition, version, widget
from tests.support.hollow import cluster, until

from navarch.apiserver.server import ApiServer
from navarch.client.interface import Resource
from navarch.client.resources import CONFIG_MAPS, NAMESPACES, RESOURCE_QUOTAS
from navarch.machinery.errors import StatusError
from navarch.machinery.types import GroupResource

Obj = dict[str, Any]
DEFINITIONS = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", namespaced=False)
WIDGETS = Resource(GROUP, "v2", "widgets", namespaced=True)


@asynccontextmanager
async def with_widgets() -> AsyncIterator[ApiServer]:
    """A cluster whose widgets have two versions; the one that is stored is not the preferred one."""
    async with cluster(1) as (server, _):
        await server.system.create(DEFINITIONS, definition(version("v1"), version("v2", storage=False)))
        await until("widgets are served", lambda: server.custom.registry(GROUP, "v2", "widgets"))
        yield server


def there(server: ApiServer, resource: Resource, name: str, namespace: str = "default") -> Obj | None:
    return server.lookup(GroupResource(resource.group, resource.plural), namespace, name)


def owned_by(kind: str, api: str, owner: Obj) -> list[Obj]:
    return [{"apiVersion": api, "kind": kind, "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"]}]


async def test_what_is_owned_goes_with_its_owner() -> None:
    async with with_widgets() as server:
        client = server.system
        top = await client.create(CONFIG_MAPS, {"metadata": {"name": "top"}}, "default")
        middle = widget("middle", api="v2")
        middle["metadata"]["ownerReferences"] = owned_by("ConfigMap", "v1", top)
        made = await client.create(WIDGETS, middle, "default")
        references = owned_by("Widget", f"{GROUP}/v2", made)
        await client.create(CONFIG_MAPS, {"metadata": {"name": "low", "ownerReferences": references}}, "default")
        await client.delete(CONFIG_MAPS, "top", "default", propagation="Background")
        await until("the widget is gone", lambda: there(server, WIDGETS, "middle") is None)
        await until("what it owned is gone", lambda: there(server, CONFIG_MAPS, "low") is None)


async def test_a_namespace_takes_its_custom_objects_along() -> None:
    async with with_widgets() as server:
        client = server.system
        await client.create(NAMESPACES, {"metadata": {"name": "n"}})
        await client.create(WIDGETS, widget("a", api="v2"), "n")
        await client.delete(NAMESPACES, "n")
        await until("the namespace is gone", lambda: there(server, NAMESPACES, "n", "") is None)
        assert there(server, WIDGETS, "a", "n") is None


async def test_quotas_count_custom_objects() -> None:
    async with with_widgets() as server:
        client, name = server.system, f"count/widgets.{GROUP}"
        await client.create(WIDGETS, widget("a", api="v2"), "default")
        await client.create(RESOURCE_QUOTAS, {"metadata": {"name": "q"}, "spec": {"hard": {name: "2"}}}, "default")

        def used() -> str:
            quota = there(server, RESOURCE_QUOTAS, "q") or {}
            return ((quota.get("status") or {}).get("used") or {}).get(name, "")

        await until("one is counted", lambda: used() == "1")
        await client.create(WIDGETS, widget("b", api="v2"), "default")
        with pytest.raises(StatusError, match="exceeded quota"):
            await client.create(WIDGETS, widget("c", api="v2"), "default")
        await client.delete(WIDGETS, "a", "default")
        await until("what went is given back", lambda: used() == "1")
