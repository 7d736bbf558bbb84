"""When schedules are due, in every time zone; and what has been missed."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from navarch.api.schedules import parse_schedule
from navarch.controllers.cronjob.times import NeverDue, following, missed, next_due

NEW_YORK = "America/New_York"


def stamp(text: str, zone: str = "UTC") -> float:
    """Local time, `fold` marked by a trailing `*`."""
    time = datetime.fromisoformat(text.rstrip("*")).replace(tzinfo=ZoneInfo(zone), fold=int(text.endswith("*")))
    return time.timestamp()


# The table is that of robfig/cron's own tests, in other words.
@pytest.mark.parametrize(
    ("schedule", "after", "zone", "wanted"),
    [
        ("0/15 * * * *", "2012-07-09 14:45", "UTC", "2012-07-09 15:00"),
        ("0/15 * * * *", "2012-07-09 14:59:59", "UTC", "2012-07-09 15:00"),
        ("20-35/15 * * * *", "2012-07-09 15:45", "UTC", "2012-07-09 16:20"),
        ("0/15 * * * *", "2012-07-09 23:46", "UTC", "2012-07-10 00:00"),
        ("20-35/15 * * * *", "2012-07-09 23:45", "UTC", "2012-07-10 00:20"),
        ("0 0 9 Apr-Oct ?", "2012-07-09 23:35", "UTC", "2012-08-09 00:00"),
        ("0 0 */5 Apr,Aug,Oct Mon", "2012-07-09 23:35", "UTC", "2012-08-01 00:00"),
        ("0 0 */5 Oct Mon", "2012-07-09 23:35", "UTC", "2012-10-01 00:00"),
        ("0 0 * Feb Mon", "2012-07-09 23:35", "UTC", "2013-02-04 00:00"),
        ("0 0 * Feb Mon/2", "2012-07-09 23:35", "UTC", "2013-02-01 00:00"),
        ("0 0 15 * Fri", "2012-07-10 00:00", "UTC", "2012-07-13 00:00"),
        ("0 0 29 Feb ?", "2012-07-09 23:35", "UTC", "2016-02-29 00:00"),
        ("0 0 31 Dec *", "2012-12-31 00:00", "UTC", "2013-12-31 00:00"),
        ("30 2 * * *", "2012-03-11 00:00", NEW_YORK, "2012-03-12 02:30"),
        ("0 * * * *", "2012-03-11 01:00", NEW_YORK, "2012-03-11 03:00"),
        ("0 1 * * *", "2012-03-11 00:00", NEW_YORK, "2012-03-11 01:00"),
        ("0 3 * * *", "2012-03-11 00:00", NEW_YORK, "2012-03-11 03:00"),
        ("0 0 * * *", "2012-11-04 00:00", NEW_YORK, "2012-11-05 00:00"),
        ("0 1 * * *", "2012-11-04 00:00", NEW_YORK, "2012-11-04 01:00"),
        ("0 1 * * *", "2012-11-04 01:00", NEW_YORK, "2012-11-04 01:00*"),
        ("0 1 * * *", "2012-11-04 01:00*", NEW_YORK, "2012-11-05 01:00"),
        ("30 2 * * *", "2012-11-04 00:00", NEW_YORK, "2012-11-04 02:30"),
        ("0 0 * * *", "2018-10-17 05:00", "America/Sao_Paulo", "2018-10-18 00:00"),
        ("0 0 * * *", "2018-11-03 05:00", "America/Sao_Paulo", "2018-11-05 00:00"),
        ("* * * * *", "2012-07-09 14:45:30", "Asia/Kathmandu", "2012-07-09 14:46"),
        ("@every 90s", "2012-07-09 14:45", "UTC", "2012-07-09 14:46:30"),
    ],
)
def test_the_next_time(schedule: str, after: str, zone: str, wanted: str) -> None:
    found = following(parse_schedule(schedule), stamp(after, zone), ZoneInfo(zone))
    assert found is not None
    assert datetime.fromtimestamp(found, ZoneInfo(zone)) == datetime.fromtimestamp(stamp(wanted, zone), ZoneInfo(zone))


@pytest.mark.parametrize("schedule", ["59 23 31 2 *", "0 0 30 Feb *", "0 0 31 Apr ?"])
def test_some_are_never_due(schedule: str) -> None:
    utc = ZoneInfo("UTC")
    assert following(parse_schedule(schedule), stamp("2012-07-09 23:35"), utc) is None
    with pytest.raises(NeverDue):
        missed(parse_schedule(schedule), stamp("2012-07-09 23:35"), stamp("2012-08-09 23:35"), utc)


part = st.sampled_from(["*", "*/7", "3", "10-50/20", "1,5,9"])
hour = st.sampled_from(["*", "0", "2", "23", "*/5"])
day, month, weekday = (
    st.sampled_from(["*", "1", "15", "*/10"]),
    st.sampled_from(["*", "3", "*/4"]),
    st.sampled_from(["*", "0", "1-5"]),
)
zones = st.sampled_from(["UTC", NEW_YORK, "Australia/Lord_Howe", "America/Sao_Paulo", "Asia/Kathmandu", "Africa/Cairo"])


@settings(max_examples=150, deadline=None)
@given(part, hour, day, month, weekday, zones, st.integers(0, 6 * 365 * 1440))
def test_it_is_the_first_minute_that_fits(m: str, h: str, d: str, mo: str, w: str, zone: str, minute: int) -> None:
    """Against every single minute of the two days around the answer and after the start."""
    schedule, where = parse_schedule(f"{m} {h} {d} {mo} {w}"), ZoneInfo(zone)
    start = stamp("2016-01-01 00:00") + minute * 60 + 7
    found = following(schedule, start, where)
    assert found is not None

    def fits(time: float) -> bool:
        t = datetime.fromtimestamp(time, where)
        on_day, on_weekday = t.day in schedule.days, t.isoweekday() % 7 in schedule.weekdays
        both = schedule.any_day or schedule.any_weekday
        dated = (on_day and on_weekday) if both else (on_day or on_weekday)
        return dated and t.month in schedule.months and t.hour in schedule.hours and t.minute in schedule.minutes

    assert fits(found)
    first = start - start % 60 + 60
    near = {first + 60 * i for i in range(1500)} | {found - 60 * i for i in range(1, 1500)}
    assert not any(fits(time) for time in near if first <= time < found)


@pytest.mark.parametrize(
    ("schedule", "earliest", "now", "latest", "few"),
    [
        ("0 * * * *", "2020-01-01 00:10", "2020-01-01 00:20", None, True),
        ("0 * * * *", "2020-01-01 00:10", "2020-01-01 01:20", "2020-01-01 01:00", True),
        ("0 * * * *", "2020-01-01 00:10", "2020-01-01 05:20", "2020-01-01 05:00", True),
        ("0 * * * *", "2020-01-01 00:10", "2020-03-01 05:20", "2020-03-01 05:00", False),
        ("30 6-16/4 * * 1-5", "2020-01-03 00:00", "2020-01-06 05:00", None, True),
        ("@every 1h", "2020-01-01 00:10", "2020-01-01 05:20", "2020-01-01 05:10", True),
    ],
)
def test_the_last_that_was_missed(schedule: str, earliest: str, now: str, latest: str | None, few: bool) -> None:
    seen = missed(parse_schedule(schedule), stamp(earliest), stamp(now), ZoneInfo("UTC"))
    assert seen.latest == (None if latest is None else stamp(latest))
    assert (seen.times <= 100) == few
    assert next_due(parse_schedule(schedule), stamp(earliest), stamp(now), ZoneInfo("UTC")) > stamp(now)
