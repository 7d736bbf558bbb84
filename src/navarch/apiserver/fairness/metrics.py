"""The metrics of priority and fairness: names and labels as upstream's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from navarch.apiserver.fairness.levels import DURATIONS
from navarch.machinery.metrics import Collected, Histogram, Labels, Metrics

if TYPE_CHECKING:
    from navarch.apiserver.fairness.fairness import Fairness, Flow
    from navarch.apiserver.fairness.levels import Counts, Level

PREFIX = "apiserver_flowcontrol_"
WAIT_BUCKETS = (0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30)
OF_FLOW = ("flow_schema", "priority_level")
BY_FLOW: tuple[tuple[str, str, str, Callable[[Counts], float]], ...] = (
    ("dispatched_requests_total", "counter", "Number of requests executed.", lambda c: c.dispatched),
    ("current_executing_requests", "gauge", "Number of requests that wait for something but their turn.",
     lambda c: c.executing),
    ("current_executing_seats", "gauge", "Seats of those.", lambda c: c.seats),
    ("current_inqueue_requests", "gauge", "Number of requests that wait for their turn.", lambda c: c.waiting),
)  # fmt: skip
BY_LEVEL: tuple[tuple[str, str, Callable[[Level], float]], ...] = (
    ("nominal_limit_seats", "Seats by shares.", lambda level: level.bounds.nominal),
    ("lower_limit_seats", "Seats left when all that is lendable is lent.", lambda level: level.bounds.minimum),
    ("upper_limit_seats", "Seats with all that may be borrowed.", lambda level: level.bounds.maximum),
    ("current_limit_seats", "Seats now.", lambda level: level.limit),
    ("request_concurrency_in_use", "Seats in use.", lambda level: level.seats),
    ("demand_seats_smoothed", "Smoothed demand of seats.", lambda level: level.smoothed),
)


class FairnessMetrics:
    def __init__(self, metrics: Metrics, fairness: Fairness) -> None:
        self._fairness = fairness
        for name, type, help, read in BY_FLOW:
            metrics.add(Collected(PREFIX + name, help, OF_FLOW, self._flows(read), type))
        for name, help, of in BY_LEVEL:
            metrics.add(Collected(PREFIX + name, help, ("priority_level",), self._levels(of)))
        labels = (*OF_FLOW, "reason")
        metrics.add(
            Collected(
                f"{PREFIX}rejected_requests_total", "Number of requests refused.", labels, self._rejected, "counter"
            )
        )
        wait = Histogram(
            f"{PREFIX}request_wait_duration_seconds", "How long requests queued.", WAIT_BUCKETS, ("execute", *OF_FLOW)
        )
        self._wait = metrics.add(wait)
        metrics.add(Executions(fairness))

    def waited(self, flow: Flow, seconds: float, executed: bool) -> None:
        self._wait.observe(seconds, ("true" if executed else "false", flow.schema.name, flow.level.name))

    def _flows(self, read: Callable[[Counts], float]) -> Callable[[], Iterator[tuple[Labels, float]]]:
        def samples() -> Iterator[tuple[Labels, float]]:
            for (level, schema), counts in self._fairness.counts.items():
                yield (schema, level), read(counts)

        return samples

    def _levels(self, read: Callable[[Level], float]) -> Callable[[], Iterator[tuple[Labels, float]]]:
        def samples() -> Iterator[tuple[Labels, float]]:
            for name, level in self._fairness.levels.items():
                yield (name,), read(level)

        return samples

    def _rejected(self) -> Iterator[tuple[Labels, float]]:
        for (level, schema), counts in self._fairness.counts.items():
            for reason, number in counts.rejected.items():
                yield (schema, level, reason), number


class Executions(Histogram):
    """How long requests held seats; counted where they are let in."""

    def __init__(self, fairness: Fairness) -> None:
        help = "How long requests held seats."
        super().__init__(f"{PREFIX}request_execution_seconds", help, DURATIONS, (*OF_FLOW, "type"))
        self._fairness = fairness

    def samples(self) -> Iterator[tuple[str, str, float]]:
        for (level, schema), counts in self._fairness.counts.items():
            if any(counts.slow):
                self._children[schema, level, "regular"] = [*counts.slow, counts.seconds]
        return super().samples()
