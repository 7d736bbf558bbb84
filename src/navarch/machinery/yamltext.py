"""YAML bodies, read as kubectl and the API server read them: sigs.k8s.io/yaml's scalar rules, made into a JSON tree.

libyaml's parser is asked for one event at a time and the tree is built without recursion, so that nesting and the
growth by aliases are refused while reading, not afterwards. Only the first document of a stream is read.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Iterator
from typing import Any

import yaml

from navarch.machinery.errors import StatusError, bad_request

MAX_DEPTH = 200
_MAX_EXPANDED = 200_000
"""Nodes that aliases may add to one document."""

_CONSTANTS: dict[str, bool | float | None] = {
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
}
_INT = re.compile(r"([-+]?)(0[xX][0-9a-fA-F]+|0[oO][0-7]+|0[bB][01]+|0[0-7]*|[1-9][0-9]*)", re.ASCII)
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", re.ASCII)
_TAG = "tag:yaml.org,2002:"


class _Refused(Exception):
    """Why a document is not read; becomes a 400."""


def parse_yaml(body: bytes, duplicates: list[str] | None = None, kind: str = "") -> Any:
    """The JSON tree of the body's first document (None where it is empty). Says in `duplicates` which keys a mapping has
    twice (`line 7: key "a" already set in map`); the last one counts. Raises StatusError 400 whatever is wrong with the body."""
    try:
        return _Builder(duplicates).build(_events(body))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line if error.problem_mark else 0
        where = f"line {line + 1}: " if line else ""  # go-yaml takes the first line for none
        raise _unreadable(f"yaml: {where}{error.problem}", kind) from None
    except (yaml.YAMLError, UnicodeError, ValueError, RecursionError, MemoryError, OverflowError) as error:
        raise _unreadable(f"yaml: {error}", kind) from None
    except _Refused as refused:
        raise _unreadable(f"yaml: {refused}", kind) from None


def _unreadable(why: str, kind: str) -> StatusError:
    return bad_request(f"the object provided is unrecognized (must be of type {kind}): {why}" if kind else why)


def _events(body: bytes) -> Iterator[Any]:
    loader = yaml.CSafeLoader(body)
    try:
        while (event := loader.get_event()) is not None:
            yield event
    finally:
        loader.dispose()


_MERGE = object()
_NO_KEY = object()


class _Open:
    """A collection whose end has not come. `key` is the mapping key that waits for its value."""

    __slots__ = ("anchor", "key", "line", "merges", "node")

    def __init__(self, node: Any, anchor: str | None) -> None:
        self.node = node
        self.anchor = anchor
        self.key: Any = _NO_KEY
        self.line = 0
        """The key's, from 1."""
        self.merges: list[Any] = []


class _Builder:
    def __init__(self, duplicates: list[str] | None) -> None:
        self.duplicates = duplicates
        self.open: list[_Open] = []
        self.anchors: dict[str, Any] = {}
        self.expanded = 0

    def build(self, events: Iterator[Any]) -> Any:
        for event in events:
            match event:
                case yaml.ScalarEvent():
                    value = scalar(event)
                    self._note_line(event)
                    self._remember(event.anchor, value)
                case yaml.SequenceStartEvent():
                    self._push([], event.anchor)
                    continue
                case yaml.MappingStartEvent():
                    self._push({}, event.anchor)
                    continue
                case yaml.SequenceEndEvent() | yaml.MappingEndEvent():
                    value = self._pop()
                case yaml.AliasEvent():
                    value = self._alias(event.anchor)
                case _:
                    continue
            if not self.open:
                return _plain(value)
            self._put(value)
        return None

    def _push(self, node: Any, anchor: str | None) -> None:
        if len(self.open) >= MAX_DEPTH:
            raise _Refused("exceeded max depth")
        self.open.append(_Open(node, anchor))

    def _pop(self) -> Any:
        done = self.open.pop()
        for merged in done.merges:
            for key, value in merged.items():
                done.node.setdefault(key, value)
        self._remember(done.anchor, done.node)
        return done.node

    def _remember(self, anchor: str | None, value: Any) -> None:
        if anchor is not None:
            self.anchors[anchor] = value

    def _alias(self, anchor: str) -> Any:
        if any(node.anchor == anchor for node in self.open):
            raise _Refused(f"anchor '{anchor}' value contains itself")
        if anchor not in self.anchors:
            raise _Refused(f"unknown anchor '{anchor}' referenced")
        return self._copy(self.anchors[anchor], len(self.open))

    def _copy(self, value: Any, depth: int) -> Any:
        self.expanded += 1
        if self.expanded > _MAX_EXPANDED:
            raise _Refused("document contains excessive aliasing")
        if depth > MAX_DEPTH:
            raise _Refused("exceeded max depth")
        if isinstance(value, dict):
            return {key: self._copy(item, depth + 1) for key, item in value.items()}
        if isinstance(value, list):
            return [self._copy(item, depth + 1) for item in value]
        return value

    def _put(self, value: Any) -> None:
        parent = self.open[-1]
        if isinstance(parent.node, list):
            parent.node.append(_plain(value))
        elif parent.key is _NO_KEY:
            parent.key = value if value is _MERGE else _key(value)
        elif parent.key is _MERGE:
            parent.key = _NO_KEY
            parent.merges.extend(_mergeable(value))
        else:
            key, parent.key = parent.key, _NO_KEY
            if key in parent.node and self.duplicates is not None:
                self.duplicates.append(f'line {parent.line}: key "{key}" already set in map')
            parent.node[key] = _plain(value)

    def _note_line(self, event: Any) -> None:
        """Where the key of a mapping stands, for what is said of duplicates."""
        if self.duplicates is not None and self.open and self.open[-1].key is _NO_KEY:
            self.open[-1].line = event.start_mark.line + 1


