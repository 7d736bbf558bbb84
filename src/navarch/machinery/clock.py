"""Time, ids and randomness, injected: the same seed on a virtual clock replays byte for byte.

Every room takes a `World` where it needs any of these, and nothing else in the product reads the system clock, the
system's randomness or makes a uuid (edges that only measure durations for metrics may use `time.monotonic`).
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Protocol

_UUID4_CLEARED = 0xF000 << 64 | 0xC000 << 48
_UUID4_SET = 0x4000 << 64 | 0x8000 << 48
"""Version and variant (RFC 9562, 5.4)."""
NAME_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
"""apimachinery's alphabet for generated names: no vowels, nothing that looks alike."""


class Timer(Protocol):
    def cancel(self) -> None: ...


class World(Protocol):
    """The clock, the timer wheel and the source of randomness of one process."""

    def now(self) -> float:
        """Seconds since the epoch."""
        ...

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        """Calls back on the event loop after `delay` seconds."""
        ...

    async def sleep(self, delay: float) -> None: ...

    def uid(self) -> str:
        """A new random UUID."""
        ...

    def suffix(self, length: int = 5) -> str:
        """Random characters for a generated name."""
        ...

    def random(self) -> random.Random: ...


class RealWorld:
    """The machine's own clock and randomness (a seed can still be given)."""

    def __init__(self, seed: int | None = None) -> None:
        self._random = random.Random(os.urandom(16) if seed is None else seed)

    def now(self) -> float:
        return time.time()

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        return asyncio.get_running_loop().call_later(delay, callback)

    async def sleep(self, delay: float) -> None:
        await asyncio.sleep(delay)

    def uid(self) -> str:
        bits = self._random.getrandbits(128) & ~_UUID4_CLEARED | _UUID4_SET
        text = f"{bits:032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

    def suffix(self, length: int = 5) -> str:
        return "".join(self._random.choices(NAME_ALPHABET, k=length))

    def random(self) -> random.Random:
        return self._random


def work_clock() -> Callable[[], float]:
    """Tells how long work has held up the event loop, so that it is sliced: seconds, which stand still on a virtual loop."""
    return getattr(asyncio.get_running_loop(), "work_clock", time.perf_counter)


def safe_encoded(text: str) -> str:
    """The text in the characters of generated names, which spell no words (apimachinery's SafeEncodeString)."""
    return "".join(NAME_ALPHABET[ord(character) % len(NAME_ALPHABET)] for character in text)


def rfc3339(seconds: float) -> str:
    """A metav1.Time: whole seconds, UTC."""
    return _second(int(seconds))


@lru_cache(maxsize=8)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def rfc3339_micro(seconds: float) -> str:
    """A metav1.MicroTime."""
    whole = int(seconds)
    part = round((seconds - whole) * 1_000_000)
    if part == 1_000_000:
        whole, part = whole + 1, 0
    return f"{_second(whole)[:-1]}.{part:06d}Z"


def parse_time(text: str) -> float:
    """Seconds since the epoch of an RFC 3339 time. Raises ValueError."""
    return datetime.fromisoformat(text).timestamp()
