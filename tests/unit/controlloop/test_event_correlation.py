"""Which Events are written, counted, combined or dropped."""

from __future__ import annotations

from typing import Any

from navarch.controlloop.correlator import COMBINED, SPAM_BURST, Correlator, Said, reference
from navarch.controlloop.series import Series
from navarch.machinery.types import Obj

POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "p", "namespace": "default", "uid": "u", "resourceVersion": "5"},
}


def of(obj: Obj, reason: str, message: str, now: float, **more: Any) -> Said:
    return Said(reference(obj), "Normal", reason, message, now, **more)


def test_an_event_has_the_core_shape() -> None:
    decision = Correlator("deployment-controller").decide(of(POD, "Created", "made it", 1_700_000_000.0))
    assert decision is not None and decision.patch is None
    event = decision.event
    assert event["metadata"]["namespace"] == "default"
    assert event["metadata"]["name"].startswith("p.")
    assert event["involvedObject"] == {
        "kind": "Pod",
        "namespace": "default",
        "name": "p",
        "uid": "u",
        "apiVersion": "v1",
        "resourceVersion": "5",
    }
    assert event["source"] == {"component": "deployment-controller"}
    assert (event["count"], event["firstTimestamp"], event["lastTimestamp"]) == (
        1,
        "2023-11-14T22:13:20Z",
        "2023-11-14T22:13:20Z",
    )


def test_equal_events_are_counted() -> None:
    correlator = Correlator("c")
    first = correlator.decide(of(POD, "R", "m", 1000.0))
    second = correlator.decide(of(POD, "R", "m", 1010.0))
    assert first is not None and second is not None
    assert second.name == first.name
    assert second.patch == {"count": 2, "lastTimestamp": "1970-01-01T00:16:50Z", "message": "m"}


def test_many_alike_are_combined() -> None:
    correlator = Correlator("c")
    messages = []
    for number in range(12):
        decision = correlator.decide(of(POD, "R", f"message {number}", 1000.0 + number))
        assert decision is not None
        messages.append(decision.event["message"])
    assert not messages[8].startswith(COMBINED)
    assert messages[9] == COMBINED + "message 9"
    assert messages[11] == COMBINED + "message 11"


def test_spam_about_one_object_is_dropped_and_allowed_again_later() -> None:
    correlator = Correlator("c")
    taken = [correlator.decide(of(POD, f"R{i}", "m", 1000.0)) for i in range(SPAM_BURST + 5)]
    assert sum(decision is not None for decision in taken) == SPAM_BURST
    other = {**POD, "metadata": {**POD["metadata"], "name": "q", "uid": "v"}}
    assert correlator.decide(of(other, "R", "m", 1000.0)) is not None
    assert correlator.decide(of(POD, "again", "m", 1301.0)) is not None


def test_what_the_scheduler_says_again_of_the_same_pod_is_a_series() -> None:
    series = Series("default-scheduler", "here")
    first = series.decide(of(POD, "FailedScheduling", "no room", 1000.0, action="Scheduling"))
    assert first is not None and first.patch is None
    assert first.event == {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "p.e8d4a51000", "namespace": "default"},
        "eventTime": "1970-01-01T00:16:40.000000Z",
        "reportingComponent": "default-scheduler",
        "reportingInstance": "default-scheduler-here",
        "action": "Scheduling",
        "reason": "FailedScheduling",
        "involvedObject": reference(POD),
        "message": "no room",
        "type": "Normal",
    }
    second = series.decide(of(POD, "FailedScheduling", "still none", 1010.0, action="Scheduling"))
    assert second is not None and second.name == first.name
    assert second.patch == {"series": {"count": 2, "lastObservedTime": "1970-01-01T00:16:50.000000Z"}}
    assert series.decide(of(POD, "FailedScheduling", "none", 1020.0, action="Scheduling")) is None
    assert series.finish(1379.0) == []
    assert [decision.patch for decision in series.finish(1380.0)] == [
        {"series": {"count": 3, "lastObservedTime": "1970-01-01T00:17:00.000000Z"}}
    ]
    assert not series.is_open()
    again = series.decide(of(POD, "FailedScheduling", "no room", 1400.0, action="Scheduling"))
    assert again is not None and again.patch is None and again.name != first.name


def test_a_long_series_is_told_of_every_half_hour() -> None:
    series = Series("s", "h")
    told = [series.decide(of(POD, "R", "m", float(at))) for at in range(0, 1801, 300)]
    assert [decision is not None for decision in told] == [True, True, *[False] * 5]
    assert series.finish(1801.0) == []
    assert [decision.patch["series"]["count"] for decision in series.finish(2100.0) if decision.patch] == [7]
    assert series.is_open()
