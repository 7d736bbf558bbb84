"""Volumes as pods get them: real folders and mounts, and claims and tokens from the real API server."""

from __future__ import annotations

import base64
import os
import stat
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.apiserver import api_server

from navarch.client.interface import Client
from navarch.client.resources import NAMESPACES, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS, SERVICE_ACCOUNTS
from navarch.kubelet.env import ConfigError
from navarch.kubelet.volumes import VolumeError, VolumeManager, mounting
from navarch.kubelet.volumes.empty_dir import memory_size
from navarch.kubelet.volumes.manager import remove
from navarch.machinery.clock import RealWorld

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts and ownership need root")
NS = "default"


class Node:
    """A kubelet's volumes, the objects it knows, and the API."""

    def __init__(self, root: Path, client: Client) -> None:
        self.client = client
        self.objects: dict[tuple[str, str], Any] = {}
        self.manager = VolumeManager(root, lambda kind, _, name: self.objects.get((kind, name)), client, RealWorld())

    def secret(self, name: str, **data: str) -> None:
        encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
        self.objects["Secret", name] = {"kind": "Secret", "data": encoded}

    def config(self, name: str, **data: str) -> None:
        self.objects["ConfigMap", name] = {"kind": "ConfigMap", "data": data}


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    async with api_server() as server:
        try:
            await server.system.get(NAMESPACES, NS)
        except Exception:
            await server.system.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NS}})
        yield Node(tmp_path / "kubelet", server.system)


@pytest.fixture(autouse=True)
def nothing_stays_mounted(tmp_path: Path) -> Iterator[None]:
    yield
    mounting.unmount_below(tmp_path)


def pod(*volumes: dict[str, Any], uid: str = "u1", **security: Any) -> dict[str, Any]:
    spec = {"containers": [{"name": "c", "image": "i"}], "volumes": list(volumes), "securityContext": security}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": NS, "uid": uid}, "spec": spec}


def mode(path: str | Path) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


async def test_an_empty_folder_is_for_everyone_and_what_is_in_it_stays(node: Node) -> None:
    made = pod({"name": "v", "emptyDir": {}})
    path = Path((await node.manager.mount(made))["v"].path)
    assert mode(path) == 0o777 and not os.path.ismount(path)
    (path / "file").write_text("x")
    path.chmod(0o700)
    assert (await node.manager.mount(made))["v"].path == str(path)
    assert (path / "file").read_text() == "x" and mode(path) == 0o700


async def test_a_folder_in_memory_has_a_size_and_goes_with_the_pod(node: Node) -> None:
    made = pod({"name": "v", "emptyDir": {"medium": "Memory", "sizeLimit": "64Ki"}}, fsGroup=4321)
    path = Path((await node.manager.mount(made))["v"].path)
    assert os.path.ismount(path) and mode(path) & 0o2777 == 0o2777 and path.stat().st_gid == 4321
    found = os.statvfs(path)
    assert found.f_blocks * found.f_frsize == 64 << 10
    mounting.unmount_below(path)  # as after the machine was restarted
    await node.manager.mount(made)
    assert os.path.ismount(path)
    await node.manager.unmount("u1")
    assert not path.exists()
    await node.manager.unmount("u1")


@pytest.mark.parametrize(
    ("source", "limits", "expected"),
    [
        ({}, [], 4 << 30),
        ({"sizeLimit": "1Gi"}, [], 1 << 30),
        ({"sizeLimit": "8Gi"}, [], 4 << 30),
        ({"sizeLimit": "1Gi"}, ["100Mi", "28Mi"], 128 << 20),
    ],
)
def test_memory_is_what_the_volume_the_pod_and_the_node_allow(
    source: dict[str, Any], limits: list[str], expected: int
) -> None:
    made = pod()
    made["spec"]["containers"] = [{"name": "c", "resources": {"limits": {"memory": m}}} for m in limits]
    assert memory_size(source, made, {"memory": "4Gi"}) == expected


