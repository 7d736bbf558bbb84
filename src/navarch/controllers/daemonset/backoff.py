"""How soon a daemon pod that failed is made anew on its node: 1 s, doubled by each failure up to 15 minutes.

A kubelet that rejects a pod and a controller that makes another would chase each other. The memory is the
controller's: after a restart the first failure waits a second again. Source: client-go's flowcontrol.Backoff.
"""

from __future__ import annotations

from typing import NamedTuple

FIRST, LAST = 1.0, 900.0
KEPT = 1000
"""Entries beyond which old ones are looked for."""


class Failure(NamedTuple):
    at: float
    delay: float

    def expired(self, now: float) -> bool:
        return now - self.at > 2 * LAST

    def wait(self, now: float) -> float:
        """Seconds until the next pod may go; 0: now."""
        return 0.0 if self.expired(now) else max(0.0, self.at + self.delay - now)


class Failures:
    """The last failure by key."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, ...], Failure] = {}

    def get(self, key: tuple[str, ...]) -> Failure | None:
        return self._last.get(key)

    def note(self, key: tuple[str, ...], now: float) -> None:
        last = self._last.get(key)
        delay = FIRST if last is None or last.expired(now) else min(last.delay * 2, LAST)
        self._last[key] = Failure(now, delay)
        if len(self._last) > KEPT:
            self._last = {k: failure for k, failure in self._last.items() if not failure.expired(now)}
