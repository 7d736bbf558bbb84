"""Between what a client sends or reads, in some version, and the hub version that registries work on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from navarch.api.kind import Kind, Version
from navarch.api.scheme import by_kind
from navarch.machinery import errors
from navarch.machinery.decode import strict_error, strict_errors
from navarch.machinery.scalars import Mismatch
from navarch.machinery.types import GroupKind, Obj

IGNORE, WARN, STRICT = "Ignore", "Warn", "Strict"


def decode_object(
    kind: Kind, version: Version, tree: Any, validation: str, warnings: list[str], duplicates: Sequence[str] = ()
) -> Obj:
    """An object of the hub version, defaulted, of a tree that a client sent in `version`; the tree is used up.

    `validation` is the fieldValidation directive: unknown and duplicate fields are ignored, become `warnings`, or are
    refused. Raises StatusError 400."""
    tree = {} if tree is None else tree
    check_type(kind, version, tree)
    if validation == IGNORE:
        obj = version.normalised(tree)
    else:
        unknown: list[str] = []
        obj = version.normalised(tree, unknown)
        if unknown or duplicates:
            messages = strict_errors(unknown, list(duplicates))
            if validation == STRICT:
                raise strict_error(version.schema, tree, messages)
            warnings.extend(messages)
    return to_hub(kind, version, obj)


def decode_applied(kind: Kind, version: Version, tree: Obj, warnings: list[str]) -> Obj:
    """The same of what an apply has made, in `version`."""
    if version.clean_applied is None:
        return decode_object(kind, version, tree, IGNORE, warnings)
    return to_hub(kind, version, version.clean_applied(tree))


def to_hub(kind: Kind, version: Version, obj: Obj) -> Obj:
    """Defaults and converts; changes and returns `obj`."""
    if not isinstance(obj.get("metadata"), dict):
        obj["metadata"] = {}
    if version.defaults is not None:
        version.defaults(obj)
    if version.decode is not None:
        obj = version.decode(obj)
    obj["apiVersion"] = kind.hub.api_version
    obj["kind"] = kind.kind
    if version.defaults is None:
        kind.defaults(obj)
    return obj


def from_hub(kind: Kind, version: Version, obj: Obj) -> Obj:
    """The object as `version` shows it; shares its parts with `obj`, which is not changed."""
    if version is kind.hub:
        return obj
    shown = version.encode(obj) if version.encode is not None else obj
    return {**shown, "apiVersion": version.api_version, "kind": kind.kind}


def _unrecognized(kind: Kind, why: str) -> errors.StatusError:
    return errors.bad_request(
        f"the object provided is unrecognized (must be of type {kind.kind}): couldn't get version/kind; "
        f"json parse error: json: cannot unmarshal {why}"
    )


def check_type(kind: Kind, version: Version, tree: Any) -> None:
    """The body's own apiVersion and kind must be what its path says (or absent)."""
    if not isinstance(tree, dict):
        raise _unrecognized(kind, "into an object")
    found_version, found = tree.get("apiVersion") or "", tree.get("kind") or ""
    wanted = version.api_version
    if kind.typed_items:
        _check_custom_type(kind, tree, found_version, found, wanted)
        return
    if (not found or found == kind.kind) and (not found_version or found_version == wanted):
        return
    for field, value in (("apiVersion", found_version), ("kind", found)):
        if not isinstance(value, str):
            what = Mismatch.of(value, "string").text
            raise _unrecognized(kind, f"{what} into Go struct field .{field} of type string")
    group, _, number = (found_version or wanted).rpartition("/")
    found = found or kind.kind
    if _registered(GroupKind(group, found), number):
        package = kind.hub.group.partition(".")[0] or "core"
        why = f"converting ({number}.{found}) to ({package}.{kind.kind}): unknown conversion"
    else:
        gv = found_version or wanted
        why = f'no kind "{found}" is registered for version "{gv}" in scheme "pkg/api/legacyscheme/scheme.go:30"'
    raise errors.bad_request(f'{found} in version "{number}" cannot be handled as a {kind.kind}: {why}')


def _check_custom_type(kind: Kind, tree: Obj, version: Any, found: Any, wanted: str) -> None:
    """Of a custom resource, which nothing is assumed of: both must be there."""
    for field, value in (("kind", found), ("apiVersion", version)):
        if not isinstance(value, str):
            what = Mismatch.of(value, "string").text
            raise _unrecognized(kind, f"{what} into Go struct field .{field} of type string")
    if not found:
        shown = orjson.dumps(tree, option=orjson.OPT_SORT_KEYS).decode()
        raise errors.bad_request(f"Object 'Kind' is missing in '{shown}'")
    if version != wanted:
        what = f"the API version in the data ({version}) does not match the expected API version ({wanted})"
        raise errors.bad_request(what)
    if found != kind.kind:
        errs = errors.FieldErrors()
        errs.invalid("kind", found, f"must be {kind.kind}")
        raise errors.invalid(GroupKind(kind.hub.group, found), _name_of(tree), errs)


def _name_of(tree: Obj) -> str:
    metadata = tree.get("metadata")
    name: Any = metadata.get("name") if isinstance(metadata, dict) else ""
    return name if isinstance(name, str) else ""


def _registered(found: GroupKind, version: str) -> bool:
    """Whether there is such a built-in kind, or a list of it, in that version."""
    for name in (found.kind, found.kind.removesuffix("List")):
        known = by_kind().get(GroupKind(found.group, name))
        if known is not None and any(v.version == version for v in known[0].versions if v.group == found.group):
            return True
    return False
