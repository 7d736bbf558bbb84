"""Patterns that users write, in linear time (re2), found anywhere in a text as Go's regexp does."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple


class Pattern(NamedTuple):
    text: str
    search: Any
    """text -> match or None; None where the pattern is none."""
    why: str
    """What is wrong with the pattern; empty: nothing."""
    expression: Any = None
    """The whole compiled expression."""


@lru_cache(maxsize=4096)
def compiled(text: str) -> Pattern:
    """The pattern, ready to search with. Never raises: `why` says what is wrong."""
    import re2

    options = re2.Options()
    options.log_errors = False
    try:
        expression = re2.compile(text, options)
        return Pattern(text, expression.search, "", expression)
    except re2.error as error:
        why = error.args[0] if error.args else error
        shown = why.decode(errors="replace") if isinstance(why, bytes) else str(why)
        what, _, where = shown.partition(": ")
        return Pattern(text, None, f"error parsing regexp: {_GO_WORDS.get(what, what)}: `{where or text}`")


_GO_WORDS = {
    "missing )": "missing closing )",
    "missing ]": "missing closing ]",
    "bad repetition operator": "invalid nested repetition operator",
    "no argument for repetition operator": "missing argument to repetition operator",
    "invalid named capture group": "invalid named capture",
    "invalid perl operator": "invalid or unsupported Perl syntax",
}
"""re2 -> Go's regexp/syntax."""
