"""What makes a schema structural: types everywhere, and nothing but conditions in its junctors. Source: apiextensions'
schema/validation.go and schema/convert.go."""

from __future__ import annotations

from typing import Any, Literal

from navarch.machinery.errors import FieldErrors
from navarch.machinery.patterns import compiled
from navarch.machinery.types import Obj

Level = Literal["root", "item", "field"]
_UNSUPPORTED = ("id", "$schema", "$ref", "patternProperties", "dependencies", "additionalItems", "definitions")
_EITHER = [{"type": "integer"}, {"type": "string"}]
_MISSING_TYPE = {
    "root": "must not be empty at the root",
    "item": "must not be empty for specified array items",
    "field": "must not be empty for specified object fields",
}
_EMPTY_IN_JUNCTORS = {
    "type": "must be empty to be structural",
    "additionalProperties": "must be undefined to be structural",
    "default": "must be undefined to be structural",
    "title": "must be empty to be structural",
    "description": "must be empty to be structural",
    "nullable": "must be false to be structural",
    "x-kubernetes-preserve-unknown-fields": "must be false to be structural",
    "x-kubernetes-embedded-resource": "must be false to be structural",
    "x-kubernetes-int-or-string": "must be false to be structural",
    "x-kubernetes-list-map-keys": "must be empty to be structural",
    "x-kubernetes-list-type": "must be undefined to be structural",
    "x-kubernetes-map-type": "must be undefined to be structural",
    "x-kubernetes-validations": "must be empty to be structural",
}


def unsupported(schema: Any) -> str:
    """Why a schema cannot even be read as a structural one; empty: it can."""
    if not isinstance(schema, dict):
        return ""
    for field in _UNSUPPORTED:
        if schema.get(field) not in (None, "", {}):
            return f"OpenAPIV3Schema '{field.removeprefix('$') if field == '$schema' else field}' is not supported"
    if isinstance(schema.get("items"), list):
        return "OpenAPIV3Schema 'items' must be a schema, but is an array"
    if schema.get("x-kubernetes-preserve-unknown-fields") is False:
        return "internal error: 'x-kubernetes-preserve-unknown-fields' must be true or undefined"
    below = [schema.get("items"), schema.get("additionalProperties"), schema.get("not")]
    below += (schema.get("properties") or {}).values()
    for junctor in ("allOf", "anyOf", "oneOf"):
        below += schema.get(junctor) or ()
    return next((why for one in below if (why := unsupported(one))), "")


def validate_structural(schema: Obj, at: str, errs: FieldErrors) -> None:
    found = FieldErrors()
    _invariants(schema, "root", at, found)
    _complete(schema, at, found)
    errs.items.extend(sorted(found.items, key=str))


def _invariants(schema: Obj, level: Level, at: str, errs: FieldErrors) -> None:
    items, more, type_ = schema.get("items"), schema.get("additionalProperties"), schema.get("type") or ""
    if type_ == "array" and items is None:
        errs.required(f"{at}.items", "must be specified")
    if items is not None:
        _invariants(items, "item", f"{at}.items", errs)
    for name, below in (schema.get("properties") or {}).items():
        _invariants(below, "field", f"{at}.properties[{name}]", errs)
    if more is not None and level == "root":
        errs.forbidden(f"{at}.additionalProperties", "must not be used at the root")
    if isinstance(more, dict):
        _invariants(more, "field", f"{at}.additionalProperties", errs)
    _extensions(schema, at, errs)
    skip_any, skip_first = schema.get("anyOf") == _EITHER, _first_either(schema)
    _values(schema, skip_any, skip_first, at, errs)
    _types(schema, level, at, errs)
    _resource(schema, level, at, errs)


def _first_either(schema: Obj) -> bool:
    return bool(schema.get("allOf")) and schema["allOf"][0].get("anyOf") == _EITHER


def _extensions(schema: Obj, at: str, errs: FieldErrors) -> None:
    if schema.get("x-kubernetes-int-or-string"):
        for name in ("x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource"):
            if schema.get(name):
                errs.invalid(f"{at}.{name}", True, "must be false if x-kubernetes-int-or-string is true")


def _types(schema: Obj, level: Level, at: str, errs: FieldErrors) -> None:
    type_ = schema.get("type") or ""
    embedded = schema.get("x-kubernetes-embedded-resource")
    if embedded and type_ != "object":
        message = "must be object if x-kubernetes-embedded-resource is true"
        if type_:
            errs.invalid(f"{at}.type", type_, message)
        else:
            errs.required(f"{at}.type", message)
    elif not type_ and not (
        schema.get("x-kubernetes-int-or-string") or schema.get("x-kubernetes-preserve-unknown-fields")
    ):
        errs.required(f"{at}.type", _MISSING_TYPE[level])
    if embedded and schema.get("additionalProperties") is not None:
        errs.forbidden(f"{at}.additionalProperties", "must not be used if x-kubernetes-embedded-resource is set")
    if level == "root" and type_ and type_ != "object":
        errs.invalid(f"{at}.type", type_, "must be object at the root")


