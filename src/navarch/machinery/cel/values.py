"""CEL's values in Python, their equality, order and sizes.

int, float, bool, str, bytes, None, list and dict are themselves; the rest are the classes here. Objects of the API are their
JSON trees.
"""

from __future__ import annotations

import math
import re
from copy import copy
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any, Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

MAX_INT, MIN_INT = 2**63 - 1, -(2**63)
MAX_UINT = 2**64 - 1


class CelError(Exception):
    """An evaluation came to no value. Absorbed by && and || where the other side decides."""

    cost = 0
    """What was spent until then, where a whole program failed."""


class CostExceeded(Exception):
    """The evaluation cost more than its limit."""

    def __init__(self) -> None:
        super().__init__("operation cancelled: actual cost limit exceeded")


class UInt(int):
    """An unsigned integer; never equal in type to an int."""

    __slots__ = ()


NANOS = 1_000_000_000
MIN_SECONDS, MAX_SECONDS = -62135596800, 253402300799
"""0001-01-01T00:00:00Z to 9999-12-31T23:59:59Z."""


@dataclass(frozen=True, slots=True, order=True)
class Duration:
    nanos: int

    def __str__(self) -> str:
        whole, part = divmod(abs(self.nanos), NANOS)
        text = f"{whole}.{part:09}".rstrip("0").rstrip(".") if part else str(whole)
        return f"{'-' if self.nanos < 0 else ''}{text}s"


@dataclass(frozen=True, slots=True, order=True)
class Timestamp:
    nanos: int
    """Since the epoch, UTC."""

    def __str__(self) -> str:
        seconds, part = divmod(self.nanos, NANOS)
        text = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")
        year, _, rest = text.partition("-")
        fraction = f".{part:09}".rstrip("0") if part else ""
        return f"{int(year):04}-{rest}{fraction}Z"

    def at(self, zone: str) -> datetime:
        """Broken down in a time zone. Raises CelError."""
        seconds = self.nanos // NANOS
        return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)).astimezone(_zone(zone))


def _zone(name: str) -> tzinfo:
    if match := re.fullmatch(r"([+-]?)(\d{1,2}):(\d{2})", name, re.ASCII):
        offset = timedelta(hours=int(match[2]), minutes=int(match[3]))
        return timezone(-offset if match[1] == "-" else offset)
    if name in ("", "UTC"):
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise CelError(f"unknown time zone {name}") from None


class Optional_:
    """An optional value; `NONE_` is the empty one."""

    __slots__ = ("present", "value")

    def __init__(self, value: Any, present: bool = True) -> None:
        self.value = value
        self.present = present


NONE_ = Optional_(None, False)


@dataclass(frozen=True, slots=True)
class TypeValue:
    name: str


class Opaque(Protocol):
    """A value of a library's own type (Quantity, URL, IP ...)."""

    cel_type: str


# -- conversions from text

_UNITS = {"h": 3600 * NANOS, "m": 60 * NANOS, "s": NANOS, "ms": 10**6, "us": 1000, "µs": 1000, "μs": 1000, "ns": 1}
_DURATION = re.compile(r"(\d*\.?\d*)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_TIMESTAMP = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})[Tt](\d{2}):(\d{2}):(\d{2})(?:[.,](\d+))?([Zz]|[+-]\d{2}:\d{2})", re.ASCII
)


def duration(text: str) -> Duration:
    """Go's time.ParseDuration. Raises CelError."""
    body = text[1:] if text[:1] in ("+", "-") else text
    if body == "0":
        return Duration(0)
    total, at = 0, 0
    while at < len(body):
        match = _DURATION.match(body, at)
        if match is None or match[1] in ("", "."):
            raise CelError(f'time: invalid duration "{text}"')
        whole, _, part = match[1].partition(".")
        unit = _UNITS[match[2]]
        total += int(whole or 0) * unit + (int(part) * unit // 10 ** len(part) if part else 0)
        at = match.end()
    if not body or total > MAX_INT:
        raise CelError(f'time: invalid duration "{text}"')
    return Duration(-total if text[0] == "-" else total)


def timestamp(text: str) -> Timestamp:
    """RFC 3339. Raises CelError."""
    match = _TIMESTAMP.fullmatch(text)
    try:
        if match is None:
            raise ValueError
        year, month, day, hour, minute, second = (int(match[i]) for i in range(1, 7))
        moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        raise CelError(f'parsing time "{text}" as "2006-01-02T15:04:05Z07:00": cannot parse "{text}"') from None
    seconds = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1)
    zone = match[8]
    if zone not in "Zz":
        offset = int(zone[1:3]) * 3600 + int(zone[4:6]) * 60
        seconds -= offset if zone[0] == "+" else -offset
    fraction = (match[7] or "")[:9]
    if not MIN_SECONDS <= seconds <= MAX_SECONDS:
        raise CelError("timestamp overflow")
    return Timestamp(seconds * NANOS + (int(fraction.ljust(9, "0")) if fraction else 0))


