"""Path elements, the steps of a field path, as FieldsV1 writes them.

`f:name` is a field, `k:{"name":"a"}` a list's item by its keys, `v:"a"` an item of a set, `i:0` an index. The texts are
canonical (keys in order of their names, strings as Go's JSON has them), so that equal elements have equal texts.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import orjson

from navarch.machinery.scalars import ZEROS
from navarch.machinery.schema import Field, Schema

FIELD, KEYS, VALUE, INDEX = "f:", "k:", "v:", "i:"
HTML_ESCAPES = str.maketrans(
    {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"},
)


class ElementError(ValueError):
    """An item that no path element addresses, or a text that is no path element."""


@lru_cache(maxsize=16384, typed=True)
def value_text(value: Any) -> str:
    """A scalar as it stands in a path element: Go's JSON, which escapes what HTML would mistake."""
    return orjson.dumps(value).decode().translate(HTML_ESCAPES)


def keys_text(keys: dict[str, Any]) -> str:
    """The element of an item with these keys."""
    return "k:{" + ",".join(f"{value_text(name)}:{_any_text(keys[name])}" for name in sorted(keys)) + "}"


def _any_text(value: Any) -> str:
    if isinstance(value, dict | list):
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode().translate(HTML_ESCAPES)
    return value_text(value)


@lru_cache(maxsize=4096)
def item_element(schema: Schema) -> Callable[[Any], str]:
    """Gives the path elements of the items of an associative list (a set, or a map by keys)."""
    if schema.list_type == "set" or not schema.list_map_keys:
        return _set_element
    items = schema.items
    fields = items.fields if items is not None else {}
    names = sorted(schema.list_map_keys)
    defaults = {name: value for name in names if name in fields and (value := _default(fields[name])) is not None}

    def keyed(item: Any) -> str:
        if item is None:
            raise ElementError("associative list with keys may not have a null element")
        if not isinstance(item, dict):
            raise ElementError("associative list with keys may not have non-map elements")
        keys: dict[str, Any] = {}
        for name in names:
            if name in item:
                keys[name] = item[name]
            elif name in defaults:
                keys[name] = defaults[name]
        if not keys:
            listed = " ".join(f'"{name}"' for name in schema.list_map_keys)
            raise ElementError(
                f"associative list with keys has an element that omits all key fields [{listed}] "
                "(and doesn't have default values for any key fields)"
            )
        return keys_text(keys)

    if len(names) > 1:
        return keyed
    name = names[0]
    head = f"k:{{{value_text(name)}:"

    def by_name(item: Any) -> str:
        value = item.get(name) if type(item) is dict else None
        return f"{head}{value_text(value)}}}" if type(value) is str else keyed(item)

    return by_name


def _default(field: Field) -> Any:
    """A key's value where an item has none: what is published, which for a field that is always written is its zero."""
    if field.default is not None or field.presence != "always":
        return field.default
    zero = ZEROS.get(field.schema.scalar) if field.schema.type == "scalar" else None
    return zero() if zero is not None else None


def _set_element(item: Any) -> str:
    if isinstance(item, dict):
        raise ElementError("associative list without keys has an element that's a map type")
    if isinstance(item, list):
        raise ElementError("not supported: associative list with lists as elements")
    if item is None:
        raise ElementError("associative list without keys has an element that's an explicit null")
    return VALUE + value_text(item)


def canonical_element(text: str) -> str | None:
    """A client's path element in canonical form; None for types that this release does not know.

    Raises ElementError for what is no path element."""
    if len(text) < 2:
        raise ElementError("key must be 2 characters long:")
    if text[1] != ":":
        raise ElementError(f"missing colon: {text}")
    kind, rest = text[:2], text[2:]
    try:
        if kind == FIELD:
            return text
        if kind == KEYS:
            keys = orjson.loads(rest)
            if not isinstance(keys, dict):
                raise ElementError(f"expected an object: {text}")
            return keys_text(keys)
        if kind == VALUE:
            return VALUE + _any_text(orjson.loads(rest))
        if kind == INDEX:
            return INDEX + str(int(rest))
    except (ValueError, TypeError) as err:
        raise ElementError(str(err)) from None
    return None


@lru_cache(maxsize=16384)
def rank(element: str) -> tuple[Any, ...]:
    """Where an element stands among others: fields, items by keys, values, indexes; numbers by their worth."""
    kind = element[:2]
    if kind == FIELD:
        return (0, element[2:])
    if kind == KEYS:
        return (1, tuple((name, _value_rank(value)) for name, value in orjson.loads(element[2:]).items()))
    if kind == VALUE:
        return (2, _value_rank(orjson.loads(element[2:])))
    if kind == INDEX:
        return (3, int(element[2:]))
    return (-1,)


def _value_rank(value: Any) -> tuple[Any, ...]:
    if isinstance(value, bool):
        return (2, value)
    if isinstance(value, int | float):
        return (0, value)
    if isinstance(value, str):
        return (1, value)
    return (3, orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode())


def shown(element: str) -> str:
    """The element as messages print it: `.spec`, `[name="a"]`, `[="a"]`, `[0]`."""
    kind, rest = element[:2], element[2:]
    if kind == FIELD:
        return f".{rest}"
    if kind == KEYS:
        return "[" + ",".join(f"{name}={_shown_value(value)}" for name, value in orjson.loads(rest).items()) + "]"
    if kind == VALUE:
        return f"[={_shown_value(orjson.loads(rest))}]"
    return f"[{rest}]"


def _shown_value(value: Any) -> str:
    return orjson.dumps(value).decode()
