"""What a probe's results add up to."""

from __future__ import annotations

from navarch.kubelet.probes.state import Probe, State, step

PROBE = Probe.of({"failureThreshold": 3, "successThreshold": 2})


def after(first: State, *results: bool) -> list[bool | None]:
    verdicts: list[bool | None] = []
    for passed in results:
        first = step(first, passed, PROBE)
        verdicts.append(first.verdict)
    return verdicts


def test_defaults_are_the_apis() -> None:
    assert Probe.of({}) == Probe(0.0, 10.0, 1.0, 1, 3)


def test_a_verdict_needs_as_many_equal_results_as_its_threshold() -> None:
    assert after(State(True), False, False, False) == [True, True, False]
    assert after(State(False), True, True) == [False, True]


def test_a_result_of_the_other_kind_begins_anew() -> None:
    assert after(State(True), False, False, True, False, False) == [True] * 5
