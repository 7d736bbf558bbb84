"""How long a Job waits before it replaces a pod that failed: 10 s, doubled by each failure in a row, up to 10 minutes. Pure.

Source of the rules: upstream's backoff_utils.go.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from navarch.controllers.job.pods import all_failures_of, finished_at
from navarch.machinery.types import Obj

FIRST, LAST = 10.0, 600.0


class Failures(NamedTuple):
    """The failures since the last success."""

    in_a_row: int = 0
    at: float = 0.0
    """When the last of them was."""

    def then(self, succeeded: Sequence[Obj], failed: Sequence[Obj]) -> Failures:
        """After pods that have ended since."""
        ends = [finished_at(pod) for pod in failed]
        if not succeeded:
            return Failures(self.in_a_row + len(ends), max(ends)) if ends else self
        success = max(finished_at(pod) for pod in succeeded)
        later = [end for end in ends if end > success]
        return Failures(len(later), max(later, default=0.0))

    def wait(self, now: float) -> float:
        """Seconds until the next pod may be made; 0: now."""
        if not self.in_a_row:
            return 0.0
        return max(0.0, self.at + min(FIRST * 2.0 ** min(self.in_a_row - 1, 20), LAST) - now)


def index_wait(last: Obj | None, now: float) -> float:
    """Seconds until the pod that failed last under an index may be replaced."""
    return 0.0 if last is None else Failures(all_failures_of(last) + 1, finished_at(last)).wait(now)
