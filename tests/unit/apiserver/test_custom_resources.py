"""Custom resources through the real API server: what a definition makes, while it is there."""

from __future__ import annotations

import asyncio

import pytest
from tests.support.custom import (
    DEFINITIONS,
    GROUP,
    SPEC,
    WIDGETS,
    Obj,
    causes,
    definition,
    rig,
    version,
    widget,
)

from navarch.store.memory import MemoryStore

# -- definitions


async def test_a_definition_is_served_with_its_names() -> None:
    async with rig() as r:
        crd = await r.define(definition(shortNames=["wd"], categories=["all"]))
        assert crd["status"]["storedVersions"] == ["v1"]
        assert crd["status"]["acceptedNames"] == {
            "plural": "widgets",
            "singular": "widget",
            "kind": "Widget",
            "listKind": "WidgetList",
            "shortNames": ["wd"],
            "categories": ["all"],
        }
        listed = await r.good("GET", f"/apis/{GROUP}/v1")
        (resource,) = listed["resources"]
        assert (resource["name"], resource["shortNames"], resource["categories"]) == ("widgets", ["wd"], ["all"])
        aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
        groups = await r.good("GET", "/apis", accept=aggregated)
        (group,) = [g for g in groups["items"] if g["metadata"]["name"] == GROUP]
        assert group["versions"][0]["resources"][0]["responseKind"]["kind"] == "Widget"


async def test_names_that_another_has_are_refused_until_they_are_free() -> None:
    async with rig() as r:
        await r.define(definition(shortNames=["wd"]))
        await r.good("POST", DEFINITIONS, definition(kind="Gadget", singular="widget", shortNames=["wd"]))
        second = await r.has(f"gadgets.{GROUP}", "NamesAccepted", "False")
        reasons = {c["type"]: c["reason"] for c in second["status"]["conditions"]}
        assert reasons == {"NamesAccepted": "ShortNamesConflict", "Established": "NotAccepted"}
        assert (await r.ask("GET", f"/apis/{GROUP}/v1/gadgets"))[0] == 404
        await r.good("DELETE", f"{DEFINITIONS}/widgets.{GROUP}")
        await r.has(f"gadgets.{GROUP}", "Established")
        await r.good("GET", f"/apis/{GROUP}/v1/gadgets")


async def test_deleting_a_definition_deletes_its_objects_first() -> None:
    async with rig() as r:
        await r.define(definition())
        await r.good("POST", WIDGETS, widget("a"))
        held = widget("held")
        held["metadata"]["finalizers"] = ["example.com/hold"]
        await r.good("POST", WIDGETS, held)
        crd = f"{DEFINITIONS}/widgets.{GROUP}"
        marked = await r.good("DELETE", crd)
        assert marked["metadata"]["finalizers"] == ["customresourcecleanup.apiextensions.k8s.io"]
        await r.gone(f"{WIDGETS}/a")
        status, answer = await r.ask("POST", WIDGETS, widget("b"))
        assert (status, answer["reason"]) == (403, "Forbidden") and "is terminating" in answer["message"]
        assert (await r.ask("GET", crd))[0] == 200
        await r.good("PATCH", f"{WIDGETS}/held", {"metadata": {"finalizers": None}})
        await r.gone(crd)
        await r.gone(WIDGETS)


async def test_definitions_and_objects_outlive_the_server() -> None:
    store = MemoryStore()
    async with rig(store) as r:
        await r.define(definition())
        await r.good("POST", WIDGETS, widget("a", {"colour": "red"}))
    async with rig(store) as r:
        assert (await r.good("GET", f"{WIDGETS}/a"))["spec"] == {"colour": "red", "size": 3}


async def test_a_kind_and_its_scope_stay_once_it_is_served() -> None:
    async with rig() as r:
        await r.define(definition())
        change = {"spec": {"scope": "Cluster", "names": {"kind": "Other"}}}
        status, answer = await r.ask("PATCH", f"{DEFINITIONS}/widgets.{GROUP}", change)
        assert status == 422
        assert causes(answer) == [("spec.scope", "FieldValueInvalid"), ("spec.names.kind", "FieldValueInvalid")]


@pytest.mark.slow
async def test_a_thousand_definitions_are_served() -> None:
    async with rig() as r:
        for index in range(1000):
            await r.good("POST", DEFINITIONS, definition(kind=f"K{index}", group=f"g{index % 10}.example.com"))
        await r.has("k999s.g9.example.com", "Established")
        assert len((await r.good("GET", "/apis/g9.example.com/v1"))["resources"]) == 100


