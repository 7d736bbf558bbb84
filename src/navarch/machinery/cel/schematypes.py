"""From an OpenAPI v3 schema, as custom resources declare it, to the type that expressions see.

Source: apiserver pkg/cel/common/schemas.go. What a schema does not describe, expressions cannot reach.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from navarch.machinery.cel.lexer import RESERVED
from navarch.machinery.cel.types import (
    BOOL,
    INT,
    STRING,
    Type,
    list_of,
    map_of,
    object_of,
)
from navarch.machinery.cel.values import CelError, Timestamp, duration, map_list, set_list, timestamp

Schema = Mapping[str, Any]

MAX_REQUEST = 3 * 1024 * 1024
_BOOL, _INT = replace(BOOL, max_elements=0), replace(INT, max_elements=0)
"""Estimates take what the schema declares as no longer than it says, and it says nothing of these and of objects."""
SELF = "selfType0"
"""What expressions' words call the object that they are about."""
ITEM, VALUE = ".@idx", ".@elem"
KEYWORDS = RESERVED | {"true", "false", "null", "in"}
_NAME = re.compile(r"[a-zA-Z_.\-/][a-zA-Z0-9_.\-/]*", re.ASCII)
_ESCAPES = {"__": "__underscores__", ".": "__dot__", "-": "__dash__", "/": "__slash__"}
_META: dict[str, Any] = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "generateName": {"type": "string"}},
}


class Declared(NamedTuple):
    """A type, and how few bytes a value of it takes in JSON: what bounds the number of such values in a request."""

    type: Type
    smallest: int


def escape(name: str) -> str | None:
    """A property's name as an identifier; None where it has no such form."""
    if not _NAME.fullmatch(name):
        return None
    if name in KEYWORDS:
        return f"__{name}__"
    return re.sub(r"__|[.\-/]", lambda match: _ESCAPES[match.group()], name)


def schema_type(schema: Schema, root: bool = False) -> Type | None:
    """`root`: the schema of a whole object, whose kind, apiVersion and name can always be read. None: not exposed."""
    declared = declare(schema, root)
    return declared.type if declared else None


def own_name(found: Type) -> str:
    """What the objects in a type are named by, where they are named (`object_of`); else what no text has."""
    if found.is_object:
        return found.name
    if found.name == "list":
        return own_name(found.params[0]).removesuffix(ITEM)
    if found.name == "map":
        return own_name(found.params[1]).removesuffix(VALUE)
    return "\0"


def declare(schema: Schema, root: bool = False, name: str = SELF) -> Declared | None:
    """The same with the size of a value. Objects are named by where they are: `name` is the schema's own."""
    if schema.get("x-kubernetes-int-or-string"):
        length = _characters(schema) if schema.get("maxLength") is not None else MAX_REQUEST - 2
        return Declared(Type("dyn", max_elements=length), 1)
    if root:
        schema = _with_meta(schema)
    match schema.get("type"):
        case "array":
            return _array(schema, name)
        case "object":
            more = schema.get("additionalProperties")
            return _map(schema, more, name) if isinstance(more, Mapping) else _object(schema, name)
        case "string":
            return _string(schema)
        case "boolean":
            return Declared(_BOOL, 4)
        case "number":
            return Declared(Type("double", max_elements=0, convert=_to_double), 1)
        case "integer":
            return Declared(_INT, 1)
        case _:
            return None


def _with_meta(schema: Schema) -> Schema:
    properties = {**(schema.get("properties") or {})}
    properties |= {"kind": {"type": "string"}, "apiVersion": {"type": "string"}, "metadata": _META}
    return {**schema, "type": "object", "properties": properties}


def _array(schema: Schema, name: str) -> Declared | None:
    items = schema.get("items")
    if not isinstance(items, Mapping):
        return None
    item = declare(items, bool(items.get("x-kubernetes-embedded-resource")), name + ITEM)
    if item is None:
        return None
    most = schema.get("maxItems")
    most = max(most, 0) if most is not None else (MAX_REQUEST - 2) // (item.smallest + 1)
    return Declared(replace(list_of(item.type, most), convert=_list_conversion(schema)), 2)


def _list_conversion(schema: Schema) -> Callable[[Any], Any] | None:
    """Lists that are sets or maps know it."""
    match schema.get("x-kubernetes-list-type"):
        case "set":
            return set_list
        case "map":
            return partial(map_list, keys=tuple(schema.get("x-kubernetes-list-map-keys") or ()))
        case _:
            return None


def _map(schema: Schema, values: Schema, name: str) -> Declared | None:
    value = declare(values, bool(values.get("x-kubernetes-embedded-resource")), name + VALUE)
    if value is None:
        return None
    most = schema.get("maxProperties")
    most = max(most, 0) if most is not None else (MAX_REQUEST - 2) // (value.smallest + 6)
    return Declared(map_of(STRING, value.type, most), 2)


def _object(schema: Schema, own: str) -> Declared:
    fields: dict[str, Type] = {}
    names: dict[str, str] = {}
    smallest = 2
    required = set(schema.get("required") or ())
    for name, declared in (schema.get("properties") or {}).items():
        found = declare(declared, bool(declared.get("x-kubernetes-embedded-resource")), f"{own}.{escape(name) or name}")
        if found is None:
            continue
        if name in required and "default" not in declared:
            smallest += len(name) + found.smallest + 4
        escaped = escape(name)
        if escaped is not None:
            fields[escaped] = found.type
            if escaped != name:
                names[escaped] = name
    return Declared(replace(object_of(own, fields, names), max_elements=0), smallest)


def _characters(schema: Schema) -> int:
    return max(schema["maxLength"], 0) * 4


def _string(schema: Schema) -> Declared:
    bounded = schema.get("maxLength") is not None
    match schema.get("format"):
        case "byte":
            most = max(schema["maxLength"], 0) if bounded else MAX_REQUEST - 2
            return Declared(Type("bytes", max_elements=most, convert=_to_bytes), 2)
        case "duration":
            return Declared(Type("google.protobuf.Duration", max_elements=32, convert=duration), 3)
        case "date":
            return Declared(Type("google.protobuf.Timestamp", max_elements=12, convert=_to_date), 12)
        case "date-time":
            return Declared(Type("google.protobuf.Timestamp", max_elements=32, convert=timestamp), 21)
        case _:
            pass
    if bounded:
        most = _characters(schema)
    elif words := schema.get("enum"):
        most = max((len(word) for word in words if isinstance(word, str)), default=0)
    else:
        most = MAX_REQUEST - 2
    return Declared(Type("string", max_elements=most), 2)


def _to_double(value: Any) -> Any:
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _to_bytes(value: Any) -> Any:
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, TypeError):
        raise CelError("invalid base64 value") from None


def _to_date(value: Any) -> Timestamp:
    return timestamp(f"{value}T00:00:00Z")


def convert(found: Type, value: Any) -> Any:
    """A JSON value as the variable of a rule (`self`): converted where its type asks for it."""
    return found.convert(value) if found.convert is not None and value is not None else value
