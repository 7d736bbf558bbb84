"""NodePorts: a host port is free once per address and protocol."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from navarch.api.podspec.placement import ports_conflict
from navarch.scheduler.nodes import Bools, Ints, Nodes
from navarch.scheduler.plugins.interface import Refusal
from navarch.scheduler.podinfo import PodInfo


class NodePorts:
    name = "NodePorts"
    weight = 0
    shared = False

    def applies(self, pod: PodInfo) -> bool:
        return bool(pod.host_ports)

    def feasible(self, pod: PodInfo, nodes: Nodes, slots: Ints | None) -> Bools:
        mask = np.ones(len(nodes.alive), bool)
        for slot, ports in enumerate(nodes.ports):
            if ports and ports_conflict(pod.host_ports, ports):
                mask[slot] = False
        return mask if slots is None else mask[slots]

    def score(self, pod: PodInfo, nodes: Nodes, slots: Ints | None) -> Ints | None:
        return None

    def refusals(self, pod: PodInfo, nodes: Nodes) -> Sequence[Refusal]:
        reason = "node(s) didn't have free ports for the requested pod ports"
        return [Refusal(~self.feasible(pod, nodes, None), reason)]
