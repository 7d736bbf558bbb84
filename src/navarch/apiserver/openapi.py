"""The OpenAPI documents: `/openapi/v3`, one document per group version, and the old `/openapi/v2`.

Pure and slow (tens of milliseconds): callers keep the bytes and build them off the event loop. Schemas are the release's
own; paths, verbs and parameters follow from the kinds. What clients read of them: kubectl explain, its check for
fieldValidation on PATCH operations, merge keys for client-side apply, and generated clients.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import orjson

from navarch.api import schemas
from navarch.api.kind import Kind, Subresource, Version
from navarch.apiserver.discovery import subresources_of
from navarch.machinery.schema import Schema
from navarch.machinery.types import GroupVersion, Obj

_META = "io.k8s.apimachinery.pkg.apis.meta.v1"
_V2, _V3 = "#/definitions/", "#/components/schemas/"
_MEDIA = ("application/json", "application/yaml", "application/vnd.kubernetes.protobuf")
_PATCHES = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
)
_CUSTOM_MEDIA = ("application/json", "application/yaml")
_CUSTOM_PATCHES = ("application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml")
_INFO = {"title": "Kubernetes", "version": "1.36"}
_SECURITY = {
    "BearerToken": {"type": "apiKey", "name": "authorization", "in": "header", "description": "Bearer token"},
}

_QUERY: dict[str, tuple[str, str]] = {
    "allowWatchBookmarks": ("boolean", "Ask a watch for BOOKMARK events."),
    "continue": ("string", "Token of the answer that this list goes on from."),
    "dryRun": ("string", "`All`: run every step of the write but storing it."),
    "fieldManager": ("string", "Who makes the change, for managed fields; an apply must name one."),
    "fieldSelector": ("string", "Restricts the answer to objects with these fields."),
    "fieldValidation": ("string", "`Ignore`, `Warn` or `Strict`: what is done about unknown and duplicate fields."),
    "force": ("boolean", "Let an apply take over fields that other managers own."),
    "gracePeriodSeconds": ("integer", "Seconds before the object goes; 0 at once."),
    "labelSelector": ("string", "Restricts the answer to objects with these labels."),
    "limit": ("integer", "The most items to answer with."),
    "orphanDependents": ("boolean", "Deprecated: use propagationPolicy."),
    "propagationPolicy": ("string", "`Orphan`, `Background` or `Foreground`: what becomes of dependents."),
    "resourceVersion": ("string", "What revision to read or to watch from."),
    "resourceVersionMatch": ("string", "How resourceVersion is meant: `Exact` or `NotOlderThan`."),
    "sendInitialEvents": ("boolean", "Begin a watch with the objects that are there."),
    "timeoutSeconds": ("integer", "How long a list or watch may take."),
    "watch": ("boolean", "Follow changes instead of listing."),
}
_SELECT = ("continue", "fieldSelector", "labelSelector", "limit", "resourceVersion", "resourceVersionMatch")
_LIST = ("allowWatchBookmarks", *_SELECT, "sendInitialEvents", "timeoutSeconds", "watch")
_DELETE = ("dryRun", "gracePeriodSeconds", "orphanDependents", "propagationPolicy")
_WRITE = ("dryRun", "fieldManager", "fieldValidation")


class Operation(NamedTuple):
    """One verb on one path, in neither version's words."""

    path: str
    method: str
    action: str
    id: str
    description: str
    query: tuple[str, ...]
    body: str
    """Definition of the request's body; empty: none."""
    answer: str
    """Definition of the answer; empty: text."""
    gvk: Obj
    custom: bool = False
    """Of a custom resource: neither protobuf nor strategic merge patches."""

    @property
    def media(self) -> tuple[str, ...]:
        return _CUSTOM_MEDIA if self.custom else _MEDIA

    @property
    def patches(self) -> tuple[str, ...]:
        return _CUSTOM_PATCHES if self.custom else _PATCHES


