"""The OpenAPI documents: `/openapi/v3`, one document per group version, and the old `/openapi/v2`.

Pure and slow (tens of milliseconds): callers keep the bytes and build them off the event loop. Schemas are the release's
own; paths, verbs and parameters follow from the kinds. What clients read of them: kubectl explain, its check for
fieldValidation on PATCH operations, merge keys for client-side apply, and generated clients.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import orjson

from navarch.api import schemas
from navarch.api.kind import Kind
from navarch.apiserver.openapi_operations import META, QUERY, Operation, group_operation, operations, other_operations
from navarch.machinery.schema import Schema
from navarch.machinery.types import GroupVersion, Obj

_V2, _V3 = "#/definitions/", "#/components/schemas/"
_FORM = 2
"""Counts the ways in which documents were made: clients keep a document for as long as the hash in its address is the same."""
_INFO = {"title": "Kubernetes", "version": "1.36"}
_SECURITY = {
    "BearerToken": {"type": "apiKey", "name": "authorization", "in": "header", "description": "Bearer token"},
}

# -- schemas


@cache
def _published() -> dict[str, Any]:
    """By name, as version 2 has them."""
    found: dict[str, Any] = schemas.compiled("openapi.json")
    for name, fields in schemas.values().items():
        for path, told in fields.items():
            node = found[name]["properties"]
            for step in path.split("."):
                node = node[step]
            node |= {key: value for key, value in told.items() if key == "enum"}
    return found


def _definition(name: str, extra: Mapping[str, Obj]) -> Obj:
    """A definition in version 2's shape: published, given (custom resources), or derived (retired versions)."""
    found = extra.get(name) or _published().get(name)
    if found is not None:
        return found
    return _derived(schemas.schema(name)) if schemas.has(name) else {"type": "object"}


def _derived(schema: Schema) -> Obj:
    properties = {name: _derived_field(field.schema) for name, field in schema.fields.items()}
    shaped: Obj = {"type": "object", "properties": properties}
    if required := [name for name, field in schema.fields.items() if field.required]:
        shaped["required"] = required
    package, _, kind = schema.name.rpartition(".")
    if "kind" in schema.fields and package.startswith("io.k8s.api."):
        _, group, version = package.rsplit(".", 2)
        full = group if group in ("apps", "batch", "extensions", "policy", "autoscaling") else f"{group}.k8s.io"
        full = "rbac.authorization.k8s.io" if group == "rbac" else full
        shaped["x-kubernetes-group-version-kind"] = [{"group": full, "version": version, "kind": kind}]
    elif "kind" in schema.fields and package.startswith("io.k8s.metrics."):
        version = package.rpartition(".")[2]
        shaped["x-kubernetes-group-version-kind"] = [{"group": "metrics.k8s.io", "version": version, "kind": kind}]
    return shaped


_FORMATS = {
    "int32": {"type": "integer", "format": "int32"},
    "int64": {"type": "integer", "format": "int64"},
    "bool": {"type": "boolean"},
    "double": {"type": "number", "format": "double"},
    "bytes": {"type": "string", "format": "byte"},
    "time": {"$ref": f"{_V2}{META}.Time"},
    "microtime": {"$ref": f"{_V2}{META}.MicroTime"},
    "quantity": {"$ref": f"{_V2}io.k8s.apimachinery.pkg.api.resource.Quantity"},
    "amount": {"$ref": f"{_V2}io.k8s.apimachinery.pkg.api.resource.Quantity"},
    "intorstring": {"$ref": f"{_V2}io.k8s.apimachinery.pkg.util.intstr.IntOrString"},
}


def _derived_field(schema: Schema) -> Obj:
    match schema.type:
        case "object":
            return {"$ref": _V2 + schema.name}
        case "list":
            return {"type": "array", "items": _derived_field(schema.items) if schema.items else {}}
        case "map":
            return {"type": "object", "additionalProperties": _derived_field(schema.items) if schema.items else {}}
        case "scalar":
            return dict(_FORMATS.get(schema.scalar, {"type": "string"}))
        case "any":
            return {"type": "object"}


def _reached(roots: Iterable[str], extra: Mapping[str, Obj]) -> dict[str, Obj]:
    """The definitions that the roots lead to, by name."""
    found: dict[str, Obj] = {}
    waiting = sorted(set(roots))
    while waiting:
        name = waiting.pop()
        if name and name not in found:
            found[name] = _definition(name, extra)
            waiting.extend(_references(found[name]))
    return dict(sorted(found.items()))


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(reference := node.get("$ref"), str):
            yield reference.removeprefix(_V2)
        for value in node.values():
            yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)


