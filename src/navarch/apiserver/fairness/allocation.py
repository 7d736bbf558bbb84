"""How many seats each priority level has: by its shares, and by what levels lend and borrow. Pure.

Source: KEP-1040, apiserver's util/flowcontrol (apf_controller, conc_alloc).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from navarch.machinery.types import Obj

SMOOTHING = 0.977
"""How much of the demand seen before outlasts an adjustment."""
LEAST = 0.001


class Bounds(NamedTuple):
    """In seats."""

    nominal: int
    minimum: int
    """What is left when all that is lendable is lent."""
    maximum: int


def bounds(specs: Mapping[str, Obj], total: int) -> dict[str, Bounds]:
    """Of each level, by name: `total` seats dealt out by shares."""
    shares = {name: _part(spec).get("nominalConcurrencyShares") or 0 for name, spec in specs.items()}
    whole = sum(shares.values())
    nominal = {name: math.ceil(total * share / whole) if whole else 0 for name, share in shares.items()}
    everything = sum(nominal.values())
    found: dict[str, Bounds] = {}
    for name, spec in specs.items():
        own = nominal[name]
        lendable = _rounded(own * (_part(spec).get("lendablePercent") or 0) / 100)
        borrowing = _part(spec).get("borrowingLimitPercent")
        most = everything if borrowing is None else own + _rounded(own * borrowing / 100)
        found[name] = Bounds(own, own - lendable, most)
    return found


def _part(spec: Obj) -> Obj:
    return spec.get("exempt" if spec["type"] == "Exempt" else "limited") or {}


def _rounded(value: float) -> int:
    return math.floor(value + 0.5)


class Demand(NamedTuple):
    """What a level asked for since the last adjustment, in seats."""

    peak: int
    mean: float
    deviation: float


def smoothed(before: float, seen: Demand) -> float:
    """Grows at once, shrinks slowly."""
    envelope = seen.mean + seen.deviation
    return max(envelope, SMOOTHING * before + (1 - SMOOTHING) * envelope)


class Asking(NamedTuple):
    """A level at an adjustment."""

    exempt: bool
    bounds: Bounds
    peak: int
    smoothed: float


def limits(levels: Mapping[str, Asking]) -> dict[str, int]:
    """The seats of each level until the next adjustment. Exempt levels are never held to theirs: they only take them from
    the others."""
    total = sum(level.bounds.nominal for level in levels.values())
    found: dict[str, int] = {}
    left = total
    limited: dict[str, tuple[Asking, int]] = {}
    for name, level in levels.items():
        if level.exempt:
            found[name] = max(level.bounds.minimum, level.peak)
            left -= found[name]
        else:
            limited[name] = level, max(level.bounds.minimum, min(level.bounds.nominal, level.peak))
    minima = sum(level.bounds.minimum for level, _ in limited.values())
    needs = sum(need for _, need in limited.values())
    if left <= minima:
        return found | {name: level.bounds.minimum for name, (level, _) in limited.items()}
    if left <= needs:
        part = (left - minima) / (needs - minima)
        dealt = {n: low.bounds.minimum + (need - low.bounds.minimum) * part for n, (low, need) in limited.items()}
        return found | {name: _rounded(value) for name, value in dealt.items()}
    items = [(max(need, level.smoothed), need, level.bounds.maximum) for level, need in limited.values()]
    return found | {n: _rounded(v) for n, v in zip(limited, fair(total, items), strict=True)}


def fair(total: int, items: Sequence[tuple[float, float, float]]) -> list[float]:
    """Deals `total` out in proportion to targets: (target, least, most) of each. Where the bounds allow no such sum, all
    are at the bound that is in the way."""
    targets = [max(target, LEAST) for target, _, _ in items]

    def dealt(share: float) -> list[float]:
        return [max(low, min(high, share * t)) for t, (_, low, high) in zip(targets, items, strict=True)]

    low, high = 0.0, max((most / t for t, (_, _, most) in zip(targets, items, strict=True)), default=0.0)
    if sum(dealt(high)) <= total:
        return dealt(high)
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if sum(dealt(middle)) < total else (low, middle)
    return dealt(high)
