"""Numbers from a range, none given twice: node ports."""

from __future__ import annotations

from random import Random


class RangeFullError(Exception):
    """Nothing is left."""


class Allocator:
    """Offsets 0 to size-1. Free choices come from the upper band first, so that the lower stays for those who choose
    their own (KEP-3070)."""

    def __init__(self, size: int, reserved_band: int, random: Random) -> None:
        self._size = size
        self._band = reserved_band if reserved_band < size else 0
        self._random = random
        self._taken: set[int] = set()

    def take(self, offset: int) -> bool:
        """False where it is taken already."""
        if offset in self._taken:
            return False
        self._taken.add(offset)
        return True

    def take_any(self) -> int:
        """Raises RangeFullError."""
        for first, last in ((self._band, self._size), (0, self._band)):
            offset = self._pick(first, last)
            if offset is not None:
                self._taken.add(offset)
                return offset
        raise RangeFullError

    def _pick(self, first: int, last: int) -> int | None:
        if first >= last:
            return None
        for _ in range(8):
            offset = self._random.randrange(first, last)
            if offset not in self._taken:
                return offset
        return next((o for o in range(first, last) if o not in self._taken), None)

    def release(self, offset: int) -> None:
        self._taken.discard(offset)


class PortAllocator:
    """Node ports, one number for all protocols of a service that share a port."""

    def __init__(self, ports: tuple[int, int], random: Random) -> None:
        self._first, self._last = ports
        size = self._last - self._first + 1
        band = min(max(16, size // 32), 128) if size > 16 else 0
        self._allocator = Allocator(size, band, random)

    def take(self, port: int) -> str:
        if not self._first <= port <= self._last:
            return f"provided port is not in the valid range. The range of valid ports is {self._first}-{self._last}"
        return "" if self._allocator.take(port - self._first) else "provided port is already allocated"

    def take_any(self) -> int:
        """Raises RangeFullError."""
        return self._first + self._allocator.take_any()

    def release(self, port: int) -> None:
        if self._first <= port <= self._last:
            self._allocator.release(port - self._first)
