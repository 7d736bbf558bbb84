"""A container's mounts of its pod's volumes, subPath included.

A path within a volume may be changed by the containers that have it: what it leads to is resolved once, must lie in the
volume, and is then held open step by step without following links while it is bound to a place of the kubelet's own.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from navarch.kubelet.cri_tables import PROPAGATION
from navarch.kubelet.env import ConfigError
from navarch.kubelet.volumes import mounting
from navarch.machinery.types import Obj

Tree = dict[str, Any]


def container_mounts(
    container: Obj, volumes: Mapping[str, Any], expand: Callable[[str], str], subpaths: Path
) -> list[Tree]:
    """The CRI's Mounts. `subpaths` is where paths within volumes are bound (the pod's own folder). Raises ConfigError."""
    found: list[Tree] = []
    for index, mount in enumerate(container.get("volumeMounts") or []):
        volume = volumes.get(mount["name"])
        if volume is None:
            raise ConfigError(f'cannot find volume "{mount["name"]}" to mount into container "{container["name"]}"')
        if mount.get("recursiveReadOnly") == "Enabled":
            why = "requested recursive read-only mode, but it is not supported by the runtime"
            raise ConfigError(f'failed to resolve recursive read-only mode: volume "{mount["name"]}" {why}')
        host = volume.path
        part = _expanded(mount["subPathExpr"], expand) if mount.get("subPathExpr") else mount.get("subPath", "")
        if part:
            target = subpaths / mount["name"] / container["name"] / str(index)
            host = _bound(Path(host), part, target)
        path = mount["mountPath"]
        found.append(
            {
                "container_path": path if path.startswith("/") else f"/{path}",
                "host_path": host,
                "readonly": bool(mount.get("readOnly") or volume.read_only),
                "propagation": PROPAGATION.get(mount.get("mountPropagation") or "None", 0),
            }
        )
    return found


def _expanded(text: str, expand: Callable[[str], str]) -> str:
    """Raises ConfigError where a variable has no value: unlike in a command, it does not stand for itself."""
    for name in REFERENCE.findall(text):
        if name and expand(f"$({name})") == f"$({name})":
            raise ConfigError(f"missing value for {name!r}")
    return expand(text)


REFERENCE = re.compile(r"\$\$|\$\(([^)]*)\)")
"""`$$` stands for a dollar sign; `$(NAME)` for a value."""


def _bound(volume: Path, part: str, target: Path) -> str:
    """A path within a volume, bound to `target`. Raises ConfigError."""
    if part.startswith("/"):
        raise ConfigError(f"error SubPath `{part}` must not be an absolute path")
    if ".." in Path(part).parts:
        raise ConfigError(f"unable to provision SubPath `{part}`: must not contain '..'")
    root = Path(os.path.realpath(volume))
    real = Path(os.path.realpath(root / part))
    if real != root and root not in real.parents:
        raise ConfigError(f"subPath {part!r} leads out of its volume")
    try:
        handle = _open(root, real.relative_to(root).parts)
        try:
            if mounting.mounts_below(target):
                if os.path.samestat(os.fstat(handle), os.stat(target)):
                    return str(target)
                mounting.unmount_below(target)  # the volume shows a newer version
            _place(handle, target)
            mounting.bind(f"/proc/self/fd/{handle}", target)
        finally:
            os.close(handle)
    except OSError as error:
        raise ConfigError(f"failed to prepare subPath for volumeMount: {error}") from None
    return str(target)


def _open(root: Path, parts: Sequence[str]) -> int:
    """A descriptor of a path below root, no link followed; missing folders are made as the root is."""
    mode = root.stat().st_mode & 0o7777
    handle = os.open(root, os.O_PATH)
    try:
        for part in parts:
            try:
                following = os.open(part, os.O_PATH | os.O_NOFOLLOW, dir_fd=handle)
            except FileNotFoundError:
                os.mkdir(part, mode, dir_fd=handle)
                following = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=handle)
                os.fchmod(following, mode)
            os.close(handle)
            handle = following
        if stat.S_ISLNK(os.fstat(handle).st_mode):
            raise OSError(errno.ELOOP, "a link where there was none before")
    except BaseException:
        os.close(handle)
        raise
    return handle


def _place(handle: int, target: Path) -> None:
    """What a bind mount needs at its target: a folder for a folder, a file for anything else."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if stat.S_ISDIR(os.fstat(handle).st_mode):
        if target.is_file():
            target.unlink()
        target.mkdir(exist_ok=True)
    else:
        if target.is_dir():
            target.rmdir()
        target.touch()
