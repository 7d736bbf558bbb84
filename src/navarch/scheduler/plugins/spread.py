"""PodTopologySpread: pods alike spread evenly over domains. Sources: plugins/podtopologyspread, KEP-895, KEP-3022
(minDomains), KEP-3094 (inclusion policies)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from navarch.scheduler.nodes import Bools, Ints
from navarch.scheduler.plugins.interface import MAX_SCORE, Refusal, View
from navarch.scheduler.podinfo import PodInfo
from navarch.scheduler.terms import Spread, selector_of

HOSTNAME = "kubernetes.io/hostname"
UNEVEN = "node(s) didn't match pod topology spread constraints"
UNLABELLED = UNEVEN + " (missing required label)"


def soft(topology: str, max_skew: int) -> Spread:
    return Spread(max_skew, topology, selector_of(None), 1, False, True, False)


SYSTEM_DEFAULTS = (soft(HOSTNAME, 3), soft("topology.kubernetes.io/zone", 5))


class Constraints(NamedTuple):
    hard: Sequence[Spread]
    soft: Sequence[Spread]
    all_labels: bool
    """Whether only nodes with all the topology labels count in scores: not so for the system's own defaults."""


class PodTopologySpread:
    name = "PodTopologySpread"
    filters = True

    def __init__(self, weight: int = 2, defaults: Sequence[Spread] = SYSTEM_DEFAULTS, system: bool = True) -> None:
        """`defaults` are for pods that name no constraint; what they select is worked out from services and owners.
        `system`: they are the system's own."""
        self.weight = weight
        self._defaults = defaults
        self._system = system

    def prepare(self, pod: PodInfo, view: View) -> Constraints | None:
        own = pod.shape.spreads
        if own:
            return Constraints([c for c in own if c.hard], [c for c in own if not c.hard], True)
        selector = view.around.default_selector(pod)
        if selector.empty:
            return None
        found = [
            Spread(c.max_skew, c.topology, selector, c.min_domains, c.hard, c.honor_affinity, c.honor_taints)
            for c in self._defaults
        ]
        return Constraints([c for c in found if c.hard], [c for c in found if not c.hard], not self._system)

    # -- filtering

    def refusals(self, prepared: Constraints, pod: PodInfo, view: View) -> Sequence[Refusal]:
        if not prepared.hard:
            return ()
        nodes = view.nodes
        labelled = _labelled(prepared.hard, view)
        left = nodes.alive
        found: list[Refusal] = []
        for constraint in prepared.hard:
            topology = nodes.topology(constraint.topology)
            if topology.labelled < len(nodes):
                missing = topology.ids == 0
                found.append(Refusal(left & missing, UNLABELLED, True))
                left = left & ~missing
            sums, present = _domains(constraint, pod, view, labelled)
            counted = sums[present]
            least = int(counted.min()) if len(counted) >= constraint.min_domains and len(counted) else 0
            own = constraint.selector.matches(pod.shape.labels)
            uneven = np.where(present, sums, 0) + own - least > constraint.max_skew
            if uneven.any():
                out = left & uneven[topology.ids]
                found.append(Refusal(out, UNEVEN))
                left = left & ~out
        return found

    # -- scoring

    def score(self, prepared: Constraints, pod: PodInfo, view: View, feasible: Ints) -> Ints | None:
        """Fewer pods alike in the domain is better; a domain of few kinds weighs less."""
        constraints = prepared.soft
        if not constraints:
            return None
        labelled = _labelled(constraints, view) if prepared.all_labels else view.nodes.alive
        scored = labelled[feasible]
        number = int(np.count_nonzero(scored))
        if not number:
            return None
        total = np.zeros(len(feasible), np.float64)
        for constraint in constraints:
            total += _worth(constraint, pod, view, labelled, feasible, scored if number < len(feasible) else None)
        raw = np.floor(total + 0.5).astype(np.int64)
        counted = raw if number == len(feasible) else raw[scored]
        least, most = int(counted.min()), int(counted.max())
        if most == 0:
            return np.where(scored, MAX_SCORE, 0)
        worth = MAX_SCORE * (most + least - raw) // most
        return worth if number == len(feasible) else np.where(scored, worth, 0)


def _worth(
    constraint: Spread, pod: PodInfo, view: View, labelled: Bools, feasible: Ints, scored: Bools | None
) -> NDArray[np.floating[Any]]:
    """A constraint's part of the raw score of each feasible slot. `scored`: which of them count (None: all)."""
    topology = view.nodes.topology(constraint.topology)
    ids = topology.ids[feasible]
    some = ids if scored is None else ids[scored]
    if constraint.topology == HOSTNAME:
        count = view.nodes.counts.matching(pod.key.namespace, constraint.selector)
        value = count.slots[feasible] * math.log(len(some) + 2) + (constraint.max_skew - 1)
        return np.where(ids > 0, value, 0.0)
    sums, _ = _domains(constraint, pod, view, labelled)
    size = int(np.count_nonzero(np.bincount(some)))
    value = sums * math.log(size + 2) + (constraint.max_skew - 1)
    value[0] = 0.0
    return value[ids]


def _domains(constraint: Spread, pod: PodInfo, view: View, labelled: Bools) -> tuple[Ints, Bools]:
    """Per domain: the pods alike in it, and whether any node of it counts."""
    nodes = view.nodes
    topology = nodes.topology(constraint.topology)
    count = nodes.counts.matching(pod.key.namespace, constraint.selector)
    among = labelled & _included(constraint, view)
    if np.count_nonzero(among) == topology.labelled and not (among & (topology.ids == 0)).any():
        present = topology.members > 0
        return count.sums(topology), present
    present = np.bincount(topology.ids, weights=among, minlength=len(topology.members)) > 0
    present[0] = False
    return topology.sums(count.slots, among), present


def _labelled(constraints: Sequence[Spread], view: View) -> Bools:
    """Slots that have every topology label."""
    found = view.nodes.alive
    for constraint in constraints:
        found = found & (view.nodes.topology(constraint.topology).ids > 0)
    return found


def _included(constraint: Spread, view: View) -> Bools:
    """Slots whose pods count, by the constraint's policies on node affinity and taints."""
    found = view.nodes.alive
    if constraint.honor_affinity:
        found = found & view.affine
    if constraint.honor_taints:
        found = found & view.tolerated
    return found
