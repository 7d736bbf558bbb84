"""The tree of an expression, and what may be wrong with its text.

Macros are nodes of their own (`Fold`, `Bind`) instead of cel-go's expanded comprehensions: they run natively, and the cost
model counts what the expansion would have cost.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

Position = int
"""Offset into the text, in characters."""


@dataclass(frozen=True, slots=True)
class Issue:
    """One thing wrong with an expression."""

    position: Position
    message: str


class CompileError(Exception):
    """The text is no valid expression; its words are those of cel-go."""

    def __init__(self, text: str, issues: Sequence[Issue]) -> None:
        self.issues = tuple(issues)
        ordered = sorted(issues, key=lambda issue: issue.position)
        super().__init__("\n".join(describe(text, issue) for issue in ordered))


def describe(text: str, issue: Issue) -> str:
    """An issue with the line it is in, and a mark below the place."""
    before = text[: issue.position]
    line, start = before.count("\n") + 1, before.rfind("\n") + 1
    column = issue.position - start
    source = text[start:].partition("\n")[0]
    return f"ERROR: <input>:{line}:{column + 1}: {issue.message}\n | {source}\n | {'.' * column}^"


@dataclass(slots=True, kw_only=True, eq=False)
class Node:
    at: Position = 0


@dataclass(slots=True, eq=False)
class Literal_(Node):
    value: Any = None
    """A CEL value (values.py)."""


@dataclass(slots=True, eq=False)
class Ident(Node):
    name: str


@dataclass(slots=True, eq=False)
class Select(Node):
    operand: Node
    field: str
    test: bool = False
    """has(operand.field)."""
    optional: bool = False
    """operand.?field."""


@dataclass(slots=True, eq=False)
class Call(Node):
    function: str
    """Operators by cel-go's names: `_+_`, `_[_]`, `@in`, `_?_:_`."""
    target: Node | None
    args: list[Node]


@dataclass(slots=True, eq=False)
class ListNode(Node):
    items: list[Node]
    optional: frozenset[int] = frozenset()


@dataclass(slots=True, eq=False)
class Entry:
    key: Node
    value: Node
    optional: bool = False


@dataclass(slots=True, eq=False)
class MapNode(Node):
    entries: list[Entry]


@dataclass(slots=True, eq=False)
class StructNode(Node):
    type_name: str
    fields: list[tuple[str, Node, bool, Position]]
    """(name, value, optional, position)."""


FoldKind = Literal[
    "all", "exists", "exists_one", "map", "filter", "transformList", "transformMap", "transformMapEntry", "sortBy"
]


@dataclass(slots=True, eq=False)
class Fold(Node):
    """A macro over a list or the keys of a map. `key` is set for the two-variable forms (index or key, value)."""

    kind: FoldKind
    range: Node
    variable: str
    step: Node
    """The predicate, or what is made of each element."""
    condition: Node | None = None
    """What an element must fulfil to be transformed."""
    key: str = ""


@dataclass(slots=True, eq=False)
class Bind(Node):
    """cel.bind-like: optMap and optFlatMap bind an optional's value."""

    kind: Literal["optMap", "optFlatMap"]
    target: Node
    variable: str
    body: Node


def descendants(node: Any) -> Iterator[Node]:
    """All nodes of a tree: what is below a node before itself."""
    if isinstance(node, list | tuple):
        for item in node:
            yield from descendants(item)
    elif isinstance(node, Node | Entry):
        for field in fields(node):
            yield from descendants(getattr(node, field.name))
        if isinstance(node, Node):
            yield node


class InstantiationError(CompileError):
    """The expression is well typed, but a part of it that depends on nothing fails."""

    def __init__(self, why: str) -> None:
        super().__init__("", ())
        self.args = (why,)


def failure(error: CompileError) -> str:
    """What is said of an expression that cannot be used."""
    return f"{'program instantiation' if isinstance(error, InstantiationError) else 'compilation'} failed: {error}"


def mentions(node: Any, name: str) -> bool:
    """Whether a variable is used anywhere in a tree."""
    if isinstance(node, Ident):
        return node.name == name
    if isinstance(node, Node | Entry):
        return any(mentions(getattr(node, field.name), name) for field in fields(node))
    return isinstance(node, list | tuple) and any(mentions(item, name) for item in node)
