"""Who may use a volume: fsGroup. Source: pkg/volume/volume_linux.go."""

from __future__ import annotations

import os
import stat
from pathlib import Path

WRITE, READ, ENTER = 0o660, 0o440, 0o110


def mode_for(mode: int, folder: bool, read_only: bool) -> int:
    """A mode that gives the group what it needs; what others make in a folder is the group's, too."""
    mode |= READ if read_only else WRITE
    return mode | ENTER | stat.S_ISGID if folder else mode


def give(path: Path, group: int | None, read_only: bool = False) -> None:
    """One file or folder to the group; nothing where there is none."""
    if group is None:
        return
    found = os.lstat(path)
    if stat.S_ISLNK(found.st_mode):
        os.lchown(path, -1, group)
        return
    os.chown(path, -1, group)
    os.chmod(path, mode_for(stat.S_IMODE(found.st_mode), stat.S_ISDIR(found.st_mode), read_only))


def give_all(root: Path, group: int | None, read_only: bool, policy: str) -> None:
    """A whole tree; with OnRootMismatch only where the root says that it is not yet done."""
    if group is None or (policy == "OnRootMismatch" and _is_given(root, group, read_only)):
        return
    for folder, folders, files in os.walk(root, topdown=False):
        for name in [*folders, *files]:
            give(Path(folder, name), group, read_only)
    give(root, group, read_only)  # last: it says that everything below is done


def _is_given(root: Path, group: int, read_only: bool) -> bool:
    found = root.stat()
    wanted = mode_for(0, True, read_only)
    return found.st_gid == group and stat.S_IMODE(found.st_mode) & wanted == wanted
