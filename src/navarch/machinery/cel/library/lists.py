"""Lists and sets: Kubernetes' library, cel-go's lists (version 3) and sets."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import cmp_to_key
from typing import Any

from navarch.machinery.cel.declarations import Library, Overload, library, member, over
from navarch.machinery.cel.library.standard import add
from navarch.machinery.cel.library.strings import whole
from navarch.machinery.cel.types import (
    BOOL,
    BYTES,
    DOUBLE,
    DURATION,
    DYN,
    INT,
    STRING,
    TIMESTAMP,
    UINT,
    A,
    Type,
    list_of,
)
from navarch.machinery.cel.values import CelError, compare, equal

LIST_A = list_of(A)
ORDERED = {
    "int": INT, "uint": UINT, "double": DOUBLE, "bool": BOOL, "duration": DURATION, "timestamp": TIMESTAMP,
    "string": STRING, "bytes": BYTES,
}  # fmt: skip
_SUMMED = {"int": INT, "uint": UINT, "double": DOUBLE, "duration": DURATION}
MAX_RANGE = 100_000


def items_of(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError
    return value


def is_sorted(items: Any) -> bool:
    items = items_of(items)
    return all(compare(a, b) <= 0 for a, b in itertools.pairwise(items))


def total(items: Any) -> Any:
    items = items_of(items)
    if not items:
        return 0
    result = items[0]
    for item in items[1:]:
        result = add(result, item)
    return result


def _extreme(name: str, better: Callable[[int], bool]) -> Callable[[Any], Any]:
    def impl(items: Any) -> Any:
        items = items_of(items)
        if not items:
            raise CelError(f"{name} called on empty list")
        best = items[0]
        for item in items[1:]:
            if better(compare(item, best)):
                best = item
        return best

    return impl


def index_of(items: Any, wanted: Any) -> int:
    return next((i for i, item in enumerate(items_of(items)) if equal(item, wanted)), -1)


def last_index_of(items: Any, wanted: Any) -> int:
    items = items_of(items)
    return next((i for i in range(len(items) - 1, -1, -1) if equal(items[i], wanted)), -1)


# -- cel-go's lists


def slice_(items: Any, start: Any, end: Any) -> list[Any]:
    items, start, end = items_of(items), whole(start), whole(end)
    if start < 0 or end < 0:
        raise CelError(f"cannot slice({start}, {end}), negative indexes not supported")
    if start > end:
        raise CelError(f"cannot slice({start}, {end}), start index must be less than or equal to end index")
    if end > len(items):
        raise CelError(f"cannot slice({start}, {end}), list is length {len(items)}")
    return items[start:end]


def flatten(items: Any, depth: Any = 1) -> list[Any]:
    items, depth = items_of(items), whole(depth)
    if depth < 0:
        raise CelError("level must be non-negative")
    flat: list[Any] = []
    for item in items:
        flat.extend(flatten(item, depth - 1) if isinstance(item, list) and depth > 0 else [item])
    return flat


def sort(items: Any) -> list[Any]:
    items = items_of(items)
    if len({type(item) for item in items}) > 1:
        raise CelError("list elements must have the same type")
    return sorted(items, key=cmp_to_key(compare))


def distinct(items: Any) -> list[Any]:
    kept: list[Any] = []
    for item in items_of(items):
        if not any(equal(item, other) for other in kept):
            kept.append(item)
    return kept


def range_(count: Any) -> list[int]:
    if whole(count) > MAX_RANGE:
        raise CelError(f"lists.range({count}) is larger than {MAX_RANGE}")
    return list(range(count))


# -- sets


def set_contains(items: Any, wanted: Any) -> bool:
    items = items_of(items)
    return all(any(equal(item, one) for item in items) for one in items_of(wanted))


def set_equivalent(a: Any, b: Any) -> bool:
    return set_contains(a, b) and set_contains(b, a)


def set_intersects(a: Any, b: Any) -> bool:
    a = items_of(a)
    return any(any(equal(one, other) for other in a) for one in items_of(b))


def _each(name: str, kinds: dict[str, Type], result: Type | None = None) -> list[Overload]:
    return [member(f"list_{kind}_{name}_{kind}", result or type, list_of(type)) for kind, type in kinds.items()]


LISTS: Library = library(
    ("isSorted", is_sorted, _each("is_sorted", ORDERED, BOOL)),
    ("sum", total, _each("sum", _SUMMED)),
    ("min", _extreme("min", lambda c: c < 0), _each("min", ORDERED)),
    ("max", _extreme("max", lambda c: c > 0), _each("max", ORDERED)),
    ("indexOf", index_of, [member("list_a_index_of_int", INT, LIST_A, A)]),
    ("lastIndexOf", last_index_of, [member("list_a_last_index_of_int", INT, LIST_A, A)]),
    ("slice", slice_, [member("list_slice", LIST_A, LIST_A, INT, INT)]),
    ("flatten", flatten, [
        member("list_flatten", list_of(DYN), list_of(list_of(A))),
        member("list_flatten_int", list_of(DYN), list_of(DYN), INT),
    ]),
    ("sort", sort, [member(f"list_{kind}_sort", list_of(type), list_of(type)) for kind, type in ORDERED.items()]),
    ("distinct", distinct, [member("list_distinct", LIST_A, LIST_A)]),
    ("reverse", lambda items: items_of(items)[::-1], [member("list_reverse", LIST_A, LIST_A)]),
    ("lists.range", range_, [over("lists_range", list_of(INT), INT)]),
    ("sets.contains", set_contains, [over("list_sets_contains_list", BOOL, LIST_A, LIST_A)]),
    ("sets.equivalent", set_equivalent, [over("list_sets_equivalent_list", BOOL, LIST_A, LIST_A)]),
    ("sets.intersects", set_intersects, [over("list_sets_intersects_list", BOOL, LIST_A, LIST_A)]),
)  # fmt: skip
