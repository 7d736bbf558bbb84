"""Lists that are sets or maps: no item twice. Source: apiextensions' schema/listtype."""

from __future__ import annotations

from typing import Any

import orjson

from navarch.machinery.errors import FieldErrors
from navarch.machinery.structural.nodes import Node


def identity(value: Any) -> Any:
    """What tells items apart: values of other types are never equal."""
    if isinstance(value, dict | list):
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    return (type(value), value)


def key_of(item: Any, keys: tuple[str, ...]) -> Any:
    """The identity of an item in a list that is a map; a key that is not there is told from every value."""
    if not isinstance(item, dict):
        return tuple(None for _ in keys)
    return tuple(identity(item[key]) if key in item else None for key in keys)


def validate_lists(value: Any, node: Node | None, at: str, errs: FieldErrors) -> None:
    """Duplicates in sets, and in maps by their keys."""
    if node is None or not node.has_sets_below:
        return
    if type(value) is dict:
        for name, child in value.items():
            if name in node.properties:
                validate_lists(child, node.properties[name], f"{at}.{name}" if at else name, errs)
            elif isinstance(node.additional, Node):
                validate_lists(child, node.additional, f"{at}[{name}]", errs)
    elif type(value) is list:
        if node.list_type == "set":
            for index in _repeated([identity(item) for item in value]):
                errs.duplicate(f"{at}[{index}]", value[index])
        elif node.list_type == "map":
            _validate_map(value, node, at, errs)
        for index, child in enumerate(value):
            validate_lists(child, node.items, f"{at}[{index}]", errs)


def _validate_map(value: list[Any], node: Node, at: str, errs: FieldErrors) -> None:
    for index, item in enumerate(value):
        if item is not None and not isinstance(item, dict):
            errs.invalid(f"{at}[{index}]", item, "must be an object for an array of list-type map")
            return
    for index in _repeated([key_of(item, node.keys) for item in value]):
        item: Any = value[index] or {}
        errs.duplicate(f"{at}[{index}]", {key: item[key] for key in node.keys if key in item})


def _repeated(identities: list[Any]) -> list[int]:
    """Where something comes the second time."""
    if len(identities) < 2:
        return []
    seen: dict[Any, int] = {}
    found: list[int] = []
    for index, one in enumerate(identities):
        seen[one] = times = seen.get(one, 0) + 1
        if times == 2:
            found.append(index)
    return found
