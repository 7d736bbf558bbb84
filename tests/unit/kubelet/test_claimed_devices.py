"""Devices that were claimed: prepared by a driver, described by CDI files, handed to containers, given back."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from tests.support.apiserver import api_server

from navarch.client.interface import Client
from navarch.client.resources import NODES
from navarch.kubelet.csi.registry import CsiRegistry
from navarch.kubelet.csi.wire import codec as registration
from navarch.kubelet.devices.manager import DeviceManager
from navarch.kubelet.dra import cdi
from navarch.kubelet.dra.cdi import CdiError
from navarch.kubelet.dra.drivers import SLICES
from navarch.kubelet.dra.health import HealthBook
from navarch.kubelet.dra.manager import CLAIMS, ClaimError, ClaimManager
from navarch.kubelet.dra.wire import codec
from navarch.kubelet.endpoint import Endpoint, PluginError
from navarch.kubelet.podresources import PodResources
from navarch.kubelet.podresources import codec as podresources
from navarch.machinery.clock import RealWorld

NAME, NS = "gpu.example.com", "default"
PLACE = {"pool_name": "p", "device_name": "0"}
SPEC = {
    "cdiVersion": "0.6.0",
    "kind": "example.com/gpu",
    "containerEdits": {"env": ["DRIVER=1"]},
    "devices": [
        {"name": "a", "containerEdits": {"env": ["GPU=a"], "deviceNodes": [{"path": "/dev/gpu0"}]}},
        {
            "name": "b",
            "containerEdits": {
                "mounts": [{"hostPath": "/opt/b", "containerPath": "/lib/b", "options": ["ro", "bind"]}]
            },
        },
        {"name": "hooked", "containerEdits": {"hooks": [{"hookName": "createContainer", "path": "/bin/x"}]}},
    ],
}


def test_what_a_device_stands_for(tmp_path: Path) -> None:
    (tmp_path / "gpu.json").write_text(json.dumps(SPEC))
    (tmp_path / "broken.json").write_text("{")
    made = cdi.edits_of(["example.com/gpu=a", "example.com/gpu=b"], [tmp_path])
    assert made["envs"] == {"DRIVER": "1", "GPU": "a"}
    assert made["devices"] == [{"container_path": "/dev/gpu0", "host_path": "/dev/gpu0", "permissions": "rwm"}]
    assert made["mounts"] == [{"container_path": "/lib/b", "host_path": "/opt/b", "readonly": True}]
    with pytest.raises(CdiError, match="unresolvable CDI devices example"):
        cdi.edits_of(["example.com/gpu=z"], [tmp_path])
    with pytest.raises(CdiError, match="hooks are not supported"):
        cdi.edits_of(["example.com/gpu=hooked"], [tmp_path])


class Driver:
    """A DRA driver: its registration and its service on one socket, as many have it."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.asked: list[tuple[str, Any]] = []
        self.registered: Any = None
        self.reports: asyncio.Queue[Any] = asyncio.Queue()
        """How its devices are, told one after the other."""
        self._server = grpc.aio.server()
        services = {
            "pluginregistration.Registration": (registration, ("GetInfo", "NotifyRegistrationStatus")),
            "k8s.io.kubelet.pkg.apis.dra.v1.DRAPlugin": (codec, ("NodePrepareResources", "NodeUnprepareResources")),
        }
        for service, (tables, methods) in services.items():
            handlers = {
                method: grpc.unary_unary_rpc_method_handler(
                    partial(self._answer, method),
                    request_deserializer=partial(tables.decode, f"{method}Request"),
                    response_serializer=partial(tables.encode, f"{method}Response"),
                )
                for method in methods
            }
            self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
        watch = grpc.unary_stream_rpc_method_handler(
            self._watch,
            request_deserializer=partial(codec.decode, "NodeWatchResourcesRequest"),
            response_serializer=partial(codec.encode, "NodeWatchResourcesResponse"),
        )
        health = grpc.method_handlers_generic_handler("v1alpha1.DRAResourceHealth", {"NodeWatchResources": watch})
        self._server.add_generic_rpc_handlers((health,))
        self._server.add_insecure_port(f"unix://{socket}")

    async def start(self) -> None:
        await self._server.start()

    async def stop(self) -> None:
        await self._server.stop(None)

    async def _watch(self, request: Any, context: Any) -> AsyncIterator[Any]:
        while True:
            yield await self.reports.get()

    async def _answer(self, method: str, request: Any, context: Any) -> Any:
        self.asked.append((method, request))
        match method:
            case "GetInfo":
                return {"type": "DRAPlugin", "name": NAME, "supported_versions": ["v1.DRAPlugin"]}
            case "NotifyRegistrationStatus":
                self.registered = request
                return {}
            case "NodePrepareResources":
                devices = [
                    {**PLACE, "request_names": ["first"], "cdi_device_ids": ["example.com/gpu=a"]},
                    {**PLACE, "request_names": ["second/sub"], "cdi_device_ids": ["example.com/gpu=b"]},
                ]
                answers = {"bad": {"error": "it is broken"}}
                return {"claims": {c["uid"]: answers.get(c["name"], {"devices": devices}) for c in request["claims"]}}
            case _:
                return {"claims": {claim["uid"]: {} for claim in request["claims"]}}


