"""NodePorts: a host port is free once per address and protocol."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from navarch.scheduler.nodes import Bools, Ints, Nodes
from navarch.scheduler.plugins.interface import Refusal
from navarch.scheduler.podinfo import HostPort, PodInfo

ANY_ADDRESS = "0.0.0.0"


def conflicts(wanted: Iterable[HostPort], taken: Iterable[HostPort]) -> bool:
    """Whether any wanted port is taken: 0.0.0.0 stands for every address."""
    held = list(taken)
    return any(
        protocol == other_protocol and port == other_port and (address == other or ANY_ADDRESS in (address, other))
        for address, protocol, port in wanted
        for other, other_protocol, other_port in held
    )


class NodePorts:
    name = "NodePorts"
    weight = 0
    shared = False

    def applies(self, pod: PodInfo) -> bool:
        return bool(pod.host_ports)

    def feasible(self, pod: PodInfo, nodes: Nodes, slots: Ints | None) -> Bools:
        mask = np.ones(len(nodes.alive), bool)
        for slot, ports in enumerate(nodes.ports):
            if ports and conflicts(pod.host_ports, ports):
                mask[slot] = False
        return mask if slots is None else mask[slots]

    def score(self, pod: PodInfo, nodes: Nodes, slots: Ints | None) -> Ints | None:
        return None

    def refusals(self, pod: PodInfo, nodes: Nodes) -> Sequence[Refusal]:
        reason = "node(s) didn't have free ports for the requested pod ports"
        return [Refusal(~self.feasible(pod, nodes, None), reason)]
