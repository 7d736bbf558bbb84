"""script/bench api: drives any API server and reports what a request costs it.

Without --kubeconfig it starts a server of this tree, on a durable store in a temporary directory. The load comes over TLS
and HTTP/1.1 with keep-alive, from this process, the same bytes for every server. CPU is that of the server's processes
(found by the port it listens on; --pid adds others, an etcd say), user and system together.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson
import psutil
import uvloop

from bench.http import Connection, Target
from bench.report import Report, median, percentile, write_json

NAMESPACE = "navarch-bench"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
TITLE = "API server, per request"
WATCHERS = 1000
EVENTS = 50
BURST = 10
"""Writers whose events reach the watchers together."""


def pod(name: str) -> bytes:
    """A pod of ordinary size (about 2 KB once defaulted)."""
    container = {
        "name": "app",
        "image": "registry.example/team/app:1.2.3",
        "args": ["--listen=:8080", "--log-level=info"],
        "env": [{"name": f"SETTING_{i}", "value": f"value-{i}"} for i in range(8)],
        "ports": [{"containerPort": 8080, "name": "http"}],
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
        "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}, "periodSeconds": 5},
    }
    return orjson.dumps(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": {"app": "bench", "tier": "web"}, "annotations": {"team": "a"}},
            "spec": {"containers": [container], "nodeSelector": {"bench": "nowhere"}, "serviceAccountName": "default"},
        }
    )


Step = Callable[[], Awaitable[None]]
One = Callable[[Connection, int], Awaitable[tuple[int, bytes]]]


class Server:
    """The measured processes."""

    def __init__(self, port: int, pids: list[int]) -> None:
        listening = {
            c.pid for c in psutil.net_connections("tcp") if c.status == "LISTEN" and c.laddr.port == port and c.pid
        }
        self.processes = [psutil.Process(pid) for pid in {*listening, *pids}]

    def cpu(self) -> float:
        return sum(t.user + t.system for t in (p.cpu_times() for p in self.processes))

    def memory_mb(self) -> float:
        return sum(p.memory_info().rss for p in self.processes) / 1e6


class Bench:
    def __init__(self, target: Target, server: Server, scale: float, title: str) -> None:
        self.target, self.server, self.scale = target, server, scale
        self.report = Report(title, ["request", "clients", "requests/s", "CPU us", "p50 ms", "p99 ms"])

    def count(self, full: int) -> int:
        return max(int(full * self.scale), 10)

    async def measure(self, what: str, clients: int, count: int, one: One) -> None:
        """`count` requests from `clients` connections; each connection has one under way."""
        connections = await asyncio.gather(*(Connection.open(self.target) for _ in range(clients)))
        numbers = iter(range(count))
        times: list[float] = []

        async def work(connection: Connection) -> None:
            for number in numbers:
                started = time.perf_counter()
                status, body = await one(connection, number)
                times.append(time.perf_counter() - started)
                if status >= 300:
                    raise RuntimeError(f"{what}: HTTP {status}: {body[:300]!r}")

        cpu, started = self.server.cpu(), time.perf_counter()
        await asyncio.gather(*(work(c) for c in connections))
        elapsed, used = time.perf_counter() - started, self.server.cpu() - cpu
        for connection in connections:
            connection.close()
        p50, p99 = median(times) * 1000, percentile(times, 0.99) * 1000
        self.report.add(what, clients, count / elapsed, used / count * 1e6, round(p50, 2), round(p99, 2))

    def steps(self) -> list[Step]:
        """The whole run, one measure at a time, so that two servers can take them in turn."""
        return [self._begin, *self._writes_and_reads(), self._watches, self._end]

    async def _begin(self) -> None:
        await self._fresh_namespace(await Connection.open(self.target))
        self.report.facts["memory_mb_before"] = round(self.server.memory_mb(), 1)

    async def _end(self) -> None:
        self.report.facts["memory_mb_after"] = round(self.server.memory_mb(), 1)
        control = await Connection.open(self.target)
        await control.ask(self.target, "DELETE", f"{PODS}?gracePeriodSeconds=0")
        await control.ask(self.target, "DELETE", f"/api/v1/namespaces/{NAMESPACE}")
        before, after = self.report.facts["memory_mb_before"], self.report.facts["memory_mb_after"]
        print(f"  {self.report.label}memory: {before} MB before, {after} MB after")

    async def _fresh_namespace(self, control: Connection) -> None:
        body = orjson.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
        await control.ask(self.target, "POST", "/api/v1/namespaces", body)
        account = orjson.dumps({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}})
        await control.ask(self.target, "POST", f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts", account)
        await control.ask(self.target, "DELETE", f"{PODS}?gracePeriodSeconds=0")

    def _writes_and_reads(self) -> Iterator[Step]:
        target = self.target
        few, many = self.count(500), self.count(4500)

        def step(what: str, clients: int, count: int, one: One) -> Step:
            return lambda: self.measure(what, clients, count, one)

        def get(c: Connection, i: int) -> Awaitable[tuple[int, bytes]]:
            return c.ask(target, "GET", f"{PODS}/one-{i % few}")

        def list_all(c: Connection, i: int) -> Awaitable[tuple[int, bytes]]:
            return c.ask(target, "GET", PODS)

        yield step("create", 1, few, lambda c, i: c.ask(target, "POST", PODS, pod(f"one-{i}")))
        yield step("get", 1, self.count(2000), get)
        yield step("get", 32, self.count(10000), get)
        yield step(f"list {few}", 1, self.count(100), list_all)
        yield step(f"list {few}", 8, self.count(200), list_all)
        yield step("create", 32, many, lambda c, i: c.ask(target, "POST", PODS, pod(f"many-{i}")))
        yield step(f"list {few + many}", 1, self.count(20), list_all)
        yield step("get and update", 32, self.count(2000), self._update)
        kinds = {"json": "json-patch", "merge": "merge-patch", "strategic": "strategic-merge-patch"}
        for name, media in kinds.items():
            yield step(f"patch, {name}", 32, self.count(2000), self._patch(name, f"application/{media}+json"))
        yield step("apply", 32, self.count(2000), self._apply)

    async def _update(self, connection: Connection, number: int) -> tuple[int, bytes]:
        """A read and a write; only the write has the other verbs to be compared with."""
        path = f"{PODS}/many-{number}"
        _, body = await connection.ask(self.target, "GET", path)
        changed = orjson.loads(body)
        changed["metadata"]["labels"]["round"] = str(number)
        return await connection.ask(self.target, "PUT", path, orjson.dumps(changed))

    def _patch(self, kind: str, media: str) -> One:
        async def one(connection: Connection, number: int) -> tuple[int, bytes]:
            body: object = {"metadata": {"labels": {"patched": f"{kind}-{number}"}}}
            if kind == "json":
                body = [{"op": "add", "path": "/metadata/labels/patched", "value": f"json-{number}"}]
            return await connection.ask(self.target, "PATCH", f"{PODS}/many-{number}", orjson.dumps(body), media)

        return one

    async def _apply(self, connection: Connection, number: int) -> tuple[int, bytes]:
        body = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": f"many-{number}", "labels": {"applied": str(number)}},
        }
        path = f"{PODS}/many-{number}?fieldManager=bench&force=true"
        return await connection.ask(self.target, "PATCH", path, orjson.dumps(body), "application/apply-patch+yaml")

    async def _watches(self) -> None:
        """Many watchers of one resource; the cost of a delivery is the server's CPU over events times watchers."""
        target = self.target
        path = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
        watchers = self.count(WATCHERS)
        received = 0
        arrived = asyncio.Event()
        wanted = 0

        def chunk(data: bytes) -> None:
            nonlocal received
            received += data.count(b'{"type":')
            if received >= wanted:
                arrived.set()

        control = await Connection.open(target)
        connections: list[Connection] = []
        cpu = self.server.cpu()
        for start in range(0, watchers, 50):
            opened = await asyncio.gather(*(Connection.open(target) for _ in range(min(50, watchers - start))))
            for connection in opened:
                connection.on_chunk = chunk
                connection.send(target, "GET", f"{path}?watch=true&resourceVersion=0")
            connections += opened
        await asyncio.sleep(2)
        opening = (self.server.cpu() - cpu) / watchers * 1e6
        self.report.add("watch, open", watchers, "", opening, "", "")

        async def deliver(what: str, rounds: int, at_once: int) -> None:
            """In each round events of several writers come together; the latency is that until everybody has them."""
            nonlocal received, wanted
            received = wanted = 0
            lags: list[float] = []
            cpu = self.server.cpu()
            for number in range(rounds):
                wanted += watchers * at_once
                arrived.clear()
                started = time.perf_counter()
                for writer in range(at_once):
                    name = f"event-{at_once}-{number}-{writer}"
                    body = orjson.dumps({"metadata": {"name": name}, "data": {"key": "x" * 500}})
                    writing[writer] = asyncio.ensure_future(writers[writer].ask(target, "POST", path, body))
                await asyncio.gather(*writing[:at_once])
                await asyncio.wait_for(arrived.wait(), 60)
                lags.append(time.perf_counter() - started)
            deliveries = rounds * at_once * watchers
            per = (self.server.cpu() - cpu) / deliveries * 1e6
            p50, p99 = median(lags) * 1000, percentile(lags, 0.99) * 1000
            self.report.add(what, watchers, deliveries / sum(lags), per, p50, p99)

        writers = [await Connection.open(target) for _ in range(BURST)]
        writing: list[Any] = [None] * BURST
        await deliver("watch, delivery", EVENTS, 1)
        await deliver(f"watch, delivery of {BURST}", EVENTS // 5, BURST)
        for connection in connections:
            connection.close()
        await control.ask(target, "DELETE", path)


async def run(benches: Sequence[Bench]) -> None:
    """Each measure on every server, the first one first, before the next measure."""
    for steps in zip(*(bench.steps() for bench in benches), strict=True):
        for step in steps:
            await step()


def ratios(ours: Report, other: Report) -> Report:
    """What the same request costs the other server: its CPU, and its median latency, over ours."""
    found = Report("Ratios, other to first", ["request", "clients", "CPU", "p50"])
    found.begin()
    for mine, its in zip(ours.rows, other.rows, strict=True):
        quotients = [f"{its[i] / mine[i]:.1f}" if mine[i] and its[i] else "" for i in (3, 4)]
        found.add(mine[0], mine[1], *quotients)
    return found


@contextlib.contextmanager
def own_server() -> Generator[Path]:
    """An API server of this tree; yields its kubeconfig."""
    with tempfile.TemporaryDirectory(prefix="navarch-bench-") as directory:
        kubeconfig = Path(directory) / "admin.kubeconfig"
        command = [sys.executable, "-m", "navarch.cli.main", "apiserver", "--secure-port", "0", "--data-dir", directory]
        with open(Path(directory) / "log", "wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            while not kubeconfig.exists():
                if process.poll() is not None:
                    raise SystemExit(f"the API server did not start:\n{(Path(directory) / 'log').read_text()}")
                time.sleep(0.02)
            yield kubeconfig
        finally:
            process.terminate()
            process.wait(30)


def main() -> None:
    parser = argparse.ArgumentParser(prog="script/bench api", description=__doc__)
    parser.add_argument("--kubeconfig", type=Path, help="which API server (its current context)")
    parser.add_argument("--pid", type=int, action="append", default=[], help="a further process to count, as etcd")
    parser.add_argument("--against", type=Path, help="another API server, measured in turn with the first")
    parser.add_argument("--against-pid", type=int, action="append", default=[], help="--pid of that one")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full number of requests")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        bench(options, options.kubeconfig or stack.enter_context(own_server()))


def bench(options: argparse.Namespace, kubeconfig: Path) -> None:
    pairs = [("first", kubeconfig, options.pid)]
    if options.against:
        pairs.append(("other", options.against, options.against_pid))
    benches: list[Bench] = []
    for title, path, pids in pairs:
        target = Target(path)
        benches.append(Bench(target, Server(target.port, pids), options.scale, title if options.against else TITLE))
    if options.against:
        for made in benches:
            made.report.label = f"{made.report.title:<7}"
    benches[0].report.begin()
    uvloop.run(run(benches))
    reports = [made.report for made in benches]
    if options.against:
        reports.append(ratios(*reports))
    write_json(options.json, reports)


if __name__ == "__main__":
    main()
