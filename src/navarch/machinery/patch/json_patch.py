"""JSON patch (RFC 6902) with the leniencies of the Go library that upstream uses: negative indexes, values that are missing,
keys to be replaced or copied that are not there."""

from __future__ import annotations

import re
from typing import Any

from navarch.machinery import errors
from navarch.machinery.trees import copy
from navarch.machinery.types import Obj


def go_kind(value: Any) -> str:
    """What Go's JSON decoder calls a value."""
    names = {dict: "object", list: "array", str: "string", bool: "bool"}
    return names.get(type(value), "number")


class _Inapplicable(Exception):
    """An operation does not fit the document."""


def rejected() -> errors.StatusError:
    """The 422 of a patch that is well formed and does not apply: upstream does not say why."""
    return errors.StatusError(422, "Invalid", "the server rejected our request due to an error in our request", {})


def apply(tree: Obj, operations: list[Any]) -> Obj:
    """The patched tree; neither argument changes. Raises StatusError: 400 for operations that are none, 422 for a
    failed test, a missing path, or a result that is no object."""
    document: Any = copy(tree)
    for operation in operations:
        if not isinstance(operation, dict):
            raise errors.bad_request(
                f"error decoding patch: json: cannot unmarshal {go_kind(operation)} into Go value of type handlers.jsonPatchOp"
            )
        try:
            document = _step(document, operation)
        except _Inapplicable:
            raise rejected() from None
    if not isinstance(document, dict):
        raise rejected()
    return document


def explain(tree: Obj, operations: list[Any]) -> tuple[str, str]:
    """(operation, why it does not apply) of the first that does not, in the library's words; ("", "") where all do."""
    document: Any = copy(tree)
    for operation in operations:
        if not isinstance(operation, dict):
            return "", f"json: cannot unmarshal {go_kind(operation)} into Go value of type jsonpatch.Operation"
        try:
            document = _step(document, operation)
        except _Inapplicable:
            kind = str(operation.get("op") or "")
            return kind, _why(document, kind, str(operation.get("path")))
    return "", ""


def _why(document: Any, kind: str, path: str) -> str:
    if kind == "test":
        return f"testing value {path} failed: test failed"
    if kind not in ("add", "remove", "replace", "move", "copy"):
        return f"Unexpected kind: {kind}"
    steps = _pointer({"path": path}, "path") if path.startswith("/") else []
    try:
        parent = _get(document, steps[:-1])
    except _Inapplicable:
        parent = None
    if kind == "remove" and isinstance(parent, dict):
        return f"error in remove for path: '{path}': Unable to remove nonexistent key: {steps[-1]}: missing value"
    if kind == "replace":
        what = "path" if parent is None else "key"
        return f"replace operation does not apply: doc is missing {what}: {path}: missing value"
    return f'{kind} operation does not apply: doc is missing path: "{path}": missing value'


def _step(document: Any, operation: Obj) -> Any:
    match operation.get("op"):
        case "add":
            _add(document, _pointer(operation, "path"), _value(operation))
        case "remove":
            _remove(document, _pointer(operation, "path"))
        case "replace":
            path, value = _pointer(operation, "path"), _value(operation)
            if not path:
                if not isinstance(value, dict | list):
                    raise _Inapplicable
                return value
            _replace(document, path, value)
        case "move":
            source = _pointer(operation, "from")
            value = _member(document, source)
            _remove(document, source)
            _add(document, _pointer(operation, "path"), value)
        case "copy":
            _add(document, _pointer(operation, "path"), copy(_member(document, _pointer(operation, "from"))))
        case "test":
            _test(document, _pointer(operation, "path"), operation.get("value"))
        case _:
            raise _Inapplicable
    return document


def _pointer(operation: Obj, member: str) -> list[str]:
    text = operation.get(member)
    if not isinstance(text, str) or (text and "/" not in text):
        raise _Inapplicable
    return [step.replace("~1", "/").replace("~0", "~") for step in text.split("/")[1:]]


def _value(operation: Obj) -> Any:
    """A value that is missing is null."""
    return copy(operation.get("value"))


def _index(text: str, length: int) -> int:
    """A place in a list of `length`; negative ones count from the end."""
    if not re.fullmatch(r"[+-]?[0-9]{1,9}", text, re.ASCII):
        raise _Inapplicable
    at = int(text)
    if at < 0:
        at += length
    if not 0 <= at < length:
        raise _Inapplicable
    return at


def _child(node: Any, step: str) -> Any:
    if isinstance(node, dict):
        if step not in node:
            raise _Inapplicable
        return node[step]
    if isinstance(node, list):
        return node[_index(step, len(node))]
    raise _Inapplicable


def _get(document: Any, path: list[str]) -> Any:
    for step in path:
        document = _child(document, step)
    return document


def _member(document: Any, path: list[str]) -> Any:
    """What is at a path; null where the last step is no key of an object."""
    parent = _parent(document, path)
    return parent.get(path[-1]) if isinstance(parent, dict) else _child(parent, path[-1])


def _parent(document: Any, path: list[str]) -> Any:
    if not path:
        raise _Inapplicable
    return _get(document, path[:-1])


def _add(document: Any, path: list[str], value: Any) -> None:
    parent = _parent(document, path)
    if isinstance(parent, dict):
        parent[path[-1]] = value
    elif isinstance(parent, list):
        at = len(parent) if path[-1] == "-" else _index(path[-1], len(parent) + 1)
        parent.insert(at, value)
    else:
        raise _Inapplicable


def _remove(document: Any, path: list[str]) -> None:
    parent = _parent(document, path)
    _child(parent, path[-1])
    del parent[path[-1] if isinstance(parent, dict) else _index(path[-1], len(parent))]


def _replace(document: Any, path: list[str], value: Any) -> None:
    """An object's key need not be there."""
    parent = _parent(document, path)
    if isinstance(parent, dict):
        parent[path[-1]] = value
    else:
        _child(parent, path[-1])
        parent[_index(path[-1], len(parent))] = value


def _test(document: Any, path: list[str], value: Any) -> None:
    parent = _parent(document, path) if path else None
    if path and isinstance(parent, dict) and path[-1] not in parent:
        if value is not None:
            raise _Inapplicable
        return
    if not same(_get(document, path), value):
        raise _Inapplicable


def same(left: Any, right: Any) -> bool:
    """Whether two trees are equal as JSON: true is not 1."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(v, right[k]) for k, v in left.items())
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    return left == right and isinstance(left, bool) == isinstance(right, bool)
