"""Operators, conversions, strings and times of the CEL specification."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from navarch.machinery.cel.declarations import Library, Overload, library, member, over
from navarch.machinery.cel.types import (
    BOOL,
    BYTES,
    DOUBLE,
    DURATION,
    DYN,
    INT,
    NULL,
    STRING,
    TIMESTAMP,
    UINT,
    A,
    B,
    Type,
    list_of,
    map_of,
    optional_of,
    type_of,
)
from navarch.machinery.cel.values import (
    MAX_INT,
    MAX_SECONDS,
    MAX_UINT,
    MIN_INT,
    MIN_SECONDS,
    NANOS,
    NONE_,
    Associative,
    CelError,
    Duration,
    Optional_,
    Timestamp,
    TypeValue,
    UInt,
    compare,
    duration,
    equal,
    timestamp,
    type_name,
)
from navarch.machinery.patterns import compiled

LIST_A, MAP_AB = list_of(A), map_of(A, B)


def checked(value: Any, like: Any) -> Any:
    """An arithmetic result within the range of its type. Raises CelError."""
    if isinstance(like, UInt):
        if not 0 <= value <= MAX_UINT:
            raise CelError("unsigned integer overflow")
        return UInt(value)
    if not MIN_INT <= value <= MAX_INT:
        raise CelError("integer overflow")
    return value


def _same_number(a: Any, b: Any) -> bool:
    kind = type(a)
    return kind is type(b) and kind in (int, UInt, float)


def _moment(nanos: int) -> Timestamp:
    if not MIN_SECONDS <= nanos // NANOS <= MAX_SECONDS:
        raise CelError("timestamp overflow")
    return Timestamp(nanos)


def _span(nanos: int) -> Duration:
    if not MIN_INT <= nanos <= MAX_INT:
        raise CelError("duration overflow")
    return Duration(nanos)


def add(a: Any, b: Any) -> Any:
    if _same_number(a, b):
        return a + b if type(a) is float else checked(int(a) + int(b), a)
    if isinstance(a, Associative) and isinstance(b, list):
        return a.merged(b)
    if isinstance(a, list) and isinstance(b, list):
        return [*a, *b]
    if type(a) is type(b) and isinstance(a, str | bytes):
        return a + b
    match a, b:
        case (Timestamp(), Duration()) | (Duration(), Timestamp()):
            return _moment(a.nanos + b.nanos)
        case (Duration(), Duration()):
            return _span(a.nanos + b.nanos)
        case _:
            raise TypeError


def subtract(a: Any, b: Any) -> Any:
    if _same_number(a, b):
        return a - b if type(a) is float else checked(int(a) - int(b), a)
    match a, b:
        case (Timestamp(), Duration()):
            return _moment(a.nanos - b.nanos)
        case (Timestamp(), Timestamp()) | (Duration(), Duration()):
            return _span(a.nanos - b.nanos)
        case _:
            raise TypeError


def multiply(a: Any, b: Any) -> Any:
    if not _same_number(a, b):
        raise TypeError
    return a * b if type(a) is float else checked(int(a) * int(b), a)


def divide(a: Any, b: Any) -> Any:
    if not _same_number(a, b):
        raise TypeError
    if type(a) is float:
        if b == 0:
            return math.nan if a == 0 or math.isnan(a) else math.copysign(math.inf, a) * math.copysign(1.0, b)
        return a / b
    if b == 0:
        raise CelError("division by zero")
    quotient = abs(int(a)) // abs(int(b))
    return checked(quotient if (a < 0) == (b < 0) else -quotient, a)


def modulo(a: Any, b: Any) -> Any:
    if not _same_number(a, b) or type(a) is float:
        raise TypeError
    if b == 0:
        raise CelError("modulus by zero")
    remainder = abs(int(a)) % abs(int(b))
    return checked(-remainder if a < 0 else remainder, a)


def negate(a: Any) -> Any:
    if type(a) is float:
        return -a
    if type(a) is not int:
        raise TypeError
    return checked(-a, a)


def not_(a: Any) -> bool:
    if type(a) is not bool:
        raise TypeError
    return not a


def contains(item: Any, container: Any) -> bool:
    if isinstance(container, dict):
        if isinstance(item, str):
            return item in container
        return any(equal(item, key) for key in container)
    if isinstance(container, list):
        if isinstance(item, str):
            return item in container
        return any(equal(item, other) for other in container)
    raise TypeError


def index(container: Any, key: Any) -> Any:
    if isinstance(container, list):
        if isinstance(key, float) and key.is_integer():
            key = int(key)
        if not isinstance(key, int) or isinstance(key, bool):
            raise CelError(f"unsupported index type '{type_name(key)}' in list")
        if not 0 <= key < len(container):
            raise CelError(f"index out of bounds: {int(key)}")
        return container[key]
    if isinstance(container, dict):
        if isinstance(key, str) or not container:
            if key in container:
                return container[key]
        else:
            for present, value in container.items():
                if equal(present, key):
                    return value
        raise CelError(f"no such key: {key_text(key)}")
    if isinstance(container, Optional_):
        return optional_index(container, key)
    raise TypeError


def key_text(key: Any) -> str:
    return str(key).lower() if isinstance(key, bool) else str(key)


def optional_index(container: Any, key: Any) -> Optional_:
    if isinstance(container, Optional_):
        if not container.present:
            return NONE_
        container = container.value
    try:
        return Optional_(index(container, key))
    except CelError:
        return NONE_


def _ordered(holds: Callable[[int], bool]) -> Callable[[Any, Any], bool]:
    def impl(a: Any, b: Any) -> bool:
        if (isinstance(a, float) and math.isnan(a)) or (isinstance(b, float) and math.isnan(b)):
            return False
        return holds(compare(a, b))

    return impl


def length(value: Any) -> int:
    if isinstance(value, str | bytes | list | dict):
        return len(value)
    raise TypeError


# -- conversions


def _unconverted(wanted: str) -> CelError:
    """A text that is no such value."""
    return CelError(f"type conversion error from 'string' to '{wanted}'")


def to_int(value: Any) -> int:
    match value:
        case bool():
            raise TypeError
        case int():
            return checked(int(value), 0)
        case float():
            if not math.isfinite(value) or not MIN_INT < value < MAX_INT:
                raise CelError("integer overflow")
            return int(value)
        case str():
            body = value[1:] if value[:1] in ("-", "+") else value
            if not (body.isascii() and body.isdigit()) or len(body) > 30 or not MIN_INT <= int(value) <= MAX_INT:
                raise _unconverted("int")
            return int(value)
        case Timestamp():
            return value.nanos // NANOS
        case _:
            raise TypeError


def to_uint(value: Any) -> UInt:
    match value:
        case bool():
            raise TypeError
        case int():
            return checked(int(value), UInt(0))
        case float():
            if not math.isfinite(value) or not 0 <= value < MAX_UINT:
                raise CelError("unsigned integer overflow")
            return UInt(int(value))
        case str():
            if not (value.isascii() and value.isdigit()) or len(value) > 30 or int(value) > MAX_UINT:
                raise _unconverted("uint")
            return UInt(int(value))
        case _:
            raise TypeError


def to_double(value: Any) -> float:
    match value:
        case bool():
            raise TypeError
        case int() | float():
            return float(value)
        case str():
            try:
                return float(value.replace("_", "x"))
            except ValueError:
                raise _unconverted("double") from None
        case _:
            raise TypeError


def double_text(value: float) -> str:
    """Go's shortest form ('f' format as strconv prints it)."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if value.is_integer() and abs(value) < 1e21:
        return str(int(value))
    return repr(value)


