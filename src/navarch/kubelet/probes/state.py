"""What a probe's results add up to: a pure state machine. Source: upstream's prober worker."""

from __future__ import annotations

from typing import NamedTuple

from navarch.machinery.types import Obj


class Probe(NamedTuple):
    """A probe's numbers, defaults filled in (seconds, counts)."""

    delay: float
    period: float
    timeout: float
    successes: int
    failures: int

    @staticmethod
    def of(spec: Obj) -> Probe:
        return Probe(
            delay=float(spec.get("initialDelaySeconds") or 0),
            period=float(spec.get("periodSeconds") or 10),
            timeout=float(spec.get("timeoutSeconds") or 1),
            successes=spec.get("successThreshold") or 1,
            failures=spec.get("failureThreshold") or 3,
        )


class State(NamedTuple):
    """`last` is the last result and `run` how often it came in a row; `verdict` what stands."""

    verdict: bool | None
    last: bool | None = None
    run: int = 0


def step(state: State, passed: bool, probe: Probe) -> State:
    """The state after one more result: the verdict changes once a threshold of equal results is reached."""
    run = state.run + 1 if passed == state.last else 1
    reached = run >= (probe.successes if passed else probe.failures)
    return State(passed if reached else state.verdict, passed, run)
