"""NodeResourcesFit with its strategies, and NodeResourcesBalancedAllocation, on arrays.

Sources: plugins/noderesources (fit.go, resource_allocation.go, *_allocated.go, requested_to_capacity_ratio.go,
balanced_allocation.go).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from navarch.scheduler.nodes import CPU, MEMORY, PODS, Bools, Ints, Nodes
from navarch.scheduler.plugins.interface import MAX_SCORE, Refusal
from navarch.scheduler.podinfo import PodInfo

CPU_AND_MEMORY = ((CPU, 1), (MEMORY, 1))
NATIVE = frozenset((CPU, MEMORY, "ephemeral-storage"))
"""Resources that count in scores though a pod requests none of them."""


class Share(NamedTuple):
    """One resource on all nodes, in the resource's units."""

    allocatable: Ints
    used: Ints
    wanted: int


def _shares(pod: PodInfo, nodes: Nodes, resource: str, guessed: bool) -> Share | None:
    """None where the resource has no part in scoring this pod. `guessed`: with what pods without requests count as."""
    wanted = _requested(pod, resource)
    if not wanted and resource not in NATIVE:
        return None
    used = nodes.used(resource)
    if guessed and resource in (CPU, MEMORY):
        index = 0 if resource == CPU else 1
        used, wanted = nodes.scored[index], pod.scored[index]
    return Share(nodes.capacity(resource), used, wanted)


def _share_at(pod: PodInfo, nodes: Nodes, resource: str, guessed: bool, slot: int) -> tuple[int, int, int]:
    """(used, allocatable, wanted) of one node; allocatable is 0 where the resource has no part."""
    wanted = _requested(pod, resource)
    if not wanted and resource not in NATIVE:
        return 0, 0, 0
    room = nodes.capacity(resource).item(slot)
    if guessed and resource == CPU:
        return nodes.scored[0].item(slot), room, pod.scored[0]
    if guessed and resource == MEMORY:
        return nodes.scored[1].item(slot), room, pod.scored[1]
    return nodes.used(resource).item(slot), room, wanted


def _requested(pod: PodInfo, resource: str) -> int:
    for name, value in pod.requests:
        if name == resource:
            return value
    return 0


# -- fit


class Strategy(NamedTuple):
    """What a share in use is worth, from 0 to 100: of all nodes, and of one; the numbers are (asked, allocatable)."""

    many: Callable[[Ints, Ints], Ints]
    one: Callable[[int, int], int]
    skips_zero: bool = False
    """A resource with a score of 0 does not count in the mean, which is rounded, not cut."""


LEAST = Strategy(
    lambda asked, room: np.maximum(room - asked, 0) * MAX_SCORE // np.maximum(room, 1),
    lambda asked, room: max(room - asked, 0) * MAX_SCORE // room,
)
MOST = Strategy(
    lambda asked, room: np.minimum(asked, room) * MAX_SCORE // np.maximum(room, 1),
    lambda asked, room: min(asked, room) * MAX_SCORE // room,
)


