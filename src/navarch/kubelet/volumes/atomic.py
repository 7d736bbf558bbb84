"""Writing a volume's files so that a container sees all of one version or all of the next: the `..data` link is swapped.

Layout as upstream's AtomicWriter makes it: `key` -> `..data/key`, `..data` -> `..<time>`, which holds the files.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path, PurePosixPath

from navarch.kubelet.volumes import ownership
from navarch.kubelet.volumes.payload import Payload, VolumeError

DATA = "..data"


def write(folder: Path, payload: Payload, group: int | None, stamp: str) -> bool:
    """Makes the folder (which is there) show the payload; True where that was a change. `stamp` names the new version."""
    for path in payload:
        parts = PurePosixPath(path).parts
        if not parts or path.startswith("/") or ".." in parts or parts[0].startswith(".."):
            raise VolumeError(f"invalid path: {path}")
    link = folder / DATA
    old = os.readlink(link) if link.is_symlink() else ""
    changed = not old or not _same(folder / old, payload)
    if changed:
        _forget_versions(folder, old)
        version = folder / f"..{stamp}"
        _fill(version, payload, group)
        temporary = folder / "..data_tmp"
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(version.name)
        os.replace(temporary, link)
    _links(folder, payload)
    if changed:
        _forget_versions(folder, os.readlink(link))
    return changed


def _fill(version: Path, payload: Payload, group: int | None) -> None:
    folders = {version, *(version / parent for path in payload for parent in PurePosixPath(path).parents)}
    for folder in sorted(folders):
        folder.mkdir()
        folder.chmod(0o755)
        ownership.give(folder, group, read_only=True)
    for path, file in payload.items():
        target = version / path
        target.write_bytes(file.data)
        target.chmod(file.mode)
        if file.owner is not None:
            os.chown(target, file.owner, -1)
        ownership.give(target, group, read_only=True)


def _forget_versions(folder: Path, kept: str) -> None:
    """Removes older versions, and what an end in the midst of writing left."""
    for entry in folder.iterdir():
        if entry.name.startswith("..") and entry.name not in (DATA, kept) and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)


def _same(version: Path, payload: Payload) -> bool:
    there = {str(p.relative_to(version)) for p in version.rglob("*") if p.is_file()}
    return there == payload.keys() and all((version / p).read_bytes() == f.data for p, f in payload.items())


def _links(folder: Path, payload: Payload) -> None:
    """One link per first part of a path; those of nothing any more go."""
    wanted = {PurePosixPath(path).parts[0] for path in payload}
    for name in wanted:
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(f"{DATA}/{name}")
    for entry in folder.iterdir():
        if entry.is_symlink() and entry.name != DATA and entry.name not in wanted:
            entry.unlink()
