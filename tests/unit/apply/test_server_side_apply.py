"""Server-side apply through the API server: ownership, merging, conflicts, removal."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.apiserver import api_server

from navarch.client.interface import Client, Resource
from navarch.client.resources import CONFIG_MAPS, DEPLOYMENTS, SERVICES
from navarch.machinery.errors import StatusError

NS = "default"
CONTAINER = {"name": "c", "image": "nginx"}


def deployment(**spec: Any) -> dict[str, Any]:
    labels = {"app": "web"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [dict(CONTAINER)]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {"selector": {"matchLabels": labels}, "template": template, **spec},
    }


async def apply(client: Client, resource: Resource, obj: Any, manager: str = "me", force: bool = False) -> Any:
    name = obj["metadata"]["name"]
    return await client.patch(resource, name, obj, NS, type="apply", field_manager=manager, force=force)


def fields_of(obj: Any, manager: str, operation: str = "Apply", subresource: str = "") -> Any:
    for entry in obj["metadata"]["managedFields"]:
        if (entry["manager"], entry["operation"], entry.get("subresource", "")) == (manager, operation, subresource):
            return entry["fieldsV1"]
    return None


async def test_an_apply_creates_and_owns_what_it_names() -> None:
    async with api_server() as server:
        made = await apply(server.system, DEPLOYMENTS, deployment(replicas=3))
        assert made["spec"]["strategy"]["type"] == "RollingUpdate"
        assert fields_of(made, "me") == {
            "f:spec": {
                "f:replicas": {},
                "f:selector": {},
                "f:template": {
                    "f:metadata": {"f:labels": {"f:app": {}}},
                    "f:spec": {"f:containers": {'k:{"name":"c"}': {".": {}, "f:image": {}, "f:name": {}}}},
                },
            }
        }
        again = await apply(server.system, DEPLOYMENTS, deployment(replicas=3))
        assert again["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]


async def test_a_create_owns_as_go_would_have_written_it() -> None:
    async with api_server() as server:
        made = await server.system.create(DEPLOYMENTS, deployment(), NS)
        entry = made["metadata"]["managedFields"][0]
        spec = entry["fieldsV1"]["f:spec"]
        assert entry["operation"] == "Update"
        assert spec["f:strategy"] == {
            "f:rollingUpdate": {".": {}, "f:maxSurge": {}, "f:maxUnavailable": {}},
            "f:type": {},
        }
        assert "." not in spec["f:template"]["f:spec"]["f:containers"]
        assert spec["f:template"]["f:metadata"]["f:labels"] == {".": {}, "f:app": {}}
        assert "f:status" not in entry["fieldsV1"]


async def test_conflicts_name_the_manager_and_the_field() -> None:
    async with api_server() as server:
        await apply(server.system, DEPLOYMENTS, deployment(replicas=3), "one")
        with pytest.raises(StatusError) as caught:
            await apply(server.system, DEPLOYMENTS, deployment(replicas=5), "two")
        status = caught.value.to_status()
        assert (status["code"], status["reason"]) == (409, "Conflict")
        assert status["message"] == 'Apply failed with 1 conflict: conflict with "one": .spec.replicas'
        assert status["details"]["causes"] == [
            {"reason": "FieldManagerConflict", "message": 'conflict with "one"', "field": ".spec.replicas"}
        ]
        forced = await apply(server.system, DEPLOYMENTS, deployment(replicas=5), "two", force=True)
        assert forced["spec"]["replicas"] == 5
        assert "f:replicas" not in fields_of(forced, "one")["f:spec"]


async def test_equal_values_are_shared_and_what_nobody_applies_any_more_goes() -> None:
    async with api_server() as server:
        both = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"a": "1", "b": "2"}}
        only = {**both, "data": {"a": "1"}}
        await apply(server.system, CONFIG_MAPS, both, "one")
        await apply(server.system, CONFIG_MAPS, only, "two")
        left = await apply(server.system, CONFIG_MAPS, {**both, "data": {}}, "one")
        assert left["data"] == {"a": "1"}
        gone = await apply(server.system, CONFIG_MAPS, {**both, "data": {}}, "two")
        assert not gone.get("data")


async def test_an_update_takes_fields_over() -> None:
    async with api_server() as server:
        await apply(server.system, DEPLOYMENTS, deployment(replicas=3))
        patched = await server.system.patch(DEPLOYMENTS, "web", {"spec": {"replicas": 4}}, NS, field_manager="hpa")
        assert fields_of(patched, "hpa", "Update") == {"f:spec": {"f:replicas": {}}}
        assert "f:replicas" not in fields_of(patched, "me")["f:spec"]
        kept = await apply(server.system, DEPLOYMENTS, deployment())
        assert kept["spec"]["replicas"] == 4


async def test_list_items_merge_by_their_keys() -> None:
    async with api_server() as server:

        def service(*ports: Any) -> Any:
            spec = {"selector": {"a": "b"}, "ports": list(ports)}
            return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": spec}

        await apply(server.system, SERVICES, service({"name": "a", "port": 80}), "one")
        made = await apply(server.system, SERVICES, service({"name": "b", "port": 81}), "two")
        assert [p["port"] for p in made["spec"]["ports"]] == [80, 81]
        assert 'k:{"port":81,"protocol":"TCP"}' in fields_of(made, "two")["f:spec"]["f:ports"]
        left = await apply(server.system, SERVICES, service(), "two")
        assert [p["port"] for p in left["spec"]["ports"]] == [80]


async def test_what_was_there_before_the_first_apply_has_a_manager() -> None:
    async with api_server() as server:
        made = await server.system.create(CONFIG_MAPS, {"metadata": {"name": "m"}, "data": {"a": "1"}}, NS)
        bare = {**made, "metadata": {**made["metadata"], "managedFields": [{}]}}
        stripped = await server.system.update(CONFIG_MAPS, bare, NS)
        assert "managedFields" not in stripped["metadata"]
        config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"b": "2"}}
        applied = await apply(server.system, CONFIG_MAPS, config)
        assert fields_of(applied, "before-first-apply", "Update") == {"f:data": {".": {}, "f:a": {}}}


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ({"metadata": {"name": "web", "managedFields": []}}, 400, "metadata.managedFields must be nil"),
        ({"apiVersion": "apps/v1beta1"}, 400, "apps/v1beta1"),
        ({"spec": {"nonsense": 1}}, 400, ".spec.nonsense: field not declared in schema"),
    ],
)
async def test_what_cannot_be_applied(change: Any, code: int, message: str) -> None:
    async with api_server() as server:
        with pytest.raises(StatusError) as caught:
            await apply(server.system, DEPLOYMENTS, {**deployment(), **change})
        assert caught.value.code == code and message in str(caught.value)


async def test_ten_updaters_and_an_ancient_one() -> None:
    async with api_server() as server:
        await server.system.create(CONFIG_MAPS, {"metadata": {"name": "m"}, "data": {"x": "0"}}, NS)
        for index in range(14):
            patch = {"data": {f"k{index}": "1"}}
            made = await server.system.patch(CONFIG_MAPS, "m", patch, NS, field_manager=f"manager-{index}")
        names = [entry["manager"] for entry in made["metadata"]["managedFields"]]
        assert len(names) == 10 and "ancient-changes" in names
