"""From the bytes of a request to a tree: JSON and YAML with limits, and what strict field validation reports.

Any failure of a parser is a StatusError 400 with upstream's words.
"""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

from navarch.machinery.errors import StatusError, bad_request
from navarch.machinery.normalise import cannot_be_handled, normalise, path_text
from navarch.machinery.schema import Schema

__all__ = [
    "duplicate_keys",
    "normalise",
    "parse_json",
    "parse_yaml",
    "strict_error",
    "strict_errors",
    "unreadable",
    "yaml_errors",
]

_HEADROOM = 54
"""orjson encodes 254 levels: a body may use 200 of them, the rest is left to what the server adds (managed fields)."""
_SHALLOW = 200
_COLON_APART = (b'" :', b'"\t:', b'"\n:', b'"\r:')
_ESCAPED_MARKS = (b"\\u0022", b"\\u003a", b"\\u003A")


def unreadable(why: str, kind: str = "") -> StatusError:
    """The 400 of a body that is no object of any kind; `kind` is what the path expected."""
    expected = f"the object provided is unrecognized (must be of type {kind}): " if kind else ""
    return bad_request(f"{expected}{why}")


def parse_json(body: bytes, kind: str = "") -> Any:
    """The tree of a JSON body. Raises StatusError 400 for what is no JSON and for nesting deeper than 200 levels. Integers
    beyond 64 bits come out as floats, and bytes that are no UTF-8 as U+FFFD, as upstream has them. `kind` only words the
    error."""
    try:
        tree = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if (text := _valid(body)) != body:
            return parse_json(text, kind)
        raise unreadable(f"couldn't get version/kind; json parse error: {_reason(error)}", kind) from None
    if body.count(b"{") + body.count(b"[") > _SHALLOW and _too_deep(tree):
        raise unreadable("couldn't get version/kind; json parse error: exceeded max depth", kind)
    return tree


def parse_yaml(body: bytes, duplicates: list[str] | None = None, kind: str = "") -> Any:
    """`yamltext.parse_yaml`, whose parser is loaded when the first YAML body comes."""
    from navarch.machinery import yamltext

    return yamltext.parse_yaml(body, duplicates, kind)


def _valid(body: bytes) -> bytes:
    return body.decode(errors="replace").encode()


def _reason(error: orjson.JSONDecodeError) -> str:
    if not error.doc.strip() or error.pos >= len(error.doc):
        return "unexpected end of JSON input"
    if "depth" in error.msg or "recursion" in error.msg:
        return "exceeded max depth"
    return f"{error.msg} at offset {error.pos}"


def _too_deep(tree: Any) -> bool:
    """Whether the encoder, whose limit is 254, would refuse the tree below some levels more."""
    for _ in range(_HEADROOM):
        tree = [tree]
    try:
        orjson.dumps(tree)
    except orjson.JSONEncodeError:
        return True
    return False


def duplicate_keys(body: bytes, tree: Any = None) -> list[str]:
    """Paths of the fields that a JSON body (one that `parse_json` took) has twice or more.

    `tree` is what `parse_json` answered, not yet normalised: it saves parsing again.

    Costs an encode when there are none: the tree encoded again is then the body, or has as many key ends."""
    encoded = orjson.dumps(parse_json(body) if tree is None else tree)
    if encoded == body.strip():
        return []
    countable = not any(mark in body for mark in (*_COLON_APART, *_ESCAPED_MARKS))
    if countable and encoded.count(b'":') == body.count(b'":'):
        return []
    paths: dict[str, None] = {}
    _find_duplicates(json.loads(_valid(body), object_pairs_hook=_Pairs), [], paths)
    return list(paths)


class _Pairs(list[tuple[str, Any]]):
    """A JSON object with all its pairs, in order."""


def _find_duplicates(node: Any, path: list[str | int], paths: dict[str, None]) -> None:
    if isinstance(node, _Pairs):
        seen: set[str] = set()
        for key, value in node:
            if key in seen:
                paths[path_text([*path, key])] = None
            seen.add(key)
            if isinstance(value, list):
                _find_duplicates(value, [*path, key], paths)
    elif isinstance(node, list):
        for index, value in enumerate(node):
            if isinstance(value, list):
                _find_duplicates(value, [*path, index], paths)


def strict_errors(unknown: list[str], duplicates: list[str]) -> list[str]:
    """What fieldValidation=Strict refuses and Warn warns of, a message each; `duplicates` are messages already."""
    lines = [message for message in duplicates if _YAML_LINE.match(message)]
    others = [message for message in duplicates if not _YAML_LINE.match(message)]
    return [*lines, *(f'unknown field "{path}"' for path in unknown), *others]


def strict_error(schema: Schema, tree: Any, messages: list[str]) -> StatusError:
    """The 400 of fieldValidation=Strict for what `strict_errors` found."""
    lines = [message for message in messages if _YAML_LINE.match(message)]
    others = [message for message in messages if not _YAML_LINE.match(message)]
    return cannot_be_handled(schema, tree, "strict decoding error: " + ", ".join([*yaml_errors(lines), *others]))


_YAML_LINE = re.compile(r"line [0-9]+: key ", re.ASCII)


def yaml_errors(lines: list[str]) -> list[str]:
    """What YAML's parser says of duplicate keys, as one message; none where there are none."""
    return ["yaml: unmarshal errors:\n  " + "\n  ".join(lines)] if lines else []
