"""Bringing an object to its schema's form: pruning, defaults, and the metadata of what is embedded in it.

All of them change trees in place. Sources: apiextensions' schema/pruning, schema/defaulting, schema/objectmeta.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from navarch.machinery import trees
from navarch.machinery.structural.nodes import META_FIELDS, Node
from navarch.machinery.types import Obj

Paths = list[str]
"""Paths below the node that is walked, each beginning with `.` or `[`."""
Metadata = Callable[[Any, Paths], Obj]
"""(metadata, unknown) -> the metadata as ObjectMeta's type has it; adds unknown fields. Raises ValueError."""


def prune(
    value: Any, node: Node | None, unknown: Paths | None = None, *, root: bool = False, nulls: bool = False
) -> None:
    """Drops what the schema does not know, and nulls of fields that may not be null and have no default, unless `nulls`
    may stay. `unknown` gets the paths of what was dropped for being unknown. `root`: apiVersion, kind and metadata are
    known."""
    found = _prune(value, node, root, nulls)
    if found and unknown is not None:
        unknown.extend(path.removeprefix(".") for path in sorted(found))


def _prune(value: Any, node: Node | None, resource: bool = False, nulls: bool = False) -> Paths | None:
    if type(value) is dict:
        return _prune_object(value, node, resource, nulls)
    if type(value) is list:
        items = node.items if node is not None else None
        if node is not None and node.preserve and items is None:
            return None
        found: Paths | None = None
        for index, item in enumerate(value):
            if type(item) in (dict, list) and (
                below := _prune(item, items, items is not None and items.embedded, nulls)
            ):
                found = found or []
                found.extend(f"[{index}]{path}" for path in below)
            elif type(item) is int and item > MAX_INT:
                value[index] = float(item)
        return found
    return None


def _prune_object(value: Obj, node: Node | None, resource: bool, nulls: bool) -> Paths | None:
    if node is None:
        dropped = [f".{name}" for name in value]
        value.clear()
        return dropped
    found: Paths | None = None
    drop: list[str] | None = None
    properties = node.properties
    for name, child in value.items():
        if resource and name in META_FIELDS:
            continue
        below = properties.get(name)
        if below is None:
            if not node.has_more:
                if not node.preserve:
                    drop = drop or []
                    drop.append(name)
                    found = found or []
                    found.append(f".{name}")
                continue
            below = node.additional if isinstance(node.additional, Node) else None
        if child is None:
            if not nulls and below is not None and not below.nullable and not below.has_default:
                drop = drop or []
                drop.append(name)
        elif type(child) in (dict, list) and (
            paths := _prune(child, below, below is not None and below.embedded, nulls)
        ):
            found = found or []
            found.extend(f".{name}{path}" for path in paths)
        elif type(child) is int and child > MAX_INT:
            value[name] = float(child)
    if drop is not None:
        for name in drop:
            del value[name]
    return found


MAX_INT = 2**63 - 1
"""What is larger is no integer to Go."""
LARGEST = 2**53 - 1
"""Of what a number with a fraction's place says exactly."""


def settle_numbers(value: Any) -> Any:
    """The tree with whole numbers written so, as Go writes them: `2.0` is `2`."""
    if type(value) is dict:
        for name, child in value.items():
            kind = type(child)
            if kind is dict or kind is list:
                settle_numbers(child)
            elif kind is float and child.is_integer() and abs(child) <= LARGEST:
                value[name] = int(child)
    elif type(value) is list:
        for index, child in enumerate(value):
            kind = type(child)
            if kind is dict or kind is list:
                settle_numbers(child)
            elif kind is float and child.is_integer() and abs(child) <= LARGEST:
                value[index] = int(child)
    return value


def default(value: Any, node: Node) -> None:
    """Sets the defaults of what is absent, or null and may not be."""
    if not node.has_defaults_below:
        return
    if type(value) is dict:
        for name, below in node.properties.items():
            if below.has_default and (name not in value or (value[name] is None and not below.nullable)):
                value[name] = trees.copy(below.default)
        more = node.additional if isinstance(node.additional, Node) else None
        for name, child in value.items():
            below = node.properties.get(name)
            if below is None:
                below = more
                if below is None:
                    continue
                if child is None and not below.nullable:
                    child = value[name] = trees.copy(below.default)
            if below.has_defaults_below and type(child) in (dict, list):
                default(child, below)
    elif type(value) is list and (items := node.items) is not None:
        for index, child in enumerate(value):
            if child is None and not items.nullable and items.has_default:
                child = value[index] = trees.copy(items.default)
            default(child, items)


def coerce(value: Any, node: Node | None, metadata: Metadata, unknown: Paths, at: str = "") -> None:
    """Brings the metadata of embedded resources to ObjectMeta's form. Raises ValueError with the path in front."""
    if node is None or not node.has_embedded_below:
        return
    if type(value) is dict:
        if node.embedded:
            _coerce_resource(value, metadata, unknown, at)
        for name, child in value.items():
            coerce(child, node.child(name), metadata, unknown, f"{at}.{name}" if at else name)
    elif type(value) is list:
        for index, child in enumerate(value):
            coerce(child, node.items, metadata, unknown, f"{at}[{index}]")


def _coerce_resource(value: Obj, metadata: Metadata, unknown: Paths, at: str) -> None:
    for name in ("apiVersion", "kind"):
        if name in value and not isinstance(value[name], str):
            raise ValueError(
                f"{at}.{name}".removeprefix(".") + f": Invalid value: {_shown(value[name])}: must be a string"
            )
    if "metadata" in value:
        place = f"{at}.metadata".removeprefix(".")
        found: Paths = []
        try:
            value["metadata"] = metadata(value["metadata"], found)
        except ValueError as error:
            raise ValueError(f"{place}: Invalid value: {_shown(value['metadata'])}: {error}") from None
        unknown.extend(f"{place}.{path}" for path in found)


def _shown(value: Any) -> str:
    from navarch.machinery.errors import show

    return show(value)
