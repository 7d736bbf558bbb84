"""When a schedule is due: the next time, and the last that was missed. Pure; times are seconds since the epoch.

Source of the rules: robfig/cron's SpecSchedule.Next, upstream's pkg/controller/cronjob/utils.go.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, tzinfo
from typing import NamedTuple

from navarch.api.schedules import Schedule

YEARS = 5
"""How far ahead is looked for a time; a schedule without one (the 31st of February) is wrong."""
MANY = 100


class NeverDue(ValueError):
    """The schedule's words make sense, its times do not."""


def following(schedule: Schedule, after: float, zone: tzinfo = UTC) -> float | None:
    """The first time later than `after`; None where there is none for years. An hour that a change of the clock skips is
    skipped, one that it repeats comes twice."""
    if schedule.every:
        return float(math.floor(after)) + schedule.every
    time = (math.floor(after) // 60 + 1) * 60
    last_year = datetime.fromtimestamp(time, zone).year + YEARS
    while (local := datetime.fromtimestamp(time, zone)).year <= last_year:
        if local.month not in schedule.months:
            first = local.replace(day=1, hour=0, minute=0, fold=0)
            time = _later(time, (first + timedelta(days=32)).replace(day=1))
        elif not _is_day(schedule, local):
            time = _later(time, local.replace(hour=0, minute=0, fold=0) + timedelta(days=1))
        elif local.hour not in schedule.hours:
            time += (60 - local.minute) * 60
        elif local.minute not in schedule.minutes:
            time += (min((m for m in schedule.minutes if m > local.minute), default=60) - local.minute) * 60
        else:
            return float(time)
    return None


def _later(time: int, midnight: datetime) -> int:
    """The midnight, or what comes in its place where the clock skips it."""
    found = int(midnight.timestamp())
    return found if found > time else time + 3600


def _is_day(schedule: Schedule, local: datetime) -> bool:
    day, weekday = local.day in schedule.days, local.isoweekday() % 7 in schedule.weekdays
    return day and weekday if schedule.any_day or schedule.any_weekday else day or weekday


class Missed(NamedTuple):
    """What has been due since `earliest`."""

    earliest: float
    latest: float | None
    """The last time that was due; None where none was."""
    times: int = 0
    """Roughly how many."""


def missed(schedule: Schedule, earliest: float, now: float, zone: tzinfo) -> Missed:
    """Raises NeverDue."""
    first = following(schedule, earliest, zone)
    second = None if first is None else following(schedule, first, zone)
    if first is None or second is None:
        raise NeverDue("time difference between two schedules is less than 1 second")
    if now < first:
        return Missed(earliest, None)
    if now < second:
        return Missed(earliest, first, 1)
    between = int(second - first)
    count = int(now - first) // between + 1
    # Most of the way at once; the last steps by the schedule itself, whose times need not be evenly spread.
    time = following(schedule, first + (count - 2) * between, zone)
    latest: float | None = None
    while time is not None and time <= now:
        latest, time = time, following(schedule, time, zone)
    return Missed(earliest, latest, count)


def next_due(schedule: Schedule, earliest: float, now: float, zone: tzinfo) -> float:
    """The time after now at which a job is to start, where none has been missed. Raises NeverDue."""
    seen = missed(schedule, earliest, now, zone)
    base = seen.latest if seen.latest is not None else now if seen.times else earliest
    found = following(schedule, base, zone)
    if found is None:
        raise NeverDue("no time is left")
    return found
