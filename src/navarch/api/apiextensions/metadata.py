"""The metadata of custom resources, and of resources embedded in them. Source: apiextensions' schema/objectmeta."""

from __future__ import annotations

from typing import Any

from navarch.api import schemas
from navarch.api.meta import validate_metadata
from navarch.machinery import names
from navarch.machinery.errors import FieldErrors, StatusError
from navarch.machinery.normalise import normalise
from navarch.machinery.schema import Schema
from navarch.machinery.structural.nodes import Node
from navarch.machinery.types import Obj

OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"


def object_meta_schema() -> Schema:
    return schemas.schema(OBJECT_META)


def object_meta(value: Any, unknown: list[str]) -> Obj:
    """Metadata as its type has it; takes ownership. Raises ValueError in Go's words."""
    if not isinstance(value, dict):
        kind = "array" if isinstance(value, list) else "string" if isinstance(value, str) else "number"
        kind = "bool" if isinstance(value, bool) else kind
        if value is None:
            return {}
        raise ValueError(f"json: cannot unmarshal {kind} into Go value of type v1.ObjectMeta")
    try:
        return normalise(object_meta_schema(), value, unknown)
    except StatusError as error:
        raise ValueError(error.message.partition(" cannot be handled as a ObjectMeta: ")[2]) from None


def validate_embedded_metadata(value: Any, node: Node | None, at: str, errs: FieldErrors) -> None:
    """Every embedded resource below a value."""
    if node is None or not node.has_embedded_below:
        return
    if isinstance(value, dict):
        tree: Obj = value
        if node.embedded:
            validate_embedded(tree, at, errs)
        for name, child in tree.items():
            if name in node.properties:
                validate_embedded_metadata(child, node.properties[name], f"{at}.{name}" if at else name, errs)
            else:
                validate_embedded_metadata(child, node.child(name), f"{at}[{name}]", errs)
    elif isinstance(value, list):
        items: list[Any] = value
        for index, child in enumerate(items):
            validate_embedded_metadata(child, node.items, f"{at}[{index}]", errs)


def validate_embedded(tree: Obj, at: str, errs: FieldErrors) -> None:
    """apiVersion and kind must be there, and metadata must be valid if it is."""
    at = f"{at}." if at else ""
    for field in ("apiVersion", "kind"):
        if field not in tree:
            errs.required(f"{at}{field}")
    if "apiVersion" in tree:
        _api_version(tree["apiVersion"], f"{at}apiVersion", errs)
    if "kind" in tree:
        _kind(tree["kind"], f"{at}kind", errs)
    if "metadata" in tree:
        _metadata(tree["metadata"], f"{at}metadata", errs)


def _api_version(value: Any, at: str, errs: FieldErrors) -> None:
    if not isinstance(value, str):
        errs.invalid(at, value, "must be a string")
    elif not value:
        errs.invalid(at, value, "must not be empty")
    elif value.count("/") > 1:
        errs.invalid(at, value, f"unexpected GroupVersion string: {value}")


def _kind(value: Any, at: str, errs: FieldErrors) -> None:
    if not isinstance(value, str):
        errs.invalid(at, value, "must be a string")
    elif not value:
        errs.invalid(at, value, "must not be empty")
    elif wrong := names.dns1035_label(value.lower()):
        errs.invalid(at, value, "may have mixed case, but should otherwise match: " + ",".join(wrong))


def _metadata(value: Any, at: str, errs: FieldErrors) -> None:
    if not isinstance(value, dict):
        return
    metadata: Obj = {**value}
    metadata.setdefault("name", "fakename")
    found = FieldErrors()
    validate_metadata(metadata, bool(metadata.get("namespace")), names.path_segment, found)
    for error in found.items:
        errs.items.append(error._replace(field=at + error.field.removeprefix("metadata")))
