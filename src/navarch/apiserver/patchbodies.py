"""Reads the bodies of PATCH requests."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from navarch.apiserver import codec, options
from navarch.apiserver.patching import Patch
from navarch.apiserver.request import Request
from navarch.client.interface import PatchType
from navarch.machinery import decode, errors
from navarch.machinery.decode import parse_yaml
from navarch.machinery.errors import StatusError
from navarch.machinery.types import GroupKind, Obj

PATCH_TYPES: dict[str, PatchType] = {
    "application/json-patch+json": "json",
    "application/merge-patch+json": "merge",
    "application/strategic-merge-patch+json": "strategic",
    "application/apply-patch+yaml": "apply",
}


def read_patch(request: Request, validation: str = codec.IGNORE, types: Sequence[str] = ()) -> Patch:
    """The patch of a PATCH request. Raises 400 and 415. `types`: media types that are taken; empty: all."""
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    kind = PATCH_TYPES.get(media)
    if types and media not in types:
        raise errors.unfit_patch_type(types)
    if kind is None:
        raise errors.unsupported_patch_type()
    force = request.param("force")
    if kind != "apply":
        if force:
            errs = errors.FieldErrors()
            errs.forbidden("force", "may not be specified for non-apply patch")
            raise errors.invalid(GroupKind("meta.k8s.io", "PatchOptions"), "", errs)
        return _plain_patch(kind, request.body, validation)
    if not request.param("fieldManager"):
        errs = errors.FieldErrors()
        errs.required("fieldManager", "is required for apply patch")
        raise errors.invalid(GroupKind("meta.k8s.io", "PatchOptions"), "", errs)
    duplicates: list[str] = []
    tree = _configuration(request.body, duplicates)
    return Patch(kind, tree, bool(force) and options.flag(force), tuple(duplicates))


def _plain_patch(kind: PatchType, body: bytes, validation: str) -> Patch:
    start = "" if kind == "strategic" else "error decoding patch: "
    try:
        tree = decode.parse_json(body)
    except StatusError as err:
        raise errors.bad_request(
            start + err.message.removeprefix("couldn't get version/kind; json parse error: ")
        ) from None
    twice = decode.duplicate_keys(body, tree) if validation != codec.IGNORE and isinstance(tree, dict) else []
    return Patch(kind, tree, duplicates=tuple(f'duplicate field "{path}"' for path in twice))


_NO_INTEGER = re.compile(rb"[:\[,]\s*-?\d+[.eE]|\d{19}")


def _json_configuration(body: bytes) -> Any:
    """What most clients send is JSON, which is read ten times faster. None where it may mean something else in YAML."""
    if not body.startswith(b"{") or _NO_INTEGER.search(body):
        return None
    try:
        tree = decode.parse_json(body)
    except StatusError:
        return None
    return None if decode.duplicate_keys(body, tree) else tree


def _configuration(body: bytes, duplicates: list[str]) -> Obj:
    """The body of a server-side apply. Raises 400."""
    why = "error decoding YAML: error "
    try:
        tree = _json_configuration(body) or parse_yaml(body, duplicates)
    except StatusError as err:
        raise errors.bad_request(f"{why}converting YAML to JSON: {err.message}") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        found = "array" if isinstance(tree, list) else "string" if isinstance(tree, str) else "number"
        found = "bool" if isinstance(tree, bool) else found
        raise errors.bad_request(
            f"{why}unmarshaling JSON: while decoding JSON: json: cannot unmarshal {found} into Go value of type "
            "map[string]interface {}"
        )
    return tree
