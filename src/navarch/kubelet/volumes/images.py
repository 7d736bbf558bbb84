"""Images shown as volumes (KEP-4639): pulled as a container's image is, and mounted read-only.

The runtime's own support for them came after the version that distributions have: the snapshot is mounted by containerd's
command, and its lease goes with the mount.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

from navarch.kubelet.images import ImageError, normalised
from navarch.kubelet.volumes import mounting
from navarch.kubelet.volumes.payload import VolumeError
from navarch.machinery.types import Obj

Ensure = Callable[[Obj, Obj], Awaitable[str]]
"""(pod, the image source of a volume) -> the runtime's reference; pulls where need be. Raises ImageError."""
SECONDS = 60.0
FOLDER = "kubernetes.io~image"


class ImageVolumes:
    def __init__(self, socket: Path, ensure: Ensure) -> None:
        self._socket, self._ensure = socket, ensure

    async def mount(self, pod: Obj, source: Obj, folder: Path) -> None:
        """Raises VolumeError."""
        if mounting.mounts_below(folder):
            return
        reference = source.get("reference") or ""
        try:
            await self._ensure(pod, source)
        except ImageError as error:
            raise VolumeError(f"{error.reason}: {error.message}") from None
        folder.mkdir(parents=True, exist_ok=True)
        await self._ctr("images", "mount", normalised(reference), str(folder))

    async def unmount(self, volumes: Path) -> None:
        """All of a pod's; `volumes` is the folder of its volumes."""
        try:
            folders = sorted(os.scandir(volumes / FOLDER), key=lambda entry: entry.name)
        except FileNotFoundError:
            return
        for folder in folders:
            if await asyncio.to_thread(mounting.mounts_below, Path(folder.path)):
                await self._ctr("images", "unmount", "--rm", folder.path)

    async def _ctr(self, *words: str) -> None:
        program = shutil.which("ctr")
        if program is None:
            raise VolumeError("ctr is not installed: image volumes need containerd's command")
        process = await asyncio.create_subprocess_exec(
            program, "--address", str(self._socket), "--namespace", "k8s.io", *words,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            async with asyncio.timeout(SECONDS):
                _, said = await process.communicate()
        except TimeoutError:
            process.kill()
            raise VolumeError(f"ctr {words[0]} {words[1]}: not within {SECONDS:.0f} s") from None
        if process.returncode:
            raise VolumeError(said.decode(errors="replace").strip() or f"ctr exited with {process.returncode}")
