"""Making, refreshing and taking away pods' volumes."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from navarch.client.interface import Client
from navarch.kubelet.volumes import atomic, claims, filesystems, mounting, ownership, payload
from navarch.kubelet.volumes.empty_dir import empty_dir, in_memory, on_disk
from navarch.kubelet.volumes.host_path import host_path
from navarch.kubelet.volumes.images import ImageVolumes
from navarch.kubelet.volumes.payload import Look, Payload, VolumeError
from navarch.kubelet.volumes.submounts import container_mounts
from navarch.kubelet.volumes.tokens import Tokens
from navarch.machinery.clock import World
from navarch.machinery.types import Obj

log = logging.getLogger(__name__)
PLUGINS = {
    "emptyDir": "empty-dir", "configMap": "configmap", "secret": "secret", "projected": "projected",
    "downwardAPI": "downward-api",
}  # fmt: skip
ON_DISK = ("configMap",)
"""Everything else that is shown as files is kept in memory: secrets are not written to a disk."""


class Csi(Protocol):
    """CSI drivers, as far as volumes need them."""

    def wanted(self, pod: Obj, name: str, source: Obj, spec: Obj | None, read_only: bool) -> Any: ...

    async def mount(self, wanted: Any, group: int | None, policy: str, again: bool = False) -> str: ...

    async def grow(self, wanted: Any, claim: Obj, volume: Obj) -> None: ...

    async def unmount(self, pod_uid: str) -> None: ...


class HostVolume(NamedTuple):
    """Where a volume of a pod is on the host."""

    path: str
    read_only: bool


class _Claim(NamedTuple):
    namespace: str
    name: str
    volume: HostVolume
    driver: bool
    """A driver has made it: whether it has grown is looked at now and then."""


class VolumeManager:
    """`root` is the kubelet's: a pod's volumes are in root/pods/<uid>/volumes/kubernetes.io~<plugin>/<name>."""

    def __init__(
        self,
        root: Path,
        look: Look,
        client: Client,
        world: World,
        node: Callable[[], Mapping[str, Any]] = dict,
        images: ImageVolumes | None = None,
        csi: Csi | None = None,
    ) -> None:
        self._images, self._csi = images, csi
        self._root, self._look, self._client, self._world, self._node = root, look, client, world, node
        self._tokens = Tokens(client, world)
        self._claimed: dict[tuple[str, str], _Claim] = {}
        """(pod uid, volume): a persistent volume stays the pod's for all of its life."""
        self._inline: dict[tuple[str, str], HostVolume] = {}
        """(pod uid, volume): what a driver has made for the pod alone."""

    async def mount(self, pod: Obj) -> Mapping[str, HostVolume]:
        """Makes what is missing and renews what is stale. Raises VolumeError."""
        found: dict[str, HostVolume] = {}
        for volume in pod["spec"].get("volumes") or []:
            try:
                found[volume["name"]] = await self._one(pod, volume)
            except (VolumeError, OSError) as error:
                text = f'MountVolume.SetUp failed for volume "{volume["name"]}" : {error}'
                raise VolumeError(text) from None
        return found

    def container_mounts(
        self, pod: Obj, container: Obj, volumes: Mapping[str, Any], expand: Callable[[str], str]
    ) -> list[dict[str, Any]]:
        """The CRI's Mounts of a container. Raises ConfigError."""
        subpaths = self._root / "pods" / pod["metadata"]["uid"] / "volume-subpaths"
        return container_mounts(container, volumes, expand, subpaths)

    async def unmount(self, pod_uid: str) -> None:
        self._tokens.forget(pod_uid)
        given_back = [self._claimed.pop(key).volume.path for key in list(self._claimed) if key[0] == pod_uid]
        for key in [key for key in self._inline if key[0] == pod_uid]:
            del self._inline[key]
        base = self._root / "pods" / pod_uid
        if self._csi is not None:
            await self._csi.unmount(pod_uid)
        if self._images is not None:
            await self._images.unmount(base / "volumes")
        await asyncio.to_thread(_take_away, [base / "volume-subpaths", base / "volumes"])
        for path in set(given_back) - {claim.volume.path for claim in self._claimed.values()}:
            if path.startswith(f"{self._root}/plugins/"):  # a device that the last pod has left
                await asyncio.to_thread(_take_away, [Path(path)])

    def claims(self) -> Iterator[tuple[str, str, str]]:
        """(namespace, claim, path) of the persistent volumes in use."""
        seen = {(c.namespace, c.name): c.volume.path for c in self._claimed.values()}
        yield from ((namespace, name, path) for (namespace, name), path in seen.items())

    def orphans(self, known: Collection[str]) -> list[str]:
        """Uids with folders on disk that nobody knows."""
        try:
            return sorted(set(os.listdir(self._root / "pods")) - set(known))
        except FileNotFoundError:
            return []

    def _folder(self, pod: Obj, plugin: str, name: str) -> Path:
        return self._root / "pods" / pod["metadata"]["uid"] / "volumes" / f"kubernetes.io~{plugin}" / name

    async def _one(self, pod: Obj, volume: Obj) -> HostVolume:
        if "hostPath" in volume:
            return HostVolume(host_path(volume["hostPath"]), False)
        if "persistentVolumeClaim" in volume or "ephemeral" in volume:
            return await self._persistent(pod, volume)
        if "csi" in volume and self._csi is not None:
            key, source = (pod["metadata"]["uid"], volume["name"]), volume["csi"]
            if key not in self._inline:
                path = await self._through_driver(pod, volume["name"], source, None, False)
                self._inline[key] = HostVolume(path, bool(source.get("readOnly")))
            else:
                await self._tell_again(pod, volume["name"], source, None, False)
            return self._inline[key]
        if "nfs" in volume:
            folder = self._folder(pod, "nfs", volume["name"])
            await filesystems.nfs(volume["nfs"], folder, False)
            return HostVolume(str(folder), bool(volume["nfs"].get("readOnly")))
        if "image" in volume and self._images is not None:
            folder = self._folder(pod, "image", volume["name"])
            await self._images.mount(pod, volume["image"] or {}, folder)
            return HostVolume(str(folder), True)
        source = next((name for name in PLUGINS if name in volume), "")
        if not source:
            kinds = ", ".join(key for key in volume if key != "name")
            raise VolumeError(f"no volume plugin matched: {kinds or 'the volume has no source'}")
        folder = self._folder(pod, PLUGINS[source], volume["name"])
        group = _security(pod).get("fsGroup")
        if source == "emptyDir":
            empty_dir(folder, volume["emptyDir"] or {}, pod, self._node(), group)
            return HostVolume(str(folder), False)
        content = await self._payload(source, volume, pod)
        if source in ON_DISK:
            on_disk(folder, group)
        else:
            in_memory(folder, 0, group)
        stamp = datetime.fromtimestamp(self._world.now(), UTC).strftime("%Y_%m_%d_%H_%M_%S.%f")
        atomic.write(folder, content, group, stamp)
        return HostVolume(str(folder), True)

    async def _persistent(self, pod: Obj, volume: Obj) -> HostVolume:
        key = (pod["metadata"]["uid"], volume["name"])
        known = self._claimed.get(key)
        if known is None:
            found = await claims.claimed(self._client, volume, pod)
            claims.check_mode(found, volume["name"], pod)
            path = await self._place(found, pod, volume["name"])
            place = HostVolume(path, found.read_only)
            name, driven = claims.claim_name(volume, pod), "csi" in found.volume["spec"]
            known = self._claimed[key] = _Claim(pod["metadata"]["namespace"], name, place, driven)
            await self._grow(found, pod)
        elif known.driver:
            try:
                found = await claims.claimed(self._client, volume, pod)
                await self._grow(found, pod)
                own, spec = found.volume["metadata"]["name"], found.volume["spec"]
                await self._tell_again(pod, own, spec["csi"], spec, found.read_only)
            except VolumeError as error:  # the pod goes on with what it has
                log.info("volume %s of pod %s: %s", volume["name"], pod["metadata"]["name"], error)
        return known.volume

    async def _grow(self, found: claims.Claimed, pod: Obj) -> None:
        spec = found.volume["spec"]
        if "csi" in spec and self._csi is not None:
            own = found.volume["metadata"]["name"]
            await self._csi.grow(
                self._csi.wanted(pod, own, spec["csi"], spec, found.read_only), found.claim, found.volume
            )

    async def _place(self, found: claims.Claimed, pod: Obj, name: str) -> str:
        """Where a persistent volume is on this machine: a device, or a folder in which it is mounted or simply lies."""
        spec, security = found.volume["spec"], _security(pod)
        options: list[str] = spec.get("mountOptions") or []
        if "csi" in spec and self._csi is not None:
            own = found.volume["metadata"]["name"]
            return await self._through_driver(pod, own, spec["csi"], spec, found.read_only)
        device = claims.device_of(found)
        if spec.get("volumeMode") == "Block":
            if device is None:
                raise VolumeError("volume has volumeMode Block, and is no block device")
            return str(device)
        if "nfs" in spec:
            folder = self._folder(pod, "nfs", name)
            await filesystems.nfs(spec["nfs"], folder, found.read_only, options)
            return str(folder)
        group, policy = security.get("fsGroup"), security.get("fsGroupChangePolicy") or "Always"
        if device is not None:
            folder = (
                self._root / "plugins" / "kubernetes.io" / "local-volume" / "mounts" / found.volume["metadata"]["name"]
            )
            await filesystems.device(device, folder, spec["local"].get("fsType") or "", found.read_only, options)
            await asyncio.to_thread(ownership.give_all, folder, group, found.read_only, policy)
            return str(folder)
        return await asyncio.to_thread(claims.path_of, found, group, policy)

    async def _tell_again(self, pod: Obj, name: str, source: Obj, spec: Obj | None, read_only: bool) -> None:
        try:
            await self._through_driver(pod, name, source, spec, read_only, again=True)
        except VolumeError as error:  # the pod goes on with what it has
            log.info("volume %s of pod %s: %s", name, pod["metadata"]["name"], error)

    async def _through_driver(
        self, pod: Obj, name: str, source: Obj, spec: Obj | None, read_only: bool, again: bool = False
    ) -> str:
        assert self._csi is not None
        group, policy = _security(pod).get("fsGroup"), _security(pod).get("fsGroupChangePolicy") or "Always"
        return await self._csi.mount(self._csi.wanted(pod, name, source, spec, read_only), group, policy, again)

    async def _payload(self, source: str, volume: Obj, pod: Obj) -> Payload:
        namespace = pod["metadata"]["namespace"]
        match source:
            case "configMap":
                return payload.config_map(volume, namespace, self._look)
            case "secret":
                return payload.secret(volume, namespace, self._look)
            case "downwardAPI":
                own = volume["downwardAPI"] or {}
                mode = own.get("defaultMode", payload.DEFAULT_MODE)
                return payload.downward(own, pod, self._node(), mode)
            case _:
                tokens = await self._tokens.of_volume(volume, pod)
                return payload.projected(volume, pod, self._look, self._node(), lambda part: tokens[part["path"]])


def _security(pod: Obj) -> Obj:
    return pod["spec"].get("securityContext") or {}


def _take_away(folders: list[Path]) -> None:
    for folder in folders:
        if folder.exists():
            mounting.unmount_below(folder)
            remove(folder)


def remove(folder: Path) -> None:
    """Removes a tree, unless something is still mounted in it: that is not ours to remove."""
    if not mounting.mounts_below(folder):
        shutil.rmtree(folder, ignore_errors=True)
