"""Whether an applied tree fits its schema: known fields, right types, no duplicate items."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from navarch.machinery.apply.elements import ElementError, item_element, shown
from navarch.machinery.apply.typed import DEDUCED
from navarch.machinery.patch.strategic import go_text
from navarch.machinery.schema import Schema

_TEXTS = ("string", "bytes", "time", "microtime", "duration")
_NUMBERS = ("int32", "int64", "double")


def problems(schema: Schema, tree: Any) -> str:
    """What is wrong, as structured-merge-diff words it; empty: nothing."""
    found = [f"{path}: {text}" if path else text for path, text in _check(schema, tree)]
    if len(found) < 2:
        return "".join(found)
    return "\n".join(["errors:", *(f"  {text}" for text in found)])


def _check(schema: Schema, value: Any) -> Iterator[tuple[str, str]]:
    """(path, what is wrong) of everything below `value`."""
    if value is None or schema.type == "any":
        return
    if schema.type == "scalar":
        if text := _scalar(schema, value):
            yield "", text
    elif schema.type == "list":
        if isinstance(value, list):
            yield from _check_list(schema, value)
        else:
            yield "", f"expected list, got &{{{go_text(value)}}}"
    elif not isinstance(value, dict):
        yield "", f"expected map, got &{{{go_text(value)}}}"
    else:
        yield from _check_map(schema, value)


def _check_map(schema: Schema, value: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name in sorted(value):
        if schema.type == "map":
            below = schema.items or DEDUCED
        elif field := schema.fields.get(name):
            below = field.schema
        elif schema.preserve_unknown:
            continue
        else:
            yield f".{name}", "field not declared in schema"
            continue
        for path, text in _check(below, value[name]):
            yield f".{name}{path}", text


def _check_list(schema: Schema, value: list[Any]) -> Iterator[tuple[str, str]]:
    items = schema.items or DEDUCED
    if schema.list_type == "atomic":
        for index, item in enumerate(value):
            for path, text in _check(items, item):
                yield f"[{index}]{path}", text
        return
    element_of = item_element(schema)
    seen: set[str] = set()
    for index, item in enumerate(value):
        try:
            element = element_of(item)
        except ElementError as err:
            yield "", f"element {index}: {err}"
            return
        if element in seen:
            yield "", f"duplicate entries for key {shown(element)}"
        seen.add(element)
        for path, text in _check(items, item):
            yield f"{shown(element)}{path}", text


def _scalar(schema: Schema, value: Any) -> str:
    kind = schema.scalar
    if kind in _TEXTS:
        if not isinstance(value, str):
            return f"expected string, got &value.valueUnstructured{{Value:{_quoted(value)}}}"
    elif kind in _NUMBERS:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"expected numeric (int or float), got {_go_type(value)}"
    elif kind == "bool":
        if not isinstance(value, bool):
            return f"expected boolean, got &{{{go_text(value)}}}"
    elif isinstance(value, dict | list):
        return f"expected any scalar, got &{{{go_text(value)}}}"
    return ""


def _go_type(value: Any) -> str:
    if isinstance(value, dict):
        return "map[string]interface {}"
    if isinstance(value, list):
        return "[]interface {}"
    return "bool" if isinstance(value, bool) else "string"


def _quoted(value: Any) -> str:
    """A scalar as Go prints it with %#v."""
    return f'"{value}"' if isinstance(value, str) else go_text(value)
