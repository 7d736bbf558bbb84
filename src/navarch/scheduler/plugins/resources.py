"""NodeResourcesFit (with the LeastAllocated strategy) and NodeResourcesBalancedAllocation, on arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from navarch.scheduler.nodes import CPU, MEMORY, PODS, Bools, Ints, Nodes
from navarch.scheduler.plugins.interface import MAX_SCORE, Refusal
from navarch.scheduler.podinfo import PodInfo


def _at(column: Ints, slots: Ints | None) -> Ints:
    return column if slots is None else column[slots]


class NodeResourcesFit:
    name = "NodeResourcesFit"
    weight = 1
    shared = True

    def applies(self, pod: PodInfo) -> bool:
        return True

    def feasible(self, pod: PodInfo, nodes: Nodes, slots: Ints | None) -> Bools:
        mask = _at(nodes.free(PODS), slots) >= 1
        for resource, value in pod.requests:
            mask &= _at(nodes.free(resource), slots) >= value
        return mask

    def score(self, pod: PodInfo, nodes: Nodes, slots: Ints | None) -> Ints:
        """LeastAllocated: the mean share of cpu and memory that would be left, as whole percents."""
        total = np.zeros(len(nodes.alive) if slots is None else len(slots), np.int64)
        counted = np.zeros_like(total)
        for resource, used, wanted in ((CPU, nodes.scored[0], pod.scored[0]), (MEMORY, nodes.scored[1], pod.scored[1])):
            allocatable = _at(nodes.allocatable.get(resource, np.zeros_like(nodes.scored[0])), slots)
            left = np.maximum(allocatable - _at(used, slots) - wanted, 0)
            known = allocatable > 0
            total += np.where(known, left * MAX_SCORE // np.maximum(allocatable, 1), 0)
            counted += known
        return total // np.maximum(counted, 1)

    def refusals(self, pod: PodInfo, nodes: Nodes) -> Sequence[Refusal]:
        found = [Refusal(nodes.free(PODS) < 1, "Too many pods")]
        found += [Refusal(nodes.free(name) < value, f"Insufficient {name}") for name, value in pod.requests]
        return found


class NodeResourcesBalancedAllocation:
    name = "NodeResourcesBalancedAllocation"
    weight = 1
    shared = True

    def applies(self, pod: PodInfo) -> bool:
        """Pods that request nothing do not change a node's balance."""
        return any(name in (CPU, MEMORY) for name, _ in pod.requests)

    def feasible(self, pod: PodInfo, nodes: Nodes, slots: Ints | None) -> Bools:
        return np.ones(len(nodes.alive) if slots is None else len(slots), bool)

    def score(self, pod: PodInfo, nodes: Nodes, slots: Ints | None) -> Ints:
        """100 less the standard deviation of the shares of cpu and memory in use with the pod there."""
        requests = dict(pod.requests)
        shares: list[np.ndarray] = []
        for resource in (CPU, MEMORY):
            allocatable = _at(nodes.allocatable.get(resource, np.zeros_like(nodes.scored[0])), slots)
            requested = _at(nodes.requested.get(resource, np.zeros_like(nodes.scored[0])), slots)
            used = requested + requests.get(resource, 0)
            shares.append(np.minimum(used / np.maximum(allocatable, 1), 1.0))
        deviation = np.abs(shares[0] - shares[1]) / 2
        return ((1 - deviation) * MAX_SCORE).astype(np.int64)

    def refusals(self, pod: PodInfo, nodes: Nodes) -> Sequence[Refusal]:
        return ()