def by_ratio(shape: Sequence[tuple[int, int]]) -> Strategy:
    """RequestedToCapacityRatio: lines between points (utilisation in percent, score)."""
    table = [_on_line(shape, percent) for percent in range(101)]
    worth = np.array(table, np.int64)

    def many(asked: Ints, room: Ints) -> Ints:
        return worth[np.where(asked > room, 100, asked * 100 // np.maximum(room, 1))]

    return Strategy(many, lambda asked, room: table[100 if asked > room else asked * 100 // room], True)


def _on_line(shape: Sequence[tuple[int, int]], percent: int) -> int:
    """Whole numbers, rounded towards zero as Go divides."""
    for index, (here, score) in enumerate(shape):
        if percent <= here:
            if not index:
                return score
            before, other = shape[index - 1]
            return other + math.trunc((score - other) * (percent - before) / (here - before))
    return shape[-1][1]


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
        ratio = strategy == "RequestedToCapacityRatio"
        self._strategy = by_ratio(shape) if ratio else MOST if strategy == "MostAllocated" else LEAST
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

    def feasible(self, pod: PodInfo, nodes: Nodes) -> Bools:
        mask = nodes.free(PODS) >= 1
        for resource, value in self._wanted(pod):
            mask &= ~_lacking(nodes, resource, value)
        return mask

    def score(self, pod: PodInfo, nodes: Nodes) -> Ints:
        total = np.zeros(len(nodes.alive), np.int64)
        weights = np.zeros_like(total)
        for resource, weight in self._resources:
            share = _shares(pod, nodes, resource, True)
            if share is None:
                continue
            score = self._strategy.many(share.used + share.wanted, share.allocatable)
            counted = share.allocatable > 0
            if self._strategy.skips_zero:
                counted = counted & (score > 0)
            total += np.where(counted, score * weight, 0)
            weights += counted * weight
        if self._strategy.skips_zero:
            return np.floor(total / np.maximum(weights, 1) + 0.5).astype(np.int64)
        return total // np.maximum(weights, 1)

    def at(self, pod: PodInfo, nodes: Nodes, slot: int) -> tuple[bool, int]:
        fits = nodes.free_at(PODS, slot) >= 1
        fits = fits and all(
            nodes.free_at(name, slot) >= value or (name in nodes.delegated and not nodes.capacity(name)[slot])
            for name, value in self._wanted(pod)
        )
        total = weights = 0
        for resource, weight in self._resources:
            used, room, wanted = _share_at(pod, nodes, resource, True, slot)
            if not room:
                continue
            score = self._strategy.one(used + wanted, room)
            if score or not self._strategy.skips_zero:
                total += score * weight
                weights += weight
        if self._strategy.skips_zero:
            return fits, math.floor(total / max(weights, 1) + 0.5)
        return fits, total // max(weights, 1)

    def refusals(self, pod: PodInfo, nodes: Nodes) -> Sequence[Refusal]:
        found = [Refusal(nodes.free(PODS) < 1, "Too many pods")]
        for name, value in self._wanted(pod):
            mask = _lacking(nodes, name, value)
            found.append(Refusal(mask, f"Insufficient {name}", nodes.capacity(name) < value))
        return found


def _lacking(nodes: Nodes, resource: str, value: int) -> Bools:
    """Slots with too little of a resource; where devices may serve it and a node has none, that is not for here."""
    mask = nodes.free(resource) < value
    return mask & (nodes.capacity(resource) > 0) if resource in nodes.delegated else mask


class NodeResourcesBalancedAllocation:
    name = "NodeResourcesBalancedAllocation"
    filters = True

    def __init__(self, weight: int = 1, resources: Sequence[tuple[str, int]] = CPU_AND_MEMORY) -> None:
        self.weight = weight
        self._names = [name for name, _ in resources]

    def applies(self, pod: PodInfo) -> bool:
        """Pods that request none of the resources do not change a node's balance."""
        return any(name in self._names for name, _ in pod.requests)

    def feasible(self, pod: PodInfo, nodes: Nodes) -> Bools:
        return np.ones(len(nodes.alive), bool)

    def _known(self, pod: PodInfo, nodes: Nodes) -> list[Share]:
        shares = [_shares(pod, nodes, name, False) for name in self._names]
        return [share for share in shares if share is not None]

    def score(self, pod: PodInfo, nodes: Nodes) -> Ints:
        """75, more where the pod evens out the node's shares in use, less where it unbalances them."""
        known = self._known(pod, nodes)
        after = _balance([(share.used + share.wanted, share.allocatable) for share in known])
        before = _balance([(share.used, share.allocatable) for share in known])
        return MAX_SCORE // 2 + np.trunc((MAX_SCORE // 2 + after - before) / 2).astype(np.int64)

    def at(self, pod: PodInfo, nodes: Nodes, slot: int) -> tuple[bool, int]:
        shares = [_share_at(pod, nodes, name, False, slot) for name in self._names]
        after = _balance_at([(used + wanted) / room for used, room, wanted in shares if room])
        before = _balance_at([used / room for used, room, _ in shares if room])
        return True, MAX_SCORE // 2 + math.trunc((MAX_SCORE // 2 + after - before) / 2)

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


def _balance_at(fractions: Sequence[float]) -> int:
    shares = [min(fraction, 1.0) for fraction in fractions]
    if len(shares) == 2:
        deviation = abs((shares[0] - shares[1]) / 2)
    else:
        mean = sum(shares) / max(len(shares), 1)
        deviation = math.sqrt(sum((share - mean) ** 2 for share in shares) / max(len(shares), 1))
    return int((1 - deviation) * MAX_SCORE)
