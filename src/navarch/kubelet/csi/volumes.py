"""Mounting what CSI drivers provision: staged once on the node, published to each pod. Source: pkg/volume/csi.

Beside each published volume lies a file that says whose it is, so that it can be taken away by a kubelet that never
mounted it.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from navarch.client.interface import Client, Resource
from navarch.client.resources import SECRETS, SERVICE_ACCOUNTS
from navarch.kubelet.csi import growing, wire
from navarch.kubelet.csi.growing import Emit, Grower
from navarch.kubelet.csi.registry import CsiRegistry, Driver
from navarch.kubelet.csi.wire import NODE, Tree
from navarch.kubelet.endpoint import PluginError
from navarch.kubelet.volumes import mounting, ownership
from navarch.kubelet.volumes.payload import VolumeError
from navarch.machinery.clock import World
from navarch.machinery.errors import StatusError
from navarch.machinery.quantity import Quantity
from navarch.machinery.types import Obj

DRIVERS = Resource("storage.k8s.io", "v1", "csidrivers", namespaced=False)
ATTACHMENTS = Resource("storage.k8s.io", "v1", "volumeattachments", namespaced=False)
PLUGIN = "kubernetes.io~csi"
DATA = "vol_data.json"
EXHAUSTED = 8
"""gRPC's RESOURCE_EXHAUSTED."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A volume as a pod wants it."""

    pod: Obj
    name: str
    """The persistent volume's, or the pod's own for one that is written into the pod."""
    source: Obj
    """CSIPersistentVolumeSource or CSIVolumeSource."""
    spec: Obj | None
    """The persistent volume's; None: the volume lives with the pod."""
    read_only: bool

    @property
    def handle(self) -> str:
        if self.spec is not None:
            return self.source["volumeHandle"]
        text = f"{self.pod['metadata']['namespace']}{self.pod['metadata']['uid']}{self.name}"
        return "csi-" + hashlib.sha256(text.encode()).hexdigest()

    @property
    def block(self) -> bool:
        return self.spec is not None and self.spec.get("volumeMode") == "Block"


def unique_name(source: Obj) -> str:
    return f"kubernetes.io/csi/{source['driver']}^{source['volumeHandle']}"


def attachment_name(source: Obj, node: str) -> str:
    text = f"{source['volumeHandle']}{source['driver']}{node}"
    return "csi-" + hashlib.sha256(text.encode()).hexdigest()


def capability(wanted: Wanted, driver: Driver, group: int | None) -> Tree:
    """The VolumeCapability that the driver is asked for."""
    spec: Obj = wanted.spec or {}
    modes: Sequence[str] = spec.get("accessModes") or ["ReadWriteOnce"]
    known = wire.ACCESS_SINGLE_WRITERS if wire.SINGLE_WRITERS in driver.capabilities else wire.ACCESS
    made: Tree = {"access_mode": {"mode": known.get(modes[0], 0)}}
    if wanted.block:
        return {**made, "block": {}}
    mount: Tree = {"fs_type": wanted.source.get("fsType") or "", "mount_flags": list(spec.get("mountOptions") or ())}
    if group is not None and wire.MOUNT_GROUP in driver.capabilities:
        mount["volume_mount_group"] = str(group)
    return {**made, "mount": mount}


def gives_group(info: Obj, wanted: Wanted) -> bool:
    """Whether the volume is given to the pod's group by the kubelet (CSIDriver's fsGroupPolicy)."""
    match info.get("fsGroupPolicy") or "ReadWriteOnceWithFSType":
        case "File":
            return True
        case "ReadWriteOnceWithFSType":
            modes = (wanted.spec or {}).get("accessModes") or ()
            return bool(wanted.source.get("fsType")) and "ReadWriteOnce" in modes
        case _:
            return False


def _check_lifecycle(info: Obj, wanted: Wanted) -> None:
    """Raises VolumeError where the driver does not make volumes of this kind."""
    mode = "Persistent" if wanted.spec is not None else "Ephemeral"
    driver, known = wanted.source["driver"], info.get("volumeLifecycleModes")
    if not info and mode == "Persistent":
        return
    if not info:
        raise VolumeError(f'volume mode "{mode}" not supported by driver {driver} (no CSIDriver object)')
    if mode not in (known or ("Persistent",)):
        shown = " ".join(f'"{each}"' for each in known or ("Persistent",))
        raise VolumeError(f'volume mode "{mode}" not supported by driver {driver} (only supports [{shown}])')


