"""Folders that are made for a pod: emptyDir, and those that hold what other sources show. Source: pkg/volume/emptydir."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from navarch.kubelet.volumes import mounting, ownership
from navarch.kubelet.volumes.payload import VolumeError
from navarch.machinery.quantity import Quantity
from navarch.machinery.types import Obj


def empty_dir(folder: Path, source: Obj, pod: Obj, node: Mapping[str, Any], group: int | None) -> None:
    """An empty folder for everyone; in memory where that is asked for. `node`: allocatable amounts. Raises VolumeError."""
    medium = source.get("medium") or ""
    if medium == "Memory":
        in_memory(folder, memory_size(source, pod, node), group)
    elif medium:
        raise VolumeError(f"unknown storage medium {medium!r}")
    else:
        on_disk(folder, group)


def on_disk(folder: Path, group: int | None) -> None:
    """Appears complete or not at all; what containers did to it since is theirs."""
    if folder.is_dir():
        return
    fresh = folder.with_name(f".{folder.name}")
    fresh.mkdir(parents=True, exist_ok=True)
    fresh.chmod(0o777)
    ownership.give(fresh, group)
    os.rename(fresh, folder)


def in_memory(folder: Path, size: int, group: int | None) -> None:
    """A file system of its own: where the machine was restarted since, it is mounted again."""
    if os.path.ismount(folder):
        return
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o777)
    mounting.tmpfs(folder, size)
    ownership.give(folder, group)


def memory_size(source: Obj, pod: Obj, node: Mapping[str, Any]) -> int:
    """Bytes: the volume's limit, but no more than the pod's containers may use, nor than the node has. 0: no limit known."""
    limits = [_bytes(source.get("sizeLimit")), _pod_limit(pod), _bytes(node.get("memory"))]
    return min((limit for limit in limits if limit > 0), default=0)


def _pod_limit(pod: Obj) -> int:
    """The memory that the pod's containers may use together; 0 where none says."""
    spec = pod["spec"]
    if whole := _memory(spec):
        return whole
    inits = spec.get("initContainers") or []
    sidecars = [c for c in inits if c.get("restartPolicy") == "Always"]
    together = sum(_memory(c) for c in [*spec["containers"], *sidecars])
    return max([together, *(_memory(c) for c in inits)])


def _memory(owner: Obj) -> int:
    return _bytes(((owner.get("resources") or {}).get("limits") or {}).get("memory"))


def _bytes(quantity: Any) -> int:
    return Quantity.parse(str(quantity)).value() if quantity is not None else 0
