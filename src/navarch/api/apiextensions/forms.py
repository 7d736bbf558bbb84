"""What the schemas in a definition may be written as: fields that are a schema or something else, as upstream reads them.

Source: apiextensions' v1/marshal.go. What is unknown within such a field is dropped, and nobody is told: those types are
read by their own code, which does not look.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from navarch.api.schemas import schema
from navarch.machinery import errors
from navarch.machinery.normalise import normalise
from navarch.machinery.patch.json_patch import go_kind
from navarch.machinery.types import Obj

DEFINITION = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition"
SCHEMA = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps"
START = "spec.versions.schema.openAPIV3Schema"
MAPS = ("properties", "patternProperties", "definitions")
LISTS = ("allOf", "anyOf", "oneOf")
CANNOT = 'CustomResourceDefinition in version "v1" cannot be handled as a CustomResourceDefinition: '


def clean(tree: Obj, unknown: list[str] | None) -> Obj:
    """The definition in its type's form. Raises StatusError 400."""
    for found in _schemas(tree):
        _settle(found, START, False)
    return normalise(schema(DEFINITION), tree, unknown)


def _schemas(tree: Obj) -> Iterator[Obj]:
    spec = tree.get("spec")
    versions: Any = spec.get("versions") if isinstance(spec, dict) else None
    for version in versions if isinstance(versions, list) else ():
        holder: Any = version.get("schema") if isinstance(version, dict) else None
        found: Any = holder.get("openAPIV3Schema") if isinstance(holder, dict) else None
        if isinstance(found, dict):
            yield found


@cache
def _known() -> frozenset[str]:
    return frozenset(schema(SCHEMA).fields)


def _settle(node: Any, at: str, silent: bool) -> None:
    """Changes a schema in place. `at`: where it is, as Go says it; `silent`: what is unknown goes untold."""
    if not isinstance(node, dict):
        return
    if silent:
        for name in [name for name in node if name not in _known()]:
            del node[name]
    for field in MAPS:
        below: Any = node.get(field)
        for child in below.values() if isinstance(below, dict) else ():
            _settle(child, f"{at}.{field}", silent)
    for field in LISTS:
        below = node.get(field)
        for child in below if isinstance(below, list) else ():
            _settle(child, f"{at}.{field}", silent)
    _settle(node.get("not"), f"{at}.not", silent)
    _items(node, at)
    _dependencies(node, at)
    for field in ("additionalProperties", "additionalItems"):
        below = node.get(field)
        if isinstance(below, dict):
            _settle(below, f"{at}.{field}", True)
        elif below is not None and not isinstance(below, bool):
            raise errors.bad_request(f"{CANNOT}boolean or JSON schema expected")


def _items(node: Obj, at: str) -> None:
    """A schema or a list of them; anything else is taken for nothing."""
    found = node.get("items")
    if isinstance(found, dict):
        _settle(found, f"{at}.items", True)
    elif isinstance(found, list) and found:
        for child in found:
            if not isinstance(child, dict):
                where = f"JSONSchemaProps.{at}.items of type v1.JSONSchemaProps"
                raise errors.bad_request(
                    f"{CANNOT}json: cannot unmarshal {go_kind(child)} into Go struct field {where}"
                )
            _settle(child, f"{at}.items", True)
    else:
        node.pop("items", None)


def _dependencies(node: Obj, at: str) -> None:
    """Schemas, or lists of names."""
    found: Any = node.get("dependencies")
    for child in found.values() if isinstance(found, dict) else ():
        _settle(child, f"{at}.dependencies", True)
        for name in child if isinstance(child, list) else ():
            if not isinstance(name, str):
                raise _misfit(name, f"{at}.dependencies", "string")


def _misfit(value: Any, at: str, wanted: str) -> errors.StatusError:
    what = f"json: cannot unmarshal {go_kind(value)} into Go struct field JSONSchemaProps.{at} of type {wanted}"
    return errors.bad_request(CANNOT + what)
