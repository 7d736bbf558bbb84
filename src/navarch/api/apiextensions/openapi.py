"""The schema of a version: what OpenAPI v3 allows of it here, list types, rules. Source: apiextensions' validation.go.

What makes it structural is structural.py's, what its rules may cost rules.py's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from navarch.api.apiextensions.defaults import validate_defaults
from navarch.api.apiextensions.rules import Costs, root_costs, validate_rule_texts, validate_rules
from navarch.api.apiextensions.structural import unsupported, validate_structural
from navarch.machinery.errors import FieldErrors
from navarch.machinery.structural.nodes import META_FIELDS, Node
from navarch.machinery.types import Obj

TYPES = ("array", "boolean", "integer", "number", "object", "string")
ROOT_FIELDS = {
    "description": "Description",
    "type": "Type",
    "format": "Format",
    "title": "Title",
    "maximum": "Maximum",
    "exclusiveMaximum": "ExclusiveMaximum",
    "minimum": "Minimum",
    "exclusiveMinimum": "ExclusiveMinimum",
    "maxLength": "MaxLength",
    "minLength": "MinLength",
    "pattern": "Pattern",
    "maxItems": "MaxItems",
    "minItems": "MinItems",
    "uniqueItems": "UniqueItems",
    "multipleOf": "MultipleOf",
    "required": "Required",
    "items": "Items",
    "properties": "Properties",
    "externalDocs": "ExternalDocs",
    "example": "Example",
    "x-kubernetes-preserve-unknown-fields": "XPreserveUnknownFields",
    "x-kubernetes-validations": "XValidations",
}
"""What a root may have beside a status subresource, with upstream's names."""


def validate_schema(schema: Obj, at: str, has_status: bool, unchanged: bool, errs: FieldErrors) -> None:
    """`unchanged`: the schema was accepted before; its rules may cost what they cost."""
    mine = FieldErrors()
    if has_status:
        _root_fields(schema, at, mine)
    if schema.get("nullable"):
        mine.forbidden(f"{at}.nullable", "nullable cannot be true at the root")
    costs: Costs | None = None
    why = unsupported(schema)
    if not why:
        node = Node(schema)
        found = FieldErrors()
        validate_structural(schema, at, found)
        if not found:
            validate_defaults(node, at, found)
        if not found:
            costs = root_costs(schema)
        mine.items.extend(found.items)
    both = _Both(FieldErrors(), FieldErrors())
    _walk(schema, at, Place(is_root=True, unchanged=unchanged), both, costs)
    mine.items.extend(both.schema.items)
    mine.items.extend(both.rules.items)
    if not mine and why:
        mine.invalid(at, "", why)
    if costs is not None:
        costs.total.report(at, mine)
    errs.items.extend(mine.items)


