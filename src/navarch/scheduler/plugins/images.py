"""ImageLocality: nodes that have a pod's images already, the more so the more nodes have them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from navarch.scheduler.nodes import Ints
from navarch.scheduler.plugins.interface import MAX_SCORE, Refusal, View
from navarch.scheduler.podinfo import PodInfo

LEAST = 23 * 1024 * 1024
MOST_PER_CONTAINER = 1000 * 1024 * 1024


class ImageLocality:
    name = "ImageLocality"
    filters = True

    def __init__(self, weight: int = 1) -> None:
        self.weight = weight

    def prepare(self, pod: PodInfo, view: View) -> Any:
        known = view.nodes.images
        found = [image for image in map(normalised, pod.shape.images) if image in known] if known else None
        return found or None

    def refusals(self, prepared: Any, pod: PodInfo, view: View) -> Sequence[Refusal]:
        return ()

    def score(self, prepared: Any, pod: PodInfo, view: View, feasible: Ints) -> Ints | None:
        nodes = view.nodes
        sums = np.zeros(len(nodes.alive), np.int64)
        for image in prepared:
            holders = nodes.images[image]
            share = len(holders) / len(nodes)
            for slot, size in holders.items():
                sums[slot] += int(size * share)
        most = MOST_PER_CONTAINER * pod.shape.containers
        return MAX_SCORE * (np.clip(sums[feasible], LEAST, most) - LEAST) // (most - LEAST)


def normalised(image: str) -> str:
    """With a tag: that is how nodes report images."""
    return image if image.rfind(":") > image.rfind("/") else image + ":latest"
