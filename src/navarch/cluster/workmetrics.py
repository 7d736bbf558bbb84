"""What the controllers in a server's process do, in that server's metrics: names as upstream's work queues have them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from navarch.machinery.metrics import Collected, Labels, Metrics

Figures = Callable[[], Mapping[str, Mapping[str, float]]]
"""Counters by controller (`controllers.registry.Running.metrics`)."""
NAMES = (
    ("workqueue_adds_total", "counter", "adds", "Number of keys that entered a work queue."),
    ("workqueue_depth", "gauge", "depth", "Number of keys in a work queue."),
    ("navarch_controller_reconciles_total", "counter", "reconciles", "Number of decisions."),
    ("navarch_controller_errors_total", "counter", "errors", "Number of decisions that could not be carried out."),
    ("navarch_controller_conflicts_total", "counter", "conflicts", "Number of writes that met a newer object."),
    ("navarch_controller_deciding_seconds_total", "counter", "seconds", "Seconds of deciding."),
)


def add(metrics: Metrics, figures: Figures) -> None:
    for name, type, field, help in NAMES:
        metrics.add(Collected(name, help, ("name",), _samples(figures, field), type))


def _samples(figures: Figures, field: str) -> Callable[[], Iterator[tuple[Labels, float]]]:
    def samples() -> Iterator[tuple[Labels, float]]:
        for name, values in figures().items():
            yield (name,), values[field]

    return samples
