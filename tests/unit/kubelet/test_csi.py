"""A CSI driver on the node: it registers, mounts and takes away; the API server and the driver are real."""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import orjson
import pytest
from tests.support.apiserver import api_server
from tests.support.csidriver import Driver

from navarch.client.interface import Client
from navarch.client.resources import (
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    SECRETS,
    SERVICE_ACCOUNTS,
)
from navarch.kubelet.csi.registry import CSI_NODES, NODE_IDS, CsiRegistry
from navarch.kubelet.csi.volumes import ATTACHMENTS, DRIVERS, CsiVolumes, attachment_name
from navarch.kubelet.csi.wire import EXPAND, STAGE
from navarch.kubelet.volumes import VolumeManager, mounting
from navarch.kubelet.volumes.payload import VolumeError
from navarch.machinery.clock import RealWorld
from navarch.machinery.errors import StatusError

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts and ownership need root")
NS, NAME = "default", "disk.example.com"
SOURCE = {"driver": NAME, "volumeHandle": "handle", "fsType": "ext4", "volumeAttributes": {"size": "small"}}


class Node:
    def __init__(self, root: Path, client: Client, registry: CsiRegistry, driver: Driver) -> None:
        self.client, self.registry, self.driver, self.root = client, registry, driver, root
        self.said: list[tuple[str, str]] = []
        self.csi = CsiVolumes(root, "n", client, registry, RealWorld(), emit=self.emit)
        self.manager = VolumeManager(root, lambda *_: None, client, RealWorld(), csi=self.csi)

    def emit(self, about: dict[str, Any], kind: str, reason: str, message: str) -> None:
        self.said.append((about["metadata"]["name"], reason))

    async def volume(self, name: str = "v", **source: Any) -> None:
        """A persistent volume of the driver and its claim, bound."""
        meta, size = {"name": name}, {"storage": "1Gi"}
        spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": size}, "volumeName": name}
        claim = await self.client.create(PERSISTENT_VOLUME_CLAIMS, {"metadata": meta, "spec": spec}, NS)
        reference = {"namespace": NS, "name": name, "uid": claim["metadata"]["uid"]}
        spec = {"accessModes": ["ReadWriteOnce"], "capacity": size, "claimRef": reference, "csi": {**SOURCE, **source}}
        await self.client.create(PERSISTENT_VOLUMES, {"metadata": meta, "spec": spec})
        bound = {**claim, "status": {"phase": "Bound"}}
        await self.client.update(PERSISTENT_VOLUME_CLAIMS, bound, NS, subresource="status")

    async def attach(self, **metadata: str) -> None:
        name = attachment_name(SOURCE, "n")
        spec = {"attacher": NAME, "nodeName": "n", "source": {"persistentVolumeName": "v"}}
        await self.client.create(ATTACHMENTS, {"metadata": {"name": name}, "spec": spec})
        status = {"status": {"attached": True, "attachmentMetadata": metadata}}
        await self.client.patch(ATTACHMENTS, name, status, subresource="status")


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    place = Path(tempfile.mkdtemp(prefix="csi-"))  # a socket's path is short
    root = place / "kubelet"
    driver = Driver(NAME, place / "driver", root / "plugins_registry", (STAGE, EXPAND))
    async with api_server() as server:
        made = await server.system.create(NODES, {"metadata": {"name": "n"}})
        registry = CsiRegistry(root, "n", server.system, RealWorld(), lambda: made)
        registry.start()
        await driver.start()
        for _ in range(200):
            if registry.get(NAME) and driver.registered:
                break
            await asyncio.sleep(0.02)
        try:
            yield Node(root, server.system, registry, driver)
        finally:
            await registry.stop()
            await driver.stop()
            mounting.unmount_below(place)
            shutil.rmtree(place)


def pod(uid: str, source: dict[str, Any] | None = None, **security: Any) -> dict[str, Any]:
    volume = {"name": "data", **(source or {"persistentVolumeClaim": {"claimName": "v"}})}
    spec = {"containers": [{"name": "c"}], "volumes": [volume], "securityContext": security}
    return {"metadata": {"name": f"pod-{uid}", "namespace": NS, "uid": uid}, "spec": spec}


async def test_a_driver_is_told_of_and_forgotten(node: Node) -> None:
    assert node.driver.registered == {"plugin_registered": True}
    (entry,) = (await node.client.get(CSI_NODES, "n"))["spec"]["drivers"]
    topology = f"topology.{NAME}/zone"
    assert entry == {"name": NAME, "nodeID": "id-1", "topologyKeys": [topology], "allocatable": {"count": 7}}
    meta = (await node.client.get(NODES, "n"))["metadata"]
    assert meta["annotations"][NODE_IDS] == f'{{"{NAME}":"id-1"}}' and meta["labels"][topology] == "a"
    await node.driver.stop()
    for _ in range(200):
        if not (await node.client.get(CSI_NODES, "n"))["spec"].get("drivers"):
            break
        await asyncio.sleep(0.02)
    assert node.registry.get(NAME) is None
    assert NODE_IDS not in ((await node.client.get(NODES, "n"))["metadata"].get("annotations") or {})


