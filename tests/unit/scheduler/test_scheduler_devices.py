"""Claims for devices: which devices serve them, on which nodes, and what is written of it."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.hollow import cluster, until
from tests.unit.scheduler.test_scheduler_cycle import cycle, node, pod
from tests.unit.scheduler.test_scheduler_lives import is_running, manifest, seen

from navarch.client.interface import Resource
from navarch.client.resources import NODES, PODS
from navarch.machinery.types import GroupResource, Key, Obj
from navarch.scheduler.cycle import Cycle
from navarch.scheduler.devices.allocator import Allocator
from navarch.scheduler.podinfo import PodInfo

GROUP = "resource.k8s.io"
CLASSES = Resource(GROUP, "v1", "deviceclasses", namespaced=False)
SLICES = Resource(GROUP, "v1", "resourceslices", namespaced=False)
CLAIMS = Resource(GROUP, "v1", "resourceclaims")
TEMPLATES = Resource(GROUP, "v1", "resourceclaimtemplates")
VERSION = {"apiVersion": f"{GROUP}/v1"}


def device_class(name: str = "gpu", *expressions: str) -> Obj:
    selectors = [{"cel": {"expression": e}} for e in expressions]
    return {**VERSION, "kind": "DeviceClass", "metadata": {"name": name}, "spec": {"selectors": selectors}}


def gpu(name: str, memory: str = "8Gi", **attributes: Any) -> Obj:
    kinds = {bool: "bool", int: "int", str: "string"}
    typed = {key: {kinds[type(value)]: value} for key, value in attributes.items()}
    return {"name": name, "attributes": typed, "capacity": {"memory": {"value": memory}}}


def slice_of(where: str, *devices: Obj, count: int = 1, generation: int = 1, name: str = "", **more: Any) -> Obj:
    pool = {"name": where, "generation": generation, "resourceSliceCount": count}
    spec = {"driver": "gpu.example.com", "pool": pool, "nodeName": where, "devices": list(devices), **more}
    if spec.get("nodeName") is None:
        del spec["nodeName"]
    return {**VERSION, "kind": "ResourceSlice", "metadata": {"name": name or f"{where}-gpus"}, "spec": spec}


def claim(name: str, *requests: Obj, **spec: Any) -> Obj:
    meta = {"name": name, "namespace": "default", "uid": name}
    devices = {"requests": list(requests), **spec}
    return {**VERSION, "kind": "ResourceClaim", "metadata": meta, "spec": {"devices": devices}, "status": {}}


def exactly(name: str = "gpu", *expressions: str, **more: Any) -> Obj:
    selectors = [{"cel": {"expression": e}} for e in expressions]
    return {"name": name, "exactly": {"deviceClassName": "gpu", "selectors": selectors, **more}}


def using(*claims: str, name: str = "p") -> PodInfo:
    return pod(name, resourceClaims=[{"name": c, "resourceClaimName": c} for c in claims])


def stored(on: Cycle, *objects: Obj) -> Cycle:
    devices = on.around.devices
    for obj in (device_class(), *objects):
        name = obj["metadata"]["name"]
        if obj["kind"] == "DeviceClass":
            devices.set_class(name, obj)
        elif obj["kind"] == "ResourceSlice":
            devices.set_slice(name, obj)
        else:
            devices.set_claim(None, obj)
    return on


def given(on: Cycle, name: str, where: str) -> list[str]:
    """The devices that a claim gets on a node."""
    devices = on.around.devices
    slot = on.nodes.slot(where)
    assert slot is not None
    at = on.nodes.objects[slot]
    assert at is not None
    found = Allocator(devices).allocate([devices.claims[Key("default", name)]], at)
    return [result["device"] for result in found[0]["devices"]["results"]] if found else []


def two_nodes(*objects: Obj) -> Cycle:
    a = slice_of("a", gpu("a0", model="small"), gpu("a1", model="small"))
    b = slice_of("b", gpu("b0", memory="80Gi", model="large", fast=True))
    return stored(cycle(node("a"), node("b"), node("c")), a, b, *objects)


def test_a_pod_goes_where_its_devices_are() -> None:
    on = two_nodes(
        claim("big", exactly("gpu", "device.capacity['gpu.example.com'].memory.isGreaterThan(quantity('10Gi'))"))
    )
    assert on.decide(using("big")).node == "b"
    assert given(on, "big", "b") == ["b0"]
    on.nodes.remove_node("b")
    assert on.decide(using("big")).message == "0/2 nodes are available: 2 cannot allocate all claims."


@pytest.mark.parametrize(
    ("request_", "where", "devices"),
    [
        (exactly(), "a", ["a0"]),
        (exactly(count=2), "a", ["a0", "a1"]),
        (exactly(count=2), "b", []),
        (exactly(count=3), "a", []),
        (exactly(allocationMode="All"), "a", ["a0", "a1"]),
        (exactly("gpu", "device.driver == 'gpu.example.com'"), "b", ["b0"]),
        (exactly("gpu", "device.attributes['gpu.example.com'].model == 'large'"), "a", []),
        (exactly("gpu", "device.attributes['gpu.example.com'].?fast.orValue(false)"), "b", ["b0"]),
        (exactly("gpu", "has(device.attributes['other.example.com'].model)"), "a", []),
        (exactly(), "c", []),
    ],
)
def test_requests_choose_devices(request_: Obj, where: str, devices: list[str]) -> None:
    assert given(two_nodes(claim("c", request_)), "c", where) == devices


def test_devices_that_are_given_are_gone_but_for_those_who_only_look() -> None:
    taken = {"results": [{"request": "gpu", "driver": "gpu.example.com", "pool": "a", "device": "a0"}]}
    holder = {**claim("holder", exactly()), "status": {"allocation": {"devices": taken}}}
    on = two_nodes(
        holder, claim("one", exactly()), claim("two", exactly(count=2)), claim("look", exactly(adminAccess=True))
    )
    assert (given(on, "one", "a"), given(on, "two", "a"), given(on, "look", "a")) == (["a1"], [], ["a0"])
    assert "nodeSelector" not in holder["status"]["allocation"]
    elsewhere = {"nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["a"]}]}]}
    holder["status"]["allocation"]["nodeSelector"] = elsewhere
    assert on.decide(using("holder")).node == "a"
    on.nodes.remove_node("a")
    assert on.decide(using("holder")).message == "0/2 nodes are available: 2 resourceclaim not available on the node."


def test_the_first_alternative_that_can_be_had_is_taken() -> None:
    large = {
        "name": "large",
        "deviceClassName": "gpu",
        "selectors": [{"cel": {"expression": "device.attributes['gpu.example.com'].model == 'large'"}}],
    }
    small = {"name": "small", "deviceClassName": "gpu", "count": 2}
    on = two_nodes(claim("c", {"name": "gpu", "firstAvailable": [large, small]}))
    assert (given(on, "c", "b"), given(on, "c", "a")) == (["b0"], ["a0", "a1"])


def test_constraints_hold_over_requests() -> None:
    one, two = gpu("x0", numa=0), gpu("x1", numa=1)
    three = gpu("x2", numa=1)
    alike = claim("c", exactly("one"), exactly("two"), constraints=[{"matchAttribute": "gpu.example.com/numa"}])
    on = stored(cycle(node("x")), slice_of("x", one, two, three), alike)
    assert given(on, "c", "x") == ["x1", "x2"]
    alike["spec"]["devices"]["constraints"] = [{"distinctAttribute": "gpu.example.com/numa"}]
    assert given(on, "c", "x") == ["x0", "x1"]


def test_tainted_devices_and_incomplete_pools_are_left_alone() -> None:
    tainted = {**gpu("t0"), "taints": [{"key": "sick", "effect": "NoSchedule"}]}
    on = stored(cycle(node("t"), node("u")), slice_of("t", tainted), slice_of("u", gpu("u0"), count=2))
    tolerations = [{"key": "sick", "operator": "Exists"}]
    stored(on, claim("c", exactly()), claim("brave", exactly(tolerations=tolerations)))
    assert (given(on, "c", "t"), given(on, "brave", "t"), given(on, "c", "u")) == ([], ["t0"], [])
    stored(on, slice_of("u", gpu("u1"), generation=2, name="newer"))
    assert given(on, "c", "u") == ["u1"]


def test_what_a_pod_waits_for_is_told() -> None:
    on = two_nodes()
    assert on.decide(using("none")).message == '0/3 nodes are available: resourceclaim "none" not found.'
    templated = pod(resourceClaims=[{"name": "gpu", "resourceClaimTemplateName": "t"}])
    assert 'pod "default/p": ResourceClaim not created yet' in on.decide(templated).message
    other = {"name": "gpu", "exactly": {"deviceClassName": "nope"}}
    stored(on, claim("c", other))
    assert on.decide(using("c")).message.endswith(" available: request gpu: device class nope does not exist.")


async def test_claims_are_allocated_reserved_and_freed_in_a_cluster() -> None:
    async with cluster(2) as (server, _):
        names = [n["metadata"]["name"] for n in (await server.system.list(NODES)).items]
        await server.system.create(CLASSES, device_class("gpu", "device.driver == 'gpu.example.com'"))
        await server.system.create(SLICES, slice_of(names[1], gpu("g0")))
        template = {"spec": {"devices": {"requests": [exactly()]}}}
        made = {**VERSION, "kind": "ResourceClaimTemplate", "metadata": {"name": "t"}, "spec": template}
        await server.system.create(TEMPLATES, made, "default")
        wanted = [{"name": "gpu", "resourceClaimTemplateName": "t"}]
        for name in ("first", "second"):
            await server.system.create(PODS, manifest(name, "1", resourceClaims=wanted), "default")
            await until("tried", lambda name=name: seen(server, name)["status"].get("conditions"))
        await until("running", lambda: is_running(server, "first"))
        assert seen(server, "first")["spec"]["nodeName"] == names[1]
        name = seen(server, "first")["status"]["resourceClaimStatuses"][0]["resourceClaimName"]
        found = server.lookup(GroupResource(GROUP, "resourceclaims"), "default", name)
        assert found and found["status"]["allocation"]["devices"]["results"][0]["device"] == "g0"
        assert [consumer["name"] for consumer in found["status"]["reservedFor"]] == ["first"]

        def refused() -> bool:
            conditions = seen(server, "second")["status"].get("conditions") or [{}]
            return "2 cannot allocate all claims" in conditions[0].get("message", "")

        await until("refused", refused)
        await server.system.delete(PODS, "first", "default")
        await until("running", lambda: is_running(server, "second"))


async def test_a_claim_that_keeps_its_pod_from_going_anywhere_is_given_back() -> None:
    async with cluster(2) as (server, _):
        names = [n["metadata"]["name"] for n in (await server.system.list(NODES)).items]
        await server.system.create(CLASSES, device_class("gpu"))
        for name in names:
            await server.system.create(SLICES, slice_of(name, gpu("g0")))
        await server.system.create(CLAIMS, {**claim("kept", exactly()), "metadata": {"name": "kept"}}, "default")
        where = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [names[0]]}]}
        result = {"request": "gpu", "driver": "gpu.example.com", "pool": names[0], "device": "g0"}
        allocation = {"devices": {"results": [result]}, "nodeSelector": {"nodeSelectorTerms": [where]}}
        status = {"status": {"allocation": allocation}}
        finalizer = {"metadata": {"finalizers": ["resource.kubernetes.io/delete-protection"]}}
        await server.system.patch(CLAIMS, "kept", finalizer, "default")
        await server.system.patch(CLAIMS, "kept", status, "default", subresource="status")
        filler = manifest("filler", "30", nodeName=names[0])
        await server.system.create(PODS, filler, "default")
        wanted = [{"name": "gpu", "resourceClaimName": "kept"}]
        await server.system.create(PODS, manifest("web", "20", resourceClaims=wanted), "default")
        await until("running", lambda: is_running(server, "web"))
        assert seen(server, "web")["spec"]["nodeName"] == names[1]
