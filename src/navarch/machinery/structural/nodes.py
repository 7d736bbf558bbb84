"""A structural schema, parsed once: the tree that pruning, defaulting and validation walk.

Source of the rules: apiextensions-apiserver's pkg/apiserver/schema.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from navarch.machinery.patterns import Pattern, compiled
from navarch.machinery.schema import Field, ScalarType, Schema
from navarch.machinery.structural.formats import NUMBER_FORMATS, text_format
from navarch.machinery.types import Obj

META_FIELDS = frozenset(("apiVersion", "kind", "metadata"))
_SCALARS: dict[str, ScalarType] = {"string": "string", "integer": "int64", "number": "double", "boolean": "bool"}
_STRING = Schema("scalar")
_ANY = Schema("any")


class Node:
    """One schema. `raw` is the JSONSchemaProps it was made of; what most walks ask for is kept beside it."""

    __slots__ = (
        "additional",
        "all_of",
        "any_of",
        "closed",
        "default",
        "embedded",
        "enum",
        "format",
        "has_default",
        "has_defaults_below",
        "has_embedded_below",
        "has_sets_below",
        "items",
        "keys",
        "list_type",
        "negated",
        "nullable",
        "number_format",
        "one_of",
        "pattern",
        "preserve",
        "properties",
        "raw",
        "required",
        "types",
    )

    def __init__(self, raw: Obj) -> None:
        self.raw = raw
        type_ = raw.get("type") or ""
        mixed = bool(raw.get("x-kubernetes-int-or-string"))
        self.types: tuple[str, ...] = ("integer", "string") if mixed else (type_,) if type_ else ()
        self.nullable = bool(raw.get("nullable"))
        self.default: Any = raw.get("default")
        self.has_default = self.default is not None
        self.preserve = bool(raw.get("x-kubernetes-preserve-unknown-fields"))
        self.embedded = bool(raw.get("x-kubernetes-embedded-resource"))
        self.list_type: str = raw.get("x-kubernetes-list-type") or ""
        self.keys: tuple[str, ...] = tuple(raw.get("x-kubernetes-list-map-keys") or ())
        self.properties: dict[str, Node] = {k: Node(v) for k, v in (raw.get("properties") or {}).items()}
        items, more = raw.get("items"), raw.get("additionalProperties")
        self.items: Node | None = Node(items) if isinstance(items, dict) else None
        self.additional: Node | bool | None = Node(more) if isinstance(more, dict) else more
        self.closed = more is False
        self._validations(raw, type_)
        below = self._below()
        self.has_defaults_below = any(n.has_default or n.has_defaults_below for n in below)
        self.has_embedded_below = self.embedded or any(n.has_embedded_below for n in below)
        self.has_sets_below = self.list_type in ("set", "map") or any(n.has_sets_below for n in below)

    def _validations(self, raw: Obj, type_: str) -> None:
        self.required: tuple[str, ...] = tuple(raw.get("required") or ())
        self.enum: list[Any] = raw.get("enum") or []
        self.pattern: Pattern | None = compiled(raw["pattern"]) if raw.get("pattern") else None
        name: str = raw.get("format") or ""
        self.format = text_format(name) if name and type_ in ("", "string") and len(self.types) < 2 else ""
        self.number_format = name if name in NUMBER_FORMATS.get(type_, ()) else ""
        self.all_of = [Node(n) for n in raw.get("allOf") or ()]
        self.any_of = [Node(n) for n in raw.get("anyOf") or ()]
        self.one_of = [Node(n) for n in raw.get("oneOf") or ()]
        self.negated: Node | None = Node(raw["not"]) if raw.get("not") is not None else None

    def _below(self) -> list[Node]:
        found = list(self.properties.values())
        if self.items is not None:
            found.append(self.items)
        if isinstance(self.additional, Node):
            found.append(self.additional)
        return found

    def child(self, name: str) -> Node | None:
        """The schema of a field or of a map's value; None where there is none."""
        found = self.properties.get(name)
        if found is not None:
            return found
        return self.additional if isinstance(self.additional, Node) else None

    @property
    def has_more(self) -> bool:
        """Whether additionalProperties is given: keys that no property names are then known."""
        return self.additional is not None


def merging(node: Node, object_meta: Schema, *, root: bool = False) -> Schema:
    """How objects merge: the same Schema that built-in kinds have. `object_meta` is that of metadata."""
    raw = node.raw
    map_type: Any = raw.get("x-kubernetes-map-type") or "granular"
    if raw.get("x-kubernetes-int-or-string"):
        return _ANY
    match raw.get("type"):
        case "array":
            items = merging(node.items, object_meta) if node.items is not None else _ANY
            list_type: Any = node.list_type or "atomic"
            return Schema("list", items=items, list_type=list_type, list_map_keys=node.keys)
        case "object" if isinstance(node.additional, Node) or node.additional is True:
            items = merging(node.additional, object_meta) if isinstance(node.additional, Node) else _ANY
            return Schema("map", items=items, map_type=map_type)
        case "object":
            return _object(node, object_meta, map_type, root or node.embedded)
        case "string" if raw.get("format") not in (None, "", "byte"):
            return Schema("scalar", scalar="intorstring")  # upstream lets any scalar be such a text here
        case str() as name if name in _SCALARS:
            return Schema("scalar", scalar=_SCALARS[name])
        case _:
            return _object(node, object_meta, map_type, root or node.embedded) if node.properties or root else _ANY


def _object(node: Node, object_meta: Schema, map_type: Any, resource: bool) -> Schema:
    if not node.properties and not resource:
        return Schema("any", map_type=map_type)
    required = frozenset(node.required)
    fields = {
        name: Field(merging(below, object_meta), "pointer", name in required, below.default)
        for name, below in node.properties.items()
    }
    if resource:
        fields |= {"apiVersion": Field(_STRING), "kind": Field(_STRING), "metadata": Field(object_meta)}
    return Schema("object", fields=fields, map_type=map_type, preserve_unknown=node.preserve)


def has_rules(raw: Mapping[str, Any]) -> bool:
    """Whether the schema has x-kubernetes-validations anywhere on its structure."""
    if raw.get("x-kubernetes-validations"):
        return True
    below = [raw.get("items"), raw.get("additionalProperties"), *(raw.get("properties") or {}).values()]
    return any(isinstance(schema, dict) and has_rules(schema) for schema in below)
