"""script/bench load: what a large cluster costs the API server.

A durable store is filled with --objects pods, and a server of this tree started on it: how long until it is ready, and what
each object takes in memory. Then one event goes to --watchers watchers, clients make --namespaces namespaces (and once more
with the controllers, until each has its service account and the authority's certificate), and one client lists 28 MB again and
again while another gets one object. Clients are a process of their own, over TLS.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import orjson
import psutil
import uvloop

from bench.api import pod
from bench.http import Connection, Target
from bench.report import Report, median, percentile, write_json
from navarch.machinery.clock import RealWorld
from navarch.store.interface import Write
from navarch.store.sqlite import SqliteStore

LIST_BYTES = 28_000_000
BATCH = 1_000
EVENTS = 20
LIST_SECONDS = 6.0
CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/load/pods"


@contextlib.contextmanager
def server(directory: Path, *words: str) -> Generator[tuple[psutil.Process, Target, float, float]]:
    """An API server on what is in `directory`: its process, how to reach it, and the wall and CPU seconds until it was
    ready."""
    kubeconfig = directory / "admin.kubeconfig"
    kubeconfig.unlink(missing_ok=True)
    command = [
        sys.executable,
        "-m",
        "navarch.cli.main",
        "apiserver",
        "--secure-port",
        "0",
        "--data-dir",
        str(directory),
        *words,
    ]
    began = time.monotonic()
    with open(directory / "log", "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        while not kubeconfig.exists():
            if process.poll() is not None:
                raise SystemExit(f"the API server did not start:\n{(directory / 'log').read_text()}")
            time.sleep(0.005)
        wall, known = time.monotonic() - began, psutil.Process(process.pid)
        yield known, Target(kubeconfig), wall, cpu(known)
    finally:
        process.terminate()
        process.wait(60)


def cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


async def fill(directory: Path, count: int, stored: bytes) -> int:
    """Pods like one that a server stored, straight into the store's file. Returns their bytes."""
    world, total = RealWorld(), 0
    store = await SqliteStore.open(directory / "store.db", world)
    tree = orjson.loads(stored)
    rest = {key: value for key, value in tree.items() if key not in ("apiVersion", "kind", "metadata")}
    for first in range(0, count, BATCH):
        writes: list[Write] = []
        for number in range(first, min(first + BATCH, count)):
            name = f"pod-{number}"
            metadata = {"resourceVersion": "", **tree["metadata"], "name": name, "uid": world.uid()}
            metadata |= {"resourceVersion": "", "namespace": "load"}
            value = orjson.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, **rest})
            total += len(value)
            writes.append(Write(f"/registry/core/pods/load/{name}", value))
        await store.commit(writes)
    await store.close()
    return total


async def one_pod(target: Target) -> bytes:
    control = await Connection.open(target)
    account = orjson.dumps({"metadata": {"name": "default"}})
    await control.ask(target, "POST", "/api/v1/namespaces/default/serviceaccounts", account)
    status, body = await control.ask(target, "POST", "/api/v1/namespaces/default/pods", pod("one"))
    if status != 201:
        raise SystemExit(f"no pod: {status} {body!r}")
    control.close()
    return body


def load(report: Report, directory: Path, count: int) -> None:
    with server(directory) as (process, target, wall, used):
        empty = process.memory_info().rss
        stored = uvloop.run(one_pod(target))
    report.add("start, empty", f"{wall:.2f} s", f"{used:.2f} s CPU", f"{empty / 1e6:.0f} MB")
    size = uvloop.run(fill(directory, count, stored))
    with server(directory) as (process, _, wall, used):
        memory = process.memory_info().rss - empty
        report.add(f"start, {count:,} objects", f"{wall:.2f} s", f"{used:.2f} s CPU", "under 5 s")
        report.add("memory over encoded size", f"{memory / size:.2f}", f"{memory / 1e6:.0f} MB", "at most 2.5")
        lists(report, directory / "admin.kubeconfig", size / count)


FORMS = {
    "JSON": "application/json",
    "Table": "application/json;as=Table;v=v1;g=meta.k8s.io",
    "protobuf": "application/vnd.kubernetes.protobuf",
}


def lists(report: Report, kubeconfig: Path, each: float) -> None:
    """A process lists 28 MB of objects, again and again; another one gets one object meanwhile."""
    context = multiprocessing.get_context("spawn")
    path = f"{PODS}?limit={int(LIST_BYTES / each)}"
    for name, accept in FORMS.items():
        told, results = context.Event(), context.SimpleQueue()
        lister = context.Process(target=keep_listing, args=(kubeconfig, path, accept, told, results))
        lister.start()
        size = results.get()
        times = uvloop.run(keep_getting(Target(kubeconfig), f"{PODS}/pod-7", LIST_SECONDS))
        told.set()
        took = results.get()
        lister.join()
        worst, median_list = f"{percentile(times, 0.99) * 1000:.1f} ms p99", f"{median(took) * 1000:.0f} ms a list"
        report.add(f"get beside lists, {name}", f"{median(times) * 1000:.1f} ms", worst, "p99 50 ms")
        report.add(f"... of {size / 1e6:.0f} MB", median_list, f"{len(took)} lists", "")


def keep_listing(kubeconfig: Path, path: str, accept: str, told: Any, results: Any) -> None:
    """In a process of its own, until it is told."""

    async def run() -> None:
        target = Target(kubeconfig)
        connection = await Connection.open(target)
        took: list[float] = []
        while not told.is_set():
            began = time.perf_counter()
            status, body = await connection.ask(target, "GET", path, accept=accept)
            if status != 200:
                raise SystemExit(f"no list: {status} {body[:300]!r}")
            if not took:
                results.put(len(body))
            took.append(time.perf_counter() - began)
        results.put(took)

    uvloop.run(run())


