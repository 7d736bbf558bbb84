"""PodTopologySpread: pods alike spread evenly over domains. Sources: plugins/podtopologyspread, KEP-895, KEP-3022
(minDomains), KEP-3094 (inclusion policies)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

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
            among = labelled & _included(constraint, view)
            counted = nodes.counts.matching(pod.key.namespace, constraint.selector)
            sums = topology.sums(counted.slots, among) if counted.total else np.zeros(topology.size, np.int64)
            present = np.bincount(topology.ids, weights=among, minlength=topology.size) > 0
            present[0] = False
            domains = int(present.sum())
            least = int(sums[present].min()) if domains >= constraint.min_domains and domains else 0
            own = constraint.selector.matches(pod.shape.labels)
            sums[0] = 0
            uneven = (sums + own - least > constraint.max_skew)[topology.ids]
            missing = topology.ids == 0
            found.append(Refusal(left & missing, UNLABELLED, True))
            found.append(Refusal(left & ~missing & uneven, UNEVEN))
            left = left & ~missing & ~uneven
        return found

    # -- scoring

    def score(self, prepared: Constraints, pod: PodInfo, view: View, feasible: Ints) -> Ints | None:
        """Fewer pods alike in the domain is better; a domain of few kinds weighs less."""
        constraints = prepared.soft
        if not constraints:
            return None
        nodes = view.nodes
        labelled = _labelled(constraints, view) if prepared.all_labels else nodes.alive
        scored = labelled[feasible]
        total = np.zeros(len(feasible), np.float64)
        for constraint in constraints:
            topology = nodes.topology(constraint.topology)
            ids = topology.ids[feasible]
            counted = nodes.counts.matching(pod.key.namespace, constraint.selector)
            if constraint.topology == HOSTNAME:
                counts = counted.slots[feasible]
                size = int(scored.sum())
            else:
                among = labelled & _included(constraint, view)
                counts = topology.sums(counted.slots, among)[ids]
                size = len(np.unique(ids[scored]))
            value = counts * math.log(size + 2) + (constraint.max_skew - 1)
            total += np.where(ids > 0, value, 0.0)
        raw = np.floor(total + 0.5).astype(np.int64)
        if not scored.any():
            return None
        counted_only = raw[scored]
        least, most = int(counted_only.min()), int(counted_only.max())
        if most == 0:
            return np.where(scored, MAX_SCORE, 0)
        return np.where(scored, MAX_SCORE * (most + least - raw) // most, 0)


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
