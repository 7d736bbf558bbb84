"""Which Events are written, counted, combined or dropped."""

from __future__ import annotations

from navarch.controlloop.correlator import COMBINED, SPAM_BURST, Correlator

POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "p", "namespace": "default", "uid": "u", "resourceVersion": "5"},
}


def test_an_event_has_the_core_shape() -> None:
    decision = Correlator("deployment-controller").decide(POD, "Normal", "Created", "made it", 1_700_000_000.0)
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
    first = correlator.decide(POD, "Normal", "R", "m", 1000.0)
    second = correlator.decide(POD, "Normal", "R", "m", 1010.0)
    assert first is not None and second is not None
    assert second.name == first.name
    assert second.patch == {"count": 2, "lastTimestamp": "1970-01-01T00:16:50Z", "message": "m"}


def test_many_alike_are_combined() -> None:
    correlator = Correlator("c")
    messages = []
    for number in range(12):
        decision = correlator.decide(POD, "Normal", "R", f"message {number}", 1000.0 + number)
        assert decision is not None
        messages.append(decision.event["message"])
    assert not messages[8].startswith(COMBINED)
    assert messages[9] == COMBINED + "message 9"
    assert messages[11] == COMBINED + "message 11"


def test_spam_about_one_object_is_dropped_and_allowed_again_later() -> None:
    correlator = Correlator("c")
    taken = [correlator.decide(POD, "Normal", f"R{i}", "m", 1000.0) for i in range(SPAM_BURST + 5)]
    assert sum(decision is not None for decision in taken) == SPAM_BURST
    other = {**POD, "metadata": {**POD["metadata"], "name": "q", "uid": "v"}}
    assert correlator.decide(other, "Normal", "R", "m", 1000.0) is not None
    assert correlator.decide(POD, "Normal", "again", "m", 1301.0) is not None
