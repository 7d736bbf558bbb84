"""Random bytes to everything that reads bytes of strangers: an answer or a StatusError, soon, and nothing is kept.

The same inputs at every run. Longer, and guided by coverage: `script/fuzz`.
"""

from __future__ import annotations

import gc
import random
import time

import pytest
from tests.fuzz.corpus import inputs
from tests.fuzz.mutate import mutated
from tests.fuzz.targets import TARGETS, call

ROUNDS = 2_000
HANG_SECONDS = 5.0
"""Of CPU, for one input of at most 20 kB; the slowest take a fifth of a second."""
KEPT_OBJECTS = 2_000


@pytest.mark.parametrize("name", TARGETS)
def test_random_bytes_are_answered_or_refused(name: str) -> None:
    target, pool = TARGETS[name], inputs()[name]
    rng = random.Random(name)
    for number in range(ROUNDS):
        data = pool[number] if number < len(pool) else mutated(rng, rng.choice(pool), pool)
        began = time.process_time()
        try:
            call(target, data)
        except Exception as err:
            raise AssertionError(f"{name}: {data!r}") from err
        assert time.process_time() - began < HANG_SECONDS, f"{name} hangs at {data!r}"


@pytest.mark.parametrize("name", TARGETS)
def test_what_was_read_is_not_kept(name: str) -> None:
    """After caches are full, more inputs leave no more objects behind."""
    target, pool = TARGETS[name], inputs()[name]
    rng = random.Random(f"kept {name}")
    small = [data for data in pool if len(data) < 1000] or pool

    def feed(count: int) -> int:
        for _ in range(count):
            call(target, mutated(rng, rng.choice(small), small))
        gc.collect()
        return len(gc.get_objects())

    feed(1_500)
    before = feed(400)
    assert feed(1_200) - before < KEPT_OBJECTS
