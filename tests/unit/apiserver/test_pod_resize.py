"""pods/resize: what may change of a running pod's resources, and what not."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.apiserver import api_server

from navarch.client.resources import PODS, SERVICE_ACCOUNTS
from navarch.machinery.errors import StatusError

LIST = {"cpu": "100m", "memory": "64Mi"}


def pod(**more: Any) -> dict[str, Any]:
    box = {"name": "c", "image": "a", "resources": {"requests": LIST}}
    init = {"name": "i", "image": "a", "resources": {"limits": LIST}}
    return {"metadata": {"name": "p"}, "spec": {"containers": [box], "initContainers": [init], **more}}


def change(name: str = "c", field: str = "containers", **container: Any) -> dict[str, Any]:
    return {"spec": {field: [{"name": name, **container}]}}


def requests(**amounts: str) -> dict[str, Any]:
    return {"resources": {"requests": amounts}}


async def test_cpu_and_memory_change_and_nothing_else_is_taken() -> None:
    async with api_server() as server:
        await server.system.create(SERVICE_ACCOUNTS, {"metadata": {"name": "default"}}, "default")
        client = server.system
        await client.create(PODS, pod(), "default")
        patch = change(image="other", **requests(cpu="200m"))
        patch["metadata"] = {"labels": {"a": "b"}}
        resized = await client.patch(PODS, "p", patch, "default", type="strategic", subresource="resize")
        (box,) = resized["spec"]["containers"]
        assert box["resources"]["requests"] == {"cpu": "200m", "memory": "64Mi"} and box["image"] == "a"
        assert resized["metadata"]["generation"] == 2 and "labels" not in resized["metadata"]
        assert (await client.get(PODS, "p", "default", subresource="resize"))["spec"] == resized["spec"]


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        (change(resources={"limits": LIST}), "Pod QOS Class may not change as a result of resizing"),
        (change(resources={"requests": {"memory": None}}), "resource requests cannot be removed"),
        (change(**requests(**{"ephemeral-storage": "1Gi"})), "only cpu and memory resources are mutable"),
        (change("new", image="a"), "containers may not be added or removed on resize"),
        (change(**requests(cpu="-1")), "must be greater than or equal to 0"),
    ],
)
async def test_what_may_not_change_is_refused(patch: dict[str, Any], message: str) -> None:
    async with api_server() as server:
        await server.system.create(SERVICE_ACCOUNTS, {"metadata": {"name": "default"}}, "default")
        await server.system.create(PODS, pod(), "default")
        with pytest.raises(StatusError) as caught:
            await server.system.patch(PODS, "p", patch, "default", type="strategic", subresource="resize")
        assert caught.value.code == 422 and message in caught.value.message


async def test_a_pod_update_still_may_not_change_resources() -> None:
    async with api_server() as server:
        await server.system.create(SERVICE_ACCOUNTS, {"metadata": {"name": "default"}}, "default")
        await server.system.create(PODS, pod(), "default")
        with pytest.raises(StatusError) as caught:
            await server.system.patch(PODS, "p", change(**requests(cpu="1")), "default", type="strategic")
        assert "pod updates may not change fields other than" in caught.value.message