class Node:
    def __init__(self, place: Path, client: Client, driver: Driver) -> None:
        self.place, self.client, self.driver = place, client, driver
        self.ill: list[str] = []
        self.claims = ClaimManager(place, client, RealWorld(), "n", self.ill.append, [place / "cdi"])

    async def claim(self, name: str, *pods: str) -> None:
        devices = {"requests": [{"name": n, "exactly": {"deviceClassName": "gpu"}} for n in ("first", "second")]}
        await self.client.create(CLAIMS, {"metadata": {"name": name}, "spec": {"devices": devices}}, NS)
        result = {"driver": NAME, "pool": "p", "device": "0"}
        results = [{**result, "request": n} for n in ("first", "second")]
        reserved = [{"resource": "pods", "name": uid, "uid": uid} for uid in pods]
        status = {"status": {"allocation": {"devices": {"results": results}}, "reservedFor": reserved}}
        await self.client.patch(CLAIMS, name, status, NS, subresource="status")


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    place = Path(tempfile.mkdtemp(prefix="dra-"))  # a socket's path is short
    (place / "plugins_registry").mkdir()
    (place / "cdi").mkdir()
    (place / "cdi" / "gpu.json").write_text(json.dumps(SPEC))
    driver = Driver(place / "plugins_registry" / "gpu-reg.sock")
    async with api_server() as server:
        made = await server.system.create(NODES, {"metadata": {"name": "n"}})
        there = Node(place, server.system, driver)
        registry = CsiRegistry(place, "n", server.system, RealWorld(), lambda: made, {"DRAPlugin": there.claims})
        await driver.start()
        registry.start()
        for _ in range(200):
            if driver.registered:
                break
            await asyncio.sleep(0.02)
        try:
            yield there
        finally:
            await registry.stop()
            await driver.stop()
            await there.claims.drivers.stop()
            shutil.rmtree(place)


def pod(uid: str, claim: str = "c") -> dict[str, Any]:
    claims = [{"name": "gpu", "resourceClaimName": claim}]
    return {"metadata": {"name": uid, "namespace": NS, "uid": uid}, "spec": {"resourceClaims": claims}}


def container(request: str = "") -> dict[str, Any]:
    return {"name": "c", "resources": {"claims": [{"name": "gpu", **({"request": request} if request else {})}]}}


