"""What can be said of literals before anything runs: durations, times, patterns and formats that never work, and conversions
of constants.

Sources: cel-go's cel/validator.go, ext/formatting.go (version 1 of formats), interpreter/decorators.go.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from navarch.machinery.cel.checker import Checked
from navarch.machinery.cel.library.standard import pattern
from navarch.machinery.cel.library.strings import Format, FormatError, clauses
from navarch.machinery.cel.syntax import Call, Issue, ListNode, Literal_, MapNode, Node, descendants
from navarch.machinery.cel.types import DYN, Type
from navarch.machinery.cel.values import CelError, duration, timestamp

CONVERSIONS = frozenset(("bool", "bytes", "double", "duration", "dyn", "int", "string", "timestamp", "type", "uint"))
PATTERNS = frozenset(("matches", "find", "findAll"))
STRINGS = frozenset(
    (
        "list", "map", "int", "uint", "double", "bool", "string", "google.protobuf.Timestamp", "bytes",
        "google.protobuf.Duration", "type", "null_type",
    )
)  # fmt: skip


def issues(checked: Checked) -> Iterator[Issue]:
    """What is wrong with literals."""
    for node in descendants(checked.root):
        if not isinstance(node, Call) or not node.args:
            continue
        first = node.args[0]
        if isinstance(first, Literal_) and _never(node.function, first.value):
            yield Issue(first.at, f"invalid {node.function} argument")
        if node.function == "format" and isinstance(node.target, Literal_) and isinstance(first, ListNode):
            yield from _format(checked, node, node.target.value, first.items)


def _never(function: str, value: Any) -> bool:
    """Whether a function fails for a literal first argument."""
    try:
        if function == "duration":
            if not isinstance(value, str):
                return True
            duration(value)
        elif function == "timestamp" and isinstance(value, str):
            timestamp(value)
        elif function == "matches" and isinstance(value, str):
            pattern(value)
    except CelError:
        return True
    return False


def _format(checked: Checked, node: Call, text: Any, arguments: Sequence[Node]) -> Iterator[Issue]:
    used = 0
    try:
        for used, part in enumerate((part for part in clauses(text) if isinstance(part, Format)), 1):
            if used > len(arguments):
                yield Issue(node.at, f"index {used - 1} out of range")
                return
            part.check()
            bad = _unfit(checked, part, arguments[used - 1])
            if bad is not None:
                yield Issue(bad.at, f"error during formatting: {part.refusal(checked.types[bad].name)}")
                return
    except FormatError as error:
        yield Issue(node.at, str(error))
        return
    if len(arguments) > used:
        message = f"too many arguments supplied to string.format (expected {used}, got {len(arguments)})"
        yield Issue(node.at, message)


def _unfit(checked: Checked, part: Format, argument: Node) -> Node | None:
    """What of an argument the clause cannot show."""
    if part.letter != "s":
        return None if _is(checked.types[argument], part.types) else argument
    if not _is(checked.types[argument], STRINGS):
        return argument
    below: list[Node] = []
    if isinstance(argument, ListNode):
        below = argument.items
    elif isinstance(argument, MapNode):
        below = [node for entry in argument.entries for node in (entry.key, entry.value)]
    return next((bad for node in below if (bad := _unfit(checked, part, node))), None)


def _is(found: Type, names: frozenset[str]) -> bool:
    return found == DYN or found.name in names


def convert(checked: Checked) -> None:
    """Runs what depends on literals alone: conversions and patterns. Raises CelError."""
    for node in descendants(checked.root):
        if not isinstance(node, Call) or not node.args or not isinstance(node.args[-1], Literal_):
            continue
        value: Any = node.args[-1].value
        if node.function in CONVERSIONS and len(node.args) == 1 and node.target is None:
            checked.functions[node].impl(value)
        elif node.function in PATTERNS and isinstance(value, str):
            pattern(value)
