"""Nodes grouped by the value of a label: the domains that affinity and spreading count in."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


class Topology:
    """One label key. `ids` has each slot's domain; 0 where the node lacks the label."""

    def __init__(self, length: int) -> None:
        self.ids: Ints = np.zeros(length, np.int64)
        self._values: dict[str, int] = {}
        self._members: list[int] = [0]
        self._shared = 0
        """Domains with more than one node."""

    @property
    def size(self) -> int:
        """How many ids there are; 0 included."""
        return len(self._members)

    def grow(self, length: int) -> None:
        self.ids = np.concatenate([self.ids, np.zeros(length - len(self.ids), np.int64)])

    def put(self, slot: int, value: str | None) -> None:
        new = 0
        if value is not None:
            new = self._values.get(value, 0)
            if not new:
                new = self._values[value] = len(self._members)
                self._members.append(0)
        old = int(self.ids[slot])
        if old == new:
            return
        self._move(old, -1)
        self._move(new, 1)
        self.ids[slot] = new

    def _move(self, domain: int, by: int) -> None:
        if domain:
            before = self._members[domain]
            self._members[domain] = before + by
            self._shared += (before + by > 1) - (before > 1)

    def sums(self, counts: Ints, among: Bools | None = None) -> Ints:
        """Per domain, the sum over its nodes (those in `among`); nodes without the label are in 0, to be ignored."""
        weights = counts if among is None else counts * among
        return np.bincount(self.ids, weights=weights, minlength=self.size).astype(np.int64)

    def around(self, counts: Ints) -> Ints:
        """Per slot, the sum over its domain; 0 without the label."""
        if not self._shared:
            return counts * (self.ids > 0)
        sums = self.sums(counts)
        sums[0] = 0
        return sums[self.ids]
