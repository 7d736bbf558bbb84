"""Claims for devices: made for pods, reserved, and freed. On a real API server; the test plays the scheduler."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from tests.support.hollow import cluster

from navarch.apiserver.server import ApiServer
from navarch.client.interface import Client
from navarch.client.resources import EVENTS, PODS
from navarch.controllers.resourceclaims import CLAIMS, FINALIZER, POD_CLAIM, TEMPLATES, from_template
from navarch.machinery.errors import StatusError
from navarch.machinery.types import Obj

NS = "default"
DEVICES = {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "gpu"}}]}}
TEMPLATE: Obj = {"metadata": {"name": "t"}, "spec": {"metadata": {"labels": {"a": "b"}}, "spec": DEVICES}}
ALLOCATION = {"devices": {"results": [{"request": "r", "driver": "d.example.com", "pool": "p", "device": "0"}]}}


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    async with cluster(1) as (server, _):
        yield server


async def until(check: Callable[[], Awaitable[Any]]) -> Any:
    for _ in range(400):
        try:
            if found := await check():
                return found
        except StatusError as error:
            if error.code != 404:
                raise
        await asyncio.sleep(0.02)
    raise AssertionError("not within 8 s")


def pod(name: str, *claims: Obj) -> Obj:
    """A pod that no scheduler places."""
    spec = {"containers": [{"name": "c", "image": "a"}], "resourceClaims": list(claims), "schedulerName": "nobody"}
    return {"metadata": {"name": name}, "spec": spec}


async def names(client: Client) -> list[str]:
    return [claim["metadata"]["name"] for claim in (await client.list(CLAIMS, NS)).items]


async def allocate(client: Client, name: str, *consumers: Obj) -> None:
    """As the scheduler does: the finalizer, then allocation and reservation at once."""
    await client.patch(CLAIMS, name, {"metadata": {"finalizers": [FINALIZER]}}, NS)
    reserved = [{"resource": "pods", "name": c["metadata"]["name"], "uid": c["metadata"]["uid"]} for c in consumers]
    status = {"status": {"allocation": ALLOCATION, "reservedFor": reserved}}
    await client.patch(CLAIMS, name, status, NS, subresource="status")


async def test_a_pod_gets_one_claim_of_its_template_and_loses_it_when_it_is_done(server: ApiServer) -> None:
    client = server.system
    await client.create(TEMPLATES, TEMPLATE, NS)
    wanted = {"name": "gpu", "resourceClaimTemplateName": "t"}
    made = await client.create(PODS, pod("p", wanted), NS)

    async def recorded() -> str:
        status = (await client.get(PODS, "p", NS))["status"]
        return (status.get("resourceClaimStatuses") or [{}])[0].get("resourceClaimName", "")

    name = await until(recorded)
    assert name.startswith("p-gpu-") and await names(client) == [name]
    claim = await client.get(CLAIMS, name, NS)
    assert claim["metadata"]["labels"] == {"a": "b"} and claim["metadata"]["annotations"][POD_CLAIM] == "gpu"
    assert claim["metadata"]["ownerReferences"][0]["uid"] == made["metadata"]["uid"]
    await allocate(client, name, made)
    await client.patch(PODS, "p", {"status": {"phase": "Succeeded"}}, NS, subresource="status")

    async def gone() -> bool:
        return not await names(client)

    await until(gone)


async def test_a_missing_template_is_reported_and_made_good_later(server: ApiServer) -> None:
    client = server.system
    await client.create(PODS, pod("p", {"name": "gpu", "resourceClaimTemplateName": "t"}), NS)

    async def told() -> bool:
        events = (await client.list(EVENTS, NS)).items
        return any(event["reason"] == "FailedResourceClaimCreation" for event in events)

    await until(told)
    await client.create(TEMPLATES, TEMPLATE, NS)
    await until(lambda: names(client))


async def test_a_claim_is_freed_when_its_last_consumer_goes(server: ApiServer) -> None:
    client = server.system
    await client.create(CLAIMS, {"metadata": {"name": "shared"}, "spec": DEVICES}, NS)
    wanted = {"name": "gpu", "resourceClaimName": "shared"}
    first, second = [await client.create(PODS, pod(name, wanted), NS) for name in ("a", "b")]
    await allocate(client, "shared", first, second)
    await client.delete(PODS, "a", NS, grace_period_seconds=0)

    async def consumers() -> list[str]:
        status = (await client.get(CLAIMS, "shared", NS)).get("status") or {}
        return [consumer["name"] for consumer in status.get("reservedFor") or ()]

    async def only_b() -> bool:
        return await consumers() == ["b"]

    await until(only_b)
    assert (await client.get(CLAIMS, "shared", NS))["status"]["allocation"]
    await client.delete(PODS, "b", NS, grace_period_seconds=0)

    async def free() -> bool:
        claim = await client.get(CLAIMS, "shared", NS)
        return not (claim.get("status") or {}).get("allocation") and not claim["metadata"].get("finalizers")

    await until(free)
    assert await consumers() == []


async def test_a_pod_that_was_placed_by_hand_is_given_its_claim(server: ApiServer) -> None:
    client = server.system
    await client.create(CLAIMS, {"metadata": {"name": "shared"}, "spec": DEVICES}, NS)
    await allocate(client, "shared")
    placed = pod("p", {"name": "gpu", "resourceClaimName": "shared"})
    placed["spec"]["nodeName"] = "hollow-0"
    made = await client.create(PODS, placed, NS)

    async def reserved() -> bool:
        status = (await client.get(CLAIMS, "shared", NS))["status"]
        return [consumer["uid"] for consumer in status.get("reservedFor") or ()] == [made["metadata"]["uid"]]

    await until(reserved)


def test_long_names_are_cut_in_proportion() -> None:
    made = from_template({"metadata": {"name": "p" * 60, "namespace": NS, "uid": "u"}}, "c" * 30, TEMPLATE)
    base = made["metadata"]["generateName"]
    assert base == "p" * (60 * 57 // 92) + "-" + "c" * (30 * 57 // 92)
