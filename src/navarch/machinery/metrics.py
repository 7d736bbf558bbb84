"""Counters, gauges and histograms, and Prometheus' text exposition format (version 0.0.4) of them.

Looking up a child by its label values costs one dictionary access; children live as long as their registry.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
Labels = tuple[str, ...]
T = TypeVar("T", bound="Metric")


class Metric:
    """One name with its label names; samples are kept by their label values."""

    type = "untyped"

    def __init__(self, name: str, help: str, labels: Labels = ()) -> None:
        self.name = name
        self.help = help
        self.labels = labels

    def samples(self) -> Iterator[tuple[str, str, float]]:
        """(name suffix, label text with braces, value)."""
        raise NotImplementedError

    def expose(self) -> Iterator[str]:
        yield f"# HELP {self.name} {self.help}\n# TYPE {self.name} {self.type}\n"
        for suffix, labels, value in self.samples():
            yield f"{self.name}{suffix}{labels} {_number(value)}\n"


class Counter(Metric):
    type = "counter"

    def __init__(self, name: str, help: str, labels: Labels = ()) -> None:
        super().__init__(name, help, labels)
        self._values: dict[Labels, float] = {}

    def labels_seen(self) -> list[Labels]:
        return list(self._values)

    def add(self, labels: Labels = (), value: float = 1) -> None:
        values = self._values
        values[labels] = values.get(labels, 0) + value

    def samples(self) -> Iterator[tuple[str, str, float]]:
        for labels, value in list(self._values.items()):
            yield "", _text(self.labels, labels), value


class Gauge(Metric):
    """Values that are set, or read from a function when somebody asks."""

    type = "gauge"

    def __init__(self, name: str, help: str, labels: Labels = (), type: str = "gauge") -> None:
        super().__init__(name, help, labels)
        self.type = type
        self._values: dict[Labels, Callable[[], float]] = {}

    def function(self, labels: Labels, read: Callable[[], float]) -> None:
        self._values[labels] = read

    def set(self, value: float, labels: Labels = ()) -> None:
        self._values[labels] = lambda: value

    def samples(self) -> Iterator[tuple[str, str, float]]:
        for labels, read in list(self._values.items()):
            yield "", _text(self.labels, labels), read()


class Collected(Metric):
    """A whole set of samples that is read from a function when somebody asks."""

    def __init__(
        self,
        name: str,
        help: str,
        labels: Labels,
        read: Callable[[], Iterable[tuple[Labels, float]]],
        type: str = "gauge",
    ) -> None:
        super().__init__(name, help, labels)
        self.type = type
        self._read = read

    def samples(self) -> Iterator[tuple[str, str, float]]:
        for labels, value in self._read():
            yield "", _text(self.labels, labels), value


class Histogram(Metric):
    type = "histogram"

    def __init__(self, name: str, help: str, buckets: Sequence[float], labels: Labels = ()) -> None:
        """`buckets` are the upper bounds, ascending, without +Inf."""
        super().__init__(name, help, labels)
        self._buckets = tuple(buckets)
        self._children: dict[Labels, list[float]] = {}
        """Counts of each bucket and of +Inf (not cumulative), then the sum."""

    def observe(self, value: float, labels: Labels = ()) -> None:
        child = self._children.get(labels)
        if child is None:
            child = self._children[labels] = [0] * (len(self._buckets) + 2)
        child[bisect_left(self._buckets, value)] += 1
        child[-1] += value

    def samples(self) -> Iterator[tuple[str, str, float]]:
        bounds = [*(_number(b) for b in self._buckets), "+Inf"]
        names = (*self.labels, "le")
        for labels, child in list(self._children.items()):
            total = 0.0
            for bound, count in zip(bounds, child, strict=False):
                total += count
                yield "_bucket", _text(names, (*labels, bound)), total
            text = _text(self.labels, labels)
            yield "_sum", text, child[-1]
            yield "_count", text, total


class Metrics:
    """The metrics of one server."""

    def __init__(self) -> None:
        self._metrics: dict[str, Metric] = {}

    def add(self, metric: T) -> T:
        """Raises ValueError where the name is taken."""
        if metric.name in self._metrics:
            raise ValueError(f"metric {metric.name} exists already")
        self._metrics[metric.name] = metric
        return metric

    def text(self) -> str:
        return "".join(line for name in sorted(self._metrics) for line in self._metrics[name].expose())


def add_process(metrics: Metrics) -> None:
    """What Prometheus client libraries tell about their process."""

    def process() -> Any:
        import psutil  # lazily: no start needs it

        return psutil.Process()

    def cpu() -> float:
        times = process().cpu_times()
        return times.user + times.system

    for name, help, read, type in (
        ("process_cpu_seconds_total", "Total user and system CPU time spent in seconds.", cpu, "counter"),
        ("process_open_fds", "Number of open file descriptors.", lambda: process().num_fds(), "gauge"),
        (
            "process_resident_memory_bytes",
            "Resident memory size in bytes.",
            lambda: process().memory_info().rss,
            "gauge",
        ),
        (
            "process_start_time_seconds",
            "Start time of the process since unix epoch in seconds.",
            lambda: process().create_time(),
            "gauge",
        ),
        ("process_virtual_memory_bytes", "Virtual memory size in bytes.", lambda: process().memory_info().vms, "gauge"),
    ):
        metrics.add(Gauge(name, help, type=type)).function((), read)


def _text(names: Labels, values: Labels) -> str:
    if not names:
        return ""
    return "{" + ",".join(f'{n}="{_escape(v)}"' for n, v in zip(names, values, strict=True)) + "}"


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))
