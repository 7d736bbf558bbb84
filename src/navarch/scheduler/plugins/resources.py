"""NodeResourcesFit with its strategies, and NodeResourcesBalancedAllocation, on arrays.

Sources: plugins/noderesources (fit.go, resource_allocation.go, *_allocated.go, requested_to_capacity_ratio.go,
balanced_allocation.go).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from navarch.scheduler.nodes import CPU, MEMORY, PODS, Bools, Ints, Nodes
from navarch.scheduler.plugins.interface import MAX_SCORE, Refusal
from navarch.scheduler.podinfo import PodInfo

CPU_AND_MEMORY = ((CPU, 1), (MEMORY, 1))
NATIVE = frozenset((CPU, MEMORY, "ephemeral-storage"))
"""Resources that count in scores though a pod requests none of them."""


def _at(column: Ints, slots: Ints | None) -> Ints:
    return column if slots is None else column[slots]


class Share(NamedTuple):
    """One resource on some nodes, in the resource's units."""

    allocatable: Ints
    used: Ints
    wanted: int


def _shares(pod: PodInfo, nodes: Nodes, slots: Ints | None, resource: str, guessed: bool) -> Share | None:
    """None where the resource has no part in scoring this pod. `guessed`: with what pods without requests count as."""
    wanted = dict(pod.requests).get(resource, 0)
    if not wanted and resource not in NATIVE:
        return None
    used = nodes.used(resource)
    if guessed and resource in (CPU, MEMORY):
        index = 0 if resource == CPU else 1
        used, wanted = nodes.scored[index], pod.scored[index]
    return Share(_at(nodes.capacity(resource), slots), _at(used, slots), wanted)


# -- fit


def least_allocated(share: Share) -> Ints:
    left = np.maximum(share.allocatable - share.used - share.wanted, 0)
    return left * MAX_SCORE // np.maximum(share.allocatable, 1)


def most_allocated(share: Share) -> Ints:
    used = np.minimum(share.used + share.wanted, share.allocatable)
    return used * MAX_SCORE // np.maximum(share.allocatable, 1)


def broken_line(shape: Sequence[tuple[int, int]]) -> Callable[[Ints], Ints]:
    """Linear between points (utilisation in percent, score), whole numbers rounded towards zero as Go divides."""

    def at(percent: Ints) -> Ints:
        found = np.full(len(percent), shape[-1][1], np.int64)
        for index in range(len(shape) - 1, -1, -1):
            here, score = shape[index]
            if not index:
                value: Ints | int = score
            else:
                before, other = shape[index - 1]
                value = other + np.trunc((score - other) * (percent - before) / (here - before)).astype(np.int64)
            found = np.where(percent <= here, value, found)
        return found

    return at


