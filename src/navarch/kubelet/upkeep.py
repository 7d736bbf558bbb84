"""What a node does for itself now and then: logs are kept short, and images that nobody uses make room.

Source of the limits: upstream's container log manager (10 MiB, 5 files) and image manager (85 % and 80 % of the disk).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from navarch.kubelet import logs
from navarch.kubelet.context import Context
from navarch.kubelet.cri import CriError
from navarch.kubelet.images import normalised
from navarch.kubelet.pod_worker import PodWorker
from navarch.machinery.types import Obj

LOG_SECONDS = 10.0
IMAGE_SECONDS = 300.0
HIGH, LOW = 0.85, 0.80
CONTAINERS = ("containers", "initContainers", "ephemeralContainers")
MINIMUM_AGE = 120.0
"""Seconds since an image was first seen, or last used, before it may go."""


def superfluous(
    images: Sequence[Obj],
    used: Mapping[str, float],
    kept: Collection[str],
    to_free: int,
    now: float,
    minimum_age: float = MINIMUM_AGE,
) -> list[Obj]:
    """Images to remove so that `to_free` bytes become free: the one used longest ago first.

    `used`: image id -> when it was last in use (or first seen). `kept`: ids and names that must stay."""
    found: list[Obj] = []
    for image in sorted(images, key=lambda i: used.get(i["id"], now)):
        if to_free <= 0:
            break
        names = {image["id"], *image.get("repo_tags", []), *image.get("repo_digests", [])}
        if image.get("pinned") or names & set(kept) or now - used.get(image["id"], now) < minimum_age:
            continue
        found.append(image)
        to_free -= image.get("size", 0)
    return found


class Upkeep:
    def __init__(self, context: Context) -> None:
        self._context = context
        self._used: dict[str, float] = {}

    async def logs(self, workers: Iterable[PodWorker]) -> None:
        """Rotates the logs of running containers that have grown too long."""
        context = self._context
        stamp = datetime.fromtimestamp(context.world.now(), UTC).strftime("%Y%m%d-%H%M%S")
        for worker in list(workers):
            for run in context.cache.get(worker.uid).all():
                if not run.running:
                    continue
                path = context.config.pod_logs(worker.pod) / run.name / f"{run.attempt}.log"
                if _size(path) >= logs.MAX_BYTES and await asyncio.to_thread(logs.rotate, path, stamp):
                    await context.cri.reopen_log(run.id)

    async def images(self, pods: Iterable[Obj], *, short: bool = False) -> None:
        """Removes unused images while the disk is fuller than it should be; all of them where the node is `short`."""
        context, now = self._context, self._context.world.now()
        images = await context.cri.images()
        needed = {run.image_ref for uid in context.cache.uids() for run in context.cache.get(uid).all()}
        needed |= {name for pod in pods for name in _names(pod)} | set(context.config.loaded_images())
        for image in images:
            names = {image["id"], *image.get("repo_tags", []), *image.get("repo_digests", [])}
            if names & needed or image["id"] not in self._used:
                self._used[image["id"]] = now
        self._used = {id: at for id, at in self._used.items() if any(i["id"] == id for i in images)}
        disk = os.statvfs(context.config.root)
        size = disk.f_blocks * disk.f_frsize
        taken = size - disk.f_bavail * disk.f_frsize
        if short or (size and taken > HIGH * size):
            goal = size if short else int(taken - LOW * size)
            for image in superfluous(images, self._used, needed, goal, now, 0.0 if short else MINIMUM_AGE):
                try:
                    await context.cri.remove_image(image["id"])
                except CriError as error:
                    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": context.config.node_name}}
                    context.emit(node, "Warning", "ImageGCFailed", str(error))


def _names(pod: Obj) -> Iterable[str]:
    """The images of a pod's containers and volumes."""
    spec = pod["spec"]
    named = [c.get("image", "") for field in CONTAINERS for c in spec.get(field) or ()]
    named += [(volume.get("image") or {}).get("reference", "") for volume in spec.get("volumes") or ()]
    for name in named:
        try:
            yield normalised(name)
        except ValueError:
            continue


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
