"""What a definition's version makes of objects: pruning, defaults, validation. Compiled when it is first needed.

Source: apiextensions' registry/customresource (strategy, status_strategy, validator).
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import orjson

from navarch.api.apiextensions.metadata import object_meta, object_meta_schema, validate_embedded_metadata
from navarch.machinery import errors
from navarch.machinery.errors import FieldErrors
from navarch.machinery.gotext import number
from navarch.machinery.patch.strategic import go_text
from navarch.machinery.schema import Schema
from navarch.machinery.structural import walks
from navarch.machinery.structural.lists import validate_lists
from navarch.machinery.structural.nodes import Node, has_rules, merging
from navarch.machinery.structural.values import NOTHING, validate
from navarch.machinery.types import Obj

if TYPE_CHECKING:
    from navarch.machinery.structural.rules import Rules

BLOCKING = frozenset(
    ("FieldValueNotSupported", "FieldValueRequired", "FieldValueTooLong", "FieldValueTooMany", "FieldValueTypeInvalid")
)
"""Reasons that keep rules from being looked at."""
NOT_CHECKED = (
    "some validation rules were not checked because the object was invalid; correct the existing errors to complete "
    "validation"
)
MAX_REPLICAS = 2**31 - 1


class CustomVersion:
    """One version of a custom kind. `source` is the definition's JSON: its schema is read when it is needed."""

    def __init__(self, source: bytes, name: str, kind: str, scale: Obj | None) -> None:
        self._source = source
        self.name = name
        self._kind = kind
        self._scale = scale

    @cached_property
    def raw(self) -> Obj:
        """The openAPIV3Schema."""
        return version_schema(self._source, self.name)

    @cached_property
    def node(self) -> Node:
        return Node(self.raw)

    @cached_property
    def schema(self) -> Schema:
        return merging(self.node, object_meta_schema(), root=True)

    @cached_property
    def rules(self) -> Rules | None:
        if not has_rules(self.raw):
            return None
        from navarch.machinery.structural.rules import compile_rules  # lazily: no start needs CEL

        return compile_rules(self.node, root=True)

    # -- bringing objects to the version's form

    def clean(self, tree: Obj, unknown: list[str] | None) -> Obj:
        """Prunes, and brings metadata to its type's form. Raises StatusError 400."""
        return self._clean(tree, unknown)

    def clean_applied(self, tree: Obj) -> Obj:
        """The same of what an apply has made: nulls stay, to be refused where they may not be."""
        return self._clean(tree, None, nulls=True)

    def _clean(self, tree: Obj, unknown: list[str] | None, nulls: bool = False) -> Obj:
        found: list[str] = []
        try:
            if "metadata" in tree:
                of_meta: list[str] = []
                tree["metadata"] = object_meta(tree["metadata"], of_meta)
                found += [f"metadata.{path}" for path in of_meta]
            walks.prune(tree, self.node, found, root=True, nulls=nulls)
            walks.coerce(tree, self.node, object_meta, found)
        except ValueError as error:
            kind = self._kind
            why = f'{kind} in version "{self.name}" cannot be handled as a {kind}: {error}'
            raise errors.bad_request(why) from None
        if unknown is not None:
            unknown.extend(found)
        return tree

    def default(self, obj: Obj) -> None:
        walks.default(obj, self.node)

    def shown(self, tree: Obj) -> Obj:
        """What is stored, as it is read: a schema may have changed since it was written. Takes ownership."""
        tree = self.clean(tree, None)
        self.default(tree)
        if not tree["metadata"].get("generation"):
            tree["metadata"]["generation"] = 1
        return tree

    # -- validation

    def validate_create(self, obj: Obj, errs: FieldErrors) -> None:
        validate(obj, self.node, errs)
        self._scale_spec(obj, errs)
        self._scale_status(obj, errs)
        validate_embedded_metadata(obj, self.node, "", errs)
        validate_lists(obj, self.node, "", errs)
        self._run_rules(obj, NOTHING, errs)

    def validate_update(self, obj: Obj, old: Obj, errs: FieldErrors) -> None:
        validate(obj, self.node, errs, old=old)
        self._scale_spec(obj, errs)
        self._scale_status(obj, errs)
        validate_embedded_metadata(obj, self.node, "", errs)
        self._ratchet_lists(obj, old, errs)
        self._run_rules(obj, old, errs)

    def validate_status_update(self, obj: Obj, old: Obj, errs: FieldErrors) -> None:
        below = self.node.properties.get("status")
        if below is not None and "status" in obj:
            validate(obj["status"], below, errs, old=old.get("status", NOTHING), below="status")
        self._scale_status(obj, errs)
        self._ratchet_lists(obj, old, errs)
        self._run_rules(obj, old, errs)

    def _ratchet_lists(self, obj: Obj, old: Obj, errs: FieldErrors) -> None:
        """Duplicates that were there before may stay."""
        found, before = FieldErrors(), FieldErrors()
        validate_lists(obj, self.node, "", found)
        if found:
            validate_lists(old, self.node, "", before)
            if not before:
                errs.items.extend(found.items)

    def _run_rules(self, obj: Obj, old: Any, errs: FieldErrors) -> None:
        if self.rules is None:
            return
        if any(error.reason in BLOCKING for error in errs.items):
            errs.invalid("<nil>", None, NOT_CHECKED)
        else:
            from navarch.machinery.structural.rules import run_rules

            run_rules(self.rules, obj, old, errs, errs.warnings)

    def _scale_spec(self, obj: Obj, errs: FieldErrors) -> None:
        if self._scale is not None:
            _replicas(obj, self._scale["specReplicasPath"], errs)

    def _scale_status(self, obj: Obj, errs: FieldErrors) -> None:
        if self._scale is None:
            return
        _replicas(obj, self._scale["statusReplicasPath"], errs)
        if path := self._scale.get("labelSelectorPath"):
            value = at_path(obj, path)
            if value is not None and not isinstance(value, str):
                errs.invalid(path, "", f"{path} accessor error: {_accessor(value, 'string')}")


def _replicas(obj: Obj, path: str, errs: FieldErrors) -> None:
    value = at_path(obj, path)
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        errs.invalid(path, 0, f"{path} accessor error: {_accessor(value, 'int64')}")
    elif value < 0:
        errs.invalid(path, value, "should be a non-negative integer")
    elif value > MAX_REPLICAS:
        errs.invalid(path, value, f"should be less than or equal to {MAX_REPLICAS}")


_GO_TYPES = {
    type(None): "<nil>",
    str: "string",
    bool: "bool",
    float: "float64",
    list: "[]interface {}",
    dict: "map[string]interface {}",
}


def _accessor(value: Any, wanted: str) -> str:
    shown = number(value) if isinstance(value, float) else go_text(value)
    return f"{shown} is of the type {_GO_TYPES.get(type(value), 'int64')}, expected {wanted}"


def at_path(obj: Obj, path: str) -> Any:
    """The value at a path of names (`.spec.replicas`); None where there is none."""
    value: Any = obj
    for name in path.removeprefix(".").split("."):
        if not isinstance(value, dict) or name not in value:
            return None
        value = value[name]
    return value


def version_schema(source: bytes, name: str) -> Obj:
    """The schema of a version in a definition's JSON."""
    for version in orjson.loads(source)["spec"]["versions"]:
        if version["name"] == name:
            return (version.get("schema") or {}).get("openAPIV3Schema") or {}
    return {}