async def test_a_volume_is_staged_once_published_to_each_pod_and_taken_away(node: Node) -> None:
    await node.volume()
    with pytest.raises(VolumeError, match="volume v is not attached yet"):
        await node.manager.mount(pod("u1"))
    assert node.csi.in_use() == [f"kubernetes.io/csi/{NAME}^handle"]
    await node.attach(device="/dev/x")
    first = (await node.manager.mount(pod("u1", fsGroup=77)))["data"].path
    Path(first, "file").write_text("x")
    assert os.stat(first).st_gid == 77
    second = (await node.manager.mount(pod("u2")))["data"].path
    assert first != second and Path(second, "file").read_text() == "x"
    asked = node.driver.requests("NodePublishVolume")[0]
    assert asked["publish_context"] == {"device": "/dev/x"} and asked["volume_context"] == {"size": "small"}
    assert asked["volume_capability"] == {"access_mode": {"mode": 1}, "mount": {"fs_type": "ext4"}}
    staging = node.driver.requests("NodeStageVolume")[0]["staging_target_path"]
    assert asked["staging_target_path"] == staging and staging.endswith("/globalmount")
    await node.manager.unmount("u1")
    assert not os.path.exists(first) and not node.driver.requests("NodeUnstageVolume") and node.csi.in_use()
    again = VolumeManager(node.root, lambda *_: None, node.client, RealWorld(), csi=node.csi)
    await again.unmount("u2")  # a kubelet that never mounted it
    assert node.driver.requests("NodeUnstageVolume") == [{"volume_id": "handle", "staging_target_path": staging}]
    assert not node.csi.in_use() and not os.path.exists(staging)


async def test_a_volume_of_the_pods_own_needs_no_attaching_and_learns_of_its_pod(node: Node) -> None:
    await node.client.create(
        DRIVERS, {"metadata": {"name": NAME}, "spec": {"podInfoOnMount": True, "volumeLifecycleModes": ["Ephemeral"]}}
    )
    secret = {"metadata": {"name": "s"}, "data": {"key": base64.b64encode(b"value").decode()}}
    await node.client.create(SECRETS, secret, NS)
    source = {"csi": {"driver": NAME, "volumeAttributes": {"a": "b"}, "nodePublishSecretRef": {"name": "s"}}}
    path = (await node.manager.mount(pod("u1", source)))["data"].path
    assert path.endswith("/pods/u1/volumes/kubernetes.io~csi/data/mount") and mounting.mounts_below(Path(path))
    (asked,) = node.driver.requests("NodePublishVolume")
    assert asked["secrets"] == {"key": "value"} and asked["volume_id"].startswith("csi-")
    told = {name.rpartition("/")[2]: value for name, value in asked["volume_context"].items()}
    assert told["pod.name"] == "pod-u1" and told["ephemeral"] == "true" and told["a"] == "b"
    assert not node.driver.requests("NodeStageVolume")
    await node.manager.mount(pod("u1", source))
    assert len(node.driver.requests("NodePublishVolume")) == 1
    await node.manager.unmount("u1")
    assert not os.path.exists(path)


async def test_what_has_grown_is_made_use_of(node: Node) -> None:
    await node.client.create(DRIVERS, {"metadata": {"name": NAME}, "spec": {"attachRequired": False}})
    await node.volume()
    size = {"storage": "1Gi"}
    await node.client.patch(PERSISTENT_VOLUME_CLAIMS, "v", {"status": {"capacity": size}}, NS, subresource="status")
    path = (await node.manager.mount(pod("u1")))["data"].path
    assert not node.driver.requests("NodeExpandVolume")
    pending = {"type": "FileSystemResizePending", "status": "True"}
    sizes = {"allocatedResources": {"storage": "2Gi"}, "allocatedResourceStatuses": {"storage": "NodeResizePending"}}
    await node.client.patch(PERSISTENT_VOLUMES, "v", {"spec": {"capacity": {"storage": "2Gi"}}})
    told = {"status": {"conditions": [pending], **sizes}}
    await node.client.patch(PERSISTENT_VOLUME_CLAIMS, "v", told, NS, subresource="status")
    await node.manager.mount(pod("u1"))
    (asked,) = node.driver.requests("NodeExpandVolume")
    assert asked["volume_path"] == path and asked["capacity_range"] == {"required_bytes": 2 << 30}
    status = (await node.client.get(PERSISTENT_VOLUME_CLAIMS, "v", NS))["status"]
    assert status["capacity"] == {"storage": "2Gi"} and "conditions" not in status
    assert "allocatedResourceStatuses" not in status
    assert node.said == [("pod-u1", "FileSystemResizeSuccessful"), ("v", "FileSystemResizeSuccessful")]
    await node.manager.unmount("u1")