async def test_a_claim_is_prepared_once_shared_and_given_back_with_its_last_pod(node: Node) -> None:
    assert node.driver.registered == {"plugin_registered": True}
    await node.claim("c", "one", "two")
    await node.claims.prepare(pod("one"))
    await node.claims.prepare(pod("two"))
    assert [method for method, _ in node.driver.asked].count("NodePrepareResources") == 1
    whole = node.claims.of(pod("one"), container())
    assert whole["envs"]["GPU"] == "a" and whole["mounts"]
    assert not node.claims.of(pod("one"), container("second"))["devices"]
    assert not node.claims.of(pod("one"), {"name": "other"})["envs"]
    again = ClaimManager(
        node.place, node.client, RealWorld(), "n", folders=[node.place / "cdi"]
    )  # a kubelet that starts anew knows
    assert again.of(pod("one"), container("first"))["envs"]["GPU"] == "a"
    await node.claims.unprepare("one")
    assert "NodeUnprepareResources" not in [method for method, _ in node.driver.asked]
    await node.claims.unprepare("two")
    assert node.driver.asked[-1][0] == "NodeUnprepareResources"
    with pytest.raises(ClaimError, match="unable to get claim info for ResourceClaim c"):
        node.claims.of(pod("two"), container())


async def test_what_stands_in_the_way_is_told(node: Node) -> None:
    with pytest.raises(ClaimError, match="fetch ResourceClaim c"):
        await node.claims.prepare(pod("one"))
    await node.claim("c", "somebody-else")
    with pytest.raises(ClaimError, match=r"pod one \(one\) is not allowed to use ResourceClaim c"):
        await node.claims.prepare(pod("one"))
    await node.claim("bad", "one")
    with pytest.raises(ClaimError, match="NodePrepareResources failed for ResourceClaim bad: it is broken"):
        await node.claims.prepare(pod("one", "bad"))
    await node.driver.stop()
    await node.claims.forget(NAME, node.driver.socket)
    await node.claim("late", "one")
    with pytest.raises(ClaimError, match=f"DRA driver {NAME} is not registered"):
        await node.claims.prepare(pod("one", "late"))


async def test_a_pods_claims_are_prepared_and_given_back_together(node: Node) -> None:
    for name in ("a", "b"):
        await node.claim(name, "one")
    both = pod("one", "a")
    both["spec"]["resourceClaims"].append({"name": "more", "resourceClaimName": "b"})
    await node.claims.prepare(both)
    await node.claims.prepare(both)
    await node.claims.unprepare("one")
    asked = [
        (method, [c["name"] for c in request["claims"]]) for method, request in node.driver.asked if "Node" in method
    ]
    assert asked == [("NodePrepareResources", ["a", "b"]), ("NodeUnprepareResources", ["a", "b"])]


async def test_nothing_is_to_be_given_back_of_a_claim_that_no_driver_was_asked_for(node: Node) -> None:
    await node.claim("c", "one")
    await node.claims.forget(NAME, node.driver.socket)
    with pytest.raises(ClaimError, match="is not registered"):
        await node.claims.prepare(pod("one"))
    await node.claims.unprepare("one")


async def test_containers_get_the_devices_that_serve_their_extended_resources(node: Node) -> None:
    await node.claim("c", "one")
    mapping = {"containerName": "main", "resourceName": "example.com/gpu", "requestName": "first"}
    told = {"resourceClaimName": "c", "requestMappings": [mapping]}
    extended = {**pod("one"), "spec": {}, "status": {"extendedResourceClaimStatus": told}}
    await node.claims.prepare(extended)
    assert node.claims.of(extended, {"name": "main"})["envs"] == {"DRIVER": "1", "GPU": "a"}
    assert node.claims.of(extended, {"name": "other"}) == {"envs": {}, "mounts": [], "devices": []}
    await node.claims.unprepare("one")
    assert node.driver.asked[-1][0] == "NodeUnprepareResources"


