"""Macros over lists and maps: the loops that cel-go expands into comprehensions, run natively and counted like them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cmp_to_key
from typing import Any

from navarch.machinery.cel.cost import ENTRY, LIST_COST, MAP_COST, self_comparison
from navarch.machinery.cel.values import CelError, CostExceeded, compare, equal, type_name


class Frame:
    """One evaluation: variables by slot, and the meter."""

    __slots__ = ("cost", "limit", "slots")

    def __init__(self, slots: list[Any], limit: int) -> None:
        self.slots = slots
        self.cost = 0
        self.limit = limit


Code = Callable[[Frame], Any]


NOT_STRICTLY_FALSE = 2
"""What a fold's expansion costs each round to look whether it may stop."""

Walk = Callable[[Frame], Iterable[Any]]
"""Puts each element into its slots in turn; yields nothing of interest."""


def walker(source: Code, key_slot: int, slot: int, convert: Any) -> Walk:
    def walk(frame: Frame) -> Iterable[Any]:
        value = source(frame)
        slots = frame.slots
        if isinstance(value, list):
            for index, item in enumerate(value):
                slots[slot] = convert(item) if convert is not None else item
                if key_slot >= 0:
                    slots[key_slot] = index
                yield None
                if frame.cost > frame.limit:
                    raise CostExceeded
        elif isinstance(value, Mapping):
            for key, item in value.items():
                if key_slot >= 0:
                    slots[key_slot] = key
                    slots[slot] = convert(item) if convert is not None else item
                else:
                    slots[slot] = key
                yield None
                if frame.cost > frame.limit:
                    raise CostExceeded
        else:
            raise CelError("got '" + type_name(value) + "', expected iterable type")

    return walk


def _truth(value: Any) -> bool:
    if type(value) is not bool:
        raise CelError("no such overload")
    return value


def _quantifier(walk: Walk, step: Code, decisive: bool, look: int) -> Code:
    """`all` and `exists`: the first decisive element ends it; an error counts only if none decides."""

    def run(frame: Frame) -> bool:
        failure: CelError | None = None
        for _ in walk(frame):
            frame.cost += look + 1
            try:
                if _truth(step(frame)) is decisive:
                    frame.cost += look + 1
                    return decisive
            except CelError as error:
                failure = error
        frame.cost += 1
        if failure is not None:
            raise failure
        return not decisive

    return run


def all_(walk: Walk, step: Code) -> Code:
    return _quantifier(walk, step, False, NOT_STRICTLY_FALSE)


def exists(walk: Walk, step: Code) -> Code:
    return _quantifier(walk, step, True, NOT_STRICTLY_FALSE + 1)


def exists_one(walk: Walk, step: Code) -> Code:
    def run(frame: Frame) -> bool:
        count = 0
        for _ in walk(frame):
            if _truth(step(frame)):
                count += 1
                frame.cost += 2
            else:
                frame.cost += 1
        frame.cost += 2
        return count == 1

    return run


APPEND = 1 + LIST_COST + 1
"""What an expanded `accumulator + [element]` costs besides the element."""


def filter_(walk: Walk, step: Code, slot: int) -> Code:
    def run(frame: Frame) -> Any:
        kept: list[Any] = []
        for _ in walk(frame):
            if _truth(step(frame)):
                kept.append(frame.slots[slot])
                frame.cost += APPEND + 1
            else:
                frame.cost += 1
        frame.cost += LIST_COST + 1
        return kept

    return run


def map_(walk: Walk, step: Code, condition: Code | None) -> Code:
    def run(frame: Frame) -> Any:
        made: list[Any] = []
        for _ in walk(frame):
            if condition is not None and not _truth(condition(frame)):
                frame.cost += 1
                continue
            made.append(step(frame))
            frame.cost += APPEND
        frame.cost += LIST_COST + 1
        return made

    return run


def transform_map(walk: Walk, step: Code, condition: Code | None, key_slot: int) -> Code:
    def run(frame: Frame) -> Any:
        made: dict[Any, Any] = {}
        for _ in walk(frame):
            if condition is not None and not _truth(condition(frame)):
                frame.cost += 1
                continue
            made[frame.slots[key_slot]] = step(frame)
            frame.cost += ENTRY["transformMap"]
        frame.cost += MAP_COST + 1
        return made

    return run


def transform_entries(walk: Walk, step: Code, condition: Code | None) -> Code:
    def run(frame: Frame) -> Any:
        made: dict[Any, Any] = {}
        for _ in walk(frame):
            if condition is not None and not _truth(condition(frame)):
                frame.cost += 1
                continue
            for key, value in step(frame).items():
                if any(equal(key, other) for other in made):
                    raise CelError(f"insert failed: key {key} already exists")
                made[key] = value
            frame.cost += ENTRY["transformMapEntry"]
        frame.cost += MAP_COST + 1
        return made

    return run


def sort_by(walk: Walk, step: Code, slot: int) -> Code:
    def run(frame: Frame) -> Any:
        pairs: list[tuple[Any, Any]] = []
        for _ in walk(frame):
            pairs.append((step(frame), frame.slots[slot]))
            frame.cost += APPEND
        frame.cost += LIST_COST + 1 + self_comparison([key for key, _ in pairs])
        pairs.sort(key=cmp_to_key(lambda a, b: compare(a[0], b[0])))
        return [item for _, item in pairs]

    return run
