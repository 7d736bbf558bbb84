"""Text to tokens, by the grammar of the CEL specification."""

from __future__ import annotations

import math
import re
from typing import Any, NamedTuple

from navarch.machinery.cel.syntax import CompileError, Issue
from navarch.machinery.cel.values import MAX_INT, MAX_UINT, MIN_INT, UInt

MAX_TEXT = 100_000
RESERVED = frozenset(
    [
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
        "var",
        "void",
        "while",
    ]
)


class Token(NamedTuple):
    kind: str
    """`ident`, `value` (a literal), `end`, or the operator itself."""
    text: str
    value: Any
    at: int


_SPACE = re.compile(r"(?:[ \t\r\n\f]+|//[^\n]*)+")
_IDENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_NUMBER = re.compile(
    r"0[xX][0-9a-fA-F]+[uU]?|(?:[0-9]+\.[0-9]+(?:[eE][+-]?[0-9]+)?|[0-9]+[eE][+-]?[0-9]+|\.[0-9]+(?:[eE][+-]?[0-9]+)?)|[0-9]+[uU]?",
    re.ASCII,
)
_STRING = re.compile(r"(?P<prefix>[rRbB]{0,2})(?P<quote>\"\"\"|'''|\"|')")
_OPERATORS = sorted(
    (
        "==",
        "!=",
        "<=",
        ">=",
        "&&",
        "||",
        "<",
        ">",
        "+",
        "-",
        "*",
        "/",
        "%",
        "!",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ".",
        ",",
        ":",
        "?",
    ),
    key=len,
    reverse=True,
)
_SIMPLE = {
    "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v",
    "\\": "\\", "?": "?", '"': '"', "'": "'", "`": "`",
}  # fmt: skip
_LITERALS = {"true": True, "false": False, "null": None}


class _Unreadable(Exception):
    """Characters that begin no token; `end` is where reading goes on, as ANTLR does: behind the first that cannot be."""

    def __init__(self, end: int) -> None:
        super().__init__(end)
        self.end = end


def tokens(text: str) -> tuple[list[Token], list[Issue]]:
    """The tokens, and what is none. Raises CompileError for text that is too long."""
    if len(text) > MAX_TEXT:
        raise CompileError(
            text[:50], [Issue(0, f"expression code point size exceeds limit: size: {len(text)}, limit {MAX_TEXT}")]
        )
    found: list[Token] = []
    issues: list[Issue] = []
    at = 0
    while at < len(text):
        if space := _SPACE.match(text, at):
            at = space.end()
            continue
        try:
            token, at = _next(text, at, issues)
            found.append(token)
        except _Unreadable as error:
            issues.append(Issue(at, f"Syntax error: token recognition error at: '{text[at : error.end]}'"))
            at = error.end
    found.append(Token("end", "<EOF>", None, len(text)))
    return found, issues


def _next(text: str, at: int, issues: list[Issue]) -> tuple[Token, int]:
    """Raises _Unreadable; a value that cannot be is an issue."""
    char = text[at]
    if (match := _STRING.match(text, at)) and (
        not match["prefix"] or match["prefix"].lower() in ("r", "b", "rb", "br")
    ):
        return _string(text, at, match, issues)
    if match := _IDENT.match(text, at):
        name = match.group()
        if name in _LITERALS:
            return Token("value", name, _LITERALS[name], at), match.end()
        return Token("in" if name == "in" else "ident", name, None, at), match.end()
    if char.isdigit() or (char == "." and text[at + 1 : at + 2].isdigit()):
        return _number(text, at, issues)
    if char == "`":
        end = text.find("`", at + 1)
        if end > 0:
            return Token("quoted", text[at : end + 1], None, at), end + 1
    for operator in _OPERATORS:
        if text.startswith(operator, at):
            return Token(operator, operator, None, at), at + len(operator)
    raise _Unreadable(min(at + 1 + (char in "&|="), len(text)))


def _number(text: str, at: int, issues: list[Issue]) -> tuple[Token, int]:
    match = _NUMBER.match(text, at)
    assert match
    word = match.group()
    unsigned = (word[-1] in "uU" and not word.lower().startswith("0x")) or (
        word.lower().startswith("0x") and word[-1] in "uU"
    )
    digits = word[:-1] if unsigned else word
    if digits.lower().startswith("0x"):
        value: Any = int(digits, 16) if len(digits) < 40 else MAX_UINT + 1
    elif digits.isdigit():
        value = int(digits) if len(digits) < 40 else MAX_UINT + 1
    else:
        value = float(digits)
    if unsigned:
        if value > MAX_UINT:
            issues.append(Issue(at, "invalid uint literal"))
            value = 0
        value = UInt(value)
    elif isinstance(value, int) and value > -MIN_INT:
        issues.append(Issue(at, "invalid int literal"))
        value = 0
    elif value == math.inf:
        issues.append(Issue(at, "invalid double literal"))
    return Token("value", word, value, at), match.end()


def int_literal(text: str, token: Token, negative: bool) -> int:
    """An integer with its sign, within 64 bits."""
    value = -token.value if negative else token.value
    if value > MAX_INT:
        raise CompileError(text, [Issue(token.at, "invalid int literal")])
    return value


def _string(text: str, at: int, match: re.Match[str], issues: list[Issue]) -> tuple[Token, int]:
    prefix, quote = match["prefix"].lower(), match["quote"]
    raw, is_bytes = "r" in prefix, "b" in prefix
    pieces: list[str | bytes] = []
    position = match.end()
    while True:
        if position >= len(text) or (len(quote) == 1 and text[position] == "\n"):
            raise _Unreadable(min(position + 1, len(text)))
        if text.startswith(quote, position):
            break
        if text[position] == "\\" and not raw:
            piece, position = _escape(text, position, is_bytes)
            if piece is None:
                issues.append(Issue(at, "unable to unescape string"))
                continue
        else:
            length = 2 if text[position] == "\\" and raw and position + 1 < len(text) else 1
            piece, position = text[position : position + length], position + length
        pieces.append(piece)
    end = position + len(quote)
    if is_bytes:
        value: Any = b"".join(p if isinstance(p, bytes) else p.encode() for p in pieces)
    else:
        value = "".join(str(p) for p in pieces)
    return Token("value", text[at:end], value, at), end


def _escape(text: str, at: int, is_bytes: bool) -> tuple[str | bytes | None, int]:
    """What an escape stands for; None where it stands for nothing. Raises _Unreadable."""
    char = text[at + 1 : at + 2]
    if char in _SIMPLE:
        return _SIMPLE[char], at + 2
    size = {"x": 2, "X": 2, "u": 4, "U": 8}.get(char)
    digits, base, end = (
        (text[at + 1 : at + 4], 8, at + 4) if size is None else (text[at + 2 : at + 2 + size], 16, at + 2 + size)
    )
    alphabet = "01234567" if base == 8 else "0123456789abcdefABCDEF"
    wanted = 3 if size is None else size
    if size is None and char not in ("0", "1", "2", "3"):
        raise _Unreadable(min(at + 2, len(text)))
    good = next((number for number, digit in enumerate(digits) if digit not in alphabet), len(digits))
    if good < wanted:
        raise _Unreadable(min(end - wanted + good + 1, len(text)))
    if is_bytes and char in ("u", "U"):
        return None, end
    code = int(digits, base)
    if is_bytes:
        return bytes([code]), end
    if code > 0x10FFFF or 0xD800 <= code < 0xE000:
        return None, end
    return chr(code), end
