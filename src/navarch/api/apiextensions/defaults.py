"""Defaults in a schema must be what the schema allows, rules included. Source: apiextensions' schema/defaulting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from navarch.api.apiextensions.metadata import object_meta, validate_embedded, validate_embedded_metadata
from navarch.machinery import trees
from navarch.machinery.errors import FieldErrors
from navarch.machinery.structural import walks
from navarch.machinery.structural.nodes import META_FIELDS, Node, has_rules
from navarch.machinery.structural.values import NOTHING, validate
from navarch.machinery.types import Obj

Wrap = Callable[[Any], Obj]
"""Puts a value into the object that it would be a part of."""


def validate_defaults(node: Node, at: str, errs: FieldErrors) -> None:
    if node.has_default or node.has_defaults_below:
        _walk(node, at, lambda value: value, False, True, errs)


def _walk(node: Node, at: str, wrap: Wrap, inside_meta: bool, resource: bool, errs: FieldErrors) -> None:
    resource = resource or node.embedded
    if node.embedded:
        inside_meta, wrap = False, lambda value: value
    if node.has_default:
        _judge(node, f"{at}.default", wrap, inside_meta, errs)
    if node.items is not None and node.items.has_default | node.items.has_defaults_below:
        _walk(node.items, f"{at}.items", lambda value: wrap([value]), inside_meta, False, errs)
    for name, below in node.properties.items():
        if below.has_default or below.has_defaults_below:
            meta = inside_meta or (resource and name in META_FIELDS)
            _walk(below, f"{at}.properties[{name}]", _into(wrap, name), meta, False, errs)


def _into(wrap: Wrap, name: str) -> Wrap:
    return lambda value: wrap({name: value})


def _judge(node: Node, at: str, wrap: Wrap, inside_meta: bool, errs: FieldErrors) -> None:
    value = trees.copy(node.default)
    if inside_meta:
        whole = {"apiVersion": "validation/v1", "kind": "Validation", **wrap(trees.copy(value))}
        found = FieldErrors()
        try:
            if "metadata" in whole:
                whole["metadata"] = object_meta(whole["metadata"], [])
            validate_embedded(whole, "", found)
        except ValueError as error:
            errs.invalid(at, value, f"must result in valid metadata: {error}")
            return
        if found:
            errs.invalid(at, value, f"must result in valid metadata: {', '.join(map(str, found.items))}")
            return
    else:
        unknown: list[str] = []
        walks.prune(trees.copy(value), node, unknown, root=node.embedded)
        if unknown:
            errs.invalid(
                at, orjson.loads(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)), "must not have unknown fields"
            )
        try:
            walks.coerce(value, node, object_meta, [], at)
        except ValueError as error:
            path, _, why = str(error).partition(": Invalid value: ")
            errs.unfit(path, why)
            return
    found = FieldErrors()
    if not inside_meta:
        validate_embedded_metadata(value, node, at, found)
    if not found:
        validate(value, Node(_untyped(node.raw)), found, below=at)
    if not found and has_rules(node.raw):
        _rules(node, value, at, found)
    errs.items.extend(found.items)


def _untyped(schema: Obj) -> Obj:
    """What is an integer or a string has no type here: upstream takes anything for its default."""
    out = {name: value for name, value in schema.items() if name != "x-kubernetes-int-or-string"}
    for name in ("items", "additionalProperties"):
        if isinstance(out.get(name), dict):
            out[name] = _untyped(out[name])
    if out.get("properties"):
        out["properties"] = {name: _untyped(below) for name, below in out["properties"].items()}
    return out


def _rules(node: Node, value: Any, at: str, errs: FieldErrors) -> None:
    """As an update that changes nothing, and as what is new."""
    from navarch.machinery.structural.rules import compile_rules, run_rules  # lazily: no start needs CEL

    rules = compile_rules(node)
    if rules is None:
        return
    for old in (value, NOTHING):
        run_rules(rules, value, old, errs, [], at=at)
        if errs:
            return
