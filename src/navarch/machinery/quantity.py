"""Quantities: fixed-point numbers with a suffix, read and written as apimachinery's resource.Quantity does.

A quantity is kept as whole nano-units (finer amounts round up, away from zero) with the family of suffixes that it
was written in. Source: apimachinery api/resource/quantity.go.
"""

from __future__ import annotations

from functools import lru_cache, total_ordering
from typing import Final, Literal

Format = Literal["DecimalSI", "BinarySI", "DecimalExponent"]

FORMAT_WRONG: Final = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
NUMERIC_WRONG: Final = "unable to parse numeric part of quantity"
SUFFIX_WRONG: Final = "unable to parse quantity's suffix"

NANO: Final = 10**9
MILLI: Final = 10**6
MAX_INT64: Final = 2**63 - 1
MAX_EXPONENT: Final = 1000
"""Larger powers of ten are refused, so that a short text cannot become a huge number."""

_DECIMAL: Final = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY: Final = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_DECIMAL_OF: Final = {exponent: suffix for suffix, exponent in _DECIMAL.items()}
_BINARY_OF: Final = {0: "", **{exponent: suffix for suffix, exponent in _BINARY.items()}}
_DIGITS: Final = frozenset("0123456789")
_SUFFIX_CHARS: Final = frozenset("eEinumkKMGTP")


@total_ordering
class Quantity:
    """An immutable quantity; compares by amount, prints canonically."""

    __slots__ = ("_text", "format", "nano")

    def __init__(self, nano: int, format: Format = "DecimalSI", text: str = "") -> None:
        self.nano = nano
        self.format: Format = format
        self._text = text

    @staticmethod
    def parse(text: str) -> Quantity:
        """Raises ValueError with upstream's words."""
        return _parse_cached(text)

    @staticmethod
    def of(value: str | int | float) -> Quantity:
        """A quantity as JSON holds it: text or a number. Raises ValueError."""
        return _parse_cached(value if isinstance(value, str) else _number_text(value))

    def value(self) -> int:
        """Whole units, rounded away from zero."""
        return _divide_up(self.nano, NANO)

    def milli(self) -> int:
        """Thousandths, rounded away from zero."""
        return _divide_up(self.nano, NANO // 1000)

    @property
    def sign(self) -> int:
        return (self.nano > 0) - (self.nano < 0)

    def __str__(self) -> str:
        if not self._text:
            self._text = _canonical_text(self.nano, self.format)
        return self._text

    def __repr__(self) -> str:
        return f"Quantity({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Quantity) and self.nano == other.nano

    def __lt__(self, other: Quantity) -> bool:
        return self.nano < other.nano

    def __hash__(self) -> int:
        return hash(self.nano)

    def __add__(self, other: Quantity) -> Quantity:
        return Quantity(self.nano + other.nano, self.format if self.nano else other.format)

    def __sub__(self, other: Quantity) -> Quantity:
        return Quantity(self.nano - other.nano, self.format if self.nano else other.format)

    def __neg__(self) -> Quantity:
        return Quantity(-self.nano, self.format)


def canonical(value: str | int | float) -> str:
    """The text that Go's encoding would give for a quantity as JSON holds it. Raises ValueError."""
    return _canonical_cached(value if isinstance(value, str) else _number_text(value))


@lru_cache(maxsize=4096)
def _canonical_cached(text: str) -> str:
    return str(_parse_cached(text))


@lru_cache(maxsize=4096)
def rounded(text: str) -> str:
    """A quantity's canonical text, rounded up to thousandths. Raises ValueError."""
    found = _parse_cached(text)
    if found.nano % MILLI == 0:
        return str(found)
    return str(Quantity(_divide_up(found.nano, MILLI) * MILLI, found.format))


def _number_text(value: int | float) -> str:
    if isinstance(value, bool):
        raise ValueError(FORMAT_WRONG)
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value)


