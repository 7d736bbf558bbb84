"""File systems that are mounted by the machine's own programs: NFS, and devices that are formatted where they are not yet.

Source: pkg/volume/nfs, mount-utils' SafeFormatAndMount.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Sequence
from pathlib import Path

from navarch.kubelet.volumes import mounting
from navarch.kubelet.volumes.payload import VolumeError
from navarch.machinery.types import Obj

MOUNT_SECONDS = 120.0
FORMAT_SECONDS = 600.0
FORCE = {"xfs": "-f", "btrfs": "-f"}
"""What tells mkfs not to ask; ext's is -F."""
NOTHING_FOUND = 2
"""blkid's exit code where a device holds nothing that it knows."""


async def nfs(source: Obj, folder: Path, read_only: bool, options: Sequence[str] = ()) -> None:
    """Mounts a server's export. Raises VolumeError."""
    if mounting.mounts_below(folder):
        return
    folder.mkdir(parents=True, exist_ok=True)
    server = f"[{source['server']}]" if ":" in source["server"] else source["server"]
    await _mount("nfs", f"{server}:{source['path']}", folder, read_only or bool(source.get("readOnly")), options)


async def device(path: Path, folder: Path, kind: str, read_only: bool, options: Sequence[str] = ()) -> None:
    """Mounts a block device, formatted first where it holds nothing. Raises VolumeError."""
    if mounting.mounts_below(folder):
        return
    code, found = await _run(MOUNT_SECONDS, "blkid", "-p", "-s", "TYPE", "-s", "PTTYPE", "-o", "export", str(path))
    if code not in (0, NOTHING_FOUND):
        raise VolumeError(f"failed to look at {path}: {found.strip() or f'blkid exited with {code}'}")
    holds: dict[str, str] = {}
    for line in found.splitlines():
        name, _, value = line.partition("=")
        holds[name] = value
    if "PTTYPE" in holds and "TYPE" not in holds:
        raise VolumeError(f"{path} holds a partition table: it is not formatted")
    kind = kind or holds.get("TYPE") or "ext4"
    if "TYPE" not in holds:
        if read_only:
            raise VolumeError(f"cannot mount unformatted disk {path} as we are manipulating it in read-only mode")
        code, said = await _run(FORMAT_SECONDS, f"mkfs.{kind}", FORCE.get(kind, "-F"), str(path))
        if code:
            raise VolumeError(f"format of disk {path} failed: type:({kind}): {said.strip()}")
    folder.mkdir(parents=True, exist_ok=True)
    await _mount(kind, str(path), folder, read_only, options)


async def _mount(kind: str, what: str, folder: Path, read_only: bool, options: Sequence[str]) -> None:
    wanted = [*options, *(["ro"] if read_only else [])]
    words = ["mount", "-t", kind, *(["-o", ",".join(wanted)] if wanted else []), what, str(folder)]
    code, said = await _run(MOUNT_SECONDS, *words)
    if code:
        text = f"mount failed: exit status {code}\nMounting command: mount\nMounting arguments: {' '.join(words[1:])}\n"
        raise VolumeError(f"{text}Output: {said.strip()}")


async def _run(seconds: float, *words: str) -> tuple[int, str]:
    """(exit code, what was printed). Raises VolumeError where the program is missing or takes too long."""
    program = shutil.which(words[0])
    if program is None:
        raise VolumeError(f"{words[0]} is not installed on this machine")
    process = await asyncio.create_subprocess_exec(
        program, *words[1:], stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        async with asyncio.timeout(seconds):
            said, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        raise VolumeError(f"{words[0]}: not within {seconds:.0f} s") from None
    return process.returncode or 0, said.decode(errors="replace")
