"""Pods leave devices that are tainted, as soon as their claims' tolerations allow."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.hollow import cluster, until
from tests.unit.scheduler.test_device_lives import node_names, told
from tests.unit.scheduler.test_scheduler_devices import (
    CLAIMS,
    CLASSES,
    SLICES,
    claim,
    device_class,
    exactly,
    gpu,
    slice_of,
)
from tests.unit.scheduler.test_scheduler_lives import is_running, manifest, seen

from navarch.apiserver.server import ApiServer
from navarch.client.resources import PODS
from navarch.controllers.devicetaints import Tainted, evicted_at
from navarch.machinery.clock import rfc3339
from navarch.machinery.types import Obj

SINCE = 1_700_000_000.0
TAINT = {"key": "sick", "value": "very", "effect": "NoExecute", "timeAdded": rfc3339(SINCE)}
KEY = {"key": "sick", "operator": "Exists", "effect": "NoExecute"}


@pytest.mark.parametrize(
    ("tolerations", "leaves"),
    [
        ([], SINCE),
        ([KEY], None),
        ([{**KEY, "tolerationSeconds": 60}], SINCE + 60),
        ([{**KEY, "tolerationSeconds": -5}], SINCE),
        ([{**KEY, "tolerationSeconds": 60}, {**KEY, "tolerationSeconds": 30}], SINCE + 30),
        ([{**KEY, "tolerationSeconds": 60}, KEY], None),
        ([{**KEY, "key": "other"}], SINCE),
        ([{"operator": "Exists"}], SINCE),
        ([{"operator": "Exists", "effect": "NoExecute"}], None),
        ([{"key": "sick", "operator": "Equal", "value": "very", "effect": "NoExecute"}], None),
        ([{"key": "sick", "operator": "Equal", "value": "bit", "effect": "NoExecute"}], SINCE),
    ],
)
def test_when_a_taint_drives_out(tolerations: list[Obj], leaves: float | None) -> None:
    assert evicted_at(Tainted(TAINT, tolerations), SINCE + 10) == leaves


async def using_a_device(server: ApiServer, **request: Any) -> str:
    (name,) = await node_names(server)
    await server.system.create(CLASSES, device_class("gpu"))
    await server.system.create(SLICES, slice_of(name, gpu("g0")))
    await server.system.create(CLAIMS, {**claim("c", exactly(**request)), "metadata": {"name": "c"}}, "default")
    wanted = [{"name": "gpu", "resourceClaimName": "c"}]
    await server.system.create(PODS, manifest("web", "1", resourceClaims=wanted), "default")
    await until("running", lambda: is_running(server, "web"))
    return f"{name}-gpus"


async def taint(server: ApiServer, name: str, effect: str) -> None:
    tainted = {**gpu("g0"), "taints": [{"key": "sick", "effect": effect}]}
    await server.system.patch(SLICES, name, {"spec": {"devices": [tainted]}})


async def test_a_pod_leaves_a_device_that_is_tainted() -> None:
    async with cluster(1) as (server, _):
        slices = await using_a_device(server)
        await taint(server, slices, "NoSchedule")
        await taint(server, slices, "NoExecute")
        await until("gone", lambda: not seen(server, "web"))
        await until("told", lambda: told(server, "DeviceTaintManagerEviction") == ["Marking for deletion"])


async def test_a_pod_stays_whose_claim_tolerates_the_taint() -> None:
    async with cluster(1) as (server, _):
        tolerations = [{"key": "sick", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 1}]
        slices = await using_a_device(server, tolerations=tolerations)
        await taint(server, slices, "NoExecute")
        await until("gone", lambda: not seen(server, "web"))
    async with cluster(1) as (server, _):
        slices = await using_a_device(server, tolerations=[{"operator": "Exists", "effect": "NoExecute"}])
        await taint(server, slices, "NoExecute")
        other = manifest("other", "1", resourceClaims=[{"name": "gpu", "resourceClaimName": "c"}])
        await server.system.create(PODS, other, "default")
        await until("running", lambda: is_running(server, "other"))
        assert not seen(server, "web")["metadata"].get("deletionTimestamp")
