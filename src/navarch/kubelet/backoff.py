"""Exponential back-off by key: time is passed in (client-go's flowcontrol.Backoff)."""

from __future__ import annotations


class Backoff:
    """Delays double from `first` to `last`, and are forgotten after twice `last` without another failure."""

    LIMIT = 4096

    def __init__(self, first: float = 10.0, last: float = 300.0) -> None:
        self._first, self._last = first, last
        self._entries: dict[str, tuple[float, float]] = {}
        """Key -> (delay, when it was last raised)."""

    def remaining(self, key: str, since: float, now: float) -> float:
        """Seconds still to wait, counted from `since`; 0 where there is no need."""
        entry = self._entries.get(key)
        if entry is None or now - entry[1] > 2 * self._last:
            return 0.0
        return max(since + entry[0] - now, 0.0)

    def delay(self, key: str) -> float:
        return self._entries.get(key, (0.0, 0.0))[0]

    def failed(self, key: str, now: float) -> None:
        """Raises the delay for the next time."""
        delay, raised = self._entries.get(key, (0.0, now))
        if now - raised > 2 * self._last:
            delay = 0.0
        if len(self._entries) >= self.LIMIT and key not in self._entries:
            self._entries.pop(next(iter(self._entries)))
        self._entries[key] = (min(delay * 2, self._last) if delay else self._first, now)

    def forget(self, prefix: str) -> None:
        """Forgets every key that starts with the prefix."""
        for key in [k for k in self._entries if k.startswith(prefix)]:
            del self._entries[key]
