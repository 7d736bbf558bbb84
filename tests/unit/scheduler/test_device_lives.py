"""Devices at work in a cluster: extended resources that they serve, devices that are got ready first, what users see."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.hollow import cluster, until
from tests.unit.scheduler.test_scheduler_cycle import cycle, node, pod
from tests.unit.scheduler.test_scheduler_devices import (
    CLAIMS,
    CLASSES,
    GROUP,
    SLICES,
    TEMPLATES,
    VERSION,
    claim,
    device_class,
    exactly,
    gpu,
    slice_of,
    stored,
    using,
)
from tests.unit.scheduler.test_scheduler_lives import is_running, manifest, seen

from navarch.apiserver.server import ApiServer
from navarch.client.resources import NODES, PODS, RESOURCE_QUOTAS
from navarch.machinery.errors import StatusError
from navarch.machinery.types import GroupResource, Key, Obj
from navarch.scheduler.config import from_tree
from navarch.scheduler.devices.extended import requests_of
from navarch.scheduler.scheduler import Scheduler
from navarch.testing.inside import api_server, control_plane
from navarch.testing.options import Options

RESOURCE = "example.com/gpu"


def all_claims(server: ApiServer) -> list[Obj]:
    return [entry.obj for entry in server.registries[GroupResource(GROUP, "resourceclaims")].cache.range()]


def claimed(server: ApiServer, name: str) -> Obj:
    return server.lookup(GroupResource(GROUP, "resourceclaims"), "default", name) or {}


def told(server: ApiServer, reason: str) -> list[str]:
    events = [entry.obj for entry in server.registries[GroupResource("", "events")].cache.range()]
    return [event["message"] for event in events if event.get("reason") == reason]


def message_of(server: ApiServer, name: str) -> str:
    conditions = seen(server, name).get("status", {}).get("conditions") or ()
    return next((c.get("message", "") for c in conditions if c["type"] == "PodScheduled"), "")


async def node_names(server: ApiServer) -> list[str]:
    return [n["metadata"]["name"] for n in (await server.system.list(NODES)).items]


def wanting(name: str, amount: str, resource: str = RESOURCE) -> Obj:
    made = manifest(name, "1")
    made["spec"]["containers"][0]["resources"]["requests"][resource] = amount
    made["spec"]["containers"][0]["resources"]["limits"] = {resource: amount}
    return made


# -- extended resources


def containers(*wanted: int, sidecar: bool = False) -> list[Obj]:
    resources = [{"requests": {"cpu": "1", RESOURCE: str(count)}} if count else {} for count in wanted]
    always = {"restartPolicy": "Always"} if sidecar else {}
    return [{"name": f"c{index}", "resources": each, **always} for index, each in enumerate(resources)]


def asked(first: list[Obj], rest: list[Obj]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Request -> how many; (container, request)."""
    first = [{**each, "name": f"i{index}"} for index, each in enumerate(first)]
    found = requests_of({"spec": {"initContainers": first, "containers": rest}}, {RESOURCE: "gpu"})
    counts = {request["name"]: request["exactly"]["count"] for request in found.requests}
    return counts, [(m["containerName"], m["requestName"]) for m in found.mappings]


def test_containers_side_by_side_have_requests_of_their_own() -> None:
    counts, mappings = asked([], containers(2, 0, 1))
    assert counts == {"container-0-request-1": 2, "container-2-request-1": 1}
    assert mappings == [("c0", "container-0-request-1"), ("c2", "container-2-request-1")]


def test_containers_that_initialise_use_what_comes_after_them_and_share_the_rest() -> None:
    counts, mappings = asked(containers(3, 1, 5), containers(2))
    assert counts == {"container-2-request-1": 3, "container-3-request-1": 2}
    assert mappings == [
        ("c0", "container-3-request-1"),
        ("i0", "container-3-request-1"),
        ("i0", "container-2-request-1"),
        ("i1", "container-3-request-1"),
        ("i2", "container-3-request-1"),
        ("i2", "container-2-request-1"),
    ]
    counts, mappings = asked([*containers(1, sidecar=True), *containers(1)], [])
    assert counts == {"container-0-request-1": 1, "container-1-request-1": 1}


