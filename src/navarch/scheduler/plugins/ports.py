"""NodePorts: a host port is free once per address and protocol."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from navarch.api.podspec.placement import ports_conflict
from navarch.scheduler.nodes import Ints
from navarch.scheduler.plugins.interface import Refusal, View
from navarch.scheduler.podinfo import PodInfo


class NodePorts:
    name = "NodePorts"
    filters = True
    weight = 0

    def prepare(self, pod: PodInfo, view: View) -> Any:
        return pod.host_ports or None

    def refusals(self, prepared: Any, pod: PodInfo, view: View) -> Sequence[Refusal]:
        nodes = view.nodes
        mask = np.zeros(len(nodes.alive), bool)
        for slot in nodes.with_ports:
            mask[slot] = ports_conflict(prepared, nodes.ports[slot])
        return [Refusal(mask, "node(s) didn't have free ports for the requested pod ports")]

    def score(self, prepared: Any, pod: PodInfo, view: View, feasible: Ints) -> Ints | None:
        return None