async def test_a_pods_status_tells_how_its_devices_are(node: Node) -> None:
    await node.claim("c", "one")
    await node.claims.prepare(pod("one"))
    unknown = {"resourceID": "example.com/gpu=a", "health": "Unknown"}
    assert node.claims.status(pod("one"), container("first")) == [{"name": "claim:gpu/first", "resources": [unknown]}]

    async def report(health: int, message: str = "") -> None:
        node.ill.clear()
        await node.driver.reports.put({"devices": [{"device": PLACE, "health": health, "message": message}]})
        for _ in range(200):
            if node.ill:
                break
            await asyncio.sleep(0.02)
        assert node.ill == ["one"]

    def told() -> list[tuple[str, str]]:
        (claim,) = node.claims.status(pod("one"), container())
        assert claim["name"] == "claim:gpu"
        assert [each["resourceID"] for each in claim["resources"]] == ["example.com/gpu=a", "example.com/gpu=b"]
        return [(each["health"], each.get("message", "")) for each in claim["resources"]]

    await report(1)
    assert told() == [("Healthy", "")] * 2
    await report(2, "hot" * 500)
    assert told() == [("Unhealthy", ("hot" * 500)[:1021] + "...")] * 2
    node.ill.clear()
    await node.claims.forget(NAME, node.driver.socket)
    for _ in range(200):
        if node.ill:
            break
        await asyncio.sleep(0.02)
    assert told() == [("Unknown", "")] * 2


def test_what_a_driver_no_longer_tells_of_is_unknown_after_a_while() -> None:
    book = HealthBook()
    devices = [{"device": PLACE, "health": 1, "health_check_timeout_seconds": 5}]
    assert book.told("d", devices, 100.0) == {("p", "0")}
    assert book.told("d", devices, 101.0) == set()
    assert book.of("d", ("p", "0"), 106.0).state == "Healthy"
    assert book.of("d", ("p", "0"), 107.0).state == "Unknown"
    assert book.told("d", [], 104.0) == set()
    assert book.told("d", [], 107.0) == {("p", "0")}
    assert book.told("d", [{"device": PLACE, "health": 7}], 108.0) == set()


async def test_what_a_node_offered_before_is_taken_back_when_its_kubelet_starts(node: Node) -> None:
    for name, where in (("mine", "n"), ("another", "m")):
        pool = {"name": where, "generation": 1, "resourceSliceCount": 1}
        spec = {"driver": NAME, "nodeName": where, "pool": pool, "devices": []}
        await node.client.create(SLICES, {"metadata": {"name": name}, "spec": spec})
    node.claims.drivers.start()
    for _ in range(200):
        left = [one["metadata"]["name"] for one in (await node.client.list(SLICES)).items]
        if left == ["another"]:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(left)


async def test_agents_are_told_who_has_which_devices(node: Node) -> None:
    await node.claim("c", "one")
    wanted = {**pod("one"), "spec": {**pod("one")["spec"], "containers": [container("first"), {"name": "other"}]}}
    await node.claims.prepare(wanted)
    plugins = DeviceManager(node.place / "device-plugins", lambda: None)
    resources = PodResources(node.place, lambda: [wanted], plugins, node.claims)
    await resources.start()
    agent = Endpoint(node.place / "kubelet.sock", podresources)
    try:
        (told,) = (await agent.call("/v1.PodResourcesLister/", "List", {}, sends=LIST[0], gets=LIST[1]))[
            "pod_resources"
        ]
        first, other = told["containers"]
        (claim,) = first["dynamic_resources"]
        device = {**PLACE, "driver_name": NAME, "cdi_devices": [{"name": "example.com/gpu=a"}]}
        assert (claim["claim_name"], claim["claim_resources"]) == ("c", [device])
        assert "dynamic_resources" not in other
        asked = {"pod_name": "nobody", "pod_namespace": NS}
        with pytest.raises(PluginError, match="pod nobody in namespace default not found"):
            await agent.call("/v1.PodResourcesLister/", "Get", asked, sends=GET[0], gets=GET[1])
    finally:
        await agent.close()
        await resources.stop()


LIST = ("ListPodResourcesRequest", "ListPodResourcesResponse")
GET = ("GetPodResourcesRequest", "GetPodResourcesResponse")