async def test_devices_serve_an_extended_resource_that_a_node_does_not_have() -> None:
    async with cluster(2) as (server, _):
        _, there = await node_names(server)
        await server.system.create(PODS, wanting("early", "1"), "default")
        await until("refused", lambda: "2 Insufficient example.com/gpu" in message_of(server, "early"))
        made = device_class("gpu")
        made["spec"]["extendedResourceName"] = RESOURCE
        await server.system.create(CLASSES, made)
        await server.system.create(SLICES, slice_of(there, gpu("g0"), gpu("g1"), gpu("g2")))
        await until("running", lambda: is_running(server, "early"))
        status = seen(server, "early")["status"]["extendedResourceClaimStatus"]
        mapping = {"containerName": "c", "resourceName": RESOURCE, "requestName": "container-0-request-1"}
        assert status["requestMappings"] == [mapping]
        found = claimed(server, status["resourceClaimName"])
        assert found["metadata"]["name"].startswith("early-extended-resources-")
        assert found["metadata"]["annotations"] == {"resource.kubernetes.io/extended-resource-claim": "true"}
        assert [r["device"] for r in found["status"]["allocation"]["devices"]["results"]] == ["g0"]
        assert [c["name"] for c in found["status"]["reservedFor"]] == ["early"]
        assert seen(server, "early")["spec"]["nodeName"] == there

        implicit = wanting("implicit", "2", "deviceclass.resource.kubernetes.io/gpu")
        await server.system.create(PODS, implicit, "default")
        await until("running", lambda: is_running(server, "implicit"))
        await server.system.create(PODS, wanting("late", "1"), "default")
        await until("refused", lambda: "2 cannot allocate all claims" in message_of(server, "late"))
        assert len(all_claims(server)) == 2
        await server.system.delete(PODS, "early", "default")
        await until("running", lambda: is_running(server, "late"))
        await until("gone", lambda: not claimed(server, status["resourceClaimName"]))


async def test_quotas_count_devices_once_however_they_are_asked_for() -> None:
    async with cluster(1) as (server, _):
        (there,) = await node_names(server)
        made = device_class("gpu")
        made["spec"]["extendedResourceName"] = RESOURCE
        await server.system.create(CLASSES, made)
        await server.system.create(SLICES, slice_of(there, *(gpu(f"g{index}") for index in range(4))))
        implicit = "deviceclass.resource.kubernetes.io/gpu"
        names = (f"requests.{RESOURCE}", f"requests.{implicit}", "gpu.deviceclass.resource.k8s.io/devices")
        hard = dict.fromkeys((*names, "count/resourceclaims.resource.k8s.io"), "3")
        await server.system.create(RESOURCE_QUOTAS, {"metadata": {"name": "q"}, "spec": {"hard": hard}}, "default")

        def used() -> list[str]:
            quota = server.lookup(GroupResource("", "resourcequotas"), "default", "q") or {}
            found = quota.get("status", {}).get("used") or {}
            return [found.get(name, "") for name in hard]

        await until("counted", lambda: used() == ["0"] * 4)
        both = wanting("both", "1")
        for side in both["spec"]["containers"][0]["resources"].values():
            side[implicit] = "1"
        await server.system.create(PODS, both, "default")
        await until("running", lambda: is_running(server, "both"))
        assert used() == ["2", "2", "2", "1"]
        await server.system.create(CLAIMS, {**claim("c", exactly()), "metadata": {"name": "c"}}, "default")
        assert used() == ["3", "3", "3", "2"]
        with pytest.raises(StatusError, match="exceeded quota: q"):
            await server.system.create(CLAIMS, {**claim("d", exactly()), "metadata": {"name": "d"}}, "default")
        await server.system.delete(PODS, "both", "default")
        await until("given back", lambda: used() == ["1", "1", "1", "1"])


async def test_a_node_that_has_the_resource_itself_needs_no_claim() -> None:
    async with cluster(1) as (server, _):
        (name,) = await node_names(server)
        made = device_class("gpu")
        made["spec"]["extendedResourceName"] = RESOURCE
        await server.system.create(CLASSES, made)
        room = {"status": {"capacity": {RESOURCE: "1"}, "allocatable": {RESOURCE: "1"}}}
        await server.system.patch(NODES, name, room, subresource="status")
        await server.system.create(PODS, wanting("plugged", "1"), "default")
        await until("running", lambda: is_running(server, "plugged"))
        assert all_claims(server) == [] and "extendedResourceClaimStatus" not in seen(server, "plugged")["status"]