def _plain(value: Any) -> Any:
    return "<<" if value is _MERGE else value


def _mergeable(value: Any) -> list[Any]:
    sources = value if isinstance(value, list) else [value]
    if not all(isinstance(source, dict) for source in sources):
        raise _Refused("map merge requires map or sequence of maps as the value")
    return sources


def _key(value: Any) -> str:
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return repr(value)
        case _:
            raise _Refused("unsupported map key")


def scalar(event: yaml.ScalarEvent) -> Any:
    """The JSON value of a scalar, by its tag or, where it is plain, by its looks."""
    text = str(event.value)
    tag = str(event.tag or "")
    if tag in ("", "!"):
        return text if event.style or tag else _resolved(text)
    if not tag.startswith(_TAG):
        return text
    match tag.removeprefix(_TAG):
        case "str" | "timestamp":
            return text
        case "binary":
            return _binary(text)
        case "bool" | "int" | "float" | "null" as name:
            return _tagged(name, text)
        case _:
            return text


def _resolved(text: str) -> Any:
    if text == "<<":
        return _MERGE
    if text in _CONSTANTS:
        return _finite(_CONSTANTS[text])
    first = text[0]
    if not (first in "+-." or "0" <= first <= "9"):
        return text
    plain = text if first == "." else text.replace("_", "")
    number = _number(plain)
    return text if number is None else _finite(number)


def _number(plain: str) -> int | float | None:
    if len(plain) <= 70 and (match := _INT.fullmatch(plain)):
        digits = match[2].lower()
        base = 0 if digits[1:2] in ("x", "o", "b") else 8 if digits.startswith("0") and len(digits) > 1 else 10
        number = int(match[1] + digits, base)
        if -(1 << 63) <= number < 1 << 64:
            return number
    if _FLOAT.fullmatch(plain):
        number = float(plain)
        return None if math.isinf(number) else number
    return None


def _finite(value: Any) -> Any:
    """The number as JSON then writes it: 1e3 is 1000."""
    if not isinstance(value, float):
        return value
    if not math.isfinite(value):
        raise _Refused("json: unsupported value: " + ("NaN" if math.isnan(value) else f"{value:+}"))
    return int(value) if value.is_integer() and abs(value) < 1 << 63 else value


def _binary(text: str) -> str:
    try:
        return base64.b64decode(text).decode("utf-8", "replace")
    except binascii.Error:
        raise _Refused("!!binary value contains invalid base64 data") from None


def _tagged(name: str, text: str) -> Any:
    value = _resolved(text)
    kinds = {"bool": bool, "int": int, "float": (int, float), "null": type(None)}
    if not isinstance(value, kinds[name]) or (name != "bool" and isinstance(value, bool)):
        raise _Refused(f"cannot decode `{text}` as a !!{name}")
    return value
