"""NodeName: a pod that names its node goes nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from navarch.scheduler.nodes import Ints
from navarch.scheduler.plugins.interface import Refusal, View
from navarch.scheduler.podinfo import PodInfo


class NodeName:
    name = "NodeName"
    filters = True
    weight = 0

    def prepare(self, pod: PodInfo, view: View) -> Any:
        return pod.node or None

    def refusals(self, prepared: Any, pod: PodInfo, view: View) -> Sequence[Refusal]:
        mask = view.nodes.alive.copy()
        slot = view.nodes.slot(prepared)
        if slot is not None:
            mask[slot] = False
        return [Refusal(mask, "node(s) didn't match the requested node name", True)]

    def score(self, prepared: Any, pod: PodInfo, view: View, feasible: Ints) -> Ints | None:
        return None
