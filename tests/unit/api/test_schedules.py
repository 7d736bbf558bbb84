"""Cron's words and time zones, as robfig/cron and Go read them; index lists of jobs."""

from __future__ import annotations

import pytest

from navarch.api.batch import indexes
from navarch.api.schedules import Schedule, ScheduleError, parse_schedule, parse_zone

EVERY_HOUR = frozenset(range(24))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("*/20 * * * *", {"minutes": {0, 20, 40}, "any_day": True, "any_weekday": True}),
        (
            "5/20 0 1 JAN,mar sun",
            {"minutes": {5, 25, 45}, "hours": {0}, "days": {1}, "months": {1, 3}, "weekdays": {0}},
        ),
        ("1,,3-9/3 ? ? ? MON-wed", {"minutes": {1, 3, 6, 9}, "hours": EVERY_HOUR, "weekdays": {1, 2, 3}}),
        ("0 0 30 2 *", {"days": {30}, "months": {2}, "any_day": False}),
        ("@weekly", {"minutes": {0}, "hours": {0}, "weekdays": {0}, "any_day": True, "any_weekday": False}),
        ("@every 1h30m0.5s", {"every": 5400.0}),
        ("@every 10ms", {"every": 1.0}),
        ("CRON_TZ=Europe/Berlin 0 0 * * *", {"zone": "Europe/Berlin", "hours": {0}}),
    ],
)
def test_what_a_schedule_means(text: str, expected: dict[str, object]) -> None:
    found = parse_schedule(text)
    assert isinstance(found, Schedule)
    assert {name: getattr(found, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
        ("", "expected exactly 5 fields, found 0: []"),
        ("60 * * * *", "end of range (60) above maximum (59): 60"),
        ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
        ("* * * * 7", "end of range (7) above maximum (6): 7"),
        ("* * * * FRI-MON", "beginning of range (5) beyond end of range (1): FRI-MON"),
        ("*/0 * * * *", "step of range should be a positive number: */0"),
        ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
        ("1/2/3 * * * *", "too many slashes: 1/2/3"),
        ("-1 * * * *", 'failed to parse int from : strconv.Atoi: parsing "": invalid syntax'),
        ("0 0 L * *", 'failed to parse int from L: strconv.Atoi: parsing "L": invalid syntax'),
        ("@reboot", "unrecognized descriptor: @reboot"),
        ("@every x", 'failed to parse duration @every x: time: invalid duration "x"'),
        ("TZ=Nowhere/X * * * * *", "provided bad location Nowhere/X: unknown time zone Nowhere/X"),
    ],
)
def test_why_a_schedule_is_none(text: str, why: str) -> None:
    with pytest.raises(ScheduleError) as refused:
        parse_schedule(text)
    assert str(refused.value) == why


@pytest.mark.parametrize("name", ["", "local", "Nowhere/X", "../UTC", "/UTC", "-UTC", " UTC", "europe/berlin"])
def test_what_is_no_zone(name: str) -> None:
    with pytest.raises(ScheduleError):
        parse_zone(name)


@pytest.mark.parametrize(
    ("text", "completions", "expected"),
    [
        ("", 5, 0),
        ("0,2-4", 5, 4),
        ("0-5", 5, 'too large index: "5"'),
        ("x", 5, 'cannot convert string to integer for index: "x"'),
        ("1-", 5, 'cannot convert string to integer for index: ""'),
        ("2-1", 5, "non-increasing order, previous: 2, current: 1"),
        ("1,1", 5, "non-increasing order, previous: 1, current: 1"),
    ],
)
def test_how_many_indexes_a_list_has(text: str, completions: int, expected: int | str) -> None:
    try:
        found: int | str = indexes.total(text, completions)
    except ValueError as wrong:
        found = str(wrong)
    assert found == expected


@pytest.mark.parametrize(
    ("one", "other", "expected"), [("0-3", "4,6", None), ("0-3", "2,6", 2), ("x,5-9", "1,7-8", 7), ("", "1", None)]
)
def test_what_two_lists_share(one: str, other: str, expected: int | None) -> None:
    assert indexes.overlap(one, other, 10) == expected
