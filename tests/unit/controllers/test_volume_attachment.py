"""CSI volumes are attached where their pods are. On a real API server; the test plays the driver's attacher."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from tests.support.hollow import cluster

from navarch.apiserver.server import ApiServer
from navarch.client.interface import Client
from navarch.client.resources import EVENTS, NODES, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS, STORAGE_CLASSES
from navarch.controllers.volumes.attach import (
    ATTACHMENTS,
    DRIVERS,
    AttachDetachController,
    Observed,
    attachment_name,
)
from navarch.controlloop.plan import Delete
from navarch.machinery.clock import RealWorld
from navarch.machinery.errors import StatusError
from navarch.machinery.types import Obj

NS, DRIVER = "default", "disk.example.com"
NAME = f"kubernetes.io/csi/{DRIVER}^handle"


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    async with cluster(2) as (server, _):
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


async def claimed(client: Client) -> Obj:
    """A CSI volume and its claim, bound, of a class whose volumes may grow."""
    storage_class = {"metadata": {"name": "disks"}, "provisioner": DRIVER, "allowVolumeExpansion": True}
    await client.create(STORAGE_CLASSES, storage_class)
    source = {"csi": {"driver": DRIVER, "volumeHandle": "handle"}, "storageClassName": "disks"}
    spec = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], **source}
    volume = await client.create(PERSISTENT_VOLUMES, {"metadata": {"name": "v"}, "spec": spec})
    wanted = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    wanted["storageClassName"] = "disks"
    await client.create(PERSISTENT_VOLUME_CLAIMS, {"metadata": {"name": "c"}, "spec": wanted}, NS)

    async def bound() -> bool:
        return (await client.get(PERSISTENT_VOLUME_CLAIMS, "c", NS))["status"]["phase"] == "Bound"

    await until(bound)
    return volume


async def place(client: Client, name: str, node: str) -> None:
    volume = {"name": "v", "persistentVolumeClaim": {"claimName": "c"}}
    spec = {"containers": [{"name": "c", "image": "a"}], "volumes": [volume], "nodeName": node}
    await client.create(PODS, {"metadata": {"name": name}, "spec": spec}, NS)


async def reasons(client: Client, about: str) -> list[str]:
    events = (await client.list(EVENTS, NS)).items
    return [event["reason"] for event in events if event["involvedObject"]["name"] == about]


async def test_a_volume_is_attached_shown_and_detached(server: ApiServer) -> None:
    client = server.system
    name = attachment_name(await claimed(client), "hollow-0")
    foreign = {"attacher": DRIVER, "nodeName": "hollow-0", "source": {"persistentVolumeName": "v"}}
    await client.create(ATTACHMENTS, {"metadata": {"name": "somebody-elses"}, "spec": foreign})
    await place(client, "p", "hollow-0")
    made = await until(lambda: client.get(ATTACHMENTS, name))
    assert made["spec"] == {"attacher": DRIVER, "nodeName": "hollow-0", "source": {"persistentVolumeName": "v"}}
    await client.patch(ATTACHMENTS, name, {"status": {"attached": True}}, subresource="status")

    async def shown() -> bool:
        node = await client.get(NODES, "hollow-0")
        return node["status"].get("volumesAttached") == [{"name": NAME, "devicePath": ""}]

    async def told() -> bool:
        return "SuccessfulAttachVolume" in await reasons(client, "p")

    await until(shown)
    await until(told)
    await client.patch(NODES, "hollow-0", {"status": {"volumesInUse": [NAME]}}, subresource="status")
    await client.delete(PODS, "p", NS, grace_period_seconds=0)

    async def pod_is_gone() -> bool:
        return not (await client.list(PODS, NS)).items

    await until(pod_is_gone)
    assert await client.get(ATTACHMENTS, name) and await shown()
    await client.patch(NODES, "hollow-0", {"status": {"volumesInUse": []}}, subresource="status")

    async def detached() -> bool:
        left = [each["metadata"]["name"] for each in (await client.list(ATTACHMENTS)).items]
        return left == ["somebody-elses"] and not await shown()

    await until(detached)


async def test_an_exclusive_volume_waits_for_the_other_node(server: ApiServer) -> None:
    client = server.system
    volume = await claimed(client)
    await place(client, "first", "hollow-0")
    await until(lambda: client.get(ATTACHMENTS, attachment_name(volume, "hollow-0")))
    await place(client, "second", "hollow-1")

    async def refused() -> bool:
        return "FailedAttachVolume" in await reasons(client, "second")

    await until(refused)
    assert len((await client.list(ATTACHMENTS)).items) == 1
    await client.delete(PODS, "first", NS, grace_period_seconds=0)
    await until(lambda: client.get(ATTACHMENTS, attachment_name(volume, "hollow-1")))


async def test_a_driver_may_need_no_attaching_and_a_claim_that_grows_waits_for_its_driver(server: ApiServer) -> None:
    client = server.system
    await client.create(DRIVERS, {"metadata": {"name": DRIVER}, "spec": {"attachRequired": False}})
    await claimed(client)
    await place(client, "p", "hollow-0")
    larger = {"spec": {"resources": {"requests": {"storage": "2Gi"}}}}
    await client.patch(PERSISTENT_VOLUME_CLAIMS, "c", larger, NS)

    async def told() -> bool:
        return "ExternalExpanding" in await reasons(client, "c")

    await until(told)
    assert not (await client.list(ATTACHMENTS)).items


@pytest.mark.parametrize(
    ("ready", "waited", "detached"), [("True", 1000, False), ("Unknown", 300, False), ("Unknown", 400, True)]
)
def test_a_node_that_is_not_ready_loses_what_it_does_not_give_back(ready: str, waited: int, detached: bool) -> None:
    condition = {"type": "Ready", "status": ready}
    status = {"volumesInUse": [NAME], "volumesAttached": [{"name": NAME, "devicePath": ""}], "conditions": [condition]}
    node: Obj = {"metadata": {"name": "n", "uid": "u"}, "spec": {}, "status": status}
    volume: Obj = {"metadata": {"name": "v"}, "spec": {"csi": {"driver": DRIVER, "volumeHandle": "handle"}}}
    spec = {"nodeName": "n", "source": {"persistentVolumeName": "v"}}
    attachment = {"metadata": {"name": "a", "uid": "u"}, "spec": spec, "status": {"attached": True}}
    seen = Observed("n", node, attachments=[attachment], volumes={"v": volume}, unwanted={"a": 1000.0})
    plan = AttachDetachController(RealWorld()).reconcile(seen, 1000.0 + waited)
    assert any(isinstance(action, Delete) for action in plan.actions) is detached
    assert (plan.requeue_after is None) is detached