async def keep_getting(target: Target, path: str, seconds: float) -> list[float]:
    connection = await Connection.open(target)
    times: list[float] = []
    end = time.perf_counter() + seconds
    while (began := time.perf_counter()) < end:
        await connection.ask(target, "GET", path)
        times.append(time.perf_counter() - began)
        await asyncio.sleep(0.001)
    connection.close()
    return times


async def fan_out(report: Report, process: psutil.Process, target: Target, count: int) -> None:
    """From the moment a write is sent to that when each watcher has its event."""
    arrivals: list[float] = []
    done = asyncio.Event()
    began = 0.0

    def chunk(data: bytes) -> None:
        if b'{"type":' in data:
            arrivals.append(time.perf_counter() - began)
            if len(arrivals) == count:
                done.set()

    connections: list[Connection] = []
    for _ in range(0, count, 50):
        opened = await asyncio.gather(*(Connection.open(target) for _ in range(50)))
        for connection in opened:
            connection.on_chunk = chunk
            connection.send(target, "GET", f"{CONFIG_MAPS}?watch=true&resourceVersion=0&labelSelector=bench")
        connections += opened
    await asyncio.sleep(3)
    writer = await Connection.open(target)
    all_times: list[float] = []
    used = cpu(process)
    for number in range(EVENTS):
        arrivals.clear()
        done.clear()
        began = time.perf_counter()
        body = {"metadata": {"name": f"event-{number}", "labels": {"bench": "1"}}, "data": {"key": "x" * 500}}
        await writer.ask(target, "POST", CONFIG_MAPS, orjson.dumps(body))
        await asyncio.wait_for(done.wait(), 120)
        all_times += arrivals
    per = (cpu(process) - used) / EVENTS / count * 1e6
    p99 = f"{percentile(all_times, 0.99) * 1000:.0f} ms p99"
    report.add(f"one event to {count:,} watchers", f"{median(all_times) * 1000:.0f} ms", p99, "p99 1 s")
    report.add("... a delivery", f"{per:.0f} us CPU", f"{process.memory_info().rss / 1e6:.0f} MB", "")
    for connection in connections:
        connection.close()


async def namespaces(report: Report, process: psutil.Process, target: Target, count: int) -> None:
    connections = await asyncio.gather(*(Connection.open(target) for _ in range(16)))
    numbers = iter(range(count))
    times: list[float] = []

    async def work(connection: Connection) -> None:
        for number in numbers:
            began = time.perf_counter()
            body = orjson.dumps({"metadata": {"name": f"namespace-{number}"}})
            status, answer = await connection.ask(target, "POST", "/api/v1/namespaces", body)
            if status != 201:
                raise SystemExit(f"no namespace: {status} {answer!r}")
            times.append(time.perf_counter() - began)

    used, began = cpu(process), time.perf_counter()
    await asyncio.gather(*map(work, connections))
    rate, per = count / (time.perf_counter() - began), (cpu(process) - used) / count * 1e6
    report.add(
        f"{count:,} namespaces made",
        f"{rate:.0f} a second",
        f"{percentile(times, 0.99) * 1000:.0f} ms p99",
        f"{per:.0f} us CPU",
    )
    began = time.perf_counter()
    _, body = await connections[0].ask(target, "GET", "/api/v1/namespaces")
    took = time.perf_counter() - began
    report.add(
        "... and listed",
        f"{took * 1000:.0f} ms",
        f"{len(body) / 1e6:.1f} MB",
        f"{process.memory_info().rss / 1e6:.0f} MB",
    )
    for connection in connections:
        connection.close()


async def furnished(report: Report, process: psutil.Process, target: Target, count: int) -> None:
    """Namespaces as controllers furnish them: each gets its service account `default` and the ConfigMap of the authority."""
    used, began = cpu(process), time.perf_counter()
    await namespaces(report, process, target, count)
    connection = await Connection.open(target)
    for plural in ("serviceaccounts", "configmaps"):
        while await number_of(connection, target, f"/api/v1/{plural}") < count:
            await asyncio.sleep(0.1)
    took, per = time.perf_counter() - began, (cpu(process) - used) / count * 1e6
    report.add(
        "... and furnished by controllers",
        f"{took:.1f} s in all",
        f"{process.memory_info().rss / 1e6:.0f} MB",
        f"{per:.0f} us CPU",
    )
    connection.close()


async def number_of(connection: Connection, target: Target, path: str) -> int:
    _, body = await connection.ask(target, "GET", f"{path}?limit=1")
    listed = orjson.loads(body)
    return len(listed["items"]) + listed["metadata"].get("remainingItemCount", 0)


def main() -> None:
    parser = argparse.ArgumentParser(prog="script/bench load", description=__doc__)
    parser.add_argument("--objects", type=int, default=100_000)
    parser.add_argument("--watchers", type=int, default=5_000)
    parser.add_argument("--namespaces", type=int, default=10_000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    report = Report("A large cluster", ["what", "", " ", "aim, or cost"])
    print(f"load average at the start: {os.getloadavg()[0]:.1f}")
    report.begin()
    with tempfile.TemporaryDirectory(prefix="navarch-bench-") as name:
        load(report, Path(name), options.objects)
    with tempfile.TemporaryDirectory(prefix="navarch-bench-") as name, server(Path(name)) as (process, target, *_):
        uvloop.run(fan_out(report, process, target, options.watchers))
        uvloop.run(namespaces(report, process, target, options.namespaces))
    with tempfile.TemporaryDirectory(prefix="navarch-bench-") as name, server(Path(name), "--controllers") as found:
        uvloop.run(furnished(report, found[0], found[1], options.namespaces))
    write_json(options.json, [report])


if __name__ == "__main__":
    main()