def _divide_up(amount: int, unit: int) -> int:
    return -(-amount // unit) if amount >= 0 else amount // unit


def _split(text: str) -> tuple[bool, str, str, str]:
    """(positive, digits before the point without leading zeros, digits after it, suffix). Raises ValueError."""
    end = len(text)
    at = 1 if text[0] in "+-" else 0
    positive = text[0] != "-"
    while at < end and text[at] == "0":
        at += 1
    start = at
    while at < end and text[at] in _DIGITS:
        at += 1
    whole = text[start:at] or "0"
    fraction = ""
    if at < end and text[at] == ".":
        start = at = at + 1
        while at < end and text[at] in _DIGITS:
            at += 1
        fraction = text[start:at]
    start = at
    while at < end and text[at] in _SUFFIX_CHARS:
        at += 1
    if at < end and text[at] in "+-":
        at += 1
    while at < end and text[at] in _DIGITS:
        at += 1
    if at < end:
        raise ValueError(FORMAT_WRONG)
    return positive, whole, fraction, text[start:]


def _interpret(suffix: str) -> tuple[int, int, Format]:
    """(base, exponent, format) of a suffix. Raises ValueError."""
    if suffix in _DECIMAL:
        return 10, _DECIMAL[suffix], "DecimalSI"
    if suffix in _BINARY:
        return 2, _BINARY[suffix], "BinarySI"
    if len(suffix) > 1 and suffix[0] in "eE":
        digits = suffix[1:]
        if digits.lstrip("+-").isdecimal() and len(digits) <= 6 and abs(exponent := int(digits)) <= MAX_EXPONENT:
            return 10, exponent, "DecimalExponent"
    raise ValueError(SUFFIX_WRONG)


@lru_cache(maxsize=4096)
def _parse_cached(text: str) -> Quantity:
    return _parse(text.strip())


def _parse(text: str) -> Quantity:
    if not text:
        raise ValueError(FORMAT_WRONG)
    if text == "0":
        return Quantity(0, "DecimalSI", text)
    positive, whole, fraction, suffix = _split(text)
    if len(whole) + len(fraction) > MAX_EXPONENT:
        raise ValueError(NUMERIC_WRONG)
    base, exponent, format = _interpret(suffix)
    digits = int(whole + fraction)
    if base == 10:
        scale = exponent - len(fraction) + 9
        amount = digits * 10**scale if scale >= 0 else -(-digits // 10**-scale)
    else:
        amount = -(-(digits * NANO << exponent) // 10 ** len(fraction))
    kept = _is_kept(whole, fraction, digits, exponent, format)
    if format == "BinarySI" and not kept:
        amount = min(amount, MAX_INT64 * NANO)
        if 0 < amount < NANO:
            format = "DecimalSI"
    return Quantity(amount if positive else -amount, format, text if kept else "")


def _is_kept(whole: str, fraction: str, digits: int, exponent: int, format: Format) -> bool:
    """Whether the text is taken to be canonical as it stands (upstream's shortcut, quirks included)."""
    if format == "BinarySI":
        fits = not fraction and 15 - len(whole) - exponent * 3 // 10 - 1 >= 0
        return fits and digits & 7 != 0
    scale = exponent - len(fraction)
    shifted = whole + fraction
    return (
        len(shifted) <= 18
        and scale >= -9
        and scale % 3 == 0
        and not shifted.endswith("000")
        and not shifted.startswith("0")
    )


def _canonical_text(nano: int, format: Format) -> str:
    if nano == 0:
        return "0"
    if format == "BinarySI" and abs(nano) >= 1024 * NANO and nano % NANO == 0:
        number, exponent = nano // NANO, 0
        while number % 1024 == 0 and exponent < 60:
            number //= 1024
            exponent += 10
        return f"{number}{_BINARY_OF[exponent]}"
    number, exponent = nano, -9
    while number % 1000 == 0 and (exponent < 18 or format == "DecimalExponent"):
        number //= 1000
        exponent += 3
    if format == "DecimalExponent":
        return f"{number}e{exponent}" if exponent else str(number)
    return f"{number}{_DECIMAL_OF[exponent]}"
