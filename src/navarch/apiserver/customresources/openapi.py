"""The schema of a custom resource as it is published, for OpenAPI v3 and, without what Swagger 2.0 has no words for, v2.

Source: apiextensions' controller/openapi (builder.go, v2/conversion.go).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from navarch.api.apiextensions.kinds import CustomKind, definition_name
from navarch.machinery.types import Obj

_META = "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1."
API_VERSION = (
    "APIVersion defines the versioned schema of this representation of an object. Servers should convert recognized "
    "schemas to the latest internal value, and may reject unrecognized values. More info: "
    "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources"
)
KIND = (
    "Kind is a string value representing the REST resource this object represents. Servers may infer this from the "
    "endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: "
    "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds"
)
METADATA = "Standard object's metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata"
LIST_METADATA = "Standard list metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds"
_TYPE: Obj = {
    "apiVersion": {"description": API_VERSION, "type": "string"},
    "kind": {"description": KIND, "type": "string"},
}


def definitions(kind: CustomKind, version: str, *, old: bool = False) -> dict[str, Obj]:
    """The object's and the list's definition, by name, with references as version 2 has them. `old`: for Swagger 2.0."""
    group, whole = kind.resource.group, kind.whole
    name = definition_name(group, version, whole.kind)
    root = {**_published(kind.schema_of(version), old), **_extensions(kind, version, whole.kind)}
    items = {
        "description": f"List of {whole.plural}. More info: {_LISTS}",
        "type": "array",
        "items": {"$ref": f"#/definitions/{name}"},
    }
    listed = {
        "description": f"{whole.list_kind} is a list of {whole.kind}",
        "type": "object",
        "required": ["items"],
        "properties": {
            **_TYPE,
            "items": items,
            "metadata": {"description": LIST_METADATA, "$ref": f"{_META}ListMeta"},
        },
        **_extensions(kind, version, whole.list_kind),
    }
    return {name: root, f"{name}List": listed}


_LISTS = "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md"


def _extensions(kind: CustomKind, version: str, name: str) -> Obj:
    found: Obj = {"x-kubernetes-group-version-kind": [{"group": kind.resource.group, "version": version, "kind": name}]}
    selectable = kind.by_version[version].fields
    if selectable is not None and (fields := selectable({})):
        found["x-kubernetes-selectable-fields"] = [{"fieldPath": field} for field in fields]
    return found


def _resource(shape: Obj, metadata: str) -> Obj:
    """With the fields that every resource has; a schema that keeps everything describes nothing."""
    own: Obj = shape.get("properties") or {}
    properties = {**own, **_TYPE, "metadata": {"description": METADATA, "$ref": metadata}}
    return {**shape, "type": "object", "properties": properties}


def _published(schema: Any, old: bool) -> Obj:
    """The whole object. To a client of version 2 any field, be it `kind`, says that there are no others."""
    if old and schema.get("x-kubernetes-preserve-unknown-fields"):
        return {"type": "object"}
    return _resource(_walk(schema, _older if old else _same, root=True), f"{_META}ObjectMeta")


Change = Callable[[Obj], Obj]


def _same(node: Obj) -> Obj:
    return node


def _older(node: Obj) -> Obj:
    """What a client of version 2 must not be told: it would refuse what the server takes."""
    out = {k: v for k, v in node.items() if k not in ("allOf", "oneOf", "anyOf", "not", "nullable")}
    if node.get("nullable"):
        for name in ("type", "items", "properties"):
            out.pop(name, None)
    if node.get("x-kubernetes-preserve-unknown-fields"):
        for name in ("items", "properties"):
            out.pop(name, None)
        if out.get("type") == "object":
            out.pop("type")
    if "items" not in out and out.get("type") == "array":
        out.pop("type")
    properties: Obj = node.get("properties") or {}
    if "required" in out:
        out["required"] = [name for name in out["required"] if not properties.get(name, {}).get("nullable")]
    if node.get("x-kubernetes-int-or-string"):
        out.pop("type", None)
    return out


def _walk(schema: Any, change: Change, root: bool = False) -> Obj:
    if not isinstance(schema, dict):
        return {}
    out = dict(change(schema))
    for name in ("items", "additionalProperties", "not"):
        if isinstance(out.get(name), dict):
            out[name] = _walk(out[name], change)
    for name in ("allOf", "anyOf", "oneOf"):
        if out.get(name):
            out[name] = [_walk(one, change) for one in out[name]]
    if out.get("properties"):
        out["properties"] = {name: _walk(one, change) for name, one in out["properties"].items()}
    if out.get("x-kubernetes-embedded-resource") and out.get("type") and not root:
        out = _resource(out, f"{_META}ObjectMeta")
        out["required"] = list(dict.fromkeys([*(out.get("required") or ()), "kind", "apiVersion"]))
    return out
