"""The metrics API's samples: reading what kubelets say, and what two of them say together."""

from __future__ import annotations

import pytest

from navarch.api.metrics.samples import Pair, Rate, Sample, Use, node_metrics, parse, pod_metrics, rate
from navarch.machinery.types import Key, Obj

TEXT = """\
# HELP node_cpu_usage_seconds_total Cumulative cpu time consumed by the node in core-seconds
# TYPE node_cpu_usage_seconds_total counter
node_cpu_usage_seconds_total 1200.5 1790000000123
node_memory_working_set_bytes 3.4e+09
container_cpu_usage_seconds_total{container="c",namespace="ns",pod="p"} 12.25 1790000000123
container_memory_working_set_bytes{container="c",namespace="ns",pod="p"} 1048576
container_start_time_seconds{container="c",namespace="ns",pod="p"} 1.79e+09
container_cpu_usage_seconds_total{container="d",namespace="ns",pod="p"} nothing
pod_cpu_usage_seconds_total{namespace="ns",pod="p"} 13
scrape_error 0
{ not a line
"""
P = Key("ns", "p")


def test_a_kubelets_text_is_read_as_far_as_it_can_be() -> None:
    sample = parse(TEXT, 5.0)
    assert (sample.at, sample.node) == (5.0, Use(1200.5, 3.4e9))
    assert sample.pods == {P: {"c": Use(12.25, 1048576, 1.79e9)}}


PAIR = Pair(Sample(100.0, Use(10.0, 1.0)), Sample(115.0, Use(40.0, 2.0)))


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        (Use(10, 0, 50), Use(40, 7, 50), Rate(2.0, 7, 15)),
        (Use(10, 0, 50), Use(20, 7, 105), Rate(2.0, 7, 10)),
        (None, Use(20, 7, 105), Rate(2.0, 7, 10)),
        (None, Use(20, 7, 50), None),
        (Use(10, 0, 50), Use(9, 7, 50), None),
        (None, Use(0, 7, 114.9), None),
    ],
)
def test_rates_are_of_one_life_of_a_container(before: Use | None, after: Use, found: Rate | None) -> None:
    assert rate(before, after, PAIR) == found


def pair(before: dict[str, Use], after: dict[str, Use]) -> Pair:
    return Pair(Sample(100.0, Use(10.0, 0.0), {P: before}), Sample(115.0, Use(40.0, 4096), {P: after}))


POD: Obj = {"metadata": {"name": "p", "namespace": "ns", "labels": {"a": "b"}}}


def test_objects_say_what_is_used_in_which_window() -> None:
    both = pair({"c": Use(1, 0, 1), "d": Use(0, 0, 1)}, {"c": Use(2.5, 1048576, 1), "d": Use(0, 1000, 1)})
    made = pod_metrics(POD, both)
    assert made is not None
    assert made["metadata"]["labels"] == {"a": "b"}
    assert (made["timestamp"], made["window"]) == ("1970-01-01T00:01:55Z", "15s")
    assert made["containers"] == [
        {"name": "c", "usage": {"cpu": "100000000n", "memory": "1Mi"}},
        {"name": "d", "usage": {"cpu": "0", "memory": "1k"}},
    ]
    node = node_metrics({"metadata": {"name": "n"}}, both)
    assert node is not None and node["usage"] == {"cpu": "2000000000n", "memory": "4Ki"}


def test_a_pod_of_which_a_container_is_not_known_yet_is_not_shown() -> None:
    assert pod_metrics(POD, pair({"c": Use(1, 0, 1)}, {"c": Use(2, 0, 1), "d": Use(2, 0, 1)})) is None
    assert pod_metrics(POD, pair({}, {})) is None
