"""Text as Go quotes it (strconv.Quote, %q, %#v): messages and files of upstream's show values that way."""

from __future__ import annotations

import math
from decimal import Decimal

ESCAPES = {
    "\\": "\\\\",
    '"': '\\"',
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
}


def quoted(text: str) -> str:
    """In quotes; what cannot be printed is written as an escape."""
    return '"' + "".join(ESCAPES.get(c) or (c if c.isprintable() else _code(c)) for c in text) + '"'


def _code(character: str) -> str:
    code = ord(character)
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def number(value: float) -> str:
    """As `%v`: whole numbers without a point, and the large and the small with an exponent."""
    if isinstance(value, int):
        return str(value)
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
    shortest = Decimal(repr(value)).normalize()
    exponent = shortest.adjusted()
    if value == 0 or -4 <= exponent < 6:
        return format(shortest, "f")
    return f"{shortest.scaleb(-exponent)}e{exponent:+03d}"
