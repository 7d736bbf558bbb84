"""Schedules in cron's words, and the time zones they are read in. Source: robfig/cron's standard parser, its messages."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import tzinfo
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo, available_timezones

DESCRIPTORS = {
    "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@hourly": "0 * * * *",
}  # fmt: skip
EVERY = "@every "


class ScheduleError(ValueError):
    """The text is no schedule, or no time zone."""


class _Bounds(NamedTuple):
    low: int
    high: int
    names: Mapping[str, int]


def _named(words: str, start: int) -> dict[str, int]:
    return {word: number for number, word in enumerate(words.split(), start)}


_BOUNDS = (
    _Bounds(0, 59, {}),
    _Bounds(0, 23, {}),
    _Bounds(1, 31, {}),
    _Bounds(1, 12, _named("jan feb mar apr may jun jul aug sep oct nov dec", 1)),
    _Bounds(0, 6, _named("sun mon tue wed thu fri sat", 0)),
)


@dataclass(frozen=True, slots=True)
class Schedule:
    """When: the minutes, hours, days, months and weekdays (Sunday is 0) that fit, or every so many seconds."""

    minutes: frozenset[int] = frozenset()
    hours: frozenset[int] = frozenset()
    days: frozenset[int] = frozenset()
    months: frozenset[int] = frozenset()
    weekdays: frozenset[int] = frozenset()
    any_day: bool = False
    any_weekday: bool = False
    """Where neither is any, a day fits that fits one of the two; else it must fit both."""
    every: float = 0.0
    zone: str = ""
    """As the schedule itself names it (`TZ=...`); objects of old may."""


@lru_cache(maxsize=1024)
def parse_schedule(text: str) -> Schedule:
    """Raises ScheduleError."""
    zone = ""
    if text.startswith(("TZ=", "CRON_TZ=")):
        named, _, text = text.partition(" ")
        zone, text = named.partition("=")[2], text.strip()
        if zone not in available_timezones():
            raise ScheduleError(f"provided bad location {zone}: unknown time zone {zone}")
    if text.startswith(EVERY):
        return Schedule(every=max(1.0, float(int(_duration(text)))), zone=zone)
    if text.startswith("@") and text not in DESCRIPTORS:
        raise ScheduleError(f"unrecognized descriptor: {text}")
    fields = DESCRIPTORS.get(text, text).split()
    if len(fields) != len(_BOUNDS):
        raise ScheduleError(f"expected exactly 5 fields, found {len(fields)}: [{' '.join(fields)}]")
    values = [_field(field, bounds) for field, bounds in zip(fields, _BOUNDS, strict=True)]
    star = [any(map(_is_any, field.split(","))) for field in fields]
    return Schedule(*values, any_day=star[2], any_weekday=star[4], zone=zone)


def _field(field: str, bounds: _Bounds) -> frozenset[int]:
    """A list of numbers, names, ranges and steps."""
    return frozenset(number for part in field.split(",") if part for number in _range(part, bounds))


def _range(part: str, bounds: _Bounds) -> range:
    steps = part.split("/")
    ends = steps[0].split("-")
    if ends[0] in ("*", "?"):
        start, end = bounds.low, bounds.high
    else:
        start = _number(ends[0], bounds.names)
        if len(ends) > 2:
            raise ScheduleError(f"too many hyphens: {part}")
        end = _number(ends[1], bounds.names) if len(ends) == 2 else start
    if len(steps) > 2:
        raise ScheduleError(f"too many slashes: {part}")
    step = _number(steps[1], {}) if len(steps) == 2 else 1
    if len(steps) == 2 and len(ends) == 1:
        end = bounds.high
    if start < bounds.low:
        raise ScheduleError(f"beginning of range ({start}) below minimum ({bounds.low}): {part}")
    if end > bounds.high:
        raise ScheduleError(f"end of range ({end}) above maximum ({bounds.high}): {part}")
    if start > end:
        raise ScheduleError(f"beginning of range ({start}) beyond end of range ({end}): {part}")
    if step == 0:
        raise ScheduleError(f"step of range should be a positive number: {part}")
    return range(start, end + 1, step)


def _is_any(part: str) -> bool:
    """`*`, but not every so many of them."""
    return part.startswith(("*", "?")) and int(part.partition("/")[2] or 1) <= 1


_is_number = re.compile("[+-]?[0-9]{1,18}", re.ASCII).fullmatch


def _number(text: str, known: Mapping[str, int]) -> int:
    if (named := known.get(text.lower())) is not None:
        return named
    if not _is_number(text):
        raise ScheduleError(f'failed to parse int from {text}: strconv.Atoi: parsing "{text}": invalid syntax')
    if (number := int(text)) < 0:
        raise ScheduleError(f"negative number ({number}) not allowed: {text}")
    return number


_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = r"([0-9]{1,18}\.?[0-9]{0,18}|\.[0-9]{1,18})(ns|us|µs|μs|ms|s|m|h)"
_is_duration = re.compile(f"[+-]?(0|({_PART})+)", re.ASCII).fullmatch


def _duration(text: str) -> float:
    """The seconds of Go's `1h30m`, after `@every `."""
    duration = text.removeprefix(EVERY)
    if len(duration) > 64 or not _is_duration(duration):
        raise ScheduleError(f'failed to parse duration {text}: time: invalid duration "{duration}"')
    sign = -1.0 if duration.startswith("-") else 1.0
    return sign * sum(float(number) * _SECONDS[unit] for number, unit in re.findall(_PART, duration))


_is_zone_part = re.compile(r"[A-Za-z.\-_0-9+]{1,14}", re.ASCII).fullmatch


@lru_cache(maxsize=64)
def parse_zone(name: str) -> tzinfo:
    """A time zone by its IANA name. Raises ScheduleError."""
    if not name:
        raise ScheduleError("timeZone must be nil or non-empty string")
    if name.lower() == "local":
        raise ScheduleError("timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones")
    parts = name.split("/")
    bad = any(part in (".", "..") or part.startswith("-") or not _is_zone_part(part) for part in parts)
    if bad or name not in available_timezones():
        raise ScheduleError(f"unknown time zone {name}")
    return ZoneInfo(name)