def _as_v3(node: Any) -> Any:
    """References with something beside them move into `allOf`: version 3 allows nothing there."""
    if isinstance(node, list):
        return [_as_v3(value) for value in node]
    if not isinstance(node, dict):
        return node
    shaped = {key: _as_v3(value) for key, value in node.items() if key != "$ref"}
    if isinstance(reference := node.get("$ref"), str):
        target = {"$ref": reference.replace(_V2, _V3)}
        return {**shaped, "allOf": [target]} if shaped else target
    if "$ref" in node:
        shaped["$ref"] = _as_v3(node["$ref"])
    return shaped


_ZEROS: Obj = {"string": "", "int32": 0, "int64": 0, "bool": False}


def _defaulted(name: str, node: Obj) -> Obj:
    """Version 2 with the defaults of version 3: Go's zero where a field is always written, or what upstream's types say."""
    if name not in _published() or not schemas.has(name):
        return node
    told, properties = schemas.values().get(name, {}), dict[str, Any](node.get("properties") or {})
    for field, rules in schemas.schema(name).fields.items():
        given, default = rules.schema, told.get(field, {}).get("default")
        if default is None and rules.presence == "always":
            default = {} if given.type == "object" else _ZEROS.get(given.scalar) if given.type == "scalar" else None
        if default is not None and field in properties:
            properties[field] = {**properties[field], "default": default}
    return {**node, "properties": properties} if properties else node


_V2_SHAPES = {
    "io.k8s.apimachinery.pkg.api.resource.Quantity": {"type": "string"},
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": {"type": "string", "format": "int-or-string"},
}
_V3_SHAPES = {
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": {
        "format": "int-or-string",
        "oneOf": [{"type": "integer"}, {"type": "string"}],
    },
}


# -- documents


def v3_index(kinds: Sequence[Kind], marks: Mapping[tuple[str, str], str] | None = None) -> bytes:
    """`/openapi/v3`: every document's address. The hash in it changes when the kinds do; `marks` changes with the schemas
    of custom kinds, by group and version."""
    served: dict[tuple[str, str], list[Kind]] = {}
    for kind in kinds:
        for version in kind.versions:
            served.setdefault((version.group, version.version), []).append(kind)
    found = {path: _digest([op], "") for path, op in _others(kinds).items()}
    for (group, version), mine in served.items():
        path = f"apis/{group}/{version}" if group else f"api/{version}"
        found[path] = _digest(operations(group, version, mine), (marks or {}).get((group, version), ""))
    paths = {path: {"serverRelativeURL": f"/openapi/v3/{path}?hash={digest}"} for path, digest in sorted(found.items())}
    return orjson.dumps({"paths": paths})


def _others(kinds: Iterable[Kind]) -> dict[str, Operation]:
    """What belongs to no group version: by its document, its operation."""
    groups = {version.group for kind in kinds if not kind.typed_items for version in kind.versions} - {""}
    return {**other_operations(), **{f"apis/{group}": group_operation(group) for group in groups}}


def _digest(found: Iterable[Operation], mark: str) -> str:
    facts = [(op.path, op.method, op.body, op.answer) for op in found]
    return hashlib.sha512(orjson.dumps([_INFO["version"], _FORM, facts, mark])).hexdigest().upper()


def v3_document(group: str, version: str, kinds: Sequence[Kind], extra: Mapping[str, Obj] | None = None) -> bytes:
    """The document of one group version. `extra` holds definitions that are not the release's (custom resources')."""
    return _v3_document(list(operations(group, version, kinds)), extra or {})


def v3_other(path: str, kinds: Sequence[Kind]) -> bytes | None:
    """The document of discovery and the like: `api`, `apis/apps`, `version`. None where there is none."""
    found = _others(kinds).get(path)
    return _v3_document([found], {}) if found else None


def _v3_document(found: Sequence[Operation], extra: Mapping[str, Obj]) -> bytes:
    paths: dict[str, Obj] = {}
    for op in found:
        path = paths.setdefault(op.path, {})
        path[op.method] = _v3_operation(op)
        path |= _parameters(_v3_parameter(place, name) for place, name in _of_path(op))
    reached = _reached((name for op in found for name in (op.body, op.answer)), extra)
    shaped = {name: {**_as_v3(_defaulted(name, node)), **_V3_SHAPES.get(name, {})} for name, node in reached.items()}
    components = {**({"schemas": shaped} if shaped else {}), "securitySchemes": _SECURITY}
    return orjson.dumps({"openapi": "3.0.0", "info": _INFO, "paths": paths, "components": components})


def _of_path(op: Operation) -> list[tuple[str, str]]:
    """(place, name) of the parameters that all operations on the path have."""
    names = [("path", part[1:-1]) for part in op.path.split("/") if part.startswith("{")]
    return [*names, ("query", "pretty")] if op.action not in ("connect", "") else names