class NodeResourcesFit:
    name = "NodeResourcesFit"
    filters = True

    def __init__(
        self,
        weight: int = 1,
        strategy: str = "LeastAllocated",
        resources: Sequence[tuple[str, int]] = CPU_AND_MEMORY,
        shape: Sequence[tuple[int, int]] = (),
        ignored: Sequence[str] = (),
        ignored_groups: Sequence[str] = (),
    ) -> None:
        """`shape`: points of RequestedToCapacityRatio, scores from 0 to 100. `ignored`: extended resources that do not
        count, by name or by the part of it before the slash."""
        self.weight = weight
        self._resources = tuple(resources)
        self._ratio = broken_line(shape) if strategy == "RequestedToCapacityRatio" else None
        self._each = most_allocated if strategy == "MostAllocated" else least_allocated
        self._ignored = frozenset(ignored)
        self._groups = frozenset(ignored_groups)

    def applies(self, pod: PodInfo) -> bool:
        return True

    def _wanted(self, pod: PodInfo) -> Sequence[tuple[str, int]]:
        if not self._ignored and not self._groups:
            return pod.requests
        return [
            (name, value)
            for name, value in pod.requests
            if name not in self._ignored and not ("/" in name and name.partition("/")[0] in self._groups)
        ]

    def feasible(self, pod: PodInfo, nodes: Nodes, slots: Ints | None) -> Bools:
        mask = _at(nodes.free(PODS), slots) >= 1
        for resource, value in self._wanted(pod):
            mask &= _at(nodes.free(resource), slots) >= value
        return mask

    def score(self, pod: PodInfo, nodes: Nodes, slots: Ints | None) -> Ints:
        total = np.zeros(len(nodes.alive) if slots is None else len(slots), np.int64)
        weights = np.zeros_like(total)
        for resource, weight in self._resources:
            share = _shares(pod, nodes, slots, resource, True)
            if share is None:
                continue
            counted = share.allocatable > 0
            if self._ratio:
                asked = share.used + share.wanted
                full = (share.allocatable == 0) | (asked > share.allocatable)
                score = self._ratio(np.where(full, 100, asked * 100 // np.maximum(share.allocatable, 1)))
                counted = counted & (score > 0)
            else:
                score = self._each(share)
            total += np.where(counted, score * weight, 0)
            weights += counted * weight
        if self._ratio:
            return np.floor(total / np.maximum(weights, 1) + 0.5).astype(np.int64)
        return total // np.maximum(weights, 1)

    def refusals(self, pod: PodInfo, nodes: Nodes) -> Sequence[Refusal]:
        found = [Refusal(nodes.free(PODS) < 1, "Too many pods")]
        for name, value in self._wanted(pod):
            mask = nodes.free(name) < value
            found.append(Refusal(mask, f"Insufficient {name}", nodes.capacity(name) < value))
        return found


class NodeResourcesBalancedAllocation:
    name = "NodeResourcesBalancedAllocation"
    filters = True

    def __init__(self, weight: int = 1, resources: Sequence[tuple[str, int]] = CPU_AND_MEMORY) -> None:
        self.weight = weight
        self._names = [name for name, _ in resources]

    def applies(self, pod: PodInfo) -> bool:
        """Pods that request none of the resources do not change a node's balance."""
        return any(name in self._names for name, _ in pod.requests)

    def feasible(self, pod: PodInfo, nodes: Nodes, slots: Ints | None) -> Bools:
        return np.ones(len(nodes.alive) if slots is None else len(slots), bool)

    def score(self, pod: PodInfo, nodes: Nodes, slots: Ints | None) -> Ints:
        """75, more where the pod evens out the node's shares in use, less where it unbalances them."""
        shares = [_shares(pod, nodes, slots, name, False) for name in self._names]
        known = [share for share in shares if share is not None]
        after = _balance([(share.used + share.wanted, share.allocatable) for share in known])
        before = _balance([(share.used, share.allocatable) for share in known])
        return MAX_SCORE // 2 + np.trunc((MAX_SCORE // 2 + after - before) / 2).astype(np.int64)

    def refusals(self, pod: PodInfo, nodes: Nodes) -> Sequence[Refusal]:
        return ()


def _balance(parts: Sequence[tuple[Ints, Ints]]) -> Ints:
    """100 less the standard deviation (in percent) of the shares in use, of the resources that a node has at all."""
    present = np.stack([allocatable > 0 for _, allocatable in parts])
    fractions = np.stack([np.minimum(used / np.maximum(allocatable, 1), 1.0) for used, allocatable in parts])
    if len(parts) == 2:
        deviation = np.where(present.all(axis=0), np.abs((fractions[0] - fractions[1]) / 2), 0.0)
    else:
        number = np.maximum(present.sum(axis=0), 1)
        mean = np.where(present, fractions, 0.0).sum(axis=0) / number
        deviation = np.sqrt((np.where(present, fractions - mean, 0.0) ** 2).sum(axis=0) / number)
    return ((1 - deviation) * MAX_SCORE).astype(np.int64)