async def test_secrets_are_kept_in_memory_and_shown_with_their_modes(node: Node) -> None:
    node.secret("s", key="value")
    volume = {"name": "v", "secret": {"secretName": "s", "defaultMode": 0o440}}
    path = Path((await node.manager.mount(pod(volume)))["v"].path)
    assert os.path.ismount(path) and (path / "key").read_text() == "value" and mode(path / "key") == 0o440
    node.secret("s", key="new", more="1")
    await node.manager.mount(pod(volume))
    assert (path / "key").read_text() == "new" and (path / "more").read_text() == "1"
    node.secret("s", more="1")
    await node.manager.mount(pod(volume))
    assert sorted(p.name for p in path.iterdir() if not p.name.startswith("..")) == ["more"]


async def test_a_group_can_read_what_is_shown(node: Node) -> None:
    node.config("m", key="value")
    items = [{"key": "key", "path": "a/b/key", "mode": 0o400}]
    volume = {"name": "v", "configMap": {"name": "m", "items": items}}
    path = Path((await node.manager.mount(pod(volume, fsGroup=1001)))["v"].path)
    file = path / "a/b/key"
    assert mode(file) == 0o440 and file.stat().st_gid == 1001
    assert mode(file.parent) & 0o2050 == 0o2050 and file.parent.stat().st_gid == 1001


async def test_what_comes_later_is_shown_once_it_is_there(node: Node) -> None:
    volume = {"name": "v", "secret": {"secretName": "s", "optional": True}}
    path = Path((await node.manager.mount(pod(volume)))["v"].path)
    assert [p.name for p in path.iterdir() if not p.name.startswith("..")] == []
    with pytest.raises(VolumeError, match=r'MountVolume.SetUp failed for volume "w" : secret "s" not found'):
        await node.manager.mount(pod({"name": "w", "secret": {"secretName": "s"}}))
    node.secret("s", key="v")
    await node.manager.mount(pod(volume))
    assert (path / "key").read_text() == "v"


async def test_a_token_of_the_api_server_is_kept_until_it_is_to_be_renewed(node: Node) -> None:
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "robot"}}
    await node.client.create(SERVICE_ACCOUNTS, account, NS)
    token = {"serviceAccountToken": {"path": "token", "expirationSeconds": 600, "audience": "vault"}}
    spec = {
        "containers": [{"name": "c", "image": "i"}],
        "serviceAccountName": "robot",
        "automountServiceAccountToken": False,
        "nodeName": "n",
        "volumes": [{"name": "v", "projected": {"sources": [token], "defaultMode": 0o644}}],
    }
    made = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec}
    made = await node.client.create(PODS, made, NS)
    path = Path((await node.manager.mount(made))["v"].path)
    first = (path / "token").read_text()
    claims = base64.urlsafe_b64decode(first.split(".")[1] + "==").decode()
    assert '"vault"' in claims and made["metadata"]["uid"] in claims
    await node.manager.mount(made)
    assert (path / "token").read_text() == first


# -- persistent volumes


async def claim(node: Node, name: str, source: dict[str, Any], owner: dict[str, Any] | None = None) -> None:
    """A volume and a claim, bound to each other as the controller does it."""
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"pv-{name}"},
        "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], **source},
    }
    wanted: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "ownerReferences": [owner] if owner else []},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
            "volumeName": f"pv-{name}",
            **({"volumeMode": source["volumeMode"]} if "volumeMode" in source else {}),
        },
    }
    made = await node.client.create(PERSISTENT_VOLUME_CLAIMS, wanted, NS)
    reference = {"kind": "PersistentVolumeClaim", "namespace": NS, "name": name, "uid": made["metadata"]["uid"]}
    volume["spec"]["claimRef"] = reference
    await node.client.create(PERSISTENT_VOLUMES, volume)
    await node.client.update(PERSISTENT_VOLUME_CLAIMS, {**made, "status": {"phase": "Bound"}}, NS, subresource="status")


