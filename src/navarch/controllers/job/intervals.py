"""Sets of completion indexes as a status writes them: `0,3-5`. Pure.

Unlike `api/batch/indexes.py`, which judges what users write, this reads whatever is there and passes over the rest.
Source of the rules: upstream's indexed_job_utils.go.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable
from typing import NamedTuple

_NUMBER = re.compile("[0-9]{1,10}", re.ASCII).fullmatch


class Intervals(NamedTuple):
    """Closed intervals in increasing order, with a gap between any two."""

    spans: tuple[tuple[int, int], ...] = ()

    @classmethod
    def parse(cls, text: str | None, completions: int) -> Intervals:
        """Those below the number of completions."""
        found: list[tuple[int, int]] = []
        for part in (text or "").split(",") if text else ():
            first, _, last = part.partition("-")
            if not _NUMBER(first) or not _NUMBER(last or first):
                continue
            if int(first) < completions:
                found.append((int(first), min(int(last or first), completions - 1)))
        return cls(_joined(found))

    @classmethod
    def of(cls, indexes: Iterable[int]) -> Intervals:
        return cls(_joined((index, index) for index in indexes))

    def __or__(self, other: Intervals) -> Intervals:
        return Intervals(_joined((*self.spans, *other.spans)))

    def has(self, index: int) -> bool:
        at = bisect_left(self.spans, index, key=lambda span: span[1])
        return at < len(self.spans) and self.spans[at][0] <= index

    def total(self) -> int:
        return sum(last - first + 1 for first, last in self.spans)

    def missing(self, count: int, completions: int) -> list[int]:
        """The first so many indexes that are not among these."""
        found: list[int] = []
        candidate = 0
        for first, last in (*self.spans, (completions, completions)):
            end = min(first, completions, candidate + count - len(found))
            found.extend(range(candidate, end))
            candidate = max(candidate, last + 1)
            if len(found) >= count:
                break
        return found

    def common(self, other: Intervals) -> int:
        """How many indexes are in both."""
        count = i = j = 0
        while i < len(self.spans) and j < len(other.spans):
            (a, b), (c, d) = self.spans[i], other.spans[j]
            count += max(0, min(b, d) - max(a, c) + 1)
            i, j = (i + 1, j) if b < d else (i, j + 1)
        return count

    def __str__(self) -> str:
        return ",".join(_span(first, last) for first, last in self.spans)


def _span(first: int, last: int) -> str:
    if first == last:
        return str(first)
    return f"{first},{last}" if last == first + 1 else f"{first}-{last}"


def _joined(spans: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    joined: list[tuple[int, int]] = []
    for first, last in sorted(spans):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(joined[-1][1], last))
        elif first <= last:
            joined.append((first, last))
    return tuple(joined)
