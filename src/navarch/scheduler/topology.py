"""Nodes grouped by the value of a label: the domains that affinity and spreading count in."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


class Topology:
    """One label key. `ids` has each slot's domain; 0 where the node lacks the label (or there is none)."""

    def __init__(self, length: int) -> None:
        self.ids: Ints = np.zeros(length, np.int64)
        self.members: Ints = np.zeros(8, np.int64)
        """Per domain, how many nodes are in it; of 0 it is not counted. Longer than there are domains."""
        self.version = 0
        """Grows when a node changes its domain."""
        self.labelled = 0
        """How many nodes have the label."""
        self._values: dict[str, int] = {}
        self._slots: dict[int, set[int]] = {}
        self._shared = 0
        """Domains with more than one node."""

    @property
    def is_unique(self) -> bool:
        """Whether no two nodes are in one domain."""
        return not self._shared

    def grow(self, length: int) -> None:
        self.ids = np.concatenate([self.ids, np.zeros(length - len(self.ids), np.int64)])
        self.version += 1

    def put(self, slot: int, value: str | None) -> None:
        new = 0
        if value is not None:
            new = self._values.get(value, 0)
            if not new:
                new = self._values[value] = len(self._values) + 1
                if new >= len(self.members):
                    self.members = np.concatenate([self.members, np.zeros(len(self.members), np.int64)])
        old = int(self.ids[slot])
        if old == new:
            return
        self._move(old, -1)
        self._move(new, 1)
        if old:
            self._slots[old].discard(slot)
        if new:
            self._slots.setdefault(new, set()).add(slot)
        self.ids[slot] = new
        self.version += 1

    def slots_of(self, value: str) -> list[int]:
        """The nodes with a value of the label."""
        domain = self._values.get(value, 0)
        if not domain or not self.members[domain]:
            return []
        return sorted(self._slots.get(domain, ()))

    def _move(self, domain: int, by: int) -> None:
        if domain:
            before = int(self.members[domain])
            self.members[domain] = before + by
            self.labelled += by
            self._shared += (before + by > 1) - (before > 1)

    def sums(self, counts: Ints, among: Bools | None = None) -> Ints:
        """Per domain, the sum over its nodes (those in `among`); what is in 0 is to be ignored."""
        weights = counts if among is None else counts * among
        return np.bincount(self.ids, weights=weights, minlength=len(self.members)).astype(np.int64)

    def around(self, counts: Ints) -> Ints:
        """Per slot, the sum over its domain; 0 without the label."""
        if self.is_unique:
            return counts * (self.ids > 0)
        sums = self.sums(counts)
        sums[0] = 0
        return sums[self.ids]
