"""Making, refreshing and taking away pods' volumes."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from navarch.client.interface import Client
from navarch.client.resources import SERVICE_ACCOUNTS
from navarch.kubelet.volumes import atomic, mounting, payload
from navarch.kubelet.volumes.payload import Look, Payload, VolumeError
from navarch.kubelet.volumes.submounts import container_mounts
from navarch.machinery.clock import World, parse_time
from navarch.machinery.errors import StatusError
from navarch.machinery.quantity import Quantity
from navarch.machinery.types import Obj

PLUGINS = {
    "emptyDir": "empty-dir", "configMap": "configmap", "secret": "secret", "projected": "projected",
    "downwardAPI": "downward-api",
}  # fmt: skip
TOKEN_SECONDS = 3600
REFRESH_SHARE = 0.8
"""A token is renewed when so much of its life has passed."""


class HostVolume(NamedTuple):
    """Where a volume of a pod is on the host."""

    path: str
    read_only: bool


class _Token(NamedTuple):
    text: str
    renew: float


class VolumeManager:
    """`root` is the kubelet's: a pod's volumes are in root/pods/<uid>/volumes/kubernetes.io~<plugin>/<name>."""

    def __init__(
        self, root: Path, look: Look, client: Client, world: World, node: Callable[[], Mapping[str, Any]] = dict
    ) -> None:
        self._root, self._look, self._client, self._world, self._node = root, look, client, world, node
        self._tokens: dict[tuple[str, str, str], _Token] = {}
        """(pod uid, volume, path) -> its token."""

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
        for key in [key for key in self._tokens if key[0] == pod_uid]:
            del self._tokens[key]
        base = self._root / "pods" / pod_uid
        await asyncio.to_thread(_take_away, [base / "volume-subpaths", base / "volumes"])

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
        source = next((name for name in PLUGINS if name in volume), "")
        if not source:
            kinds = ", ".join(key for key in volume if key != "name")
            raise VolumeError(f"no volume plugin matched: {kinds or 'the volume has no source'}")
        folder = self._folder(pod, PLUGINS[source], volume["name"])
        group = (pod["spec"].get("securityContext") or {}).get("fsGroup")
        if source == "emptyDir":
            empty_dir(folder, volume["emptyDir"] or {}, group)
            return HostVolume(str(folder), False)
        content = await self._payload(source, volume, pod)
        stamp = datetime.fromtimestamp(self._world.now(), UTC).strftime("%Y_%m_%d_%H_%M_%S.%f")
        atomic.write(folder, content, group, stamp)
        return HostVolume(str(folder), True)

    async def _payload(self, source: str, volume: Obj, pod: Obj) -> Payload:
        namespace = pod["metadata"]["namespace"]
        match source:
            case "configMap":
                return payload.config_map(volume, namespace, self._look)
            case "secret":
                return payload.secret(volume, namespace, self._look)
            case "downwardAPI":
                own = volume["downwardAPI"]
                mode = own.get("defaultMode", payload.DEFAULT_MODE)
                return payload.downward(own, pod, self._node(), mode)
            case _:
                tokens = await self._volume_tokens(volume, pod)
                return payload.projected(volume, pod, self._look, self._node(), lambda part: tokens[part["path"]])

    # -- service account tokens

    async def _volume_tokens(self, volume: Obj, pod: Obj) -> dict[str, str]:
        wanted = [
            p["serviceAccountToken"] for p in volume["projected"].get("sources") or [] if "serviceAccountToken" in p
        ]
        return {part["path"]: await self._token(volume["name"], part, pod) for part in wanted}

    async def _token(self, volume: str, part: Obj, pod: Obj) -> str:
        meta, now = pod["metadata"], self._world.now()
        key = (meta["uid"], volume, part["path"])
        known = self._tokens.get(key)
        if known and now < known.renew:
            return known.text
        spec: Obj = {
            "audiences": [part["audience"]] if part.get("audience") else [],
            "expirationSeconds": part.get("expirationSeconds", TOKEN_SECONDS),
            "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": meta["name"], "uid": meta["uid"]},
        }
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "metadata": {}, "spec": spec}
        account = pod["spec"].get("serviceAccountName") or "default"
        try:
            answer = await self._client.create(
                SERVICE_ACCOUNTS, request, meta["namespace"], name=account, subresource="token"
            )
        except (StatusError, ConnectionError, OSError) as error:
            if known:  # still good for the rest of its life
                return known.text
            raise VolumeError(f"failed to fetch token: {error}") from None
        status = answer["status"]
        life = parse_time(status["expirationTimestamp"]) - now
        self._tokens[key] = _Token(status["token"], now + life * REFRESH_SHARE)
        return status["token"]


def empty_dir(folder: Path, source: Obj, group: int | None) -> None:
    """An empty folder for everyone; in memory where that is asked for."""
    if folder.is_dir():
        return
    folder.mkdir(parents=True)
    if source.get("medium") == "Memory":
        limit = source.get("sizeLimit")
        mounting.tmpfs(folder, Quantity.parse(str(limit)).value() if limit is not None else 0)
    elif source.get("medium"):
        folder.rmdir()
        raise VolumeError(f"unknown storage medium {source['medium']!r}")
    folder.chmod(0o777)
    if group is not None:
        os.chown(folder, -1, group)
        folder.chmod(0o2777)


CHECKS: dict[str, tuple[Callable[[int], bool], str]] = {
    "Directory": (stat.S_ISDIR, "a directory"),
    "DirectoryOrCreate": (stat.S_ISDIR, "a directory"),
    "File": (stat.S_ISREG, "a file"),
    "FileOrCreate": (stat.S_ISREG, "a file"),
    "Socket": (stat.S_ISSOCK, "a socket file"),
    "CharDevice": (stat.S_ISCHR, "a character device"),
    "BlockDevice": (stat.S_ISBLK, "a block device"),
}


def host_path(source: Obj) -> str:
    """A path of the host, checked to be what it is said to be. Raises VolumeError."""
    path, kind = Path(source["path"]), source.get("type") or ""
    if kind == "DirectoryOrCreate":
        path.mkdir(mode=0o755, parents=True, exist_ok=True)
    elif kind == "FileOrCreate" and not path.exists():
        path.touch(mode=0o644)
    if kind:
        is_right, word = CHECKS[kind]
        try:
            right = is_right(path.stat().st_mode)
        except OSError:
            right = False
        if not right:
            raise VolumeError(f"hostPath type check failed: {path} is not {word}")
    return str(path)


def _take_away(folders: list[Path]) -> None:
    for folder in folders:
        if folder.exists():
            mounting.unmount_below(folder)
            if not mounting.mounts_below(folder):
                shutil.rmtree(folder, ignore_errors=True)
