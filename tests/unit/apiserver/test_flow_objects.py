"""The flow schemas and priority levels of a new cluster, and what becomes of changed ones."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.support.apiserver import api_server

from navarch.api.flowcontrol import bootstrap
from navarch.apiserver import flowobjects
from navarch.apiserver.server import ApiServer
from navarch.client.resources import FLOW_SCHEMAS, PRIORITY_LEVELS
from navarch.machinery.errors import StatusError
from navarch.machinery.trees import copy


async def test_every_cluster_has_them_as_they_are_wanted() -> None:
    async with api_server() as server:
        for resource, specs, _ in flowobjects.OBJECTS:
            for name, spec in specs.items():
                found = await server.system.get(resource, name)
                assert found["spec"] == spec
                assert found["metadata"]["annotations"] == {bootstrap.AUTO_UPDATE: "true"}


async def test_specs_of_mandatory_objects_are_fixed() -> None:
    async with api_server() as server:
        level: Any = copy(await server.system.get(PRIORITY_LEVELS, "catch-all"))
        level["spec"]["limited"]["nominalConcurrencyShares"] = 6
        with pytest.raises(StatusError, match="must equal the fixed value"):
            await server.system.update(PRIORITY_LEVELS, level)
        exempt: Any = copy(await server.system.get(PRIORITY_LEVELS, "exempt"))
        exempt["spec"]["exempt"]["nominalConcurrencyShares"] = 7
        await server.system.update(PRIORITY_LEVELS, exempt)
        await flowobjects.ensure(server)
        kept = await server.system.get(PRIORITY_LEVELS, "exempt")
        assert kept["spec"]["exempt"]["nominalConcurrencyShares"] == 7


async def test_a_suggested_object_is_ours_while_its_annotation_says_so() -> None:
    async with api_server() as server:
        for name, mark in (("probes", "true"), ("global-default", "false")):
            schema: Any = copy(await server.system.get(FLOW_SCHEMAS, name))
            schema["metadata"]["annotations"][bootstrap.AUTO_UPDATE] = mark
            schema["spec"]["matchingPrecedence"] += 1
            await server.system.update(FLOW_SCHEMAS, schema)
        await flowobjects.ensure(server)
        assert (await server.system.get(FLOW_SCHEMAS, "probes"))["spec"]["matchingPrecedence"] == 2
        assert (await server.system.get(FLOW_SCHEMAS, "global-default"))["spec"]["matchingPrecedence"] == 9901


async def test_a_deleted_object_comes_back() -> None:
    async with api_server() as server:
        await server.system.delete(FLOW_SCHEMAS, "catch-all")
        await flowobjects.ensure(server)
        assert (await server.system.get(FLOW_SCHEMAS, "catch-all"))["spec"]["matchingPrecedence"] == 10000


async def test_a_schema_says_whether_its_level_is_there() -> None:
    async with api_server() as server:
        rule = {"subjects": [{"kind": "User", "user": {"name": "u"}}]}
        rule["nonResourceRules"] = [{"verbs": ["get"], "nonResourceURLs": ["/x"]}]
        spec = {"priorityLevelConfiguration": {"name": "mine"}, "rules": [rule]}
        schema = await server.system.create(FLOW_SCHEMAS, {"metadata": {"name": "f"}, "spec": spec})
        assert await _dangling(server, schema, "True") == "NotFound"
        limited = {"limitResponse": {"type": "Reject"}}
        level = {"metadata": {"name": "mine"}, "spec": {"type": "Limited", "limited": limited}}
        await server.system.create(PRIORITY_LEVELS, level)
        assert await _dangling(server, schema, "False") == "Found"


async def _dangling(server: ApiServer, schema: dict[str, Any], status: str) -> str:
    """The condition's reason, once it has the status."""
    revision = schema["metadata"]["resourceVersion"]
    async with asyncio.timeout(10):
        async for events in server.system.watch(
            FLOW_SCHEMAS, field_selector="metadata.name=f", resource_version=revision
        ):
            for event in events:
                for condition in event.object.get("status", {}).get("conditions") or ():
                    if condition["status"] == status:
                        return condition["reason"]
    raise AssertionError("the watch ended")