# -- types, equality, order, size


def type_name(value: Any) -> str:
    """The run-time type, as `type(x)` names it."""
    match value:
        case None:
            return "null_type"
        case bool():
            return "bool"
        case UInt():
            return "uint"
        case int():
            return "int"
        case float():
            return "double"
        case str():
            return "string"
        case bytes():
            return "bytes"
        case list():
            return "list"
        case dict():
            return "map"
        case Duration():
            return "google.protobuf.Duration"
        case Timestamp():
            return "google.protobuf.Timestamp"
        case Optional_():
            return "optional_type"
        case TypeValue():
            return "type"
        case _:
            return value.cel_type


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def equal(a: Any, b: Any) -> bool:
    """Heterogeneous equality: numbers by value, everything else only within its type."""
    if is_number(a) and is_number(b):
        return a == b
    kind = type(a)
    if isinstance(a, Associative):
        return isinstance(b, list) and len(a) == len(b) and a.holds(b)
    if kind is list:
        return isinstance(b, list) and len(a) == len(b) and all(map(equal, a, b))
    if kind is not type(b):
        return False
    if kind is dict:
        return len(a) == len(b) and all(key in b and equal(value, b[key]) for key, value in a.items())
    if kind is Optional_:
        return a.present == b.present and (not a.present or equal(a.value, b.value))
    return a == b


class Associative(list[Any]):
    """A list whose items have identities: its order does not matter, and adding to it merges."""

    def identity(self, item: Any) -> Any:
        """What tells items apart; can be hashed."""
        raise NotImplementedError

    def holds(self, others: list[Any]) -> bool:
        """Whether every one of the others is equal to the item here that has its identity."""
        mine = {self.identity(item): item for item in self}
        return all((key := self.identity(item)) in mine and equal(mine[key], item) for item in others)

    def merged(self, others: list[Any]) -> Associative:
        """These items in their places, with those of the others in place of theirs, or after them."""
        out = copy(self)
        places = {self.identity(item): index for index, item in enumerate(self)}
        for item in others:
            key = self.identity(item)
            if key in places:
                out[places[key]] = item
            else:
                places[key] = len(out)
                out.append(item)
        return out


class SetList(Associative):
    """x-kubernetes-list-type: set."""

    def identity(self, item: Any) -> Any:
        return item if not isinstance(item, dict | list) else str(item)


class MapList(Associative):
    """x-kubernetes-list-type: map."""

    keys: tuple[str, ...] = ()

    def identity(self, item: Any) -> Any:
        return tuple(str(item.get(key)) for key in self.keys) if isinstance(item, dict) else None


def set_list(value: Any) -> Any:
    """A JSON list as a set; anything else stays as it is."""
    return SetList(value) if isinstance(value, list) else value


def map_list(value: Any, keys: tuple[str, ...]) -> Any:
    """A JSON list as a map by its items' keys; anything else stays as it is."""
    if not isinstance(value, list):
        return value
    made = MapList(value)
    made.keys = keys
    return made


_COMPARABLE = (bool, str, bytes, Duration, Timestamp)


def compare(a: Any, b: Any) -> int:
    """-1, 0 or 1. Raises CelError for values without an order, and for NaN."""
    if is_number(a) and is_number(b):
        if math.isnan(a) or math.isnan(b):
            raise CelError("NaN values cannot be ordered")
    elif type(a) is not type(b) or not isinstance(a, _COMPARABLE):
        raise CelError("no such overload")
    return (a > b) - (a < b)


def size(value: Any) -> int:
    """Elements, characters or bytes; 1 for everything that has no size (the cost model's actualSize)."""
    if isinstance(value, str | bytes | list | dict):
        return len(value)
    if isinstance(value, Optional_) and value.present:
        return size(value.value)
    measure = getattr(value, "cel_size", None)
    return measure if measure is not None else 1


def to_plain(value: Any) -> Any:
    """A value as JSON has it. Raises CelError for what has no JSON form."""
    match value:
        case None | bool() | float() | str():
            return value
        case int():
            return int(value)
        case bytes():
            import base64

            return base64.b64encode(value).decode()
        case list():
            return [to_plain(item) for item in value]
        case dict():
            return {str(key): to_plain(item) for key, item in value.items()}
        case Duration() | Timestamp():
            return str(value)
        case Optional_() if value.present:
            return to_plain(value.value)
        case _:
            raise CelError(f"unsupported conversion of {type_name(value)} to JSON")
