"""Who owns what after a write, in the cases that upstream is known for: order, times, scale, kubectl's migration, resets."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from tests.support.apiserver import api_server
from tests.unit.apply.test_server_side_apply import NS, apply, deployment, fields_of

from navarch.api.schemas import schema
from navarch.client.resources import CONFIG_MAPS, DEPLOYMENTS
from navarch.machinery.apply import check, typed
from navarch.machinery.apply.elements import ElementError
from navarch.machinery.apply.fieldset import LEAF, canonical, ordered
from navarch.machinery.errors import StatusError

LAST = "kubectl.kubernetes.io/last-applied-configuration"
POD_SPEC = schema("io.k8s.api.core.v1.PodSpec")


def config_map(**data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": data}


def scale(replicas: int) -> dict[str, Any]:
    return {
        "apiVersion": "autoscaling/v1",
        "kind": "Scale",
        "metadata": {"name": "web"},
        "spec": {"replicas": replicas},
    }


def test_elements_stand_in_upstreams_order() -> None:
    elements = ["v:10", 'k:{"port":443}', 'v:"a"', "f:b", 'k:{"port":80}', "i:10", "v:9", "f:a", "i:9", "."]
    assert list(ordered(dict.fromkeys(elements, LEAF))) == [
        ".", "f:a", "f:b", 'k:{"port":80}', 'k:{"port":443}', "v:9", "v:10", 'v:"a"', "i:9", "i:10",
    ]  # fmt: skip


def test_a_clients_field_set_is_read_as_upstream_reads_it() -> None:
    sent = {"f:b": {}, "f:a": {'k:{"y": 1, "x":"<"}': {".": {}}}, "z:new": {}, ".": {}}
    assert orjson.dumps(canonical(sent)) == orjson.dumps({"f:a": {'k:{"x":"\\u003c","y":1}': {}}, "f:b": {}})
    for broken in ({"x": {}}, {"k:[": {}}, {"i:x": {}}, {"f:a": 1}, []):
        with pytest.raises(ElementError):
            canonical(broken)


def test_keys_of_items_have_defaults() -> None:
    ports = {"containers": [{"name": "c", "ports": [{"containerPort": 80}, {"containerPort": 80, "protocol": "UDP"}]}]}
    assert typed.field_set(POD_SPEC, ports)["f:containers"]['k:{"name":"c"}']["f:ports"] == {
        'k:{"containerPort":80,"protocol":"TCP"}': {".": {}, "f:containerPort": {}},
        'k:{"containerPort":80,"protocol":"UDP"}': {".": {}, "f:containerPort": {}, "f:protocol": {}},
    }


def test_items_that_share_a_key_are_owned_together() -> None:
    one, two = {"name": "A", "value": "1"}, {"name": "A", "value": "2"}
    before: Any = {"containers": [{"name": "c", "env": [one]}]}
    after: Any = {"containers": [{"name": "c", "env": [one, two]}]}
    at = ("f:containers", 'k:{"name":"c"}', "f:env", 'k:{"name":"A"}')
    written, removed = typed.compare(POD_SPEC, before, after)
    assert _at(written, *at) == {}
    assert _at(removed, *at) == {".": {}, "f:name": {}, "f:value": {}}


def _at(fields: Any, *path: str) -> Any:
    for element in path:
        fields = fields[element]
    return fields


def test_lists_merge_in_the_order_that_is_applied() -> None:
    def env(*names: str) -> Any:
        return [{"name": name, "value": "x"} for name in names]

    def merged(live: str, applied: str) -> str:
        field = typed.child_of(POD_SPEC.fields["containers"].schema.items or typed.DEDUCED, "env")
        return "".join(item["name"] for item in typed.merge(field, env(*live), env(*applied)))

    cases = {
        ("abc", "cb"): "acb",
        ("abc", "dba"): "dbca",
        ("ab", "cd"): "abcd",
        ("axb", "bxa"): "bxa",
        ("ab", ""): "ab",
    }
    assert {pair: merged(*pair) for pair in cases} == cases


def test_what_does_not_fit_its_schema_is_told_as_upstream_tells_it() -> None:
    tree = {"dnsPolicy": 1, "volumes": 5, "containers": [{"name": "a", "x": 1}, {"name": "a"}]}
    assert check.problems(POD_SPEC, tree).splitlines() == [
        "errors:",
        '  .containers[name="a"].x: field not declared in schema',
        '  .containers: duplicate entries for key [name="a"]',
        "  .dnsPolicy: expected string, got &value.valueUnstructured{Value:1}",
        "  .volumes: expected list, got &{5}",
    ]


async def test_an_applier_that_changed_nothing_has_no_time_and_a_repeated_apply_writes_nothing() -> None:
    async with api_server() as server:
        made = await apply(server.system, CONFIG_MAPS, config_map(a="1"), "one")
        both = await apply(server.system, CONFIG_MAPS, config_map(a="1"), "two")
        times = {entry["manager"]: "time" in entry for entry in both["metadata"]["managedFields"]}
        assert times == {"one": True, "two": False}
        again = await apply(server.system, CONFIG_MAPS, config_map(a="1"), "one")
        assert again["metadata"]["resourceVersion"] == both["metadata"]["resourceVersion"]
        assert made["metadata"]["resourceVersion"] != both["metadata"]["resourceVersion"]


async def test_replicas_change_hands_through_scale() -> None:
    async with api_server() as server:
        await apply(server.system, DEPLOYMENTS, deployment(replicas=1), "one")

        async def applied(replicas: int, force: bool) -> Any:
            return await server.system.patch(
                DEPLOYMENTS,
                "web",
                scale(replicas),
                NS,
                type="apply",
                subresource="scale",
                field_manager="two",
                force=force,
            )

        with pytest.raises(StatusError) as caught:
            await applied(3, False)
        assert caught.value.message == 'Apply failed with 1 conflict: conflict with "one": .spec.replicas'
        assert (await applied(3, True))["spec"]["replicas"] == 3
        now = await server.system.get(DEPLOYMENTS, "web", NS)
        assert fields_of(now, "two", "Apply", "scale") == {"f:spec": {"f:replicas": {}}}
        assert "f:replicas" not in fields_of(now, "one")["f:spec"]
        assert [e["apiVersion"] for e in now["metadata"]["managedFields"]] == ["apps/v1", "apps/v1"]


async def test_a_scale_that_is_none_is_refused() -> None:
    async with api_server() as server:
        await apply(server.system, DEPLOYMENTS, deployment(replicas=1), "one")
        for patch in ({"metadata": []}, {"spec": {"replicas": "x"}}, {"spec": [1]}):
            with pytest.raises(StatusError) as caught:
                await server.system.patch(DEPLOYMENTS, "web", patch, NS, subresource="scale")
            assert caught.value.code == 400


async def test_kubectl_takes_over_what_it_had_applied_on_the_clients_side() -> None:
    async with api_server() as server:
        text = orjson.dumps(config_map(a="1", b="2")).decode()
        made = config_map(a="1", b="3")
        made["metadata"]["annotations"] = {LAST: text}
        await server.system.create(CONFIG_MAPS, made, NS)
        taken = await apply(server.system, CONFIG_MAPS, config_map(a="2"), "kubectl")
        assert taken["data"] == {"a": "2", "b": "3"}
        assert orjson.loads(taken["metadata"]["annotations"][LAST])["data"] == {"a": "2"}
        with pytest.raises(StatusError) as caught:
            await apply(server.system, CONFIG_MAPS, config_map(b="4"), "kubectl")
        assert [cause["field"] for cause in caught.value.to_status()["details"]["causes"]] == [".data.b"]


async def test_a_status_write_owns_status_alone_and_sends_no_managers() -> None:
    async with api_server() as server:
        await apply(server.system, DEPLOYMENTS, deployment())
        patch = {"spec": {"replicas": 9}, "status": {"replicas": 2}, "metadata": {"managedFields": [{}]}}
        made = await server.system.patch(DEPLOYMENTS, "web", patch, NS, subresource="status", field_manager="k")
        assert fields_of(made, "k", "Update", "status") == {"f:status": {"f:replicas": {}}}
        assert fields_of(made, "me") is not None


async def test_an_empty_list_of_managers_resets_them() -> None:
    async with api_server() as server:
        await apply(server.system, CONFIG_MAPS, config_map(a="1"))
        made = await server.system.patch(CONFIG_MAPS, "m", {"metadata": {"managedFields": []}}, NS)
        assert "managedFields" not in made["metadata"]
        later = await server.system.patch(CONFIG_MAPS, "m", {"data": {"b": "1"}}, NS, field_manager="x")
        assert "managedFields" not in later["metadata"]


async def test_owners_of_another_version_lose_what_is_written_and_those_of_an_unknown_version_go() -> None:
    async with api_server() as server:
        made = deployment(replicas=1)
        entry = {"manager": "old", "operation": "Update", "fieldsType": "FieldsV1"}
        fields = {"f:spec": {"f:replicas": {}, "f:paused": {}}}
        made["metadata"]["managedFields"] = [
            {**entry, "apiVersion": "apps/v1beta2", "fieldsV1": fields},
            {**entry, "apiVersion": "apps/v0", "fieldsV1": fields},
        ]
        await server.system.create(DEPLOYMENTS, made, NS)
        patched = await server.system.patch(DEPLOYMENTS, "web", {"spec": {"replicas": 2}}, NS, field_manager="x")
        found = {(e["manager"], e["apiVersion"]): e["fieldsV1"] for e in patched["metadata"]["managedFields"]}
        assert found["old", "apps/v1beta2"] == {"f:spec": {"f:paused": {}}}
        assert found["x", "apps/v1"] == {"f:spec": {"f:replicas": {}}}
        assert ("old", "apps/v0") not in found