def test_the_newest_class_serves_a_resource() -> None:
    on = cycle(node("n"))
    for name, since in (("b", "2024-01-01T00:00:00Z"), ("a", "2025-01-01T00:00:00Z"), ("c", "2025-01-01T00:00:00Z")):
        made = device_class(name)
        made["metadata"]["creationTimestamp"] = since
        made["spec"]["extendedResourceName"] = RESOURCE
        stored(on, made)
    assert on.around.devices.resources[RESOURCE]["metadata"]["name"] == "a"


# -- devices that have to be got ready


def attachable(where: str, name: str) -> Obj:
    conditions = {"bindingConditions": ["attached"], "bindingFailureConditions": ["broken"]}
    return slice_of(where, {**gpu(name), **conditions})


async def condition(server: ApiServer, name: str, kind: str) -> None:
    """What a driver tells of the device that a claim has."""
    found = claimed(server, name)
    (result,) = found["status"]["allocation"]["devices"]["results"]
    one = {"type": kind, "status": "True", "reason": "Test", "message": "told", "lastTransitionTime": None}
    device = {key: result[key] for key in ("driver", "pool", "device")}
    one["lastTransitionTime"] = "2026-01-01T00:00:00Z"
    status = {"status": {"devices": [{**device, "conditions": [one]}]}}
    await server.system.patch(CLAIMS, name, status, "default", subresource="status")


async def with_fabric(server: ApiServer, *names: str) -> None:
    await server.system.create(CLASSES, device_class("gpu"))
    for name in names:
        await server.system.create(SLICES, attachable(name, f"{name}-gpu"))
    made = {**claim("c", exactly()), "metadata": {"name": "c"}}
    await server.system.create(CLAIMS, made, "default")
    wanted = [{"name": "gpu", "resourceClaimName": "c"}]
    await server.system.create(PODS, manifest("web", "1", resourceClaims=wanted), "default")
    await until("reserved", lambda: claimed(server, "c").get("status", {}).get("reservedFor"))


async def test_a_pod_is_bound_once_its_devices_are_ready() -> None:
    async with cluster(1) as (server, _):
        (name,) = await node_names(server)
        await with_fabric(server, name)
        message = f"waiting for binding conditions for device on node {name}"
        await until("told", lambda: message in told(server, "BindingConditionsPending"))
        assert not seen(server, "web")["spec"].get("nodeName")
        await condition(server, "c", "attached")
        await until("running", lambda: is_running(server, "web"))


async def test_a_pod_goes_elsewhere_where_a_device_cannot_be_got_ready() -> None:
    async with cluster(2) as (server, _):
        await with_fabric(server, *await node_names(server))

        def where() -> str:
            results = (claimed(server, "c")["status"].get("allocation") or {}).get("devices", {}).get("results")
            return results[0]["pool"] if results else ""

        first = where()
        await server.system.delete(SLICES, f"{first}-gpus")
        await condition(server, "c", "broken")
        await until("elsewhere", lambda: where() not in ("", first))
        failed = (
            'running PreBind plugin "DynamicResources": device binding failed: claim=c, reason=Test, message="told"'
        )
        assert failed in told(server, "FailedScheduling")
        await condition(server, "c", "attached")
        await until("running", lambda: is_running(server, "web"))
        assert seen(server, "web")["spec"]["nodeName"] == where()


async def test_a_pod_that_waits_too_long_for_its_device_gets_another() -> None:
    args = {"name": "DynamicResources", "args": {"bindingTimeout": "1s"}}
    head = {"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration"}
    config = from_tree({**head, "profiles": [{"pluginConfig": [args]}]})
    options = Options(controllers=True, scheduler=False, nodes=1)
    async with api_server() as server, control_plane(server, options):
        scheduler = Scheduler(server.system, server.world, config)
        await scheduler.start()
        try:
            (name,) = await node_names(server)
            await with_fabric(server, name)
            await server.system.create(SLICES, slice_of("spare", gpu("spare"), nodeName=name))
            await until("running", lambda: is_running(server, "web"))
        finally:
            await scheduler.stop()
        results = claimed(server, "c")["status"]["allocation"]["devices"]["results"]
        assert [result["device"] for result in results] == ["spare"]
        late = 'running PreBind plugin "DynamicResources": device binding timeout: claim=c'
        assert late in told(server, "FailedScheduling")


