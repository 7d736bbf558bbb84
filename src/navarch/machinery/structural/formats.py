"""The string formats that schemas may ask for. Source: kube-openapi's strfmt and apiextensions' validation/formats.go."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable, Mapping
from datetime import date
from urllib.parse import urlsplit

from navarch.machinery import names

Check = Callable[[str], bool]

NUMBER_FORMATS: Mapping[str, tuple[str, ...]] = {"integer": ("int32", "int64"), "number": ("float", "double")}
_GO_DURATION = re.compile(r"[+-]?(?:0|(?:(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:ns|us|µs|μs|ms|s|m|h))+)", re.ASCII)
_SPAN = re.compile(r"[0-9]+\s*(?:([a-zµ]+))", re.ASCII | re.IGNORECASE)
_UNITS = frozenset(("ns", "us", "µs", "ms", "s", "m", "h", "hr", "d", "w", "wk"))
_UNIT_STARTS = ("nano", "micro", "milli", "sec", "min", "hour", "day", "week")


def _duration(text: str) -> bool:
    """As Go writes them, or with a number of any unit anywhere: `P1D`, `3 days`."""
    if _GO_DURATION.fullmatch(text):
        return True
    units = [match[1].lower() for match in _SPAN.finditer(text)]
    return any(unit in _UNITS or unit.startswith(_UNIT_STARTS) for unit in units)


def _matches(pattern: str, flags: int = 0) -> Check:
    fullmatch = re.compile(pattern, re.ASCII | flags).fullmatch
    return lambda text: fullmatch(text) is not None


def _uuid(version: str, variant: str) -> Check:
    hexes = "[0-9a-f]"
    parts = (f"{hexes}{{8}}", f"{hexes}{{4}}", f"{version}{hexes}{{3}}", f"{variant}{hexes}{{3}}", f"{hexes}{{12}}")
    return _matches("-?".join(parts), re.IGNORECASE)


def _parses(parse: Callable[[str], object]) -> Check:
    def check(text: str) -> bool:
        try:
            return parse(text) is not None
        except ValueError:
            return False

    return check


def _byte(text: str) -> bool:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    return bool(text)


def _cidr(text: str) -> bool:
    address, slash, bits = text.partition("/")
    if not slash or not (bits.isascii() and bits.isdecimal()) or (len(bits) > 1 and bits[0] == "0"):
        return False
    return _parses(lambda t: ipaddress.ip_network(t, strict=False))(f"{names.loose_ip(address)}/{bits}")


_SIGN = r"(?:[^\W_]|[$+<=>^`|~])"
_HOSTNAME = re.compile(
    rf"{_SIGN}(?:-?{_SIGN}{{0,62}})?|(?:{_SIGN}(?:(?:{_SIGN}|-){{0,61}}{_SIGN})?\.)+[^\W\d_]{{2,63}}"
)


def _hostname(text: str) -> bool:
    encoded = text.encode()
    short = len(encoded) <= 255 and all(len(part) <= 63 for part in encoded.split(b"."))
    return short and _HOSTNAME.fullmatch(text) is not None


def _uri(text: str) -> bool:
    """As Go's url.ParseRequestURI: absolute, or an absolute path."""
    if not text or any(ord(c) < 0x20 or ord(c) == 0x7F or c == " " for c in text.partition("?")[0]):
        return False
    try:
        url = urlsplit(text)
        _ = url.port
    except ValueError:
        return False
    return text.startswith("/") or bool(url.scheme and re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*:", text))


def _isbn10(text: str) -> bool:
    digits = re.sub(r"[\s-]+", "", text)
    if not re.fullmatch(r"[0-9]{9}[0-9X]", digits, re.ASCII):
        return False
    values = [10 if c == "X" else int(c) for c in digits]
    return sum((index + 1) * value for index, value in enumerate(values)) % 11 == 0


def _isbn13(text: str) -> bool:
    digits = re.sub(r"[\s-]+", "", text)
    if not re.fullmatch(r"[0-9]{13}", digits, re.ASCII):
        return False
    return sum(int(c) * (3 if index % 2 else 1) for index, c in enumerate(digits)) % 10 == 0


def _credit_card(text: str) -> bool:
    digits = re.sub(r"[^0-9]+", "", text)
    known = (
        r"4[0-9]{12}(?:[0-9]{3})?|5[1-5][0-9]{14}|6(?:011|5[0-9][0-9])[0-9]{12}|3[47][0-9]{13}|"
        r"3(?:0[0-5]|[68][0-9])[0-9]{11}|(?:2131|1800|35[0-9]{3})[0-9]{11}"
    )
    if not re.fullmatch(known, digits, re.ASCII):
        return False
    total = 0
    for index, c in enumerate(reversed(digits)):
        value = int(c) * (2 if index % 2 else 1)
        total += value // 10 + value % 10
    return total % 10 == 0


def _email(text: str) -> bool:
    """As Go's mail.ParseAddress, for the forms in use: `a@b`, `Name <a@b>`."""
    found = re.fullmatch(r"(?:[^<>]*<)?([^\s<>@,;]+@[^\s<>@,;]+)(>?)", text.strip(), re.ASCII)
    return found is not None and ("<" in text) == bool(found[2])


def _datetime(text: str) -> bool:
    """RFC 3339; before the fraction, upstream's pattern takes any character."""
    found = re.fullmatch(
        r"([0-9]{4}-[0-9]{2}-[0-9]{2})[tT]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:.[0-9]+)?(?:[zZ]|[+-][0-9]{2}:[0-9]{2})",
        text,
        re.ASCII,
    )
    if found is None or not _parses(date.fromisoformat)(found[1]):
        return False
    return int(found[2]) < 24 and int(found[3]) < 60 and int(found[4]) < 60


FORMATS: Mapping[str, Check] = {
    "bsonobjectid": _matches(r"[0-9a-fA-F]{24}"),
    "uri": _uri,
    "email": _email,
    "hostname": _hostname,
    "ipv4": lambda text: _parses(ipaddress.IPv4Address)(names.loose_ip(text)),
    "ipv6": _parses(ipaddress.IPv6Address),
    "cidr": _cidr,
    "mac": _matches(r"(?:[0-9a-f]{2}(?:[:-][0-9a-f]{2}){5}(?:(?:[:-][0-9a-f]{2}){2})?|(?:[0-9a-f]{4}\.){2,3}[0-9a-f]{4})", re.I),
    "uuid": _uuid("[0-9a-f]", "[0-9a-f]"),
    "uuid3": _uuid("3", "[0-9a-f]"),
    "uuid4": _uuid("4", "[89ab]"),
    "uuid5": _uuid("5", "[89ab]"),
    "isbn": lambda text: _isbn10(text) or _isbn13(text),
    "isbn10": _isbn10,
    "isbn13": _isbn13,
    "creditcard": _credit_card,
    "ssn": _matches(r"[0-9]{3}[- ]?[0-9]{2}[- ]?[0-9]{4}"),
    "hexcolor": _matches(r"#?(?:[0-9a-fA-F]{3}|[0-9a-fA-F]{6})"),
    "rgbcolor": _matches(
        r"rgb\(\s*(0|[1-9][0-9]?|1[0-9][0-9]?|2[0-4][0-9]|25[0-5])\s*,\s*(0|[1-9][0-9]?|1[0-9][0-9]?|2[0-4][0-9]|25[0-5])"
        r"\s*,\s*(0|[1-9][0-9]?|1[0-9][0-9]?|2[0-4][0-9]|25[0-5])\s*\)"
    ),
    "byte": _byte,
    "password": lambda text: True,
    "date": lambda text: re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text, re.ASCII) is not None
    and _parses(date.fromisoformat)(text),
    "duration": _duration,
    "datetime": _datetime,
    "k8sshortname": lambda text: not names.dns1123_label(text),
    "k8slongname": lambda text: not names.dns1123_subdomain(text),
}  # fmt: skip
"""By their names without dashes."""


def text_format(name: str) -> str:
    """The name under which a string's format is checked; empty: it is not."""
    plain = name.replace("-", "")
    return plain if plain in FORMATS else ""


def is_recognized(name: str, type_: str) -> bool:
    """Whether a schema's format means anything with its type."""
    if type_ in ("", "string"):
        return bool(text_format(name))
    return name in NUMBER_FORMATS.get(type_, ())
