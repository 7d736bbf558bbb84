"""Schedules in cron's words, and the time zones they are read in."""

from __future__ import annotations

from datetime import tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

DESCRIPTORS = {
    "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@hourly": "0 * * * *",
}  # fmt: skip


class ScheduleError(ValueError):
    """The text is no schedule, or no time zone."""


@lru_cache(maxsize=1024)
def parse_schedule(text: str) -> str:
    """The five fields of a standard schedule. Raises ScheduleError. `@every` is refused: it has no times of day."""
    from datetime import datetime

    fields = DESCRIPTORS.get(text.strip(), text.replace("?", "*"))
    if fields.startswith("@"):
        raise ScheduleError(f"unrecognized descriptor: {text}")
    if len(fields.split()) != 5:
        raise ScheduleError(f"expected exactly 5 fields, found {len(fields.split())}: {fields.split()}")
    try:
        CronSim(fields, datetime(2000, 1, 1))
    except CronSimError as error:
        raise ScheduleError(f"failed to parse schedule {text!r}: {error}") from None
    return fields


@lru_cache(maxsize=64)
def parse_zone(name: str) -> tzinfo:
    """A time zone by its IANA name. Raises ScheduleError."""
    if not name:
        raise ScheduleError("timeZone must be nil or non-empty string")
    if name.lower() == "local":
        raise ScheduleError("timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones")
    if name not in available_timezones() and name != "UTC":
        raise ScheduleError(f"unknown time zone {name}")
    return ZoneInfo(name)
