"""The kernel's mounts, called directly."""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

MS_BIND, MS_NOSUID, MS_NODEV = 0x1000, 0x2, 0x4
DETACH = 2
ESCAPE = re.compile(rb"\\([0-7]{3})")
"""How mountinfo writes spaces and the like."""


@cache
def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)


def _mount(source: str, target: str, kind: str, flags: int, data: str) -> None:
    done = _libc().mount(os.fsencode(source), os.fsencode(target), kind.encode(), flags, data.encode() or None)
    if done:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), target)


def tmpfs(target: Path, size: int) -> None:
    """A file system in memory; `size` in bytes, 0: the kernel's default."""
    _mount("tmpfs", str(target), "tmpfs", MS_NOSUID | MS_NODEV, f"size={size}" if size else "")


def bind(source: str, target: Path) -> None:
    _mount(source, str(target), "", MS_BIND, "")


def mounts_below(folder: Path) -> Sequence[str]:
    """Mount points at or below a folder, the deepest first."""
    prefix = f"{folder}/"
    found: list[str] = []
    for line in Path("/proc/self/mountinfo").read_bytes().splitlines():
        escaped = line.split(b" ")[4]
        point = os.fsdecode(ESCAPE.sub(lambda match: bytes([int(match.group(1), 8)]), escaped))
        if point == str(folder) or point.startswith(prefix):
            found.append(point)
    return found[::-1]


def unmount_below(folder: Path) -> None:
    for point in mounts_below(folder):
        _libc().umount2(os.fsencode(point), DETACH)