def operations(group: str, version: str, kinds: Iterable[Kind]) -> Iterator[Operation]:
    """Every operation on the resources of one group version."""
    for kind in kinds:
        for served in kind.versions:
            if (served.group, served.version) == (group, version):
                yield from _of_kind(kind, served)


def _gvk(group: str, version: str, kind: str) -> Obj:
    return {"group": group, "version": version, "kind": kind}


def _camel(gv: GroupVersion) -> str:
    group = gv.group.split(".")[0] or "core"
    return group[:1].upper() + group[1:] + gv.version[:1].upper() + gv.version[1:]


def _of_kind(kind: Kind, served: Version) -> Iterator[Operation]:
    root = f"/apis/{served.gv}" if served.group else f"/api/{served.version}"
    gvk = _gvk(served.group, served.version, kind.kind)
    definition, listed = served.definition, served.definition + "List"
    scope = "Namespaced" if kind.namespaced else ""
    base = f"{root}/namespaces/{{namespace}}/{kind.plural}" if kind.namespaced else f"{root}/{kind.plural}"
    one = base + "/{name}"
    unit = _camel(served.gv) + scope + kind.kind

    def operation(path: str, method: str, action: str, verb: str, query: tuple[str, ...], body: str, answer: str):
        return Operation(
            path, method, action, verb, f"{action} {kind.kind}", query, body, answer, gvk, kind.typed_items
        )

    has = kind.verbs.__contains__
    if has("list"):
        yield operation(base, "get", "list", f"list{unit}", _LIST, "", listed)
        if kind.namespaced:
            everywhere = f"list{_camel(served.gv)}{kind.kind}ForAllNamespaces"
            yield operation(f"{root}/{kind.plural}", "get", "list", everywhere, _LIST, "", listed)
    if has("create"):
        yield operation(base, "post", "post", f"create{unit}", _WRITE, definition, definition)
    if has("deletecollection"):
        collection = f"delete{_camel(served.gv)}Collection{scope}{kind.kind}"
        query, options = (*_SELECT, *_DELETE), f"{_META}.DeleteOptions"
        yield operation(base, "delete", "deletecollection", collection, query, options, f"{_META}.Status")
    if has("get"):
        yield operation(one, "get", "get", f"read{unit}", (), "", definition)
    if has("update"):
        yield operation(one, "put", "put", f"replace{unit}", _WRITE, definition, definition)
    if has("delete"):
        gone = f"{_META}.Status"
        yield operation(one, "delete", "delete", f"delete{unit}", _DELETE, f"{_META}.DeleteOptions", gone)
    if has("patch"):
        yield operation(one, "patch", "patch", f"patch{unit}", (*_WRITE, "force"), f"{_META}.Patch", definition)
    for subresource in subresources_of(kind, served):
        yield from _of_subresource(f"{one}/{subresource.name}", unit, subresource, kind, served)


_METHODS = {
    "get": ("get", "read"),
    "update": ("put", "replace"),
    "patch": ("patch", "patch"),
    "create": ("post", "create"),
}


def _of_subresource(path: str, unit: str, subresource: Subresource, kind: Kind, served: Version) -> Iterator[Operation]:
    version = subresource.version or served.version
    group = subresource.group or (served.group if not subresource.version else "")
    definition = served.definition if subresource.kind == kind.kind else _sibling(group, version, subresource.kind)
    suffix = "".join(part.capitalize() for part in subresource.name.split("/"))
    for verb in subresource.verbs:
        if verb not in _METHODS:
            continue
        method, word = _METHODS[verb]
        query = () if verb == "get" else (*_WRITE, "force") if verb == "patch" else _WRITE
        body = "" if verb == "get" else f"{_META}.Patch" if verb == "patch" else definition
        action = "connect" if not definition else {"create": "post", "update": "put"}.get(verb, verb)
        what = f"{action} {subresource.name} of {kind.kind}"
        gvk = _gvk(group, version, subresource.kind)
        yield Operation(
            path, method, action, f"{word}{unit}{suffix}", what, query, body, definition, gvk, kind.typed_items
        )


