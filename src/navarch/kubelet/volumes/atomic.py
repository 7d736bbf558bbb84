"""Writing a volume's files so that a container sees all of one version or all of the next: the `..data` link is swapped.

Layout as upstream's AtomicWriter makes it: `key` -> `..data/key`, `..data` -> `..<time>`, which holds the files.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path, PurePosixPath

from navarch.kubelet.volumes.payload import Payload, VolumeError

DATA = "..data"


def write(folder: Path, payload: Payload, group: int | None, stamp: str) -> bool:
    """Makes the folder show the payload; True where that was a change. `stamp` names the new version."""
    for path in payload:
        parts = PurePosixPath(path).parts
        if not parts or path.startswith("/") or ".." in parts or parts[0].startswith(".."):
            raise VolumeError(f"invalid path: {path}")
    folder.mkdir(parents=True, exist_ok=True, mode=0o755)
    link = folder / DATA
    old = os.readlink(link) if link.is_symlink() else ""
    if old and _same(folder / old, payload):
        return False
    version = folder / f"..{stamp}"
    version.mkdir(mode=0o755)
    if group is not None:
        os.chown(version, -1, group)
        version.chmod(0o2775)
    for path, file in payload.items():
        target = version / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.data)
        mode = file.mode
        if group is not None:
            mode |= 0o440
        if group is not None or file.owner is not None:
            os.chown(target, -1 if file.owner is None else file.owner, -1 if group is None else group)
        target.chmod(mode)
    temporary = folder / "..data_tmp"
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(version.name)
    os.replace(temporary, link)
    _links(folder, payload)
    if old:
        shutil.rmtree(folder / old, ignore_errors=True)
    return True


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
