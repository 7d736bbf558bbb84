"""cel-go's strings extension (version 2), Kubernetes' regular expressions, and string.format."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from navarch.machinery.cel.declarations import Library, library, member, over
from navarch.machinery.cel.library.standard import double_text, pattern, to_string
from navarch.machinery.cel.types import DYN, INT, STRING, list_of
from navarch.machinery.cel.values import CelError, Duration, Timestamp, TypeValue, UInt, type_name
from navarch.machinery.gotext import ESCAPES

STRINGS_LIST = list_of(STRING)
SPACES = " \t\n\v\f\r\x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
MAX_PRECISION = 1000


def text_of(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def whole(value: Any) -> int:
    if type(value) is not int:
        raise TypeError
    return value


def char_at(text: Any, at: Any) -> str:
    text, at = text_of(text), whole(at)
    if not 0 <= at <= len(text):
        raise CelError(f"index out of range: {at}")
    return text[at : at + 1]


def index_of(text: Any, part: Any, offset: Any = 0) -> int:
    text, part, offset = text_of(text), text_of(part), whole(offset)
    if part == "":
        return offset
    if not 0 <= offset <= len(text):
        raise CelError(f"index out of range: {offset}")
    return text.find(part, offset)


def last_index_of(text: Any, part: Any, offset: Any = None) -> int:
    text, part = text_of(text), text_of(part)
    if offset is None:
        return len(text) if part == "" else text.rfind(part)
    if not 0 <= whole(offset) <= len(text):
        raise CelError(f"index out of range: {offset}")
    return offset if part == "" else text.rfind(part, 0, offset + len(part))


def _ascii(change: Callable[[str], str]) -> Callable[[Any], str]:
    return lambda text: "".join(change(c) if c.isascii() else c for c in text_of(text))


def replace(text: Any, old: Any, new: Any, count: Any = -1) -> str:
    return text_of(text).replace(text_of(old), text_of(new), max(whole(count), -1))


def split(text: Any, separator: Any, count: Any = -1) -> list[str]:
    text, separator, count = text_of(text), text_of(separator), whole(count)
    if count == 0:
        return []
    if separator == "":
        pieces = list(text)
        return pieces if count < 0 or len(pieces) <= count else [*pieces[: count - 1], "".join(pieces[count - 1 :])]
    return text.split(separator, count - 1 if count > 0 else -1)


def substring(text: Any, start: Any, end: Any = None) -> str:
    text, start = text_of(text), whole(start)
    last = len(text) if end is None else whole(end)
    for position in (start, last):
        if not 0 <= position <= len(text):
            raise CelError(f"index out of range: {position}")
    if start > last:
        raise CelError(f"invalid substring range. start: {start}, end: {last}")
    return text[start:last]


def join(items: Any, separator: Any = "") -> str:
    if not isinstance(items, list):
        raise TypeError
    return text_of(separator).join(text_of(item) for item in items)


def quote(text: Any) -> str:
    return '"' + "".join(ESCAPES.get(c, c) for c in text_of(text)) + '"'


# -- format


class FormatError(CelError):
    """A format that never works."""


class Format(NamedTuple):
    """One clause of a format."""

    letter: str
    precision: int | None
    """None: not given."""

    @property
    def types(self) -> frozenset[str]:
        """Of what it can show; empty for `s`."""
        return _SHOWN.get(self.letter, (frozenset[str](), ""))[0]

    def check(self) -> None:
        """Raises FormatError for a clause that there is not."""
        if self.letter != "s" and self.letter not in _SHOWN:
            raise FormatError(f'could not parse formatting clause: unrecognized formatting clause "{self.letter}"')

    def refusal(self, name: str) -> str:
        """Why it does not show a type."""
        words = _SHOWN.get(self.letter, (None, _ANY))[1]
        return f"{words}, was given {name}"


_INTEGERS = frozenset(("int", "uint"))
_ANY = "string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, durations, and timestamps"
_HEX = (_INTEGERS | {"string", "bytes"}, "only integers, byte buffers, and strings can be formatted as hex")
_SHOWN: dict[str, tuple[frozenset[str], str]] = {
    "d": (_INTEGERS, "decimal clause can only be used on integers"),
    "f": (frozenset(("double", "string")), "fixed-point clause can only be used on doubles"),
    "e": (frozenset(("double", "string")), "scientific clause can only be used on doubles"),
    "b": (_INTEGERS | {"bool"}, "only integers and bools can be formatted as binary"),
    "o": (_INTEGERS, "octal clause can only be used on integers"),
    "x": _HEX,
    "X": _HEX,
}


def clauses(text: str) -> Iterator[str | Format]:
    """Texts and clauses of a format, in order. Raises FormatError where it cannot be read on."""
    at = 0
    while at < len(text):
        start = text.find("%", at)
        if start < 0:
            yield text[at:]
            return
        yield text[at:start]
        if text[start + 1 : start + 2] == "%":
            yield "%"
            at = start + 2
            continue
        if start + 1 == len(text):
            raise FormatError("unexpected end of string")
        precision, at = _precision(text, start + 1)
        yield Format(text[at], precision)
        at += 1


def format_(text: Any, arguments: Any) -> str:
    text = text_of(text)
    if not isinstance(arguments, list):
        raise TypeError
    pieces: list[str] = []
    used = 0
    for part in clauses(text):
        if isinstance(part, str):
            pieces.append(part)
            continue
        if used >= len(arguments):
            raise CelError(f"index {used} out of range")
        part.check()
        pieces.append(_clause(part, arguments[used]))
        used += 1
    return "".join(pieces)


def _precision(text: str, at: int) -> tuple[int | None, int]:
    if text[at : at + 1] != ".":
        return None, at
    end = at + 1
    while end < len(text) and text[end].isdigit():
        end += 1
    why = "could not parse formatting clause: error while parsing precision: "
    if end == len(text):
        raise FormatError(why + "could not find end of precision specifier")
    if end == at + 1:
        raise FormatError(f'{why}error while converting precision to integer: strconv.Atoi: parsing "": invalid syntax')
    return min(int(text[at + 1 : end]), MAX_PRECISION), end


def _clause(part: Format, value: Any) -> str:
    number = isinstance(value, int) and not isinstance(value, bool)
    letter, precision = part.letter, 6 if part.precision is None else part.precision
    match letter:
        case "s":
            return _shown(value)
        case "d" if number:
            return str(int(value))
        case "f" | "e" if isinstance(value, float):
            return _special(value) or f"{value:.{precision}{letter}}"
        case "f" | "e" if value in ("NaN", "Infinity", "-Infinity"):
            return value
        case "b" if number or isinstance(value, bool):
            return f"{int(value):b}"
        case "o" | "x" | "X" if number:
            return f"{int(value):{letter}}"
        case "x" | "X" if isinstance(value, str | bytes):
            raw = value.encode() if isinstance(value, str) else value
            return raw.hex() if letter == "x" else raw.hex().upper()
        case _:
            raise CelError(f"error during formatting: {part.refusal(type_name(value))}")


def _special(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return ("Infinity" if value > 0 else "-Infinity") if math.isinf(value) else ""


def _shown(value: Any) -> str:
    match value:
        case None:
            return "null"
        case list():
            return "[" + ", ".join(map(_shown, value)) + "]"
        case dict():
            shown = sorted((_shown(k), _shown(v)) for k, v in value.items())
            return "{" + ", ".join(f"{k}: {v}" for k, v in shown) + "}"
        case float():
            return _special(value) or double_text(value)
        case TypeValue():
            return value.name
        case bool() | str() | int() | bytes() | Timestamp() | Duration() | UInt():
            return to_string(value)
        case _:
            raise CelError(f"error during formatting: {_ANY}, was given {type_name(value)}")


# -- regular expressions


def find(text: Any, expression: Any) -> str:
    found = pattern(text_of(expression)).search(text_of(text))
    return found.group() if found else ""


def find_all(text: Any, expression: Any, limit: Any = -1) -> list[str]:
    text, limit = text_of(text), whole(limit)
    found: list[str] = []
    for match in pattern(text_of(expression)).finditer(text):
        if 0 <= limit <= len(found):
            break
        found.append(match.group())
    return found


STRINGS: Library = library(
    ("charAt", char_at, [member("string_char_at_int", STRING, STRING, INT)]),
    ("indexOf", index_of, [
        member("string_index_of_string", INT, STRING, STRING),
        member("string_index_of_string_int", INT, STRING, STRING, INT),
    ]),
    ("lastIndexOf", last_index_of, [
        member("string_last_index_of_string", INT, STRING, STRING),
        member("string_last_index_of_string_int", INT, STRING, STRING, INT),
    ]),
    ("lowerAscii", _ascii(str.lower), [member("string_lower_ascii", STRING, STRING)]),
    ("upperAscii", _ascii(str.upper), [member("string_upper_ascii", STRING, STRING)]),
    ("replace", replace, [
        member("string_replace_string_string", STRING, STRING, STRING, STRING),
        member("string_replace_string_string_int", STRING, STRING, STRING, STRING, INT),
    ]),
    ("split", split, [
        member("string_split_string", STRINGS_LIST, STRING, STRING),
        member("string_split_string_int", STRINGS_LIST, STRING, STRING, INT),
    ]),
    ("substring", substring, [
        member("string_substring_int", STRING, STRING, INT),
        member("string_substring_int_int", STRING, STRING, INT, INT),
    ]),
    ("trim", lambda text: text_of(text).strip(SPACES), [member("string_trim", STRING, STRING)]),
    ("join", join, [
        member("list_join", STRING, STRINGS_LIST),
        member("list_join_string", STRING, STRINGS_LIST, STRING),
    ]),
    ("strings.quote", quote, [over("strings_quote", STRING, STRING)]),
    ("format", format_, [member("string_format", STRING, STRING, list_of(DYN))]),
    ("find", find, [member("string_find_string", STRING, STRING, STRING)]),
    ("findAll", find_all, [
        member("string_find_all_string", STRINGS_LIST, STRING, STRING),
        member("string_find_all_string_int", STRINGS_LIST, STRING, STRING, INT),
    ]),
)  # fmt: skip