class CsiVolumes:
    """`root` is the kubelet's. `changed` is called when other volumes are in use than before."""

    def __init__(
        self,
        root: Path,
        node: str,
        client: Client,
        registry: CsiRegistry,
        world: World,
        changed: Callable[[], None] = lambda: None,
        emit: Emit = lambda about, kind, reason, message: None,
    ) -> None:
        self._root, self._node, self._client, self._registry, self._changed = root, node, client, registry, changed
        self._grower = Grower(client, world, emit)
        self._sizes: dict[tuple[str, str], str] = {}
        """(pod uid, persistent volume) -> the size that the node has made use of."""
        self._in_use: dict[str, set[str]] = {}
        """Unique name of an attached volume -> uids of the pods that have it."""
        self._locks: dict[str, asyncio.Lock] = {}

    def in_use(self) -> list[str]:
        """What the node's status shows as volumesInUse: not to be detached."""
        return sorted(self._in_use)

    # -- mounting

    @staticmethod
    def wanted(pod: Obj, name: str, source: Obj, spec: Obj | None, read_only: bool) -> Wanted:
        return Wanted(pod, name, source, spec, read_only)

    async def mount(self, wanted: Wanted, group: int | None, policy: str, again: bool = False) -> str:
        """Where the volume is for the pod. `again`: it is there; drivers that want that are told of it once more, with
        fresh tokens. Raises VolumeError."""
        driver = self._registry.get(wanted.source["driver"])
        if driver is None:
            name = wanted.source["driver"]
            raise VolumeError(
                "kubernetes.io/csi: mounter.SetUpAt failed to get CSI client: "
                f"driver name {name} not found in the list of registered CSI drivers"
            )
        async with self._locks.setdefault(wanted.handle, asyncio.Lock()):
            try:
                info = await self._info(driver.name)
                _check_lifecycle(info, wanted)
                if again and not info.get("requiresRepublish"):
                    return str(self._target(wanted))
                return await self._mount(wanted, driver, info, group, policy, again)
            except PluginError as error:
                raise VolumeError(f"kubernetes.io/csi: {error}") from None

    async def _mount(
        self, wanted: Wanted, driver: Driver, info: Obj, group: int | None, policy: str, again: bool
    ) -> str:
        context: Mapping[str, str] = {}
        if wanted.spec is not None and info.get("attachRequired", True):
            context = await self._attached(wanted)
        asked = capability(wanted, driver, group)
        staging = ""
        if wanted.spec is not None and wire.STAGE in driver.capabilities:
            staging = str(self._staging(wanted)) if again else str(await self._stage(wanted, driver, asked, context))
        tokens = await self._tokens(wanted, info)
        target = self._target(wanted)
        known = target.parent / DATA if not wanted.block else target.with_name(f"{target.name}.json")
        known.parent.mkdir(parents=True, exist_ok=True)
        data = {"driverName": driver.name, "volumeHandle": wanted.handle, "specVolID": wanted.name, "staged": staging}
        known.write_bytes(orjson.dumps({**data, "nodeName": self._node, "unique": self._unique(wanted, info)}))
        request: Tree = {
            "volume_id": wanted.handle,
            "publish_context": dict(context),
            "staging_target_path": staging,
            "target_path": str(target),
            "volume_capability": asked,
            "readonly": wanted.read_only or bool(wanted.source.get("readOnly")),
            "secrets": await self._secrets(wanted.source.get("nodePublishSecretRef"), wanted.pod),
            "volume_context": self._volume_context(wanted, info),
        }
        request["secrets" if info.get("serviceAccountTokenInSecrets") else "volume_context"] |= tokens
        await driver.node.call(NODE, "NodePublishVolume", request)
        ours = gives_group(info, wanted) and wire.MOUNT_GROUP not in driver.capabilities
        if ours and group is not None and not request["readonly"] and not wanted.block:
            await asyncio.to_thread(ownership.give_all, target, group, False, policy)
        return str(target)

    def _unique(self, wanted: Wanted, info: Obj) -> str:
        return unique_name(wanted.source) if wanted.spec is not None and info.get("attachRequired", True) else ""

    async def _info(self, driver: str) -> Obj:
        """The CSIDriver's spec; empty where there is none. Raises VolumeError."""
        try:
            return (await self._client.get(DRIVERS, driver)).get("spec") or {}
        except StatusError as error:
            if error.code != 404:
                raise VolumeError(f"failed to get CSIDriver {driver}: {error}") from None
            return {}
        except ConnectionError as error:
            raise VolumeError(f"failed to get CSIDriver {driver}: {error}") from None

    async def _attached(self, wanted: Wanted) -> Mapping[str, str]:
        """What the attacher said of the volume. Raises VolumeError while it is not attached."""
        unique, uid = unique_name(wanted.source), wanted.pod["metadata"]["uid"]
        users = self._in_use.setdefault(unique, set())
        if uid not in users:
            users.add(uid)
            self._changed()
        name = attachment_name(wanted.source, self._node)
        try:
            status = (await self._client.get(ATTACHMENTS, name)).get("status") or {}
        except (StatusError, ConnectionError) as error:
            raise VolumeError(f"volume {wanted.name} is not attached yet: {error}") from None
        if not status.get("attached"):
            failed: Obj = status.get("attachError") or {}
            if failed.get("errorCode") == EXHAUSTED:  # the node can take fewer volumes than it told of
                self._registry.renew(wanted.source["driver"])
            why = failed.get("message") or "the attacher has not done it yet"
            raise VolumeError(f"volume {wanted.name} is not attached yet: {why}")
        return status.get("attachmentMetadata") or {}

    def _staging(self, wanted: Wanted) -> Path:
        base = self._root / "plugins" / "kubernetes.io" / "csi"
        if wanted.block:
            return base / "volumeDevices" / "staging" / wanted.name
        return base / wanted.source["driver"] / hashlib.sha256(wanted.handle.encode()).hexdigest() / "globalmount"

    async def _stage(self, wanted: Wanted, driver: Driver, asked: Tree, context: Mapping[str, str]) -> Path:
        staging = self._staging(wanted)
        staging.mkdir(parents=True, exist_ok=True, mode=0o750)
        request: Tree = {
            "volume_id": wanted.handle,
            "publish_context": dict(context),
            "staging_target_path": str(staging),
            "volume_capability": asked,
            "secrets": await self._secrets(wanted.source.get("nodeStageSecretRef"), wanted.pod),
            "volume_context": dict(wanted.source.get("volumeAttributes") or {}),
        }
        await driver.node.call(NODE, "NodeStageVolume", request)
        return staging

    def _target(self, wanted: Wanted) -> Path:
        uid = wanted.pod["metadata"]["uid"]
        if wanted.block:
            base = self._root / "plugins" / "kubernetes.io" / "csi" / "volumeDevices" / "publish"
            return base / wanted.name / uid
        return self._root / "pods" / uid / "volumes" / PLUGIN / wanted.name / "mount"

    async def _secrets(self, reference: Obj | None, pod: Obj) -> dict[str, str]:
        if not reference or not reference.get("name"):
            return {}
        namespace = reference.get("namespace") or pod["metadata"]["namespace"]
        try:
            found = await self._client.get(SECRETS, reference["name"], namespace)
        except (StatusError, ConnectionError) as error:
            raise VolumeError(f"failed to get secret {namespace}/{reference['name']}: {error}") from None
        data: Mapping[str, str] = found.get("data") or {}
        return {key: base64.b64decode(value).decode(errors="replace") for key, value in data.items()}

    def _volume_context(self, wanted: Wanted, info: Obj) -> dict[str, str]:
        made = dict(wanted.source.get("volumeAttributes") or {})
        meta = wanted.pod["metadata"]
        if info.get("podInfoOnMount"):
            made |= {
                "csi.storage.k8s.io/pod.name": meta["name"],
                "csi.storage.k8s.io/pod.namespace": meta["namespace"],
                "csi.storage.k8s.io/pod.uid": meta["uid"],
                "csi.storage.k8s.io/serviceAccount.name": wanted.pod["spec"].get("serviceAccountName") or "",
                "csi.storage.k8s.io/ephemeral": "false" if wanted.spec is not None else "true",
            }
        return made

    async def _tokens(self, wanted: Wanted, info: Obj) -> dict[str, str]:
        """What the driver is told beside, where it wants tokens of the pod's service account."""
        requests = info.get("tokenRequests")
        if not requests:
            return {}
        tokens = {each.get("audience") or "": await self._token(wanted.pod, each) for each in requests}
        return {"csi.storage.k8s.io/serviceAccount.tokens": orjson.dumps(tokens).decode()}

    async def _token(self, pod: Obj, asked: Obj) -> Any:
        meta = pod["metadata"]
        spec: Obj = {
            "audiences": [asked["audience"]] if asked.get("audience") else [],
            "expirationSeconds": asked.get("expirationSeconds") or 3600,
            "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": meta["name"], "uid": meta["uid"]},
        }
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "metadata": {}, "spec": spec}
        account = pod["spec"].get("serviceAccountName") or "default"
        try:
            made = await self._client.create(
                SERVICE_ACCOUNTS, request, meta["namespace"], name=account, subresource="token"
            )
        except (StatusError, ConnectionError) as error:
            raise VolumeError(f"failed to fetch token: {error}") from None
        return {name: made["status"][name] for name in ("token", "expirationTimestamp")}

    # -- growing

    async def grow(self, wanted: Wanted, claim: Obj, volume: Obj) -> None:
        """The node's part where a volume has grown and what is on it has not. Raises VolumeError."""
        driver, key = self._registry.get(wanted.source["driver"]), (wanted.pod["metadata"]["uid"], wanted.name)
        seen = self._sizes.setdefault(key, growing.size_of(volume))
        if driver is None or wanted.read_only or not growing.is_due(claim, volume, seen):
            return
        try:
            staging = orjson.loads((self._target(wanted).parent / DATA).read_bytes()).get("staged", "")
        except OSError:
            staging = ""
        request: Tree = {
            "volume_id": wanted.handle,
            "volume_path": str(self._target(wanted)),
            "staging_target_path": staging,
            "capacity_range": {"required_bytes": Quantity.of(growing.size_of(volume)).value()},
            "volume_capability": capability(wanted, driver, None),
            "secrets": await self._secrets(wanted.source.get("nodeExpandSecretRef"), wanted.pod),
        }
        if await self._grower.grow(driver, request, wanted.pod, claim, volume):
            self._sizes[key] = growing.size_of(volume)

    # -- taking away

    async def unmount(self, pod_uid: str) -> None:
        """All of a pod's volumes; those that no other pod has leave the node's staging, too. Raises VolumeError."""
        for key in [key for key in self._sizes if key[0] == pod_uid]:
            del self._sizes[key]
        for known, target in list(self._published(pod_uid)):
            try:
                data = orjson.loads(known.read_bytes())
            except (OSError, orjson.JSONDecodeError):
                continue
            async with self._locks.setdefault(data["volumeHandle"], asyncio.Lock()):
                await self._take_away(known, target, data, pod_uid)

    async def _take_away(self, known: Path, target: Path, data: Obj, pod_uid: str) -> None:
        driver = self._registry.get(data["driverName"])
        if driver is None:
            raise VolumeError(f"driver name {data['driverName']} not found in the list of registered CSI drivers")
        named = {"volume_id": data["volumeHandle"]}
        try:
            await driver.node.call(NODE, "NodeUnpublishVolume", {**named, "target_path": str(target)})
            known.unlink(missing_ok=True)
            if not await asyncio.to_thread(mounting.mounts_below, target):
                with suppress(OSError):
                    target.rmdir() if target.is_dir() else target.unlink()
                with suppress(OSError):
                    target.parent.rmdir()
            staged = data.get("staged") or ""
            if staged and not any(self._others(data)):
                await driver.node.call(NODE, "NodeUnstageVolume", {**named, "staging_target_path": staged})
                if not await asyncio.to_thread(mounting.mounts_below, Path(staged)):
                    shutil.rmtree(staged, ignore_errors=True)
        except PluginError as error:
            raise VolumeError(f"kubernetes.io/csi: {error}") from None
        self._give_back(data.get("unique") or "", pod_uid)

    def _give_back(self, unique: str, pod_uid: str) -> None:
        users = self._in_use.get(unique)
        if users is None:
            return
        users.discard(pod_uid)
        if not users:
            del self._in_use[unique]
            self._changed()

    def _published(self, pod_uid: str) -> Iterator[tuple[Path, Path]]:
        """(the file that tells of it, the volume) of a pod."""
        for known in (self._root / "pods" / pod_uid / "volumes" / PLUGIN).glob(f"*/{DATA}"):
            yield known, known.parent / "mount"
        base = self._root / "plugins" / "kubernetes.io" / "csi" / "volumeDevices" / "publish"
        for known in base.glob(f"*/{pod_uid}.json"):
            yield known, known.with_suffix("")

    def _others(self, data: Obj) -> Iterator[Path]:
        """What tells of the same volume for other pods."""
        name = data["specVolID"]
        yield from (self._root / "pods").glob(f"*/volumes/{PLUGIN}/{name}/{DATA}")
        publish = self._root / "plugins" / "kubernetes.io" / "csi" / "volumeDevices" / "publish"
        yield from publish.glob(f"{name}/*.json")