def _resource(schema: Obj, level: Level, at: str, errs: FieldErrors) -> None:
    properties: Obj = schema.get("properties") or {}
    embedded = bool(schema.get("x-kubernetes-embedded-resource"))
    resource = level == "root" or embedded
    for name in ("kind", "apiVersion"):
        if resource and name in properties and (type_ := properties[name].get("type") or "") != "string":
            errs.invalid(f"{at}.properties[{name}].type", type_, "must be string")
    if (metadata := properties.get("metadata")) is not None:
        here = f"{at}.properties[metadata]"
        if resource and (type_ := metadata.get("type") or "") != "object":
            errs.invalid(f"{here}.type", type_, "must be object")
        if level == "root" and not _only_names(metadata):
            message = "must not specify anything other than name and generateName, but metadata is implicitly specified"
            errs.forbidden(here, message)
    if embedded and not schema.get("x-kubernetes-preserve-unknown-fields") and not properties:
        message = (
            "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields"
        )
        errs.required(f"{at}.properties", message)


def _only_names(metadata: Obj) -> bool:
    known = set(metadata.get("properties") or ())
    return known <= {"name", "generateName"} and not (metadata.keys() - {"type", "properties", "default"})


# -- junctors


def _values(schema: Obj, skip_any: bool, skip_first: bool, at: str, errs: FieldErrors) -> None:
    if not skip_any:
        for index, below in enumerate(schema.get("anyOf") or ()):
            _nested(below, False, f"{at}.anyOf[{index}]", errs)
    for index, below in enumerate(schema.get("allOf") or ()):
        _nested(below, skip_first and index == 0, f"{at}.allOf[{index}]", errs)
    for index, below in enumerate(schema.get("oneOf") or ()):
        _nested(below, False, f"{at}.oneOf[{index}]", errs)
    if schema.get("not") is not None:
        _nested(schema["not"], False, f"{at}.not", errs)
    if (text := schema.get("pattern")) and (why := compiled(text).why):
        errs.invalid(f"{at}.pattern", text, f"must be a valid regular expression, but isn't: {why}")


def _nested(schema: Obj, skip_any: bool, at: str, errs: FieldErrors) -> None:
    _values(schema, skip_any, False, at, errs)
    if isinstance(schema.get("items"), dict):
        _nested(schema["items"], False, f"{at}.items", errs)
    for name, below in (schema.get("properties") or {}).items():
        _nested(below, False, f"{at}.properties[{name}]", errs)
    for field, message in _EMPTY_IN_JUNCTORS.items():
        if schema.get(field) not in (None, "", False, []):
            errs.forbidden(f"{at}.{field}", message)
    if "metadata" in (schema.get("properties") or {}):
        errs.forbidden(f"{at}.properties[metadata]", "must not be specified in a nested context")


# -- completeness: what a junctor names, the structure has, too


def _complete(schema: Obj, at: str, errs: FieldErrors) -> None:
    """Of the root's own junctors; upstream looks no deeper. Source: schema/complete.go."""
    for junctor in ("anyOf", "allOf", "oneOf"):
        for index, below in enumerate(schema.get(junctor) or ()):
            _complete_nested(schema, below, f"{at}.{junctor}[{index}]", at, errs)
    if schema.get("not") is not None:
        _complete_nested(schema, schema["not"], f"{at}.not", at, errs)


def _complete_nested(schema: Obj, nested: Obj, at: str, home: str, errs: FieldErrors) -> None:
    for junctor in ("anyOf", "allOf", "oneOf"):
        for index, below in enumerate(nested.get(junctor) or ()):
            _complete_nested(schema, below, f"{at}.{junctor}[{index}]", home, errs)
    if nested.get("not") is not None:
        _complete_nested(schema, nested["not"], f"{at}.not", home, errs)
    message = "because it is defined in "
    if isinstance(nested.get("items"), dict):
        if isinstance(schema.get("items"), dict):
            _complete_nested(schema["items"], nested["items"], f"{at}.items", f"{home}.items", errs)
        else:
            errs.required(f"{home}.items", f"{message}{at}.items")
    for name, below in (nested.get("properties") or {}).items():
        found, here = (schema.get("properties") or {}).get(name), f"{home}.properties[{name}]"
        if found is None:
            errs.required(here, f"{message}{at}.properties[{name}]")
        else:
            _complete_nested(found, below, f"{at}.properties[{name}]", here, errs)
