"""Schemas of the built-in kinds, compiled from the release's facts when first asked for.

Types, field order and Go presence come from `wire.json` (one line per message: `name=number:type` and marks), merging
rules and required fields from the compiled definitions. Retired versions have no published definition: they take the
rules of the current version's type of the same name.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from functools import cache
from importlib import resources
from typing import Any, NamedTuple, cast, get_args

import orjson

from navarch.machinery.schema import Field, Presence, ScalarType, Schema
from navarch.machinery.types import Obj

_META = "io.k8s.apimachinery.pkg.apis.meta.v1"
_ALIASES = {"meta": _META, "core": "io.k8s.api.core.v1"}
_SCALARS = {name: Schema("scalar", scalar=name) for name in get_args(ScalarType)}
_ANY = Schema("any")
_RAW = Schema("any", map_type="atomic")
_MARKS: dict[str, Presence] = {"?": "pointer", "!": "always"}
_EXTENSIONS_MOVED_TO = ("apps", "networking", "policy")
_lock = threading.RLock()
_schemas: dict[str, Schema] = {}


class WireField(NamedTuple):
    """One field of a message. `type` is `string`, `[]core.Pod`, `map<quantity>`, ...: see `resolve`."""

    name: str
    number: int
    type: str
    presence: Presence
    inline: bool
    """An embedded struct: its fields belong to the parent in JSON."""
    default: str
    """The published default; empty: none."""


@cache
def wire() -> dict[str, dict[str, str]]:
    """{package: {message: fields}}, as `wire.json` holds them."""
    return orjson.loads(resources.files("navarch.api").joinpath("wire.json").read_bytes())


def compiled(name: str) -> Any:
    """A file that the build compiled. Raises RuntimeError where the build was never run."""
    try:
        return orjson.loads(resources.files("navarch.api").joinpath("_compiled", name).read_bytes())
    except FileNotFoundError:
        raise RuntimeError(
            f"navarch.api._compiled/{name} is missing: build the package first (pip install -e . in the source tree)"
        ) from None


@cache
def values() -> dict[str, dict[str, Obj]]:
    """{definition: {path of a property (`type`, `scopes.items`): {"enum": what it may be, "default": what it is if absent}}},
    which the published definitions leave out. A default that is Go's zero of a field that is always written is not here.
    """
    return orjson.loads(resources.files("navarch.api").joinpath("values.json").read_bytes())


@cache
def _merging() -> dict[str, Any]:
    return compiled("merging.json")


def has(definition: str) -> bool:
    """Whether there is a schema of this name."""
    package, _, message = definition.rpartition(".")
    return message in wire().get(package, ())


def wire_fields(definition: str) -> tuple[bool, list[WireField]]:
    """Whether the message carries apiVersion and kind, and its fields. Raises KeyError for unknown names."""
    package, _, message = definition.rpartition(".")
    words = wire()[package][message].split()
    typed = bool(words) and words[0] == "@type"
    return typed, [_wire_field(word) for word in words[typed:]]


def _wire_field(word: str) -> WireField:
    name, _, rest = word.partition("=")
    number, _, type_ = rest.partition(":")
    type_, _, default = type_.partition("~")
    mark = type_[-1] if type_[-1] in "?!^" else ""
    return WireField(name, int(number), type_.removesuffix(mark), _MARKS.get(mark, "omitempty"), mark == "^", default)


def resolve(reference: str, package: str) -> str:
    """The definition that a message type in a field of `package` names."""
    if reference.startswith("."):
        return reference[1:]
    alias, dot, message = reference.partition(".")
    return f"{_ALIASES[alias]}.{message}" if dot else f"{package}.{reference}"


def schema(definition: str) -> Schema:
    """The schema of a definition such as `io.k8s.api.apps.v1.Deployment`; cached. Raises KeyError for unknown names."""
    found = _schemas.get(definition)
    if found is None:
        with _lock:
            found = _compile(definition, {})
    return found


def _compile(definition: str, pending: dict[str, Schema]) -> Schema:
    """Compiles all that the definition reaches, and publishes it once it is whole."""
    result = _definition(definition, pending)
    _schemas.update(pending)
    return result


def _definition(definition: str, pending: dict[str, Schema]) -> Schema:
    known = _schemas.get(definition) or pending.get(definition)
    if known is not None:
        return known
    package, _, message = definition.rpartition(".")
    if special := _special(package, message, definition, pending):
        return special
    typed, fields = wire_fields(definition)
    rules = _rules(package, message)
    node = Schema("object", definition, map_type=rules.get("map", "granular"))
    pending[definition] = node
    if typed:
        node.fields["apiVersion"] = node.fields["kind"] = Field(_SCALARS["string"])
    required = frozenset[str](rules.get("required", ()))
    of_fields: dict[str, Any] = rules.get("fields", {})
    for field in fields:
        if field.inline:
            node.fields.update(_definition(resolve(field.type, package), pending).fields)
        else:
            of_field: dict[str, Any] = of_fields.get(field.name, {})
            node.fields[field.name] = _field(field, package, field.name in required, of_field, pending)
    return node


def _field(field: WireField, package: str, required: bool, rules: dict[str, Any], pending: dict[str, Schema]) -> Field:
    node = _typed(field.type, package, rules, pending)
    default: Any = int(field.default) if field.default.isdecimal() else field.default or None
    strategy = tuple(str(rules.get("strategy", "")).split(",")) if "strategy" in rules else ()
    return Field(node, field.presence, required, default, strategy, rules.get("key", ""))


def _typed(type_: str, package: str, rules: dict[str, Any], pending: dict[str, Schema]) -> Schema:
    if type_.startswith("[]"):
        items = _typed(type_[2:], package, {}, pending)
        return Schema(
            "list",
            items=items,
            list_type=rules.get("list", "atomic"),
            list_map_keys=tuple(rules.get("keys", ())),
        )
    if type_ == "map<quantity>" and package == _ALIASES["core"]:
        return Schema("map", items=_SCALARS["amount"], map_type=rules.get("map", "granular"))
    if type_.startswith("map<"):
        return Schema("map", items=_typed(type_[4:-1], package, {}, pending), map_type=rules.get("map", "granular"))
    if type_ == "raw":
        return _RAW
    if scalar := _SCALARS.get(cast(ScalarType, type_)):
        return scalar
    node = _definition(resolve(type_, package), pending)
    if (map_type := rules.get("map")) and map_type != node.map_type:
        return replace(node, map_type=map_type)
    return node


def _special(package: str, message: str, definition: str, pending: dict[str, Schema]) -> Schema | None:
    """The types whose JSON differs from their message."""
    if message in ("Verbs", "ExtraValue"):
        return Schema("list", definition, items=_SCALARS["string"])
    if package.endswith((".apiextensions.v1", ".apiextensions.v1beta1")):
        if message == "JSON":
            return _ANY
        if message.startswith("JSONSchemaPropsOr"):
            return Schema("any", definition, items=_definition(f"{package}.JSONSchemaProps", pending))
    return None


def _rules(package: str, message: str) -> dict[str, Any]:
    """The merging rules of a type, or of the current type that took its place."""
    rules = _merging()
    root = package.rpartition(".")[0]
    group_root, _, group = root.rpartition(".")
    packages = [package, f"{root}.v1", f"{root}.v2"]
    if group == "extensions":
        packages += [f"{group_root}.{moved}.v1" for moved in _EXTENSIONS_MOVED_TO]
    for candidate in packages:
        if found := rules.get(f"{candidate}.{message}"):
            return found
    return {}