AFFINITY = {
    "required": {"nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]}]}
}


async def test_a_claim_leads_to_its_volume(node: Node, tmp_path: Path) -> None:
    await claim(node, "data", {"hostPath": {"path": str(tmp_path / "d"), "type": "DirectoryOrCreate"}})
    volume = {"name": "v", "persistentVolumeClaim": {"claimName": "data", "readOnly": True}}
    found = (await node.manager.mount(pod(volume)))["v"]
    assert (found.path, found.read_only) == (str(tmp_path / "d"), True)
    assert (tmp_path / "d").is_dir()


async def test_a_claim_that_is_not_bound_is_waited_for(node: Node) -> None:
    volume = {"name": "v", "persistentVolumeClaim": {"claimName": "data"}}
    with pytest.raises(VolumeError, match="error processing PVC default/data: failed to fetch PVC from API server"):
        await node.manager.mount(pod(volume))
    wanted = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    await node.client.create(PERSISTENT_VOLUME_CLAIMS, wanted, NS)
    with pytest.raises(VolumeError, match="PVC is not bound"):
        await node.manager.mount(pod(volume))


async def test_a_local_volume_is_given_to_the_pods_group(node: Node, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir(mode=0o700)
    (tmp_path / "disk" / "file").write_text("x")
    (tmp_path / "disk" / "file").chmod(0o600)
    (tmp_path / "disk" / "link").symlink_to("/etc/passwd")
    before = os.stat("/etc/passwd").st_gid
    await claim(node, "data", {"local": {"path": str(tmp_path / "disk")}, "nodeAffinity": AFFINITY})
    volume = {"name": "v", "persistentVolumeClaim": {"claimName": "data"}}
    found = (await node.manager.mount(pod(volume, fsGroup=77)))["v"]
    assert found.path == str(tmp_path / "disk") and not found.read_only
    assert mode(tmp_path / "disk") == 0o2770 and mode(tmp_path / "disk" / "file") == 0o660
    assert (tmp_path / "disk" / "file").stat().st_gid == 77 and os.stat("/etc/passwd").st_gid == before
    (tmp_path / "disk" / "file").chmod(0o600)
    await node.manager.mount(pod(volume, uid="u2", fsGroup=77, fsGroupChangePolicy="OnRootMismatch"))
    assert mode(tmp_path / "disk" / "file") == 0o600  # the root says that all is done
    await node.manager.unmount("u1")
    assert (tmp_path / "disk" / "file").read_text() == "x"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[str]:
    """A block device of 64 MiB, with nothing on it."""
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(64 << 20)
    made = subprocess.run(["losetup", "-f", "--show", str(image)], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"no loop devices here: {made.stderr.strip()}")
    yield made.stdout.strip()
    mounting.unmount_below(tmp_path)
    subprocess.run(["losetup", "-d", made.stdout.strip()], check=True)


async def test_a_device_is_formatted_once_and_leaves_with_its_last_pod(node: Node, disk: str) -> None:
    await claim(node, "data", {"local": {"path": disk}, "nodeAffinity": AFFINITY})
    volume = {"name": "v", "persistentVolumeClaim": {"claimName": "data"}}
    first = (await node.manager.mount(pod(volume, uid="u1")))["v"].path
    assert os.path.ismount(first)
    Path(first, "file").write_text("x")
    assert (await node.manager.mount(pod(volume, uid="u2")))["v"].path == first
    await node.manager.unmount("u1")
    assert Path(first, "file").read_text() == "x"
    await node.manager.unmount("u2")
    assert not os.path.exists(first)
    again = (await node.manager.mount(pod(volume, uid="u3", fsGroup=77)))["v"].path
    assert Path(again, "file").read_text() == "x" and os.stat(again).st_gid == 77
    await node.manager.unmount("u3")


async def test_a_device_is_handed_through_as_it_is(node: Node, disk: str) -> None:
    await claim(node, "raw", {"local": {"path": disk}, "nodeAffinity": AFFINITY, "volumeMode": "Block"})
    volume = {"name": "v", "persistentVolumeClaim": {"claimName": "raw"}}
    assert (await node.manager.mount(pod(volume)))["v"].path == disk
    wrong = pod(volume, uid="u2")
    wrong["spec"]["containers"][0]["volumeMounts"] = [{"name": "v", "mountPath": "/v"}]
    with pytest.raises(VolumeError, match="volume v has volumeMode Block, but is specified in volumeMounts"):
        await node.manager.mount(wrong)


async def test_a_server_that_is_not_there_is_told_of(node: Node) -> None:
    volume = {"name": "v", "nfs": {"server": "127.0.0.1", "path": "/none"}}
    with pytest.raises(VolumeError, match='failed for volume "v"'):
        await node.manager.mount(pod(volume))


async def test_a_generic_ephemeral_volume_must_be_the_pods_own(node: Node, tmp_path: Path) -> None:
    volume = {"name": "v", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}}
    reference = {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u1", "controller": True}
    await claim(node, "p-v", {"hostPath": {"path": str(tmp_path)}}, reference)
    assert (await node.manager.mount(pod(volume)))["v"].path == str(tmp_path)
    with pytest.raises(VolumeError, match="was not created for pod default/p"):
        await node.manager.mount(pod(volume, uid="another"))


# -- paths within volumes


def mounts(node: Node, made: dict[str, Any], volumes: Any, **mount: Any) -> list[dict[str, Any]]:
    container = {"name": "c", "volumeMounts": [{"name": "v", "mountPath": "/v", **mount}]}
    return node.manager.container_mounts(made, container, volumes, lambda text: text.replace("$(KNOWN)", "k"))


async def test_a_path_within_a_volume_is_bound_and_made_where_it_is_missing(node: Node) -> None:
    made = pod({"name": "v", "emptyDir": {}})
    volumes = await node.manager.mount(made)
    [mount] = mounts(node, made, volumes, subPathExpr="$(KNOWN)/b")
    (Path(mount["host_path"]) / "file").write_text("x")
    assert (Path(volumes["v"].path) / "k/b/file").read_text() == "x"
    assert mode(Path(volumes["v"].path) / "k") == 0o777
    [again] = mounts(node, made, volumes, subPathExpr="$(KNOWN)/b")
    assert again == mount and len(mounting.mounts_below(Path(mount["host_path"]))) == 1
    await node.manager.unmount("u1")
    assert not Path(mount["host_path"]).exists()


async def test_a_restarted_container_sees_the_newest_version_of_a_file(node: Node) -> None:
    node.config("m", key="old")
    made = pod({"name": "v", "configMap": {"name": "m"}})
    [mount] = mounts(node, made, await node.manager.mount(made), subPath="key")
    node.config("m", key="new")
    volumes = await node.manager.mount(made)
    assert Path(mount["host_path"]).read_text() == "old"
    [mount] = mounts(node, made, volumes, subPath="key")
    assert Path(mount["host_path"]).read_text() == "new" and mount["readonly"]


@pytest.mark.parametrize("path", ["/absolute", "../up", "a/../../up"])
async def test_paths_out_of_a_volume_are_not_mounted(node: Node, path: str) -> None:
    made = pod({"name": "v", "emptyDir": {}})
    with pytest.raises(ConfigError, match="SubPath"):
        mounts(node, made, await node.manager.mount(made), subPath=path)


async def test_a_variable_without_a_value_is_an_error_in_a_path(node: Node) -> None:
    made = pod({"name": "v", "emptyDir": {}})
    with pytest.raises(ConfigError, match="missing value for 'UNKNOWN'"):
        mounts(node, made, await node.manager.mount(made), subPathExpr="$(UNKNOWN)/x")


def test_what_is_mounted_is_never_removed(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "file").write_text("x")
    place = tmp_path / "pods" / "with a space"
    place.mkdir(parents=True)
    mounting.bind(str(tmp_path / "data"), place)
    remove(tmp_path / "pods")
    assert (tmp_path / "data" / "file").exists()
    mounting.unmount_below(place)
    remove(tmp_path / "pods")
    assert not (tmp_path / "pods").exists() and (tmp_path / "data" / "file").exists()