def _parameters(found: Iterable[Obj]) -> Obj:
    """Go writes no empty list, and what it read with one would not be what it reads of its own copy."""
    parameters = list(found)
    return {"parameters": parameters} if parameters else {}


def _v3_parameter(place: str, name: str) -> Obj:
    if place == "path":
        return {"name": name, "in": place, "required": True, "schema": {"type": "string", "uniqueItems": True}}
    type_, description = QUERY[name]
    return {"name": name, "in": place, "description": description, "schema": {"type": type_, "uniqueItems": True}}


def _v3_operation(op: Operation) -> Obj:
    answer: Obj = {"type": "string"} if not op.answer else {"$ref": _V3 + op.answer}
    shaped: Obj = {
        "tags": [op.tag],
        "description": op.description,
        "operationId": op.id,
        **_parameters(_v3_parameter("query", name) for name in op.query),
        "responses": _answers(op, {"content": {media: {"schema": answer} for media in op.media}}),
        **_extensions(op),
    }
    if op.body:
        media = op.patches if op.method == "patch" else ("*/*",)
        shaped["requestBody"] = {"content": {name: {"schema": {"$ref": _V3 + op.body}} for name in media}}
    return shaped


def _extensions(op: Operation) -> Obj:
    return {"x-kubernetes-action": op.action, "x-kubernetes-group-version-kind": op.gvk} if op.gvk else {}


def _answers(op: Operation, content: Obj) -> Obj:
    words = {"200": "OK", "201": "Created", "202": "Accepted"}
    answers: Obj = {code: {"description": words[code], **content} for code in op.codes}
    answers["401"] = {"description": "Unauthorized"}
    return answers


def v2_tree(kinds: Sequence[Kind], extra: Mapping[str, Obj] | None = None) -> Obj:
    """`/openapi/v2`: everything in one Swagger 2.0 document."""
    served = sorted({GroupVersion(v.group, v.version) for kind in kinds for v in kind.versions})
    found = [op for gv in served for op in operations(gv.group, gv.version, kinds)]
    found += _others(kinds).values()
    paths: dict[str, Obj] = {}
    for op in found:
        path = paths.setdefault(op.path, {})
        path[op.method] = _v2_operation(op)
        path |= _parameters(_v2_shared(place, name) for place, name in _of_path(op))
    reached = _reached((name for op in found for name in (op.body, op.answer)), extra or {})
    every = [*(("query", name) for name in QUERY if name not in _INLINE), *(("path", name) for name in _PATH_NAMES)]
    return {
        "swagger": "2.0",
        "info": _INFO,
        "paths": paths,
        "definitions": {name: _as_v2(name, node) for name, node in reached.items()},
        "parameters": {_v2_name(place, name): _v2_parameter(place, name) for place, name in every},
        "securityDefinitions": _SECURITY,
        "security": [{"BearerToken": []}],
    }


def _as_v2(name: str, node: Obj) -> Obj:
    if name not in _V2_SHAPES:
        return node
    return {key: value for key, value in node.items() if key != "oneOf"} | _V2_SHAPES[name]


_INLINE = ("dryRun", "fieldValidation")
"""Old clients look for these where an operation is, and follow no reference."""
_PATH_NAMES = ("name", "namespace", "path")


def _v2_name(place: str, name: str) -> str:
    return f"{name}-{place}"


def _v2_shared(place: str, name: str) -> Obj:
    """Every parameter but a few is written once."""
    return _v2_parameter(place, name) if name in _INLINE else {"$ref": f"#/parameters/{_v2_name(place, name)}"}


def _v2_parameter(place: str, name: str) -> Obj:
    if place == "path":
        return {"name": name, "in": place, "type": "string", "uniqueItems": True, "required": True}
    type_, description = QUERY[name]
    return {"name": name, "in": place, "type": type_, "uniqueItems": True, "description": description}


def _v2_operation(op: Operation) -> Obj:
    parameters = [_v2_shared("query", name) for name in op.query]
    if op.body:
        required = op.method != "delete"
        parameters.append({"name": "body", "in": "body", "required": required, "schema": {"$ref": _V2 + op.body}})
    answer: Obj = {"type": "string"} if not op.answer else {"$ref": _V2 + op.answer}
    return {
        "description": op.description,
        "consumes": list(op.patches) if op.method == "patch" and op.body else ["*/*"],
        "produces": list(op.media),
        "schemes": ["https"],
        "tags": [op.tag],
        "operationId": op.id,
        **_parameters(parameters),
        "responses": _answers(op, {"schema": answer}),
        **_extensions(op),
    }
