"""Compiles the release's published schemas into what the package keeps of them. Run by the build hook only.

The source is `kubernetes-validate` (its `_definitions.json`: OpenAPI definitions with x-kubernetes extensions); types,
field numbers and presence come from `wire.json`, so that the structural file holds merging rules alone and loads in a
few milliseconds. Needs nothing but the standard library: the hook loads this file by its path.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

RELEASE = "1.36.0"
MERGING = "merging.json"
"""{definition: {"required": [...], "map": map type, "fields": {name: {"list", "keys", "map", "strategy", "key"}}}}."""
OPENAPI = "openapi.json"
"""{definition: its schema as `/openapi/v2` shows it}."""

_FIELD_RULES = {
    "x-kubernetes-list-type": "list",
    "x-kubernetes-list-map-keys": "keys",
    "x-kubernetes-map-type": "map",
    "x-kubernetes-patch-strategy": "strategy",
    "x-kubernetes-patch-merge-key": "key",
}


def published_definitions() -> dict[str, Any]:
    """The release's definitions, by name. Raises FileNotFoundError where the package holding them is not installed."""
    spec = importlib.util.find_spec("kubernetes_validate")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError("the package kubernetes-validate==1.36.0 is needed to build")
    folder = Path(spec.submodule_search_locations[0]) / "kubernetes-json-schema" / f"v{RELEASE}-local"
    return json.loads((folder / "_definitions.json").read_bytes())["$defs"]


def merging(definitions: dict[str, Any]) -> dict[str, Any]:
    """What `MERGING` holds, of every definition that says anything about merging or required fields."""
    found: dict[str, Any] = {}
    for name, definition in definitions.items():
        rules: dict[str, Any] = {}
        if required := definition.get("required"):
            rules["required"] = required
        if map_type := definition.get("x-kubernetes-map-type"):
            rules["map"] = map_type
        fields = {
            field: picked
            for field, schema in definition.get("properties", {}).items()
            if (picked := {short: schema[long] for long, short in _FIELD_RULES.items() if long in schema})
        }
        if fields:
            rules["fields"] = fields
        if rules:
            found[name] = rules
    return found


def openapi_shape(node: Any) -> Any:
    """A definition as upstream publishes it: without the nulls, enums and reference roots that the package added."""
    if isinstance(node, list):
        return [openapi_shape(item) for item in node]
    if not isinstance(node, dict):
        return node
    shaped: dict[str, Any] = {}
    for key, value in node.items():
        if key == "properties":
            shaped[key] = {name: openapi_shape(schema) for name, schema in value.items()}
        elif key == "type" and isinstance(value, list):
            shaped[key] = value[0]
        elif key == "$ref":
            shaped[key] = value.replace("#/$defs/", "#/definitions/")
        elif key not in ("enum", "additionalProperties") or isinstance(value, dict):
            shaped[key] = openapi_shape(value)
    return shaped


def compile_into(folder: Path) -> None:
    """Writes both files into `folder`, each whole or not at all."""
    definitions = published_definitions()
    folder.mkdir(parents=True, exist_ok=True)
    contents = {MERGING: merging(definitions), OPENAPI: {n: openapi_shape(d) for n, d in definitions.items()}}
    for name, content in contents.items():
        partial = folder / f".{name}.partial"
        partial.write_text(json.dumps(content, separators=(",", ":"), ensure_ascii=False), encoding="utf-8")
        partial.replace(folder / name)
