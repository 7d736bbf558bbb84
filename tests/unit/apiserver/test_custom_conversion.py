"""Custom resources whose versions a webhook converts: a real HTTPS server asked by the real API server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support.custom import DEFINITIONS, GROUP, WIDGETS, Obj, Rig, definition, rig, version, widget
from tests.support.webhook import Webhook, webhook

from navarch.client.interface import Resource

SECOND = WIDGETS.replace("/v1/", "/v2/")
ONE: Obj = {"type": "object", "properties": {"hostPort": {"type": "string"}, "note": {"type": "string"}}}
TWO: Obj = {
    "type": "object",
    "properties": {"host": {"type": "string"}, "port": {"type": "string"}, "note": {"type": "string", "default": "n"}},
}


def convert(path: str, request: Obj) -> Obj:
    """v1 has `hostPort`, v2 has `host` and `port`."""
    return {
        "result": {"status": "Success"},
        "convertedObjects": [converted(obj, request["desiredAPIVersion"]) for obj in request["objects"]],
    }


def converted(obj: Obj, version: str) -> Obj:
    spec = dict(obj["spec"])
    if version.endswith("/v2"):
        spec["host"], _, spec["port"] = spec.pop("hostPort", "").partition(":")
    else:
        spec["hostPort"] = f"{spec.pop('host', '')}:{spec.pop('port', '')}"
    return {**obj, "apiVersion": version, "spec": spec}


@asynccontextmanager
async def converting(
    directory: Path, answer: Callable[[str, Obj], Any] = convert, reviews: tuple[str, ...] = ("v1",)
) -> AsyncIterator[tuple[Rig, Webhook]]:
    async with webhook(directory, answer) as hook, rig() as r:
        crd = definition(version(spec=ONE), version("v2", TWO, storage=False))
        config = {"clientConfig": hook.client("/convert"), "conversionReviewVersions": list(reviews)}
        crd["spec"]["conversion"] = {"strategy": "Webhook", "webhook": config}
        await r.define(crd)
        yield r, hook


@pytest.mark.parametrize("reviews", [("v1",), ("v1beta1", "v1"), ("v9", "v1")])
async def test_objects_come_and_go_in_either_version(tmp_path: Path, reviews: tuple[str, ...]) -> None:
    async with converting(tmp_path, reviews=reviews) as (r, hook):
        await r.good("POST", WIDGETS, widget("a", {"hostPort": "here:1"}))
        assert not hook.requests  # the stored version needs no webhook
        shown = await r.good("GET", f"{SECOND}/a")
        assert (shown["apiVersion"], shown["spec"]) == (f"{GROUP}/v2", {"host": "here", "port": "1", "note": "n"})
        made = await r.good("POST", SECOND, widget("b", {"host": "there", "port": "2"}, api="v2"))
        assert made["spec"] == {"host": "there", "port": "2", "note": "n"}
        assert (await r.good("GET", f"{WIDGETS}/b"))["spec"] == {"hostPort": "there:2", "note": "n"}
        changed = await r.good("PATCH", f"{SECOND}/a", {"spec": {"port": "3"}})
        assert changed["spec"]["port"] == "3" and changed["metadata"]["generation"] == 2
        listed = (await r.good("GET", SECOND))["items"]
        assert [(i["apiVersion"], i["spec"]["port"]) for i in listed] == [(f"{GROUP}/v2", "3"), (f"{GROUP}/v2", "2")]
        assert (await r.good("GET", f"{WIDGETS}/a"))["spec"]["hostPort"] == "here:3"


async def test_what_was_converted_is_remembered(tmp_path: Path) -> None:
    async with converting(tmp_path) as (r, hook):
        for name in ("a", "b", "c"):
            await r.good("POST", WIDGETS, widget(name, {"hostPort": f"{name}:1"}))
        await r.good("GET", SECOND)
        assert len(hook.requests) == 1 and len(hook.requests[0]["objects"]) == 3
        await r.good("GET", SECOND)
        await r.good("GET", f"{SECOND}/b")
        assert len(hook.requests) == 1


async def test_watches_show_their_version(tmp_path: Path) -> None:
    async with converting(tmp_path) as (r, _):
        client = r.server.system
        resource = Resource(GROUP, "v2", "widgets", namespaced=True)
        listed = await r.good("GET", SECOND)
        events: list[Any] = []

        async def follow() -> None:
            async for batch in client.watch(
                resource, "default", resource_version=listed["metadata"]["resourceVersion"]
            ):
                events.extend(batch)

        task = asyncio.create_task(follow())
        await r.good("POST", WIDGETS, widget("a", {"hostPort": "here:1"}))
        await r.good("PATCH", f"{WIDGETS}/a", {"spec": {"hostPort": "here:2"}})
        await r.good("DELETE", f"{WIDGETS}/a")
        for _ in range(500):
            if len(events) >= 3:
                break
            await asyncio.sleep(0.01)
        task.cancel()
        assert [(e.type, e.object["spec"]["port"]) for e in events] == [
            ("ADDED", "1"),
            ("MODIFIED", "2"),
            ("DELETED", "2"),
        ]
        assert {e.object["apiVersion"] for e in events} == {f"{GROUP}/v2"}


async def test_selectors_judge_what_the_version_shows(tmp_path: Path) -> None:
    async with webhook(tmp_path, convert) as hook, rig() as r:
        fields = [{"jsonPath": ".spec.host"}, {"jsonPath": ".spec.port"}]
        second = version("v2", TWO, storage=False, selectableFields=fields)
        crd = definition(version(spec=ONE, selectableFields=[{"jsonPath": ".spec.hostPort"}]), second)
        config = {"clientConfig": hook.client("/"), "conversionReviewVersions": ["v1"]}
        crd["spec"]["conversion"] = {"strategy": "Webhook", "webhook": config}
        await r.define(crd)
        await r.good("POST", WIDGETS, widget("a", {"hostPort": "here:1"}))
        await r.good("POST", WIDGETS, widget("b", {"hostPort": "there:1"}))
        found = await r.good("GET", f"{SECOND}?fieldSelector=spec.host%3Dhere")
        assert [item["metadata"]["name"] for item in found["items"]] == ["a"]
        assert (await r.ask("GET", f"{WIDGETS}?fieldSelector=spec.host%3Dhere"))[0] == 400
        events: list[Any] = []

        async def follow() -> None:
            resource = Resource(GROUP, "v2", "widgets", namespaced=True)
            revision = found["metadata"]["resourceVersion"]
            async for batch in r.server.system.watch(
                resource, "default", field_selector="spec.host=here", resource_version=revision
            ):
                events.extend(batch)

        task = asyncio.create_task(follow())
        await r.good("PATCH", f"{WIDGETS}/a", {"spec": {"hostPort": "gone:1"}})
        await r.good("PATCH", f"{WIDGETS}/b", {"spec": {"hostPort": "here:2"}})
        await r.good("PATCH", f"{WIDGETS}/b", {"spec": {"hostPort": "here:3"}})
        for _ in range(500):
            if len(events) >= 3:
                break
            await asyncio.sleep(0.01)
        task.cancel()
        told = [(e.type, e.object["metadata"]["name"], e.object["spec"]["port"]) for e in events]
        assert told == [("DELETED", "a", "1"), ("ADDED", "b", "2"), ("MODIFIED", "b", "3")]


async def test_managers_of_another_version_keep_their_fields(tmp_path: Path) -> None:
    async with converting(tmp_path) as (r, _):
        kind = "application/apply-patch+yaml"
        await r.good("PATCH", f"{WIDGETS}/a?fieldManager=one", widget("a", {"hostPort": "here:1"}), kind)
        applied = widget("a", {"host": "there"}, api="v2")
        status, answer = await r.ask("PATCH", f"{SECOND}/a?fieldManager=two", applied, kind)
        assert status == 409 and 'conflict with "one"' in answer["message"]
        both = await r.good("PATCH", f"{SECOND}/a?fieldManager=two", widget("a", {"note": "x"}, api="v2"), kind)
        assert [m["manager"] for m in both["metadata"]["managedFields"]] == ["one", "two"]


def failing(path: str, request: Obj) -> Obj:
    return {"result": {"status": "Failure", "message": "not today"}}


def renaming(path: str, request: Obj) -> Obj:
    made = convert(path, request)
    for obj in made["convertedObjects"]:
        obj["metadata"] = {**obj["metadata"], "name": "other"}
    return made


def losing(path: str, request: Obj) -> Obj:
    return {"result": {"status": "Success"}, "convertedObjects": []}


@pytest.mark.parametrize(
    "answer, said",
    [
        (failing, f"conversion webhook for {GROUP}/v1, Kind=Widget failed: not today"),
        (renaming, "must have the same name: a != other"),
        (losing, "returned 0 objects, expected 1"),
    ],
)
async def test_a_webhook_that_fails_fails_the_request(tmp_path: Path, answer: Any, said: str) -> None:
    async with converting(tmp_path, answer) as (r, _):
        await r.good("POST", WIDGETS, widget("a", {"hostPort": "here:1"}))
        status, told = await r.ask("GET", f"{SECOND}/a")
        assert status == 500 and said in told["message"]
        assert (await r.good("GET", f"{WIDGETS}/a"))["spec"]["hostPort"] == "here:1"


async def test_labels_may_be_converted_and_nothing_else_of_metadata(tmp_path: Path) -> None:
    def relabel(path: str, request: Obj) -> Obj:
        made = convert(path, request)
        for obj in made["convertedObjects"]:
            obj["metadata"] = {**obj["metadata"], "labels": {"made": "here"}, "generation": 77}
        return made

    async with converting(tmp_path, relabel) as (r, _):
        await r.good("POST", WIDGETS, widget("a", {"hostPort": "here:1"}))
        metadata = (await r.good("GET", f"{SECOND}/a"))["metadata"]
        assert metadata["labels"] == {"made": "here"} and metadata["generation"] == 1


async def test_the_servers_own_clients_see_the_version_they_ask_for(tmp_path: Path) -> None:
    async with converting(tmp_path) as (r, _):
        client, second = r.server.system, Resource(GROUP, "v2", "widgets", namespaced=True)
        for name in ("a", "b"):
            await r.good("POST", WIDGETS, widget(name, {"hostPort": f"{name}:1"}))
        events: list[Any] = []

        async def follow() -> None:
            async for batch in client.watch(second, "default", field_selector="metadata.name=b"):
                events.extend(batch)

        task = asyncio.create_task(follow())
        assert (await client.get(second, "a", "default"))["spec"]["host"] == "a"
        assert [obj["spec"]["host"] for obj in (await client.list(second, "default")).items] == ["a", "b"]
        patched = await client.patch(second, "a", {"spec": {"port": "9"}}, "default")
        assert patched["spec"] == {"host": "a", "port": "9", "note": "n"}
        await client.delete(second, "a", "default")
        for _ in range(500):
            if events:
                break
            await asyncio.sleep(0.01)
        task.cancel()
        assert [(e.type, e.object["spec"]["host"]) for e in events if e.type != "BOOKMARK"] == [("ADDED", "b")]
        await client.delete_collection(second, "default")
        assert (await r.good("GET", WIDGETS))["items"] == []


async def test_a_definition_can_be_emptied_without_its_webhook(tmp_path: Path) -> None:
    async with converting(tmp_path, failing) as (r, _):
        await r.good("POST", WIDGETS, widget("a", {"hostPort": "here:1"}))
        await r.good("DELETE", f"{DEFINITIONS}/widgets.{GROUP}")
        await r.gone(f"{DEFINITIONS}/widgets.{GROUP}")