# -- objects


async def test_unknown_fields_are_pruned_and_told() -> None:
    async with rig() as r:
        await r.define(definition())
        made = await r.good("POST", f"{WIDGETS}?fieldValidation=Ignore", widget("a", {"bogus": 1, "size": None}))
        assert made["spec"] == {"size": 3} and made["metadata"]["generation"] == 1
        status, answer = await r.ask("POST", f"{WIDGETS}?fieldValidation=Strict", widget("b", {"bogus": 1}))
        assert status == 400 and 'strict decoding error: unknown field "spec.bogus"' in answer["message"]


@pytest.mark.parametrize(
    "spec, field, reason",
    [
        ({"size": 0}, "spec.size", "FieldValueInvalid"),
        ({"size": "2"}, "spec.size", "FieldValueTypeInvalid"),
        ({"colour": "green"}, "spec.colour", "FieldValueNotSupported"),
        ({"parts": [{"count": 1}]}, "spec.parts[0].name", "FieldValueRequired"),
        ({"parts": [{"name": "a"}, {"name": "a"}]}, "spec.parts[1]", "FieldValueDuplicate"),
    ],
)
async def test_schemas_are_kept(spec: Obj, field: str, reason: str) -> None:
    async with rig() as r:
        await r.define(definition())
        status, answer = await r.ask("POST", WIDGETS, widget("a", spec))
        assert status == 422 and causes(answer) == [(field, reason)]


async def test_generation_counts_what_is_no_metadata_and_no_status() -> None:
    async with rig() as r:
        await r.define(definition(version(subresources={"status": {}})))
        made = await r.good("POST", WIDGETS, widget("a", status={"ready": 1}))
        assert "status" not in made
        assert (await r.good("PATCH", f"{WIDGETS}/a", {"metadata": {"labels": {"a": "b"}}}))["metadata"][
            "generation"
        ] == 1
        changed = await r.good("PATCH", f"{WIDGETS}/a/status", {"status": {"ready": 1}, "spec": {"size": 9}})
        assert changed["status"] == {"ready": 1} and changed["spec"]["size"] == 3
        assert changed["metadata"]["generation"] == 1
        assert (await r.good("PATCH", f"{WIDGETS}/a", {"spec": {"size": 4}}))["metadata"]["generation"] == 2


