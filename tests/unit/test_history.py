"""The checker of histories finds what it is there for."""

from __future__ import annotations

import random
from typing import Any

import pytest
from tests.support.history import ABSENT, NEVER, Listed, Operation, unexplained


def op(kind: Any, began: float, ended: float, value: str = ABSENT, **more: Any) -> Operation:
    return Operation(kind, "k", began, ended, value, done=more.pop("done", True), **more)


CREATED = op("create", 0, 1, "a", revision=2)
WRONG = {
    "a read shows what was overwritten": [CREATED, op("update", 2, 3, "b", expects="a", revision=3), op("get", 4, 5, "a", revision=2)],
    "a write is lost": [CREATED, op("get", 2, 3, ABSENT)],
    "what was never written is shown": [op("get", 2, 3, "ghost", revision=2)],
    "two creates of one key": [CREATED, op("create", 2, 3, "b", revision=3)],
    "two updates of one value": [
        CREATED, op("update", 2, 3, "b", expects="a", revision=3), op("update", 2, 3, "c", expects="a", revision=4),
    ],
    "a refusal without a reason": [CREATED, op("update", 2, 3, "b", expects="a", done=False)],
    "what is deleted comes back": [CREATED, op("delete", 2, 3), op("get", 4, 5, "a", revision=2)],
    "reads go back": [
        CREATED, op("update", 2, 9, "b", expects="a", revision=3), op("get", 3, 4, "b", revision=3), op("get", 5, 6, "a", revision=2),
    ],
    "revisions go back": [CREATED, op("update", 2, 3, "b", expects="a", revision=1)],
    "an unanswered write is there, and then is not": [
        CREATED, op("update", 2, NEVER, "b", expects="a"), op("get", 3, 4, "b"), op("get", 5, 6, "a"),
    ],
}  # fmt: skip
RIGHT = {
    "in turn": [CREATED, op("update", 2, 3, "b", expects="a", revision=3), op("get", 4, 5, "b", revision=3), op("delete", 6, 7)],
    "reads beside a write see either": [
        CREATED, op("update", 2, 9, "b", expects="a", revision=3), op("get", 3, 4, "a"), op("get", 5, 6, "b"),
    ],
    "an unanswered write may happen late, or never": [CREATED, op("update", 2, NEVER, "b", expects="a"), op("get", 3, 4, "a")],
    "an unanswered delete explains a refusal": [
        CREATED, op("delete", 2, NEVER), op("update", 4, 5, "b", expects="a", done=False), op("create", 6, 7, "c", revision=9),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_no_order_explains_is_found(name: str) -> None:
    assert unexplained(WRONG[name])


@pytest.mark.parametrize("name", RIGHT)
def test_what_one_order_explains_passes(name: str) -> None:
    assert not unexplained(RIGHT[name])


def test_a_list_is_one_moment() -> None:
    other = Operation("create", "l", 2, 3, "b", done=True, revision=3)
    later = op("update", 4, 5, "c", expects="a", revision=4)
    torn = Listed(4, 9, 3, {"k": ("c", 4), "l": ("b", 3)})
    assert unexplained([CREATED, other, later], [torn])
    assert not unexplained([CREATED, other, later], [Listed(4, 9, 4, {"k": ("c", 4), "l": ("b", 3)})])
    assert not unexplained([CREATED, other, later], [Listed(4, 9, 3, {"k": ("a", 2), "l": ("b", 3)})])


def test_random_histories_of_a_real_register_pass_and_changed_ones_do_not() -> None:
    rng = random.Random(1)
    caught = 0
    for _ in range(60):
        history = _history(rng)
        assert not unexplained(history)
        reads = [o for o in history if o.kind == "get" and o.value]
        if reads:
            rng.choice(reads).value = "ghost"
            caught += bool(unexplained(history))
    assert caught > 30


def _history(rng: random.Random) -> list[Operation]:
    """Each operation takes effect at a moment between its begin and its end; some answers get lost."""
    made: list[Operation] = []
    state, revision = ABSENT, 1
    for number in range(25):
        at = float(number)
        kind: Any = rng.choice(("create", "update", "delete", "get"))
        operation = Operation(kind, "k", at - rng.random() * 3, at + rng.random() * 3)
        if kind == "get":
            operation.value, operation.done = state, True
        else:
            operation.value = "" if kind == "delete" else f"v{number}"
            operation.expects = rng.choice((None, state, f"v{number - 2}")) if kind != "create" else None
            applies = state == ABSENT if kind == "create" else state != ABSENT and operation.expects in (None, state)
            if applies:
                state, revision = operation.value, revision + 1
                operation.done, operation.revision = True, 0 if kind == "delete" else revision
            if rng.random() < 0.15:
                operation.ended, operation.done, operation.revision = NEVER, False, 0
        made.append(operation)
    return made
