"""Paths into objects that schemas name: `.spec.replicas`, `.metadata['x']`. Sources: apiextensions' ValidFieldPath, and the
part of client-go's JSONPath that printer columns use."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator
from typing import Any

from navarch.machinery.structural.nodes import Node

_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "'": "'", "\\": "\\"}


class PathError(ValueError):
    """What is wrong with a path."""


def field_path(text: str, node: Node, *, brackets: bool = True) -> tuple[str, Node]:
    """A path through fields and map keys, as messages show it, and the schema of what it leads to. Raises PathError."""
    shown = ""
    tokens = _tokens(text)
    for token in tokens:
        if token == "[":
            if not brackets:
                raise PathError("array notation is not allowed")
            token = next(tokens, "")
            if not token:
                raise PathError("unexpected end of JSON path")
            if len(token) < 2 or token[0] != "'" or token[-1] != "'":
                raise PathError(f"expected single quoted string but got {token}")
            name = _unescaped(token[1:-1])
            shown, node = _follow(shown, node, name)
            closing = next(tokens, "")
            if not closing:
                raise PathError("unexpected end of JSON path")
            if closing != "]":
                raise PathError(f"expected ] but got {closing}")
        elif token == ".":
            name = next(tokens, "")
            if not name:
                raise PathError("unexpected end of JSON path")
            shown, node = _follow(shown, node, name)
        else:
            raise PathError(f"expected [ or . but got: {token}")
    return shown, node


def _follow(shown: str, node: Node, name: str) -> tuple[str, Node]:
    if node.properties:
        below = node.properties.get(name)
        if below is None:
            raise PathError("does not refer to a valid field")
        return f"{shown}.{name}" if shown else name, below
    if isinstance(node.additional, Node):
        return f"{shown}[{name}]", node.additional
    raise PathError("does not refer to a valid field")


def _tokens(text: str) -> Iterator[str]:
    """`.`, `[` and `]`, quoted strings, and what is between them."""
    at = 0
    while at < len(text):
        if text[at] in ".[]":
            yield text[at]
            at += 1
            continue
        if text[at] == "'":
            found = re.compile(r"'(?:[^'\\]|\\.)*'", re.DOTALL).match(text, at)
            end = found.end() if found else len(text)
        else:
            end = next((i for i in range(at, len(text)) if text[i] in ".[]"), len(text))
        yield text[at:end]
        at = end


def _unescaped(text: str) -> str:
    def replaced(match: re.Match[str]) -> str:
        letter = match.group()[1]
        if letter not in _ESCAPES:
            raise PathError(f"invalid string literal: invalid escape char {match.group()}")
        return _ESCAPES[letter]

    return re.sub(r"\\.", replaced, text, flags=re.DOTALL)


Step = tuple[str, str]
"""(kind, argument): `key`, `index`, `all`, `filter`, `slice`."""


def json_path(text: str) -> list[Step] | None:
    """The steps of a printer column's path (`.status.conditions[?(@.type=="Ready")].status`); None: it is none."""
    steps: list[Step] = []
    at = 0
    while at < len(text):
        match = _STEP.match(text, at)
        if match is None:
            return None
        if match["key"] is not None:
            steps.append(("key", re.sub(r"\\(.)", r"\1", match["key"])))
        elif match["quoted"] is not None:
            steps.append(("key", match["quoted"][1:-1]))
        elif match["index"] is not None:
            steps.append(("index", match["index"]))
        elif match["slice"] is not None:
            steps.append(("slice", match["slice"]))
        elif match["filter"] is not None:
            if _FILTER.fullmatch(match["filter"].strip()) is None:
                return None
            steps.append(("filter", match["filter"].strip()))
        elif match["star"] is not None:
            steps.append(("all", ""))
        at = match.end()
    return steps


_STEP = re.compile(
    r"""\.?\[\s*(?P<index>-?[0-9]+)\s*\]|\.?\[(?P<quoted>'[^']*'|"[^"]*")\]|\.?\[\?\((?P<filter>[^\]]*)\)\]|"""
    r"""\.?\[(?P<slice>-?[0-9]*:-?[0-9]*)\]|(?P<star>\.?\[\*\]|\.\*)|\.(?P<key>(?:\\.|[^.\[\]\\])+)|(?P<self>\.)$""",
    re.VERBOSE,
)
_FILTER = re.compile(
    r"""@(?P<path>(?:\.(?:\\.|[^.\[\]\\=<>!\s])+)+)\s*(?:(?P<op>==|!=|<=|>=|<|>)\s*(?P<value>"[^"]*"|'[^']*'|[^\s]+))?"""
)


def find(steps: list[Step], tree: Any) -> list[Any]:
    """What a path leads to; missing keys lead nowhere."""
    found = [tree]
    for kind, argument in steps:
        following: list[Any] = []
        for value in found:
            following.extend(_go_on(kind, argument, value))
        found = following
    return found


def _go_on(kind: str, argument: str, value: Any) -> list[Any]:
    if kind == "key":
        return [value[argument]] if isinstance(value, dict) and argument in value else []
    if kind == "all":
        return list(value.values()) if isinstance(value, dict) else list(value) if isinstance(value, list) else []
    if not isinstance(value, list):
        return []
    if kind == "index":
        index = int(argument)
        return [value[index]] if -len(value) <= index < len(value) else []
    if kind == "slice":
        start, _, end = argument.partition(":")
        return value[int(start) if start else None : int(end) if end else None]
    return [item for item in value if _passes(argument, item)]


def _passes(text: str, item: Any) -> bool:
    match = _FILTER.fullmatch(text)
    if match is None:
        return False
    left = find(json_path(match["path"]) or [], item)
    if match["op"] is None:
        return bool(left)
    if len(left) != 1:
        return False
    literal = match["value"]
    right: Any = literal[1:-1] if literal[0] in "\"'" else {"true": True, "false": False}.get(literal, literal)
    one: Any = left[0]
    if (
        isinstance(one, int | float)
        and not isinstance(one, bool)
        and isinstance(right, str)
        and literal[0] not in "\"'"
    ):
        try:
            right = float(right)
        except ValueError:
            return False
    elif type(one) is not type(right):
        return False
    return _COMPARED[match["op"]](one, right)


_COMPARED: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}