async def test_a_drivers_refusal_and_its_absence_are_passed_on(node: Node) -> None:
    await node.client.create(DRIVERS, {"metadata": {"name": NAME}, "spec": {"attachRequired": False}})
    await node.volume(volumeHandle="broken")
    with pytest.raises(VolumeError, match="rpc error: code = Internal desc = the disk is broken"):
        await node.manager.mount(pod("u1"))
    with pytest.raises(VolumeError, match="driver name other not found in the list of registered CSI drivers"):
        await node.manager.mount(pod("u2", {"csi": {"driver": "other"}}))
    with pytest.raises(StatusError):
        await node.client.get(ATTACHMENTS, attachment_name(SOURCE, "n"))


async def test_a_claim_says_that_its_volume_cannot_grow(node: Node) -> None:
    await node.client.create(DRIVERS, {"metadata": {"name": NAME}, "spec": {"attachRequired": False}})
    await node.volume()
    await node.manager.mount(pod("u1"))
    node.driver.refuses["NodeExpandVolume"] = grpc.StatusCode.OUT_OF_RANGE
    await node.client.patch(PERSISTENT_VOLUMES, "v", {"spec": {"capacity": {"storage": "2Gi"}}})
    sizes = {"allocatedResources": {"storage": "2Gi"}, "allocatedResourceStatuses": {"storage": "NodeResizePending"}}
    await node.client.patch(PERSISTENT_VOLUME_CLAIMS, "v", {"status": sizes}, NS, subresource="status")
    for _ in range(2):
        await node.manager.mount(pod("u1"))
    status = (await node.client.get(PERSISTENT_VOLUME_CLAIMS, "v", NS))["status"]
    assert status["allocatedResourceStatuses"] == {"storage": "NodeResizeInfeasible"}
    (condition,) = status["conditions"]
    assert condition["type"] == "NodeResizeError" and "OutOfRange" in condition["message"]
    assert len(node.driver.requests("NodeExpandVolume")) == 1 and node.said == [("pod-u1", "VolumeResizeFailed")]
    await node.manager.unmount("u1")


async def test_a_driver_that_wants_that_is_told_again_of_a_volume_with_fresh_tokens(node: Node) -> None:
    requests = [{"audience": "vault", "expirationSeconds": 600}]
    spec = {"requiresRepublish": True, "tokenRequests": requests, "attachRequired": False}
    await node.client.create(DRIVERS, {"metadata": {"name": NAME}, "spec": spec})
    meta = {"name": "pod-u1", "namespace": NS}
    for resource, body in ((SERVICE_ACCOUNTS, {"metadata": {"name": "default"}}), (PODS, {"metadata": meta})):
        body |= {"spec": {"containers": [{"name": "c", "image": "x"}]}} if resource is PODS else {}
        made = await node.client.create(resource, body, NS)
    uid = made["metadata"]["uid"]
    wanted = {**pod(uid), "metadata": {**meta, "uid": uid}}
    await node.volume()
    for _ in range(2):
        await node.manager.mount(wanted)
    first, second = node.driver.requests("NodePublishVolume")
    key = "csi.storage.k8s.io/serviceAccount.tokens"
    assert set(orjson.loads(first["volume_context"][key])) == {"vault"} and key not in first.get("secrets", {})
    assert second["target_path"] == first["target_path"] and key in second["volume_context"]
    assert len(node.driver.requests("NodeStageVolume")) == 1
    patch = {"spec": {"serviceAccountTokenInSecrets": True}}
    await node.client.patch(DRIVERS, NAME, patch)
    await node.manager.mount(wanted)
    third = node.driver.requests("NodePublishVolume")[2]
    assert key in third["secrets"] and key not in third["volume_context"]
    await node.manager.unmount(uid)


async def test_a_driver_makes_only_volumes_of_the_kinds_that_it_names(node: Node) -> None:
    source = {"csi": {"driver": NAME}}
    with pytest.raises(
        VolumeError, match=r'volume mode "Ephemeral" not supported by driver .* \(no CSIDriver object\)'
    ):
        await node.manager.mount(pod("u1", source))
    await node.client.create(DRIVERS, {"metadata": {"name": NAME}, "spec": {}})
    with pytest.raises(VolumeError, match=r'only supports \["Persistent"\]'):
        await node.manager.mount(pod("u1", source))


async def test_how_many_volumes_a_node_may_have_is_asked_anew_when_it_is_full(node: Node) -> None:
    await node.volume()
    node.driver.limit = 3
    name = attachment_name(SOURCE, "n")
    spec = {"attacher": NAME, "nodeName": "n", "source": {"persistentVolumeName": "v"}}
    await node.client.create(ATTACHMENTS, {"metadata": {"name": name}, "spec": spec})
    failed = {"status": {"attached": False, "attachError": {"message": "full", "errorCode": 8}}}
    await node.client.patch(ATTACHMENTS, name, failed, subresource="status")
    with pytest.raises(VolumeError, match="full"):
        await node.manager.mount(pod("u1"))
    for _ in range(200):
        (entry,) = (await node.client.get(CSI_NODES, "n"))["spec"]["drivers"]
        if entry["allocatable"] == {"count": 3}:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(entry)
