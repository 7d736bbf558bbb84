"""OpenAPI version 3 of an extension server that has version 2 only. Pure.

Source: kube-openapi's openapiconv, kube-aggregator's openapiv3 (legacy API services). What version 2 cannot say stays unsaid.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from navarch.apiserver.aggregation.merging import REFERENCE, own_paths, reached
from navarch.apiserver.aggregation.remote import Remote
from navarch.machinery.types import Obj

SCHEMAS = "#/components/schemas/"
PLACES = {"#/parameters/": "#/components/parameters/", "#/responses/": "#/components/responses/"}
METHODS = frozenset(("get", "put", "post", "delete", "options", "head", "patch"))
OPERATION = ("description", "externalDocs", "tags", "summary", "deprecated", "operationId")
PARAMETER = ("name", "description", "in", "required", "allowEmptyValue")
FLOW = ("authorizationUrl", "tokenUrl", "scopes")
SECURITY = ("description", "type", "name", "in")


def document(remote: Remote, swagger: Obj) -> Obj:
    """The version's paths, and what they refer to."""
    paths, definitions = own_paths(remote, swagger), swagger.get("definitions") or {}
    media = swagger.get("produces") or ()
    components: Obj = {"schemas": {name: _schema(definitions[name]) for name in reached(paths, definitions)}}
    if responses := swagger.get("responses"):
        components["responses"] = {name: _response(found, media) for name, found in responses.items()}
    if security := swagger.get("securityDefinitions"):
        components["securitySchemes"] = {name: _security(found) for name, found in security.items()}
    made: Obj = {
        "openapi": "3.0.0",
        "info": swagger.get("info") or {},
        "paths": {p: _path(v) for p, v in paths.items()},
    }
    if docs := swagger.get("externalDocs"):
        made["externalDocs"] = docs
    return {**made, "components": components}


def _kept(node: Mapping[str, Any], names: tuple[str, ...]) -> Obj:
    """Fields that both versions have, and extensions."""
    return {key: value for key, value in node.items() if key in names or key.startswith("x-")}


def _schema(node: Any) -> Any:
    """References move, each into an `allOf` where something stands beside it."""
    if isinstance(node, list):
        return [_schema(value) for value in node]
    if not isinstance(node, dict):
        return node
    shaped = {key: _schema(value) for key, value in node.items() if key != "$ref"}
    reference = node.get("$ref")
    if not isinstance(reference, str):
        return shaped | ({"$ref": _schema(reference)} if "$ref" in node else {})
    moved = {"$ref": SCHEMAS + reference.removeprefix(REFERENCE)}
    return {**shaped, "allOf": [moved]} if shaped else moved


def _path(item: Any) -> Obj:
    if not isinstance(item, dict):
        return {}
    shaped: Obj = {key: value for key, value in item.items() if key.startswith("x-") or key == "$ref"}
    for method in METHODS & item.keys():
        shaped[method] = _operation(item[method])
    if parameters := item.get("parameters"):
        shaped["parameters"] = [_parameter(found) for found in parameters]
    return shaped


def _operation(operation: Mapping[str, Any]) -> Obj:
    shaped, parameters = _kept(operation, OPERATION), operation.get("parameters") or ()
    others = [_parameter(found) for found in parameters if not _is_body(found)]
    if others:
        shaped["parameters"] = others
    for body in filter(_is_body, parameters):
        schema = _schema(body["schema"])
        shaped["requestBody"] = {"content": {media: {"schema": schema} for media in operation.get("consumes") or ()}}
    media = operation.get("produces") or ()
    responses: Mapping[str, Any] = operation.get("responses") or {}
    shaped["responses"] = {code: _response(found, media) for code, found in responses.items()}
    return shaped


def _is_body(parameter: Mapping[str, Any]) -> bool:
    return parameter.get("name") == "body" and "schema" in parameter


def _parameter(parameter: Mapping[str, Any]) -> Obj:
    if isinstance(reference := parameter.get("$ref"), str):
        return {"$ref": _moved(reference)}
    simple = {key: parameter[key] for key in ("type", "format", "uniqueItems") if key in parameter}
    return {**_kept(parameter, PARAMETER), "schema": _schema(parameter["schema"]) if "schema" in parameter else simple}


def _response(response: Any, media: Any) -> Any:
    if not isinstance(response, dict):
        return response
    if isinstance(reference := response.get("$ref"), str):
        return {"$ref": _moved(reference)}
    shaped = _kept(response, ("description",))
    if "schema" in response and media:
        schema = _schema(response["schema"])
        shaped["content"] = {name: {"schema": schema} for name in media}
    return shaped


def _moved(reference: str) -> str:
    for old, new in PLACES.items():
        if reference.startswith(old):
            return new + reference[len(old) :]
    return reference


def _security(scheme: Mapping[str, Any]) -> Obj:
    shaped = _kept(scheme, SECURITY)
    if flow := scheme.get("flow"):
        shaped["flows"] = {flow: {key: scheme[key] for key in FLOW if key in scheme}}
    return shaped
