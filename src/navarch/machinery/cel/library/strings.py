"""cel-go's strings extension (version 2), Kubernetes' regular expressions, and string.format."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

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


def format_(text: Any, arguments: Any) -> str:
    text = text_of(text)
    if not isinstance(arguments, list):
        raise TypeError
    pieces: list[str] = []
    at, used = 0, 0
    while at < len(text):
        start = text.find("%", at)
        if start < 0:
            pieces.append(text[at:])
            break
        pieces.append(text[at:start])
        if text[start + 1 : start + 2] == "%":
            pieces.append("%")
            at = start + 2
            continue
        precision, at = _precision(text, start + 1)
        clause = text[at : at + 1]
        if not clause:
            raise CelError("unexpected end of string")
        if used >= len(arguments):
            raise CelError(f"index {used} out of range")
        pieces.append(_clause(clause, precision, arguments[used]))
        used, at = used + 1, at + 1
    return "".join(pieces)


def _precision(text: str, at: int) -> tuple[int, int]:
    if text[at : at + 1] != ".":
        return 6, at
    end = at + 1
    while end < len(text) and text[end].isdigit():
        end += 1
    if end == at + 1:
        raise CelError("error while parsing precision: could not find end of precision specifier")
    return min(int(text[at + 1 : end]), MAX_PRECISION), end


def _clause(clause: str, precision: int, value: Any) -> str:
    number = isinstance(value, int) and not isinstance(value, bool)
    match clause:
        case "s":
            return _shown(value)
        case "d" if number:
            return str(int(value))
        case "f" if isinstance(value, float) or number:
            return _special(float(value)) or f"{float(value):.{precision}f}"
        case "e" if isinstance(value, float) or number:
            return _special(float(value)) or f"{float(value):.{precision}e}"
        case "b" if number or isinstance(value, bool):
            return f"{int(value):b}"
        case "o" if number:
            return f"{int(value):o}"
        case "x" | "X" if number:
            return f"{int(value):{clause}}"
        case "x" | "X" if isinstance(value, str | bytes):
            raw = value.encode() if isinstance(value, str) else value
            return raw.hex() if clause == "x" else raw.hex().upper()
        case "d" | "f" | "e" | "b" | "o" | "x" | "X":
            words = {"d": "decimal", "f": "fixed-point", "e": "scientific", "b": "binary", "o": "octal"}
            raise CelError(
                f"error during formatting: {words.get(clause, 'hex')} clause can not be used on {type_name(value)}"
            )
        case _:
            raise CelError(f'could not parse formatting clause: unrecognized formatting clause "{clause}"')


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
            raise CelError(
                f"error during formatting: string clause can only be used on strings, was given {type_name(value)}"
            )


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