async def test_scale_reads_and_writes_its_paths() -> None:
    scale = {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.ready"}
    async with rig() as r:
        await r.define(definition(version(subresources={"status": {}, "scale": scale})))
        await r.good("POST", WIDGETS, widget("a", {"size": 5}))
        assert (await r.good("GET", f"{WIDGETS}/a/scale"))["spec"] == {"replicas": 5}
        assert (await r.good("PATCH", f"{WIDGETS}/a/scale", {"spec": {"replicas": 7}}))["spec"] == {"replicas": 7}
        assert (await r.good("GET", f"{WIDGETS}/a"))["spec"]["size"] == 7


async def test_appliers_share_a_list_by_its_keys() -> None:
    async with rig() as r:
        await r.define(definition())
        kind = "application/apply-patch+yaml"
        await r.good("PATCH", f"{WIDGETS}/a?fieldManager=one", widget("a", {"parts": [{"name": "x"}]}), kind)
        both = await r.good("PATCH", f"{WIDGETS}/a?fieldManager=two", widget("a", {"parts": [{"name": "y"}]}), kind)
        assert [part["name"] for part in both["spec"]["parts"]] == ["x", "y"]
        status, answer = await r.ask("PATCH", f"{WIDGETS}/a", {}, "application/strategic-merge-patch+json")
        assert status == 415 and "application/merge-patch+json" in answer["message"]


async def test_columns_and_selectable_fields() -> None:
    columns = [
        {"name": "Colour", "type": "string", "jsonPath": ".spec.colour"},
        {"name": "X", "type": "integer", "jsonPath": '.spec.parts[?(@.name=="x")].count'},
    ]
    async with rig() as r:
        fields = [{"jsonPath": ".spec.colour"}]
        await r.define(definition(version(additionalPrinterColumns=columns, selectableFields=fields)))
        await r.good("POST", WIDGETS, widget("a", {"colour": "red", "parts": [{"name": "x", "count": 4}]}))
        await r.good("POST", WIDGETS, widget("b", {"colour": "blue"}))
        table = await r.good("GET", WIDGETS, accept="application/json;as=Table;g=meta.k8s.io;v=v1")
        assert [c["name"] for c in table["columnDefinitions"]] == ["Name", "Colour", "X"]
        assert [row["cells"] for row in table["rows"]] == [["a", "red", 4], ["b", "blue", None]]
        found = await r.good("GET", f"{WIDGETS}?fieldSelector=spec.colour%3Dred")
        assert [item["metadata"]["name"] for item in found["items"]] == ["a"]
        assert (await r.ask("GET", f"{WIDGETS}?fieldSelector=spec.size%3D3"))[0] == 400


async def test_rules_judge_changes_and_leave_what_was_wrong_before() -> None:
    strict = {**SPEC, "x-kubernetes-validations": [{"rule": "self.size >= oldSelf.size", "message": "must not shrink"}]}
    async with rig() as r:
        await r.define(definition(version(spec=strict)))
        await r.good("POST", WIDGETS, widget("a", {"size": 5}))
        status, answer = await r.ask("PATCH", f"{WIDGETS}/a", {"spec": {"size": 4}})
        assert status == 422 and causes(answer) == [("spec", "FieldValueInvalid")]
        assert answer["details"]["causes"][0]["message"] == "Invalid value: must not shrink"
        tight = {**SPEC, "properties": {**SPEC["properties"], "size": {"type": "integer", "maximum": 4}}}
        crd = definition(version(spec=tight))
        await r.good("PATCH", f"{DEFINITIONS}/widgets.{GROUP}", {"spec": crd["spec"]})
        for _ in range(500):
            status, answer = await r.ask("PATCH", f"{WIDGETS}/a?dryRun=All", {"spec": {"size": 6}})
            if status == 422:
                break
            await asyncio.sleep(0.01)
        assert causes(answer) == [("spec.size", "FieldValueInvalid")]
        await r.good("PATCH", f"{WIDGETS}/a", {"spec": {"colour": "red"}})


# -- several versions


async def test_every_version_shows_what_it_knows() -> None:
    narrow = {
        "type": "object",
        "properties": {"size": {"type": "integer"}, "extra": {"type": "string", "default": "e"}},
    }
    async with rig() as r:
        await r.define(definition(version(), version("v2", narrow, storage=False)))
        await r.good("POST", WIDGETS, widget("a", {"colour": "red"}))
        second = WIDGETS.replace("/v1/", "/v2/")
        shown = await r.good("GET", f"{second}/a")
        assert (shown["apiVersion"], shown["spec"]) == (f"{GROUP}/v2", {"size": 3, "extra": "e"})
        assert (await r.good("GET", f"{WIDGETS}/a"))["spec"] == {"colour": "red", "size": 3}
        changed = await r.good("PATCH", f"{second}/a", {"spec": {"size": 8}})
        assert changed["apiVersion"] == f"{GROUP}/v2" and changed["metadata"]["generation"] == 2
        assert (await r.good("GET", f"{WIDGETS}/a"))["spec"]["size"] == 8
        assert (await r.good("GET", second))["items"][0]["apiVersion"] == f"{GROUP}/v2"


async def test_the_stored_version_can_change() -> None:
    async with rig() as r:
        await r.define(definition(version(), version("v2", storage=False)))
        await r.good("POST", WIDGETS, widget("old"))
        crd = definition(version(storage=False), version("v2"))
        changed = await r.good("PATCH", f"{DEFINITIONS}/widgets.{GROUP}", {"spec": crd["spec"]})
        assert changed["status"]["storedVersions"] == ["v1", "v2"]
        await r.good("POST", WIDGETS, widget("new"))
        for api in ("v1", "v2"):
            found = await r.good("GET", WIDGETS.replace("/v1/", f"/{api}/"))
            assert [(i["metadata"]["name"], i["apiVersion"]) for i in found["items"]] == [
                ("new", f"{GROUP}/{api}"),
                ("old", f"{GROUP}/{api}"),
            ]
        only = definition(version("v2"))
        status, answer = await r.ask("PATCH", f"{DEFINITIONS}/widgets.{GROUP}", {"spec": only["spec"]})
        assert status == 422 and causes(answer) == [("status.storedVersions[0]", "FieldValueInvalid")]


async def test_defaults_that_come_later_are_read_into_what_is_stored() -> None:
    bare = {"type": "object", "properties": {"size": {"type": "integer"}}}
    async with rig() as r:
        await r.define(definition(version(spec=bare)))
        assert (await r.good("POST", WIDGETS, widget("a")))["spec"] == {}
        await r.good("PATCH", f"{DEFINITIONS}/widgets.{GROUP}", {"spec": definition()["spec"]})
        shown = await r.until(f"{WIDGETS}/a", lambda obj: obj["spec"] != {})
        assert shown["spec"] == {"size": 3}


async def test_fields_that_become_selectable_select_what_is_there() -> None:
    async with rig() as r:
        await r.define(definition())
        await r.good("POST", WIDGETS, widget("a", {"colour": "red"}))
        await r.good("POST", WIDGETS, widget("b", {"colour": "blue"}))
        crd = definition(version(selectableFields=[{"jsonPath": ".spec.colour"}]))
        await r.good("PATCH", f"{DEFINITIONS}/widgets.{GROUP}", {"spec": crd["spec"]})
        found = await r.until(f"{WIDGETS}?fieldSelector=spec.colour%3Dred", lambda answer: True)
        assert [item["metadata"]["name"] for item in found["items"]] == ["a"]


async def test_a_version_that_is_served_no_more_is_gone() -> None:
    async with rig() as r:
        await r.define(definition(version(), version("v2", storage=False)))
        second = WIDGETS.replace("/v1/", "/v2/")
        await r.good("GET", second)
        crd = definition(version(), version("v2", storage=False, served=False))
        await r.good("PATCH", f"{DEFINITIONS}/widgets.{GROUP}", {"spec": crd["spec"]})
        await r.gone(second)
        await r.gone(f"/apis/{GROUP}/v2")


# -- schemas as they are published


async def test_schemas_are_published() -> None:
    async with rig() as r:
        await r.define(definition())
        index = await r.good("GET", "/openapi/v3")
        document = await r.good("GET", index["paths"][f"apis/{GROUP}/v1"]["serverRelativeURL"])
        schema = document["components"]["schemas"]["com.example.v1.Widget"]
        assert schema["x-kubernetes-group-version-kind"] == [{"group": GROUP, "version": "v1", "kind": "Widget"}]
        assert schema["properties"]["spec"]["properties"]["size"]["default"] == 3
        assert "x-kubernetes-selectable-fields" not in schema
        old = await r.good("GET", "/openapi/v2")
        assert "com.example.v1.Widget" in old["definitions"]
        await r.good("DELETE", f"{DEFINITIONS}/widgets.{GROUP}")
        await r.gone(f"{DEFINITIONS}/widgets.{GROUP}")
        assert "com.example.v1.Widget" not in (await r.good("GET", "/openapi/v2"))["definitions"]


async def test_what_clients_of_version_2_would_refuse_is_not_told_them() -> None:
    """They take an object with fields for one without others, and know neither `nullable` nor lists of anything."""
    part = {"type": "string", "nullable": True}
    own = {
        "type": "object",
        "required": ["part", "whole"],
        "properties": {
            "part": part,
            "whole": {
                "type": "object",
                "x-kubernetes-embedded-resource": True,
                "properties": {"spec": {"type": "object"}},
            },
            "any": {
                "type": "object",
                "x-kubernetes-embedded-resource": True,
                "x-kubernetes-preserve-unknown-fields": True,
            },
            "list": {"type": "array", "x-kubernetes-preserve-unknown-fields": True, "items": {"type": "string"}},
        },
    }
    async with rig() as r:
        given = version(spec=own, selectableFields=[{"jsonPath": ".status.phase"}])
        given["schema"]["openAPIV3Schema"]["properties"]["status"] = {
            "type": "object",
            "properties": {"phase": {"type": "string"}},
        }
        await r.define(definition(given))
        schema = (await r.good("GET", "/openapi/v2"))["definitions"]["com.example.v1.Widget"]
        spec = schema["properties"]["spec"]
        assert schema["x-kubernetes-selectable-fields"] == [{"fieldPath": "status.phase"}]
        assert spec["required"] == ["whole"]
        assert spec["properties"]["whole"]["required"] == ["kind", "apiVersion"]
        assert set(spec["properties"]["whole"]["properties"]) == {"apiVersion", "kind", "metadata", "spec"}
        assert "type" not in spec["properties"]["list"] and "properties" not in spec["properties"]["any"]
        given["schema"]["openAPIV3Schema"] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        del given["selectableFields"]
        await r.good("PATCH", f"{DEFINITIONS}/widgets.{GROUP}", {"spec": definition(given)["spec"]})
        kinds = [{"group": GROUP, "version": "v1", "kind": "Widget"}]
        wanted = {"type": "object", "x-kubernetes-group-version-kind": kinds}
        found = await r.until("/openapi/v2", lambda a: "properties" not in a["definitions"]["com.example.v1.Widget"])
        assert found["definitions"]["com.example.v1.Widget"] == wanted


APPLY = "application/apply-patch+yaml"
LOOSE: Obj = {
    "type": "object",
    "properties": {
        "text": {"type": "string"},
        "time": {"type": "string", "format": "date-time"},
        "number": {"type": "number"},
        "any": {"x-kubernetes-preserve-unknown-fields": True},
    },
}


async def test_applied_nulls_are_kept_and_judged() -> None:
    async with rig() as r:
        await r.define(definition(version(spec=LOOSE)))
        applied = {**widget("a"), "spec": {"text": None}}
        code, refused = await r.ask("PATCH", f"{WIDGETS}/a?fieldManager=m", applied, APPLY)
        assert (code, causes(refused)[0]) == (422, ("spec.text", "FieldValueTypeInvalid"))
        code, refused = await r.ask("PATCH", f"{WIDGETS}/a?fieldManager=m", {**widget("a"), "spec": {"time": 5}}, APPLY)
        assert (code, causes(refused)[0]) == (422, ("spec.time", "FieldValueTypeInvalid"))
        made = await r.good("POST", WIDGETS, {**widget("a"), "spec": {"text": None}})
        assert made["spec"] == {}


async def test_whole_numbers_are_written_so() -> None:
    async with rig() as r:
        await r.define(definition(version(spec=LOOSE)))
        made = await r.good("POST", WIDGETS, {**widget("a"), "spec": {"number": 2.0, "any": [3.0, {"a": 1.5}]}})
        assert str(made["spec"]) == "{'number': 2, 'any': [3, {'a': 1.5}]}"


async def test_what_was_within_an_object_belongs_to_nobody_once_it_is_none() -> None:
    async with rig() as r:
        await r.define(definition(version(spec=LOOSE)))
        await r.good(
            "POST", f"{WIDGETS}?fieldManager=first", {**widget("a"), "spec": {"text": "t", "any": {"b": {"c": 1}}}}
        )
        merge = "application/merge-patch+json"
        after = await r.good("PATCH", f"{WIDGETS}/a?fieldManager=second", {"spec": {"any": "x"}}, merge)
        owned = {entry["manager"]: entry["fieldsV1"]["f:spec"] for entry in after["metadata"]["managedFields"]}
        assert owned == {"first": {".": {}, "f:text": {}}, "second": {"f:any": {}}}
        after = await r.good("PATCH", f"{WIDGETS}/a?fieldManager=third", {"spec": {"any": {"b": 1}}}, merge)
        owned = {entry["manager"]: entry["fieldsV1"]["f:spec"] for entry in after["metadata"]["managedFields"]}
        assert owned["third"] == {"f:any": {".": {}, "f:b": {}}}
        assert "second" not in owned


async def test_true_is_another_value_than_1() -> None:
    async with rig() as r:
        await r.define(definition(version(spec=LOOSE)))
        await r.good("POST", f"{WIDGETS}?fieldManager=first", {**widget("a"), "spec": {"any": {"b": [1], "c": 1}}})
        after = await r.good("PATCH", f"{WIDGETS}/a?fieldManager=second", {"spec": {"any": {"c": True}}})
        assert (after["spec"]["any"]["c"], after["metadata"]["generation"]) == (True, 2)
        assert [entry["manager"] for entry in after["metadata"]["managedFields"]] == ["first", "second"]
        applied = {**widget("a"), "spec": {"any": {"b": [True]}}}
        after = await r.good("PATCH", f"{WIDGETS}/a?fieldManager=third&force=true", applied, APPLY)
        assert (str(after["spec"]["any"]), after["metadata"]["generation"]) == ("{'b': [True], 'c': True}", 3)