def _sibling(group: str, version: str, kind: str) -> str:
    """The definition of another built-in kind; empty where it has none (options of tunnels)."""
    definition = f"io.k8s.api.{group.split('.')[0] or 'core'}.{version}.{kind}"
    return definition if definition in _published() else ""


# -- schemas


@cache
def _published() -> dict[str, Any]:
    return schemas.compiled("openapi.json")


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
        shaped["x-kubernetes-group-version-kind"] = [_gvk(full, version, kind)]
    elif "kind" in schema.fields and package.startswith("io.k8s.metrics."):
        shaped["x-kubernetes-group-version-kind"] = [_gvk("metrics.k8s.io", package.rpartition(".")[2], kind)]
    return shaped


_FORMATS = {
    "int32": {"type": "integer", "format": "int32"},
    "int64": {"type": "integer", "format": "int64"},
    "bool": {"type": "boolean"},
    "double": {"type": "number", "format": "double"},
    "bytes": {"type": "string", "format": "byte"},
    "time": {"$ref": f"{_V2}{_META}.Time"},
    "microtime": {"$ref": f"{_V2}{_META}.MicroTime"},
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
    """References move into `allOf`: version 3 allows nothing beside a `$ref`."""
    if isinstance(node, list):
        return [_as_v3(value) for value in node]
    if not isinstance(node, dict):
        return node
    shaped = {key: _as_v3(value) for key, value in node.items() if key != "$ref"}
    if isinstance(reference := node.get("$ref"), str):
        shaped["allOf"] = [{"$ref": reference.replace(_V2, _V3)}]
    elif "$ref" in node:
        shaped["$ref"] = _as_v3(node["$ref"])
    return shaped


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
    """`/openapi/v3`: every group version with the address of its document. The hash in it changes when the kinds do;
    `marks` changes with the schemas of custom kinds, by group and version."""
    paths: Obj = {}
    served: dict[tuple[str, str], list[Kind]] = {}
    for kind in kinds:
        for version in kind.versions:
            served.setdefault((version.group, version.version), []).append(kind)
    for group, version in sorted(served):
        path = f"apis/{group}/{version}" if group else f"api/{version}"
        digest = _digest(group, version, served[group, version], (marks or {}).get((group, version), ""))
        paths[path] = {"serverRelativeURL": f"/openapi/v3/{path}?hash={digest}"}
    return orjson.dumps({"paths": paths})


def _digest(group: str, version: str, kinds: Sequence[Kind], mark: str) -> str:
    found = operations(group, version, kinds)
    facts = [(op.path, op.method, op.body, op.answer) for op in found]
    return hashlib.sha512(orjson.dumps([_INFO["version"], facts, mark])).hexdigest().upper()


def v3_document(group: str, version: str, kinds: Sequence[Kind], extra: Mapping[str, Obj] | None = None) -> bytes:
    """The document of one group version. `extra` holds definitions that are not the release's (custom resources')."""
    found = list(operations(group, version, kinds))
    paths: dict[str, Obj] = {}
    for op in found:
        path = paths.setdefault(op.path, {})
        path[op.method] = _v3_operation(op, GroupVersion(group, version))
        path |= _parameters(_v3_parameter(name, "path", "string", "") for name in _path_names(op.path))
    reached = _reached((name for op in found for name in (op.body, op.answer)), extra or {})
    shaped = {name: {**_as_v3(node), **_V3_SHAPES.get(name, {})} for name, node in reached.items()}
    components = {"schemas": shaped, "securitySchemes": _SECURITY}
    return orjson.dumps({"openapi": "3.0.0", "info": _INFO, "paths": paths, "components": components})


def _path_names(path: str) -> list[str]:
    return [part[1:-1] for part in path.split("/") if part.startswith("{")]


def _parameters(found: Iterable[Obj]) -> Obj:
    """Go writes no empty list, and what it read with one would not be what it reads of its own copy."""
    parameters = list(found)
    return {"parameters": parameters} if parameters else {}


def _v3_parameter(name: str, place: str, type_: str, description: str) -> Obj:
    shaped: Obj = {"name": name, "in": place, "schema": {"type": type_, "uniqueItems": True}}
    if description:
        shaped["description"] = description
    if place == "path":
        shaped["required"] = True
    return shaped


def _v3_operation(op: Operation, gv: GroupVersion) -> Obj:
    answer: Obj = {"type": "string"} if not op.answer else {"$ref": _V3 + op.answer}
    shaped: Obj = {
        "tags": [f"{gv.group.split('.')[0] or 'core'}_{gv.version}"],
        "description": op.description,
        "operationId": op.id,
        **_parameters(_v3_parameter(name, "query", *_QUERY[name]) for name in op.query),
        "responses": _answers(op, {"content": {media: {"schema": answer} for media in op.media}}),
        "x-kubernetes-action": op.action,
        "x-kubernetes-group-version-kind": op.gvk,
    }
    if op.body:
        media = op.patches if op.method == "patch" else ("*/*",)
        shaped["requestBody"] = {"content": {name: {"schema": {"$ref": _V3 + op.body}} for name in media}}
    return shaped


def _answers(op: Operation, content: Obj) -> Obj:
    codes = {"post": ("200", "201", "202"), "put": ("200", "201"), "patch": ("200", "201"), "delete": ("200", "202")}
    words = {"200": "OK", "201": "Created", "202": "Accepted"}
    answers: Obj = {code: {"description": words[code], **content} for code in codes.get(op.method, ("200",))}
    answers["401"] = {"description": "Unauthorized"}
    return answers


def v2_tree(kinds: Sequence[Kind], extra: Mapping[str, Obj] | None = None) -> Obj:
    """`/openapi/v2`: everything in one Swagger 2.0 document."""
    served = sorted({(v.group, v.version) for kind in kinds for v in kind.versions})
    found = [(GroupVersion(*gv), op) for gv in served for op in operations(*gv, kinds)]
    paths: dict[str, Obj] = {}
    for gv, op in found:
        path = paths.setdefault(op.path, {})
        path[op.method] = _v2_operation(op, gv)
        path |= _parameters(_v2_parameter(name, "path", "string", "") for name in _path_names(op.path))
    reached = _reached((name for _, op in found for name in (op.body, op.answer)), extra or {})
    return {
        "swagger": "2.0",
        "info": _INFO,
        "paths": paths,
        "definitions": {name: _as_v2(name, node) for name, node in reached.items()},
        "securityDefinitions": _SECURITY,
        "security": [{"BearerToken": []}],
    }


def _as_v2(name: str, node: Obj) -> Obj:
    if name not in _V2_SHAPES:
        return node
    return {key: value for key, value in node.items() if key != "oneOf"} | _V2_SHAPES[name]


def _v2_parameter(name: str, place: str, type_: str, description: str) -> Obj:
    shaped: Obj = {"name": name, "in": place, "type": type_, "uniqueItems": True}
    if description:
        shaped["description"] = description
    if place == "path":
        shaped["required"] = True
    return shaped


def _v2_operation(op: Operation, gv: GroupVersion) -> Obj:
    parameters = [_v2_parameter(name, "query", *_QUERY[name]) for name in op.query]
    if op.body:
        required = op.method != "delete"
        parameters.append({"name": "body", "in": "body", "required": required, "schema": {"$ref": _V2 + op.body}})
    answer: Obj = {"type": "string"} if not op.answer else {"$ref": _V2 + op.answer}
    return {
        "description": op.description,
        "consumes": list(op.patches) if op.method == "patch" else ["*/*"],
        "produces": list(op.media),
        "schemes": ["https"],
        "tags": [f"{gv.group.split('.')[0] or 'core'}_{gv.version}"],
        "operationId": op.id,
        **_parameters(parameters),
        "responses": _answers(op, {"schema": answer}),
        "x-kubernetes-action": op.action,
        "x-kubernetes-group-version-kind": op.gvk,
    }
