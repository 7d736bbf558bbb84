"""How far and how fast an autoscaler may go: bounds, stabilisation, and the policies of its behaviour. All pure, but for
the history that is kept. Source: podautoscaler/horizontal.go.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

from navarch.machinery.types import Obj

DOWNSCALE_SECONDS = 300
"""How long the highest recommendation holds, unless a behaviour says otherwise."""
WITHIN = ("DesiredWithinRange", "the desired count is within the acceptable range")
LOWER = "recent recommendations were lower than current one, applying the lowest recent recommendation"
HIGHER = "recent recommendations were higher than current one, applying the highest recent recommendation"
FAST_UP = ("ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate")
FAST_DOWN = ("ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate")
TOO_MANY = ("TooManyReplicas", "the desired replica count is more than the maximum replica count")
TOO_FEW = ("TooFewReplicas", "the desired replica count is less than the minimum replica count")


@dataclass(slots=True)
class History:
    """What an autoscaler recommended and did: (number, when)."""

    recommended: list[tuple[int, float]] = field(default_factory=list[tuple[int, float]])
    added: list[tuple[int, float]] = field(default_factory=list[tuple[int, float]])
    removed: list[tuple[int, float]] = field(default_factory=list[tuple[int, float]])

    def recommend(self, replicas: int, now: float, window: float) -> None:
        """Notes a recommendation; those that no window shows any more are dropped."""
        self.recommended = [(n, at) for n, at in self.recommended if at >= now - window]
        self.recommended.append((replicas, now))

    def scaled(self, behavior: Obj | None, before: int, after: int, now: float) -> None:
        """Notes a change. Only policies ask for it."""
        if behavior is None:
            return
        for direction, change in (("scaleUp", after - before), ("scaleDown", before - after)):
            if change > 0:
                events = self.added if direction == "scaleUp" else self.removed
                longest = max((p["periodSeconds"] for p in behavior[direction].get("policies") or ()), default=0)
                events[:] = [*((n, at) for n, at in events if at >= now - longest), (change, now)]


class Limited(NamedTuple):
    replicas: int
    able: tuple[str, str]
    """Reason and message of AbleToScale."""
    limited: tuple[bool, str, str]
    """Status, reason and message of ScalingLimited."""


class Bounds(NamedTuple):
    minimum: int
    maximum: int
    current: int


def limit(behavior: Obj | None, bounds: Bounds, desired: int, history: History, now: float) -> Limited:
    """What may be made of a recommendation, which is noted in the history."""
    if behavior is None:
        stable, able = _stable(desired, history, now)
        allowed, why = _bounded(stable, bounds)
    else:
        stable, able = _stable_by_behavior(behavior, bounds, desired, history, now)
        allowed, why = _bounded_by_behavior(behavior, bounds, stable, history, now)
    if stable == desired:
        able = ("ReadyForNewScale", "recommended size matches current size")
    return Limited(allowed, able, (allowed != stable, *why))


def _stable(desired: int, history: History, now: float) -> tuple[int, tuple[str, str]]:
    recent = [n for n, at in history.recommended if at >= now - DOWNSCALE_SECONDS]
    history.recommend(desired, now, DOWNSCALE_SECONDS)
    return max([desired, *recent]), ("ScaleDownStabilized", HIGHER)


def _bounded(desired: int, bounds: Bounds) -> tuple[int, tuple[str, str]]:
    fastest = max(2 * bounds.current, 4)
    if desired < bounds.minimum:
        return bounds.minimum, TOO_FEW
    if bounds.maximum > fastest and desired > fastest:
        return fastest, FAST_UP
    if desired > bounds.maximum:
        return bounds.maximum, TOO_MANY
    return desired, WITHIN


def _stable_by_behavior(
    behavior: Obj, bounds: Bounds, desired: int, history: History, now: float
) -> tuple[int, tuple[str, str]]:
    up_window = behavior["scaleUp"].get("stabilizationWindowSeconds") or 0
    down_window = behavior["scaleDown"].get("stabilizationWindowSeconds")
    down_window = DOWNSCALE_SECONDS if down_window is None else down_window
    up = min([desired, *(n for n, at in history.recommended if at > now - up_window)])
    down = max([desired, *(n for n, at in history.recommended if at > now - down_window)])
    stable = min(max(bounds.current, up), down)
    history.recommend(desired, now, max(up_window, down_window))
    if desired >= bounds.current:
        return stable, ("ScaleUpStabilized", LOWER)
    return stable, ("ScaleDownStabilized", HIGHER)


def _bounded_by_behavior(
    behavior: Obj, bounds: Bounds, desired: int, history: History, now: float
) -> tuple[int, tuple[str, str]]:
    minimum, maximum, current = bounds
    if desired > current:
        fastest = max(current, _furthest(behavior["scaleUp"], current, history, now, 1))
        most, why = (fastest, FAST_UP) if maximum > fastest else (maximum, TOO_MANY)
        if desired > most:
            return most, why
    elif desired < current:
        fastest = min(current, _furthest(behavior["scaleDown"], current, history, now, -1))
        least, why = (fastest, FAST_DOWN) if minimum < fastest else (minimum, TOO_FEW)
        if desired < least:
            return least, why
    return desired, WITHIN


def _furthest(rules: Obj, current: int, history: History, now: float, sign: int) -> int:
    """How far the policies let go now; `sign` is 1 upwards, -1 downwards."""
    choice = rules.get("selectPolicy") or "Max"
    if choice == "Disabled":
        return current
    found: list[int] = []
    for policy in rules.get("policies") or ():
        since = now - policy["periodSeconds"]
        start = current - _changed(history.added, since) + _changed(history.removed, since)
        if policy["type"] == "Pods":
            found.append(start + sign * policy["value"])
        else:
            scaled = start * (1 + sign * policy["value"] / 100)
            found.append(math.ceil(scaled) if sign > 0 else int(scaled))
    if not found:
        return current
    return max(found) if (choice == "Max") == (sign > 0) else min(found)


def _changed(events: list[tuple[int, float]], since: float) -> int:
    return sum(change for change, at in events if at > since)
