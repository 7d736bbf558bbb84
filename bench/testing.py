"""script/bench testing: how long `with Cluster()` takes, alone and with others, and what one costs."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil

from bench.report import Report, median, write_json
from navarch.testing import Cluster

AT_ONCE = 50
FIRST = """
import time
import pytest
wall, cpu = time.perf_counter(), time.process_time()
from navarch.testing import Cluster
with Cluster():
    print(time.perf_counter() - wall, time.process_time() - cpu)
"""
DEPLOYMENT: dict[str, Any] = {
    "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
    "spec": {
        "replicas": 3, "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "nginx"}]},
        },
    },
}  # fmt: skip


def started(runs: int, **options: Any) -> list[tuple[float, float]]:
    """(wall, CPU) of each start, in ms; the first, which imports, is left out."""
    found: list[tuple[float, float]] = []
    for _ in range(runs + 1):
        wall, cpu = time.perf_counter(), time.process_time()
        with Cluster(**options):
            found.append(((time.perf_counter() - wall) * 1e3, (time.process_time() - cpu) * 1e3))
    return found[1:]


def first(runs: int) -> list[tuple[float, float]]:
    """The first of a process that has loaded pytest."""
    found: list[tuple[float, float]] = []
    for _ in range(runs):
        done = subprocess.run([sys.executable, "-c", FIRST], capture_output=True, text=True, check=True)
        wall, cpu = map(float, done.stdout.split())
        found.append((wall * 1e3, cpu * 1e3))
    return found


def deployed() -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    with Cluster(nodes=2) as cluster:
        client = cluster.client
        client.apply(DEPLOYMENT)
        client.wait(lambda: client.get("deployment", "web").get("status", {}).get("readyReplicas") == 3)
    return (time.perf_counter() - wall) * 1e3, (time.process_time() - cpu) * 1e3


def at_once(report: Report) -> None:
    """Of 50 at once: the time until each answers, and what it keeps of memory."""
    process = psutil.Process()
    memory = process.memory_info().rss
    wall, cpu = time.perf_counter(), time.process_time()
    with ExitStack() as stack:
        clusters = [stack.enter_context(Cluster()) for _ in range(AT_ONCE)]
        for cluster in clusters:
            cluster.client.get("namespace", "default")
        taken = [(time.perf_counter() - wall) * 1e3 / AT_ONCE, (time.process_time() - cpu) * 1e3 / AT_ONCE]
        kept = (process.memory_info().rss - memory) / AT_ONCE / 1e6
    report.add(f"one of {AT_ONCE} at once", *taken, round(kept, 1))


def main() -> None:
    parser = argparse.ArgumentParser(prog="script/bench testing", description=__doc__)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    report = Report("A cluster for a test (medians)", ["what", "ms", "CPU ms", "MB"])
    report.begin()
    measures = {
        "first of a process": lambda: first(options.runs),
        "each further one": lambda: started(options.runs),
        "with controllers": lambda: started(options.runs, controllers=True),
        "two nodes, a Deployment, end": lambda: [deployed() for _ in range(options.runs)],
        "beside, as a process": lambda: [(wall, 0.0) for wall, _ in started(options.runs, beside=True)],
    }
    for name, measure in measures.items():
        figures = measure()
        report.add(name, median([wall for wall, _ in figures]), median([cpu for _, cpu in figures]), "")
    at_once(report)
    write_json(options.json, [report])


if __name__ == "__main__":
    main()
