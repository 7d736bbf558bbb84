"""InterPodAffinity: pods that want to be near others, or away from them; and those others' own wishes.

Source: plugins/interpodaffinity (filtering.go, scoring.go).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from navarch.scheduler.counts import NO_LABELS, Count, Counts
from navarch.scheduler.nodes import Bools, Ints, Nodes
from navarch.scheduler.plugins.interface import MAX_SCORE, Refusal, View
from navarch.scheduler.podinfo import PodInfo, Shape
from navarch.scheduler.terms import Term

AFFINITY = "node(s) didn't match pod affinity rules"
ANTI_AFFINITY = "node(s) didn't match pod anti-affinity rules"
EXISTING = "node(s) didn't satisfy existing pods anti-affinity rules"
MAX_KEPT = 512


@dataclass(slots=True)
class Wishes:
    """What there is to look at for pods of one shape, as long as the counts' version stays."""

    version: int
    affinity: tuple[Term, ...]
    together: Count | None
    """Pods that match all the required affinity terms."""
    is_own: bool
    """Whether the pod itself matches them."""
    anti: Sequence[tuple[str, Count]]
    """(topology key, pods that match the term)"""
    existing: Sequence[tuple[str, Count]]
    """(topology key, pods whose required anti-affinity is against pods like this one)"""
    soft: Sequence[tuple[str, int, Count]]
    """(topology key, weight, pods)"""


class InterPodAffinity:
    name = "InterPodAffinity"
    filters = True

    def __init__(self, weight: int = 2, hard_weight: int = 1, ignore_preferences_of_others: bool = False) -> None:
        self.weight = weight
        self._hard_weight = hard_weight
        self._ignoring = ignore_preferences_of_others
        self._kept: OrderedDict[Shape, Wishes] = OrderedDict()

    def prepare(self, pod: PodInfo, view: View) -> Wishes | None:
        counts = view.nodes.counts
        found = self._kept.get(pod.shape)
        if found is None or found.version != counts.version:
            found = self._kept[pod.shape] = self._worked_out(pod.shape, counts)
            if len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)
        if found.affinity or found.anti or any(count.total for _, count in found.existing):
            return found
        return found if any(count.total for _, _, count in found.soft) else None

    def _worked_out(self, shape: Shape, counts: Counts) -> Wishes:
        terms, namespace, labels = shape.terms, shape.namespace, shape.labels
        around = counts.namespaces.get(namespace, NO_LABELS)
        soft: list[tuple[str, int, Count]] = []
        if terms.preferred or not self._ignoring:
            soft = [(term.topology, weight, counts.matching_all((term,))) for weight, term in terms.preferred]
            soft += [(t.topology, weight, count) for t, weight, count in counts.bearers("preferred", namespace, labels)]
            if self._hard_weight:
                borne = counts.bearers("affinity", namespace, labels)
                soft += [(term.topology, self._hard_weight, count) for term, _, count in borne]
        return Wishes(
            version=counts.version,
            affinity=terms.affinity,
            together=counts.matching_all(terms.affinity) if terms.affinity else None,
            is_own=all(term.matches(namespace, labels, around) for term in terms.affinity),
            anti=[(term.topology, counts.matching_all((term,))) for term in terms.anti],
            existing=[(term.topology, count) for term, _, count in counts.bearers("anti", namespace, labels)],
            soft=soft,
        )

    # -- filtering

    def refusals(self, prepared: Wishes, pod: PodInfo, view: View) -> Sequence[Refusal]:
        nodes = view.nodes
        found: list[Refusal] = []
        left = nodes.alive
        if prepared.affinity:
            lonely = left & ~self._befriended(prepared, nodes)
            found.append(Refusal(lonely, AFFINITY, True))
            left = left & ~lonely
        for reason, counts in ((ANTI_AFFINITY, prepared.anti), (EXISTING, prepared.existing)):
            near = _near(counts, nodes)
            if near is not None:
                found.append(Refusal(left & near, reason))
                left = left & ~near
        return found

    @staticmethod
    def _befriended(prepared: Wishes, nodes: Nodes) -> Bools:
        """Slots where all terms hold. The first pod of a group that wants to be together may go anywhere."""
        assert prepared.together is not None
        labelled, friends = nodes.alive, nodes.alive
        anyone = False
        for term in prepared.affinity:
            topology = nodes.topology(term.topology)
            present = topology.ids > 0
            around = (prepared.together.around(topology) > 0) & present
            labelled = labelled & present
            friends = friends & around
            anyone = anyone or bool(around.any())
        return labelled if prepared.is_own and not anyone else labelled & friends

    # -- scoring

    def score(self, prepared: Wishes, pod: PodInfo, view: View, feasible: Ints) -> Ints | None:
        nodes = view.nodes
        by_key: dict[str, Ints] = {}
        for key, weight, count in prepared.soft:
            if count.total:
                topology = nodes.topology(key)
                weighted = (count.slots if topology.is_unique else count.sums(topology)) * weight
                by_key[key] = by_key[key] + weighted if key in by_key else weighted
        if not by_key:
            return None
        raw = np.zeros(len(feasible), np.int64)
        for key, weighted in by_key.items():
            topology = nodes.topology(key)
            if topology.is_unique:
                raw += weighted[feasible] * (topology.ids[feasible] > 0)
            else:
                weighted[0] = 0
                raw += weighted[topology.ids[feasible]]
        least, most = int(raw.min()), int(raw.max())
        if least == most:
            return None
        return (MAX_SCORE * ((raw - least) / (most - least))).astype(np.int64)


def _near(counts: Sequence[tuple[str, Count]], nodes: Nodes) -> Bools | None:
    found: Bools | None = None
    for key, count in counts:
        if count.total:
            topology = nodes.topology(key)
            near = (count.around(topology) > 0) & (topology.ids > 0)
            found = near if found is None else found | near
    return found