def to_string(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return value
        case int():
            return str(int(value))
        case float():
            return double_text(value)
        case bytes():
            try:
                return value.decode()
            except UnicodeDecodeError:
                raise CelError("invalid UTF-8 in bytes, cannot convert to string") from None
        case Timestamp() | Duration():
            return str(value)
        case _:
            if (text := getattr(value, "cel_text", None)) is not None:
                return text
            raise TypeError


def to_bool(value: Any) -> bool:
    match value:
        case bool():
            return value
        case str():
            if value in ("1", "t", "T", "TRUE", "true", "True"):
                return True
            if value in ("0", "f", "F", "FALSE", "false", "False"):
                return False
            raise _unconverted("bool")
        case _:
            raise TypeError


def to_bytes(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bytes):
        return value
    raise TypeError


def to_duration(value: Any) -> Duration:
    if isinstance(value, str):
        try:
            return duration(value)
        except CelError:
            raise _unconverted("google.protobuf.Duration") from None
    if isinstance(value, Duration):
        return value
    if type(value) is int:
        return _span(value)
    raise TypeError


def to_timestamp(value: Any) -> Timestamp:
    if isinstance(value, str):
        try:
            return timestamp(value)
        except CelError as error:
            raise error if "overflow" in str(error) else _unconverted("google.protobuf.Timestamp") from None
    if isinstance(value, Timestamp):
        return value
    if type(value) is int:
        return _moment(value * NANOS)
    raise TypeError


# -- strings


def pattern(text: str) -> Any:
    """A compiled user pattern: RE2 only. Raises CelError."""
    found = compiled(text)
    if found.expression is None:
        raise CelError(found.why)
    return found.expression


def matches(text: Any, expression: Any) -> bool:
    if not isinstance(text, str) or not isinstance(expression, str):
        raise TypeError
    return pattern(expression).search(text) is not None


def _strings(impl: Callable[[str, str], Any]) -> Callable[[Any, Any], Any]:
    def checked_impl(a: Any, b: Any) -> Any:
        if not isinstance(a, str) or not isinstance(b, str):
            raise TypeError
        return impl(a, b)

    return checked_impl


# -- declarations

_NUMBERS = {"int64": INT, "uint64": UINT, "double": DOUBLE}
_ORDERED = {
    **_NUMBERS, "bool": BOOL, "string": STRING, "bytes": BYTES, "timestamp": TIMESTAMP, "duration": DURATION,
}  # fmt: skip
OPTIONAL_A = optional_of(A)


def _arithmetic(name: str, kinds: dict[str, Type]) -> list[Overload]:
    return [over(f"{name}_{kind}", type, type, type) for kind, type in kinds.items()]


def _comparison(name: str) -> list[Overload]:
    found = [over(f"{name}_{kind}", BOOL, type, type) for kind, type in _ORDERED.items()]
    mixed = [(a, b) for a in _NUMBERS for b in _NUMBERS if a != b]
    return found + [over(f"{name}_{a}_{b}", BOOL, _NUMBERS[a], _NUMBERS[b]) for a, b in mixed]


def _conversion(name: str, result: Type, *sources: Type) -> list[Overload]:
    return [over(f"{source}_to_{name}", result, source) for source in sources]


STANDARD: Library = library(
    ("_+_", add, [
        *_arithmetic("add", {**_NUMBERS, "string": STRING, "bytes": BYTES}),
        over("add_list", LIST_A, LIST_A, LIST_A),
        over("add_duration_duration", DURATION, DURATION, DURATION),
        over("add_timestamp_duration", TIMESTAMP, TIMESTAMP, DURATION),
        over("add_duration_timestamp", TIMESTAMP, DURATION, TIMESTAMP),
    ]),
    ("_-_", subtract, [
        *_arithmetic("subtract", _NUMBERS),
        over("subtract_timestamp_timestamp", DURATION, TIMESTAMP, TIMESTAMP),
        over("subtract_timestamp_duration", TIMESTAMP, TIMESTAMP, DURATION),
        over("subtract_duration_duration", DURATION, DURATION, DURATION),
    ]),
    ("_*_", multiply, _arithmetic("multiply", _NUMBERS)),
    ("_/_", divide, _arithmetic("divide", _NUMBERS)),
    ("_%_", modulo, _arithmetic("modulo", {"int64": INT, "uint64": UINT})),
    ("-_", negate, [over("negate_int64", INT, INT), over("negate_double", DOUBLE, DOUBLE)]),
    ("!_", not_, [over("logical_not", BOOL, BOOL)]),
    ("_==_", equal, [over("equals", BOOL, A, A)]),
    ("_!=_", lambda a, b: not equal(a, b), [over("not_equals", BOOL, A, A)]),
    ("_<_", _ordered(lambda c: c < 0), _comparison("less")),
    ("_<=_", _ordered(lambda c: c <= 0), _comparison("less_equals")),
    ("_>_", _ordered(lambda c: c > 0), _comparison("greater")),
    ("_>=_", _ordered(lambda c: c >= 0), _comparison("greater_equals")),
    ("@in", contains, [over("in_list", BOOL, A, LIST_A), over("in_map", BOOL, A, MAP_AB)]),
    ("_[_]", index, [
        over("index_list", A, LIST_A, INT),
        over("index_map", B, MAP_AB, A),
        over("optional_list_index_int", OPTIONAL_A, optional_of(LIST_A), INT),
        over("optional_map_index_value", optional_of(B), optional_of(MAP_AB), A),
    ]),
    ("_[?_]", optional_index, [
        over("list_optindex_optional_int", OPTIONAL_A, LIST_A, INT),
        over("optional_list_optindex_optional_int", OPTIONAL_A, optional_of(LIST_A), INT),
        over("map_optindex_optional_value", optional_of(B), MAP_AB, A),
        over("optional_map_optindex_optional_value", optional_of(B), optional_of(MAP_AB), A),
    ]),
    ("size", length, [
        f(f"{kind}_size", INT, type)
        for kind, type in {"string": STRING, "bytes": BYTES, "list": LIST_A, "map": MAP_AB}.items()
        for f in (over, member)
    ]),
    ("int", to_int, _conversion("int64", INT, INT, UINT, DOUBLE, STRING, TIMESTAMP, DURATION)),
    ("uint", to_uint, _conversion("uint64", UINT, INT, UINT, DOUBLE, STRING)),
    ("double", to_double, _conversion("double", DOUBLE, INT, UINT, DOUBLE, STRING)),
    ("string", to_string, [
        *_conversion("string", STRING, INT, UINT, DOUBLE, BOOL, STRING, TIMESTAMP, DURATION),
        over("bytes_to_string", STRING, BYTES),
    ]),
    ("bytes", to_bytes, [over("bytes_to_bytes", BYTES, BYTES), over("string_to_bytes", BYTES, STRING)]),
    ("bool", to_bool, _conversion("bool", BOOL, BOOL, STRING)),
    ("duration", to_duration, _conversion("duration", DURATION, STRING, DURATION, INT)),
    ("timestamp", to_timestamp, _conversion("timestamp", TIMESTAMP, STRING, TIMESTAMP, INT)),
    ("dyn", lambda value: value, [over("to_dyn", DYN, A)]),
    ("type", lambda value: TypeValue(type_name(value)), [over("type", type_of(A), A)]),
    ("matches", matches, [over("matches", BOOL, STRING, STRING), member("matches_string", BOOL, STRING, STRING)]),
    ("contains", _strings(lambda a, b: b in a), [member("contains_string", BOOL, STRING, STRING)]),
    ("startsWith", _strings(str.startswith), [member("starts_with_string", BOOL, STRING, STRING)]),
    ("endsWith", _strings(str.endswith), [member("ends_with_string", BOOL, STRING, STRING)]),
)  # fmt: skip

TYPE_NAMES: dict[str, Type] = {
    "int": INT, "uint": UINT, "double": DOUBLE, "bool": BOOL, "string": STRING, "bytes": BYTES, "null_type": NULL,
    "list": list_of(DYN), "map": map_of(DYN, DYN), "type": type_of(DYN),
    "google.protobuf.Timestamp": TIMESTAMP, "google.protobuf.Duration": DURATION,
}  # fmt: skip
"""Identifiers that are types."""
