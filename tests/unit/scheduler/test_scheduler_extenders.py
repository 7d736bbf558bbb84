"""Extenders over HTTP: a real server on loopback takes nodes away, scores, chooses victims and binds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import orjson
from tests.support.apiserver import api_server
from tests.support.hollow import until
from tests.unit.scheduler.test_scheduler_cycle import node
from tests.unit.scheduler.test_scheduler_lives import manifest, seen

from navarch.apiserver.server import ApiServer
from navarch.client.resources import NODES, PODS, PRIORITY_CLASSES, SERVICE_ACCOUNTS
from navarch.machinery.types import GroupResource, Obj
from navarch.scheduler.config import from_tree
from navarch.scheduler.scheduler import Scheduler

Answers = dict[str, Callable[[Obj], Any]]


@asynccontextmanager
async def extender(answers: Answers, **config: Any) -> AsyncIterator[tuple[Obj, list[tuple[str, Obj]]]]:
    """(its configuration, what it was asked: verb and body)."""
    asked: list[tuple[str, Obj]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            verb = head.split(b" ")[1].decode().rpartition("/")[2]
            length = next(
                int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
            )
            body = orjson.loads(await reader.readexactly(length))
            asked.append((verb, body))
            answer = orjson.dumps(answers[verb](body)) if verb in answers else b""
            status = b"200 OK" if verb in answers else b"500 Broken"
            writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: %d\r\n\r\n" % len(answer) + answer)

    async def quietly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except asyncio.IncompleteReadError:
            writer.close()

    server = await asyncio.start_server(quietly, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield {"urlPrefix": f"http://127.0.0.1:{port}/say", "nodeCacheCapable": True, **config}, asked
    finally:
        server.close()


@asynccontextmanager
async def scheduled(extended: Obj, *nodes: str) -> AsyncIterator[ApiServer]:
    head = {"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration"}
    async with api_server() as server:
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
        await server.system.create(SERVICE_ACCOUNTS, account, "default")
        for name in nodes:
            made = node(name)
            await server.system.create(NODES, {"apiVersion": "v1", "kind": "Node", **made})
            await server.system.patch(NODES, name, {"spec": {"taints": None}})
            patch = {"status": made["status"]}
            await server.system.patch(NODES, name, patch, subresource="status", type="strategic")
        scheduler = Scheduler(server.system, server.world, from_tree({**head, "extenders": [extended]}))
        await scheduler.start()
        try:
            yield server
        finally:
            await scheduler.stop()


def where(server: ApiServer, name: str) -> str:
    return seen(server, name).get("spec", {}).get("nodeName", "")


def condition(server: ApiServer, name: str) -> Obj:
    return (seen(server, name).get("status", {}).get("conditions") or [{}])[0]


async def test_an_extender_filters_and_scores() -> None:
    answers: Answers = {
        "filter": lambda body: {"NodeNames": [n for n in body["NodeNames"] if n != "a"], "FailedNodes": {"a": "no"}},
        "prioritize": lambda body: [{"Host": "c", "Score": 10}],
    }
    async with (
        extender(answers, filterVerb="filter", prioritizeVerb="prioritize", weight=5) as (config, asked),
        scheduled(config, "a", "b", "c") as server,
    ):
        await server.system.create(PODS, manifest("web", "1"), "default")
        await until("bound", lambda: where(server, "web"))
        assert where(server, "web") == "c"
    assert [verb for verb, _ in asked] == ["filter", "prioritize"]
    assert asked[0][1]["Pod"]["metadata"]["name"] == "web"
    assert set(asked[1][1]["NodeNames"]) == {"b", "c"}


async def test_whole_nodes_are_sent_to_those_that_know_none() -> None:
    answers: Answers = {"filter": lambda body: {"nodes": {"items": body["Nodes"]["items"][:1]}}}
    async with (
        extender(answers, filterVerb="filter", nodeCacheCapable=False) as (config, asked),
        scheduled(config, "a", "b") as server,
    ):
        await server.system.create(PODS, manifest("web", "1"), "default")
        await until("bound", lambda: where(server, "web"))
        assert where(server, "web") == asked[0][1]["Nodes"]["items"][0]["metadata"]["name"]


async def test_what_an_extender_has_against_nodes_is_told() -> None:
    answers: Answers = {
        "filter": lambda body: {"NodeNames": [], "FailedNodes": dict.fromkeys(body["NodeNames"], "too far")}
    }
    async with extender(answers, filterVerb="filter") as (config, _), scheduled(config, "a", "b") as server:
        await server.system.create(PODS, manifest("web", "1"), "default")
        await until("told", lambda: condition(server, "web"))
        assert condition(server, "web")["message"].startswith("0/2 nodes are available: 2 too far.")


async def test_an_extender_that_is_broken_holds_its_pods_up_unless_it_may_be_ignored() -> None:
    async with extender({}, filterVerb="filter") as (config, _), scheduled(config, "a") as server:
        await server.system.create(PODS, manifest("web", "1"), "default")
        await until("told", lambda: condition(server, "web"))
        assert condition(server, "web")["reason"] == "SchedulerError"
        assert not where(server, "web")
    async with extender({}, filterVerb="filter", ignorable=True) as (config, _), scheduled(config, "a") as server:
        await server.system.create(PODS, manifest("web", "1"), "default")
        await until("bound", lambda: where(server, "web"))


async def test_an_extender_binds_pods_that_ask_for_what_it_manages_and_no_others() -> None:
    bound: list[Obj] = []
    resource = {"name": "example.com/gpu", "ignoredByScheduler": True}
    answers: Answers = {"bind": lambda body: bound.append(body) or {}}
    async with (
        extender(answers, bindVerb="bind", managedResources=[resource]) as (config, _),
        scheduled(config, "a") as server,
    ):
        gpu = manifest("gpu", "1")
        gpu["spec"]["containers"][0]["resources"]["limits"] = {"example.com/gpu": "1", "cpu": "1"}
        gpu["spec"]["containers"][0]["resources"]["requests"] = {"example.com/gpu": "1", "cpu": "1"}
        await server.system.create(PODS, gpu, "default")
        await until("asked to bind", lambda: bound)
        assert (bound[0]["PodName"], bound[0]["Node"]) == ("gpu", "a")
        await server.system.create(PODS, manifest("web", "1"), "default")
        await until("bound", lambda: where(server, "web"))
        assert len(bound) == 1 and not where(server, "gpu")


async def test_an_extender_chooses_among_victims() -> None:
    def keep_b(body: Obj) -> Obj:
        return {"NodeNameToMetaVictims": {"b": body["NodeNameToMetaVictims"]["b"]}}

    async with (
        extender({"preempt": keep_b}, preemptVerb="preempt") as (config, _),
        scheduled(config, "a", "b") as server,
    ):
        made = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "high"}}
        await server.system.create(PRIORITY_CLASSES, {**made, "value": 100})
        for name in ("one", "two"):
            await server.system.create(PODS, manifest(name, "3"), "default")
            await until("bound", lambda name=name: where(server, name))
        await server.system.create(PODS, manifest("great", "3", priorityClassName="high"), "default")
        await until("bound", lambda: where(server, "great"))
        assert where(server, "great") == "b"
        left = [p for p in ("one", "two") if server.lookup(GroupResource("", "pods"), "default", p)]
        assert [where(server, name) for name in left] == ["a"]
