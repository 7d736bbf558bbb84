"""Times and optional values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from navarch.machinery.cel.declarations import Library, Overload, library, member, over
from navarch.machinery.cel.types import BOOL, DURATION, INT, STRING, TIMESTAMP, A, list_of, optional_of
from navarch.machinery.cel.values import NANOS, NONE_, CelError, Duration, Optional_, Timestamp

OPTIONAL_A = optional_of(A)

# -- times

_DURATION_PARTS = {"getHours": 3600 * NANOS, "getMinutes": 60 * NANOS, "getSeconds": NANOS, "getMilliseconds": 10**6}
_MOMENT_PARTS: dict[str, Callable[[Any], int]] = {
    "getFullYear": lambda t: t.year,
    "getMonth": lambda t: t.month - 1,
    "getDayOfYear": lambda t: t.timetuple().tm_yday - 1,
    "getDayOfMonth": lambda t: t.day - 1,
    "getDate": lambda t: t.day,
    "getDayOfWeek": lambda t: t.isoweekday() % 7,
    "getHours": lambda t: t.hour,
    "getMinutes": lambda t: t.minute,
    "getSeconds": lambda t: t.second,
}


def _part(name: str) -> Callable[..., int]:
    def impl(value: Any, zone: str = "UTC") -> int:
        if isinstance(value, Duration):
            unit = _DURATION_PARTS[name]
            whole = abs(value.nanos) // unit
            return -whole if value.nanos < 0 else whole
        if not isinstance(value, Timestamp):
            raise TypeError
        if name == "getMilliseconds":
            return value.nanos % NANOS // 10**6
        return _MOMENT_PARTS[name](value.at(zone))

    return impl


def _part_overloads(name: str) -> list[Overload]:
    found = [
        member(f"timestamp_{name}", INT, TIMESTAMP),
        member(f"timestamp_{name}_tz", INT, TIMESTAMP, STRING),
    ]
    if name in _DURATION_PARTS:
        found.append(member(f"duration_{name}", INT, DURATION))
    return found


# -- optionals


def _of_non_zero(value: Any) -> Optional_:
    empty = value is None or (isinstance(value, str | bytes | list | dict) and not value)
    zero = isinstance(value, int | float) and value == 0
    return NONE_ if empty or zero else Optional_(value)


def _has_value(value: Any) -> bool:
    if not isinstance(value, Optional_):
        raise TypeError
    return value.present


def _value(value: Any) -> Any:
    if not isinstance(value, Optional_):
        raise TypeError
    if not value.present:
        raise CelError("optional.none() dereference")
    return value.value


def _or_value(value: Any, other: Any) -> Any:
    if not isinstance(value, Optional_):
        raise TypeError
    return value.value if value.present else other


def _or(value: Any, other: Any) -> Any:
    if not isinstance(value, Optional_):
        raise TypeError
    return value if value.present else other


def _end(index: int) -> Callable[[Any], Optional_]:
    def impl(items: Any) -> Optional_:
        if not isinstance(items, list):
            raise TypeError
        found: list[Any] = items
        return Optional_(found[index]) if found else NONE_

    return impl


def _unwrap(items: Any) -> list[Any]:
    if not isinstance(items, list):
        raise TypeError
    found: list[Any] = items
    return [item.value for item in found if item.present]


TIMES_AND_OPTIONALS: Library = library(
    *((name, _part(name), _part_overloads(name)) for name in (*_MOMENT_PARTS, "getMilliseconds")),
    ("optional.of", Optional_, [over("optional_of", OPTIONAL_A, A)]),
    ("optional.ofNonZeroValue", _of_non_zero, [over("optional_ofNonZeroValue", OPTIONAL_A, A)]),
    ("optional.none", lambda: NONE_, [over("optional_none", OPTIONAL_A)]),
    ("hasValue", _has_value, [member("optional_hasValue", BOOL, OPTIONAL_A)]),
    ("value", _value, [member("optional_value", A, OPTIONAL_A)]),
    ("or", _or, [member("optional_or_optional", OPTIONAL_A, OPTIONAL_A, OPTIONAL_A)]),
    ("first", _end(0), [member("list_first", OPTIONAL_A, list_of(A))]),
    ("last", _end(-1), [member("list_last", OPTIONAL_A, list_of(A))]),
    ("optional.unwrap", _unwrap, [over("optional_unwrap", list_of(A), list_of(OPTIONAL_A))]),
    ("unwrapOpt", _unwrap, [member("optional_unwrapOpt", list_of(A), list_of(OPTIONAL_A))]),
    ("orValue", _or_value, [member("optional_orValue_value", A, OPTIONAL_A, A)]),
)  # fmt: skip