def _root_fields(schema: Obj, at: str, errs: FieldErrors) -> None:
    if (schema.get("type") or "object") != "object":
        message = 'only "object" is allowed as the type at the root of the schema if the status subresource is enabled'
        errs.invalid(f"{at}.type", schema["type"], message)
    elif any(field not in ROOT_FIELDS for field, value in schema.items() if value not in (None, "", False)):
        allowed = " ".join(ROOT_FIELDS.values())
        message = f"only [{allowed}] fields are allowed at the root of the schema if the status subresource is enabled"
        errs.invalid(at, schema, message)


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a schema a walk is."""

    is_root: bool = False
    no_defaults: str = ""
    """Why there may be none."""
    inside_meta: bool = False
    uncorrelated: str = ""
    """The nearest place above, whose old values cannot be found again."""
    unchanged: bool = False


@dataclass(slots=True)
class _Both:
    """Errors of schemas, and of rules: those only count where the former are none."""

    schema: FieldErrors
    rules: FieldErrors


def _walk(schema: Obj, at: str, place: Place, both: _Both, costs: Costs | None) -> None:
    mine = _Both(FieldErrors(), FieldErrors())
    _plain(schema, at, place, mine.schema)
    for below, path, where, child in _children(schema, at, place, costs):
        _walk(below, path, where, mine, child)
    _extensions(schema, at, mine.schema)
    if rules := schema.get("x-kubernetes-validations"):
        validate_rule_texts(rules, schema, at, mine.schema)
        if not mine.schema and costs is not None:
            validate_rules(schema, at, costs, place.uncorrelated, place.unchanged, mine.rules)
    both.schema.items.extend(mine.schema.items)
    both.rules.items.extend(mine.rules.items)


Child = tuple[Obj, str, Place, "Costs | None"]


def _children(schema: Obj, at: str, place: Place, costs: Costs | None) -> Iterator[Child]:
    plain = replace(place, is_root=False)
    more = schema.get("additionalProperties")
    if isinstance(more, dict):
        where = plain
        if place.inside_meta:
            where = replace(plain, no_defaults="inside additionalProperties applying to object metadata")
        yield more, f"{at}.additionalProperties", where, costs and costs.below(more)
    resource = place.is_root or bool(schema.get("x-kubernetes-embedded-resource"))
    for name, below in (schema.get("properties") or {}).items():
        where = plain
        if schema.get("x-kubernetes-map-type") not in (None, "granular", "atomic"):
            where = replace(where, uncorrelated=where.uncorrelated or at)
        if resource and name in META_FIELDS:
            where = replace(where, inside_meta=True)
            if place.is_root:
                where = replace(where, no_defaults=f"in top-level {name}")
        yield below, f"{at}.properties[{name}]", where, costs and costs.below(below)
    yield from _junctors(schema, at, plain)
    items = schema.get("items")
    if items is not None:
        where = plain
        if schema.get("x-kubernetes-list-type") != "map":
            where = replace(plain, uncorrelated=plain.uncorrelated or at)
        many = items if isinstance(items, list) else [items]
        for index, below in enumerate(many):
            path = f"{at}.items[{index}]" if isinstance(items, list) else f"{at}.items"
            yield below, path, where, costs and costs.below(below)


def _junctors(schema: Obj, at: str, place: Place) -> Iterator[Child]:
    if schema.get("not") is not None:
        yield schema["not"], f"{at}.not", place, None
    for junctor in ("allOf", "oneOf", "anyOf"):
        for index, below in enumerate(schema.get(junctor) or ()):
            yield below, f"{at}.{junctor}[{index}]", place, None
    for name, below in (schema.get("definitions") or {}).items():
        yield below, f"{at}.definitions[{name}]", place, None
    for name, below in (schema.get("dependencies") or {}).items():
        if isinstance(below, dict):
            yield below, f"{at}.dependencies[{name}]", place, None


def _plain(schema: Obj, at: str, place: Place, errs: FieldErrors) -> None:
    type_ = schema.get("type") or ""
    if type_ and type_ not in TYPES:
        errs.not_supported(f"{at}.type", type_, TYPES)
    if schema.get("default") is not None and place.no_defaults:
        errs.forbidden(f"{at}.default", f"must not be set {place.no_defaults}")
    for field in ("id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref"):
        if schema.get(field) is not None:
            errs.forbidden(f"{at}.{field}", f"{field} is not supported")
    if type_ == "null":
        errs.forbidden(f"{at}.type", "type cannot be set to null, use nullable as an alternative")
    if isinstance(schema.get("items"), list):
        errs.forbidden(f"{at}.items", "items must be a schema object and not an array")
    if place.inside_meta and schema.get("x-kubernetes-embedded-resource"):
        errs.forbidden(f"{at}.x-kubernetes-embedded-resource", "must not be used inside of resource meta")
    if schema.get("uniqueItems"):
        message = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        errs.forbidden(f"{at}.uniqueItems", message)
    if schema.get("properties") and schema.get("additionalProperties") not in (None, True):
        errs.forbidden(f"{at}.additionalProperties", "additionalProperties and properties are mutual exclusive")


# -- extensions


def _extensions(schema: Obj, at: str, errs: FieldErrors) -> None:
    if schema.get("x-kubernetes-preserve-unknown-fields") is False:
        errs.invalid(f"{at}.x-kubernetes-preserve-unknown-fields", False, "must be true or undefined")
    map_type, list_type, type_ = (
        schema.get("x-kubernetes-map-type"),
        schema.get("x-kubernetes-list-type"),
        schema.get("type") or "",
    )
    _needs_type(map_type, type_, "object", "x-kubernetes-map-type", at, errs)
    if map_type is not None and map_type not in ("atomic", "granular"):
        errs.not_supported(f"{at}.x-kubernetes-map-type", map_type, ("atomic", "granular"))
    fits = _needs_type(list_type, type_, "array", "x-kubernetes-list-type", at, errs)
    if fits and list_type == "set" and isinstance(schema.get("items"), dict):
        _set_items(schema["items"], f"{at}.items", errs)
    if list_type is not None and list_type not in ("atomic", "set", "map"):
        errs.not_supported(f"{at}.x-kubernetes-list-type", list_type, ("atomic", "set", "map"), in_order=True)
    if schema.get("x-kubernetes-list-map-keys") and list_type != "map":
        message = "must be map if x-kubernetes-list-map-keys is non-empty"
        if list_type is None:
            errs.required(f"{at}.x-kubernetes-list-type", message)
        else:
            errs.invalid(f"{at}.x-kubernetes-list-type", list_type, message)
    if list_type == "map":
        _map_list(schema, at, errs)
    if list_type in ("set", "map") and isinstance(schema.get("items"), dict):
        _not_nullable(schema, list_type, at, errs)


def _needs_type(value: Any, type_: str, wanted: str, name: str, at: str, errs: FieldErrors) -> bool:
    if value is None or type_ == wanted:
        return True
    message = f"must be {wanted} if {name} is specified"
    if type_:
        errs.invalid(f"{at}.type", type_, message)
    else:
        errs.required(f"{at}.type", message)
    return False


def _set_items(items: Obj, at: str, errs: FieldErrors) -> None:
    message = "must be atomic as item of a list with x-kubernetes-list-type=set"
    list_type = items.get("x-kubernetes-list-type")
    if items.get("type") == "array" and list_type not in (None, "atomic"):
        errs.invalid(f"{at}.x-kubernetes-list-type", list_type, message)
    if items.get("type") == "object" and items.get("x-kubernetes-map-type") != "atomic":
        errs.invalid(f"{at}.x-kubernetes-map-type", list_type, message)


def _map_list(schema: Obj, at: str, errs: FieldErrors) -> None:
    keys, items = schema.get("x-kubernetes-list-map-keys") or [], schema.get("items")
    here = f"{at}.x-kubernetes-list-map-keys"
    if not keys:
        errs.required(here, "must not be empty if x-kubernetes-list-type is map")
    if items is None:
        errs.required(f"{at}.items", "must have a schema if x-kubernetes-list-type is map")
        return
    if isinstance(items, list):
        errs.invalid(f"{at}.items", items, "must only have a single schema if x-kubernetes-list-type is map")
        return
    if items.get("type") != "object":
        message = "must be object if parent array's x-kubernetes-list-type is map"
        errs.invalid(f"{at}.items.type", items.get("type") or "", message)
        return
    for index, key in enumerate(keys):
        found = (items.get("properties") or {}).get(key)
        if found is None:
            errs.invalid(here, keys, "entries must all be names of item properties")
        elif found.get("type") in ("array", "object"):
            message = "must be a scalar type if parent array's x-kubernetes-list-type is map"
            errs.invalid(f"{at}.items.properties[{key}].type", items.get("type"), message)
        if key in keys[:index]:
            errs.invalid(here, keys, "must not contain duplicate entries")


def _not_nullable(schema: Obj, list_type: str, at: str, errs: FieldErrors) -> None:
    items = schema["items"]
    if items.get("nullable"):
        errs.forbidden(f"{at}.items.nullable", f"cannot be nullable when x-kubernetes-list-type is {list_type}")
    if list_type != "map":
        return
    required = items.get("required") or ()
    for key in schema.get("x-kubernetes-list-map-keys") or ():
        found = (items.get("properties") or {}).get(key)
        if found is None:
            continue
        here, what = f"{at}.items.properties[{key}]", "this property is in x-kubernetes-list-map-keys, so it"
        if key not in required and found.get("default") is None:
            errs.required(f"{here}.default", f"{what} must have a default or be a required property")
        if found.get("nullable"):
            errs.forbidden(f"{here}.nullable", f"{what} cannot be nullable")
