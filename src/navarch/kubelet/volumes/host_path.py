"""Paths of the host. Source: pkg/volume/hostpath."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

from navarch.kubelet.volumes.payload import VolumeError
from navarch.machinery.types import Obj

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
    if kind == "DirectoryOrCreate" and not path.exists():
        path.mkdir(mode=0o755, parents=True)
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