def test_timeouts_of_devices_are_checked() -> None:
    head = {"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration"}
    for name, value in (("bindingTimeout", "500ms"), ("filterTimeout", "-1s"), ("bindingTimeout", "soon")):
        args = {"name": "DynamicResources", "args": {name: value}}
        with pytest.raises(ValueError, match=r"at least 1 second|zero or positive|invalid duration"):
            from_tree({**head, "profiles": [{"pluginConfig": [args]}]})


# -- what decides, and what is said


def test_nodes_with_the_alternative_that_is_wanted_most_come_first() -> None:
    def options(*models: str) -> list[Obj]:
        expression = "device.attributes['gpu.example.com'].model == '{}'"
        return [
            {"name": m, "deviceClassName": "gpu", "selectors": [{"cel": {"expression": expression.format(m)}}]}
            for m in models
        ]

    slices = [slice_of(name, gpu(name, model=name)) for name in ("a", "b", "c")]
    for first in ("a", "b", "c"):
        order = [first, *(name for name in ("a", "b", "c") if name != first)]
        wanted = claim("w", {"name": "gpu", "firstAvailable": options(*order)})
        on = stored(cycle(*(node(name) for name in ("a", "b", "c"))), *slices, wanted)
        assert on.decide(using("w")).node == first


async def test_a_selector_that_fails_is_told_of_and_tried_again() -> None:
    async with cluster(1) as (server, _):
        (name,) = await node_names(server)
        await server.system.create(CLASSES, device_class("gpu"))
        await server.system.create(SLICES, slice_of(name, gpu("g0")))
        broken = claim("c", exactly("gpu", "device.attributes['gpu.example.com'].nope == 1"))
        await server.system.create(CLAIMS, {**broken, "metadata": {"name": "c"}}, "default")
        wanted = [{"name": "gpu", "resourceClaimName": "c"}]
        await server.system.create(PODS, manifest("web", "1", resourceClaims=wanted), "default")

        def reason() -> str:
            conditions = seen(server, "web").get("status", {}).get("conditions") or [{}]
            return conditions[0].get("reason", "")

        await until("told", lambda: reason() == "SchedulerError")
        said_of = 'running "DynamicResources" filter plugin: claim default/c: selector #0: CEL runtime error'
        assert message_of(server, "web").startswith(said_of)
        attributes: dict[str, Any] = {"nope": {"int": 1}}
        patch = {"spec": {"devices": [{**gpu("g0"), "attributes": attributes}]}}
        await server.system.patch(SLICES, f"{name}-gpus", patch)
        await until("running", lambda: is_running(server, "web"))


async def test_nobody_looks_at_a_pod_before_its_claims_are_made() -> None:
    async with cluster(1) as (server, _):
        (name,) = await node_names(server)
        await server.system.create(CLASSES, device_class("gpu"))
        await server.system.create(SLICES, slice_of(name, gpu("g0")))
        wanted = [{"name": "gpu", "resourceClaimTemplateName": "t"}]
        await server.system.create(PODS, manifest("web", "1", resourceClaims=wanted), "default")
        await until("missing", lambda: told(server, "FailedResourceClaimCreation"))
        assert not seen(server, "web")["status"].get("conditions")
        template = {"spec": {"devices": {"requests": [exactly()]}}}
        made = {**VERSION, "kind": "ResourceClaimTemplate", "metadata": {"name": "t"}, "spec": template}
        await server.system.create(TEMPLATES, made, "default")
        await until("running", lambda: is_running(server, "web"))
        assert told(server, "FailedScheduling") == []


def test_a_pod_that_no_device_concerns_is_not_asked_about_any() -> None:
    on = stored(cycle(node("n")), slice_of("n", gpu("g0")))
    on.nodes.delegated = frozenset(on.around.devices.resources)
    assert on.decide(pod("plain", cpu="1")).node == "n"
    assert on.around.devices.claims.get(Key("default", "plain")) is None
