"""The scalar types of the API: what a JSON value of each may be, and its canonical text.

Each walk takes (value, found) as `normalise` calls it and returns the value to keep, None for "as if absent". They
raise `Mismatch`. Source of the rules: apimachinery's Time, MicroTime, Duration, IntOrString; encoding/json.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import orjson

from navarch.machinery import quantity

GO_TYPES = {
    "int32": "int32",
    "int64": "int64",
    "bool": "bool",
    "double": "float64",
    "bytes": "[]uint8",
    "time": "string",
    "microtime": "string",
    "quantity": "resource.Quantity",
    "amount": "resource.Quantity",
    "intorstring": "int32",
    "duration": "string",
}
"""Go's names of the scalar types, as its messages have them; `string` for any other."""

ZEROS: dict[str, Callable[[], Any]] = {
    "string": str,
    "int32": int,
    "int64": int,
    "bool": bool,
    "double": int,
    "bytes": str,
    "quantity": lambda: "0",
    "amount": lambda: "0",
    "intorstring": int,
    "duration": lambda: "0s",
}
"""What Go encodes for an absent value that is always written. Times are missing: Go writes null."""

_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:[.,](\d+))?(Z|[+-]\d\d:\d\d)", re.ASCII)
_GO_DURATION = re.compile(r"[+-]?(0|((\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h))+)", re.ASCII)
_ZERO_TIME = "0001-01-01T00:00:00Z"


class Mismatch(Exception):
    """A value that its type cannot take. `text` is what was found where `go_type` is set, else the whole message."""

    def __init__(self, text: str, go_type: str = "", struct: str = "", kind: str = "") -> None:
        super().__init__(text)
        self.text = text
        self.go_type = go_type
        self.struct = struct
        self.kind = kind
        """Go's kind of what was found; empty where the type reads itself (a time, an int or string)."""
        self.path: list[str | int] = []

    @staticmethod
    def of(value: Any, go_type: str, struct: str = "", *, show_number: bool = False) -> Mismatch:
        return Mismatch(_described(value, show_number), go_type, struct, _kind(value))

    @staticmethod
    def read_itself(value: Any, go_type: str) -> Mismatch:
        return Mismatch(_described(value, show_number=go_type != "string"), go_type)

    def restoring(self) -> str:
        """What upstream says where the tree is a patched object (converter.go) instead of a body."""
        kind, wanted = self.kind, self.go_type
        if not wanted:
            return f"error decoding from json: {self.text}" if "base64" in self.text else self.text
        if not kind:
            return f"json: cannot unmarshal {self.text} into Go value of type {wanted}"
        if wanted.startswith("map["):
            return f"cannot restore map from {kind}"
        if wanted == "[]uint8" and kind == "slice":
            return "unrecognized type: uint8"
        if wanted.startswith("[]"):
            return f"cannot restore slice from {kind}"
        if "." in wanted:
            return f"cannot restore struct from: {kind}"
        numbers = ("int64", "float64")
        if kind in numbers and (wanted in (*numbers, "int32") or (kind, wanted) == ("int64", "string")):
            return f"cannot convert {kind} to {wanted}"
        return f"unrecognized type: {wanted}"


def _described(value: Any, show_number: bool) -> str:
    match value:
        case bool():
            return "bool"
        case str():
            return "string"
        case int() | float():
            return f"number {orjson.dumps(value).decode()}" if show_number else "number"
        case list():
            return "array"
        case dict():
            return "object"
        case _:
            return "null"


def _kind(value: Any) -> str:
    kinds = {bool: "bool", str: "string", int: "int64", float: "float64", list: "slice", dict: "map"}
    return kinds.get(type(value), "invalid")


def _string(value: Any, found: object) -> str:
    if type(value) is not str:
        raise Mismatch.of(value, "string")
    return value


def _bool(value: Any, found: object) -> bool:
    if type(value) is not bool:
        raise Mismatch.of(value, "bool")
    return value


def _int32(value: Any, found: object) -> int:
    if type(value) is not int or not -0x80000000 <= value <= 0x7FFFFFFF:
        raise Mismatch.of(value, "int32", show_number=True)
    return value


