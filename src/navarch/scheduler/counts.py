"""How many pods of which kind are on which node, kept as pods come and go: what affinity and spreading look at.

Pods with the same labels (and namespace) match the same selectors, so they are counted together. A question - how many
pods that match these selectors are on each node - is answered once from those counts and kept up to date afterwards.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from navarch.machinery.selectors import LabelSelector
from navarch.scheduler.podinfo import LabelClass, PodInfo
from navarch.scheduler.terms import Labels, Term
from navarch.scheduler.topology import Topology

Ints = NDArray[np.int64]
MAX_QUESTIONS = 512
NO_LABELS: Labels = {}


@dataclass(slots=True)
class _Sums:
    version: int
    """Of the topology, when they were summed."""
    values: Ints


@dataclass(slots=True, eq=False)
class Count:
    """Per slot, how many; `total` over all slots."""

    slots: Ints
    total: int = 0
    _sums: dict[Topology, _Sums] = field(default_factory=dict)

    def add(self, slot: int, sign: int) -> None:
        self.slots[slot] += sign
        self.total += sign
        for topology, sums in self._sums.items():
            if sums.version == topology.version:
                sums.values[topology.ids[slot]] += sign

    def grow(self, length: int) -> None:
        self.slots = np.concatenate([self.slots, np.zeros(length - len(self.slots), np.int64)])

    def sums(self, topology: Topology) -> Ints:
        """Per domain; what is in 0 is to be ignored. Kept and brought up to date: not to be changed."""
        found = self._sums.get(topology)
        if found is None or found.version != topology.version:
            found = self._sums[topology] = _Sums(topology.version, topology.sums(self.slots))
        return found.values

    def around(self, topology: Topology) -> Ints:
        """Per slot, the sum over its domain; without the label it means nothing."""
        return self.slots if topology.is_unique else self.sums(topology)[topology.ids]


@dataclass(slots=True, eq=False)
class _Class:
    namespace: str
    labels: Labels
    terminating: bool
    slots: dict[int, int] = field(default_factory=dict)
    counts: list[Count] = field(default_factory=list)
    """Of the questions that its pods match."""


MatchesAll = tuple[Term, ...]
Matching = tuple[str, LabelSelector]
Question = MatchesAll | Matching
"""Pods that match every one of some terms; or pods of a namespace that match a selector and are not on their way out
(nobody matches an empty selector here)."""
Bearer = tuple[str, Term, int]
"""Pods that carry a term themselves: (affinity, anti or preferred; the term; its weight)."""


class Counts:
    def __init__(self) -> None:
        self._length = 0
        self._classes: dict[LabelClass, _Class] = {}
        self._questions: OrderedDict[Question, Count] = OrderedDict()
        self._bearers: dict[Bearer, Count] = {}
        self.namespaces: Mapping[str, Labels] = {}
        self.version = 0
        """Grows when a new kind of bearer appears, and when namespaces change: who matches whom is then asked anew."""

    def grow(self, length: int) -> None:
        self._length = length
        for count in (*self._questions.values(), *self._bearers.values()):
            count.grow(length)

    # -- what changes

    def count(self, info: PodInfo, slot: int, sign: int) -> None:
        """A pod comes to a slot (1) or leaves it (-1)."""
        key = info.label_class
        found = self._classes.get(key)
        if found is None:
            found = self._classes[key] = _Class(key[0], dict(key[1]), key[2])
            found.counts = [count for question, count in self._questions.items() if self._is_in(found, question)]
        for count in found.counts:
            count.add(slot, sign)
        left = found.slots.get(slot, 0) + sign
        if left:
            found.slots[slot] = left
        else:
            del found.slots[slot]
            if not found.slots:
                del self._classes[key]
        for bearer in _borne(info):
            self._bearer(bearer).add(slot, sign)

    def namespaces_changed(self, namespaces: Mapping[str, Labels]) -> None:
        self.namespaces = namespaces
        self.version += 1
        self._questions.clear()
        for one in self._classes.values():
            one.counts.clear()

    def _bearer(self, bearer: Bearer) -> Count:
        found = self._bearers.get(bearer)
        if found is None:
            self._forget_bearers()
            found = self._bearers[bearer] = Count(np.zeros(self._length, np.int64))
            self.version += 1
        return found

    def _forget_bearers(self) -> None:
        """Those that are nowhere any more, when there are many."""
        if len(self._bearers) >= MAX_QUESTIONS and len(self._bearers) % 128 == 0:
            self._bearers = {bearer: count for bearer, count in self._bearers.items() if count.total}
            self.version += 1

    # -- what is asked

    def matching_all(self, terms: MatchesAll) -> Count:
        return self._answer(terms)

    def matching(self, namespace: str, selector: LabelSelector) -> Count:
        return self._answer((namespace, selector))

    def bearers(self, kind: str, namespace: str, labels: Labels) -> Iterator[tuple[Term, int, Count]]:
        """The terms that pods anywhere carry and that a pod with these labels matches."""
        around = self.namespaces.get(namespace, NO_LABELS)
        for (borne, term, weight), count in self._bearers.items():
            if borne == kind and term.matches(namespace, labels, around):
                yield term, weight, count

    def _answer(self, question: Question) -> Count:
        found = self._questions.get(question)
        if found is not None:
            self._questions.move_to_end(question)
            return found
        found = Count(np.zeros(self._length, np.int64))
        for one in self._classes.values():
            if self._is_in(one, question):
                one.counts.append(found)
                for slot, number in one.slots.items():
                    found.add(slot, number)
        self._questions[question] = found
        if len(self._questions) > MAX_QUESTIONS:
            _, forgotten = self._questions.popitem(last=False)
            for one in self._classes.values():
                one.counts = [count for count in one.counts if count is not forgotten]
        return found

    def _is_in(self, one: _Class, question: Question) -> bool:
        if len(question) == 2 and isinstance(question[1], LabelSelector):
            here = not one.terminating and one.namespace == question[0] and not question[1].empty
            return here and question[1].matches(one.labels)
        around = self.namespaces.get(one.namespace, NO_LABELS)
        return all(term.matches(one.namespace, one.labels, around) for term in question if isinstance(term, Term))


def _borne(info: PodInfo) -> Iterator[Bearer]:
    terms = info.shape.terms
    if not terms:
        return
    for term in terms.anti:
        yield "anti", term, 1
    for term in terms.affinity:
        yield "affinity", term, 1
    for weight, term in terms.preferred:
        yield "preferred", term, weight