def _int64(value: Any, found: object) -> int:
    if type(value) is not int or not -0x8000000000000000 <= value <= 0x7FFFFFFFFFFFFFFF:
        raise Mismatch.of(value, "int64", show_number=True)
    return value


def _double(value: Any, found: object) -> int | float:
    if type(value) is not float and type(value) is not int:
        raise Mismatch.of(value, "float64")
    return value


def _int_or_string(value: Any, found: object) -> int | str:
    if type(value) is str or (type(value) is int and -0x80000000 <= value <= 0x7FFFFFFF):
        return value
    raise Mismatch.read_itself(value, "int32")


def _bytes(value: Any, found: object) -> str:
    if type(value) is not str:
        raise Mismatch.of(value, "[]uint8")
    text = value.replace("\r", "").replace("\n", "") if "\n" in value or "\r" in value else value
    try:
        raw = binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        raise Mismatch(f"illegal base64 data at input byte {_first_bad_base64(text)}") from None
    canonical = binascii.b2a_base64(raw, newline=False)
    return value if value.isascii() and canonical == value.encode() else canonical.decode()


def _first_bad_base64(text: str) -> int:
    match = re.match(r"[A-Za-z0-9+/]*", text, re.ASCII)
    return match.end() if match else 0


def _quantity(value: Any, found: object) -> str:
    try:
        if type(value) is str or type(value) is int or type(value) is float:
            return quantity.canonical(value)
    except ValueError as error:
        if type(value) is str and value != value.strip():
            return _quantity(value.strip(), found)
        raise Mismatch(str(error)) from None
    raise Mismatch(quantity.FORMAT_WRONG)


def _amount(value: Any, found: object) -> str:
    return quantity.rounded(_quantity(value, found))


def _duration(value: Any, found: object) -> str:
    if type(value) is not str:
        raise Mismatch.read_itself(value, "string")
    if not _GO_DURATION.fullmatch(value):
        raise Mismatch(f"time: invalid duration {orjson.dumps(value).decode()}")
    return value


def _time(value: Any, found: object) -> str | None:
    if type(value) is not str:
        raise Mismatch.read_itself(value, "string")
    return canonical_time(value)


def _micro_time(value: Any, found: object) -> str | None:
    if type(value) is not str:
        raise Mismatch.read_itself(value, "string")
    return canonical_micro_time(value)


@lru_cache(maxsize=4096)
def canonical_time(text: str) -> str | None:
    """RFC 3339 text in UTC and whole seconds; None for Go's zero time. Raises Mismatch."""
    moment, _ = _parse(text, "2006-01-02T15:04:05Z07:00")
    shown = moment.replace(microsecond=0, tzinfo=None).isoformat() + "Z"
    return None if shown == _ZERO_TIME else shown


@lru_cache(maxsize=4096)
def canonical_micro_time(text: str) -> str | None:
    """RFC 3339 text in UTC with six decimals, as MicroTime has it; None for Go's zero time. Raises Mismatch."""
    moment, fraction = _parse(text, "2006-01-02T15:04:05.000000Z07:00")
    shown = moment.replace(microsecond=0, tzinfo=None).isoformat()
    if shown + "Z" == _ZERO_TIME and not int(fraction or "0"):
        return None
    return f"{shown}.{fraction[:6]:0<6}Z"


def _parse(text: str, layout: str) -> tuple[datetime, str]:
    """The moment in UTC, and the digits after the seconds."""
    match = _TIME.fullmatch(text)
    if match:
        try:
            moment = datetime.fromisoformat(match[1] + match[3])
            return moment.astimezone(UTC), match[2] or ""
        except (ValueError, OverflowError):
            pass
    quoted = orjson.dumps(text).decode()
    raise Mismatch(f'parsing time {quoted} as "{layout}": cannot parse {quoted} as "2006"')


WALKS: dict[str, Callable[[Any, Any], Any]] = {
    "string": _string,
    "int32": _int32,
    "int64": _int64,
    "bool": _bool,
    "double": _double,
    "bytes": _bytes,
    "time": _time,
    "microtime": _micro_time,
    "quantity": _quantity,
    "amount": _amount,
    "intorstring": _int_or_string,
    "duration": _duration,
}
"""By `ScalarType`."""
