"""script/bench start: how long it takes until a cluster answers, and what it costs when nothing happens.

In a network namespace of its own; containers' images are built beforehand. Every figure is the median of --runs runs.
"""

from __future__ import annotations

import argparse
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from tests.support.harness import ROOT, Cluster, Network, build_archives, new_cluster

from bench.report import Report, median, write_json
from navarch.cluster.lifecycle import AdminApi

IDLE_SECONDS = 20.0


def until(probe: Callable[[], Any], timeout: float = 60) -> None:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        try:
            if probe():
                return
        except OSError:
            pass
        time.sleep(0.005)
    raise SystemExit("gave up waiting")


def name_answers(server: str) -> bool:
    """Whether cluster DNS knows the API server's name, asked through its Service."""
    question = struct.pack("!6H", 1, 0x0100, 1, 0, 0, 0)
    question += b"".join(bytes([len(x)]) + x.encode() for x in ["kubernetes", "default", "svc", "cluster", "local"])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(0.2)
        client.sendto(question + b"\0" + struct.pack("!HH", 1, 1), (server, 53))
        answer = client.recv(512)
    return struct.unpack_from("!6H", answer)[3] == 1


def page(address: str) -> bool:
    with urllib.request.urlopen(f"http://{address}/", timeout=0.5) as answer:
        return b"Welcome to nginx!" in answer.read()


def one_run(directory: Path, archives: Path, figures: dict[str, list[float]]) -> None:
    cluster = new_cluster("bench", directory, archives)
    try:
        started = time.monotonic()
        upping = subprocess.Popen(
            [sys.executable, "-m", "navarch.cli.main", "up", "--name", "bench", *cluster.places,
             "--resolv-conf", str(cluster.resolv_conf)],
            stdout=subprocess.DEVNULL, env=cluster.environment,
        )  # fmt: skip
        until(lambda: (directory / "state" / "bench" / "cluster.json").exists())
        config = cluster.config
        until(lambda: (config.pki / "ca.crt").exists())
        until(lambda: (config.run / "control-plane.pid").exists())
        process = psutil.Process(cluster.process("control-plane"))
        born = time.monotonic() - (time.time() - process.create_time())
        api = AdminApi(config)
        until(api.ready)
        figures["control plane: exec to /readyz"].append(time.monotonic() - born)
        until(api.nodes_ready)
        figures["up to node Ready"].append(time.monotonic() - started)
        until(lambda: name_answers(config.dns_ip))
        figures["up to DNS answering"].append(time.monotonic() - started)
        upping.wait()
        applied = time.monotonic()
        cluster.kubectl("apply", "-f", str(ROOT / "examples" / "nginx"))
        address = cluster.get("service", "ngx")["spec"]["clusterIP"]
        until(lambda: page(address))
        figures["apply to nginx answering"].append(time.monotonic() - applied)
        idle(cluster, figures)
    finally:
        cluster.navarch("down", check=False)


def idle(cluster: Cluster, figures: dict[str, list[float]]) -> None:
    time.sleep(5)
    for part in ("control-plane", "node"):
        process = psutil.Process(cluster.process(part))
        before = process.cpu_times()
        time.sleep(IDLE_SECONDS)
        after = process.cpu_times()
        used = after.user + after.system - before.user - before.system
        figures[f"{part} idle, % of a core"].append(used / IDLE_SECONDS * 100)
        figures[f"{part} memory, MB"].append(process.memory_info().rss / 1e6)


def main() -> None:
    parser = argparse.ArgumentParser(prog="script/bench start", description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    archives = build_archives()
    Network()
    names = ["control plane: exec to /readyz", "up to node Ready", "up to DNS answering", "apply to nginx answering"]
    for part in ("control-plane", "node"):
        names += [f"{part} idle, % of a core", f"{part} memory, MB"]
    figures: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(options.runs):
        with tempfile.TemporaryDirectory(prefix="navarch-bench-") as directory:
            one_run(Path(directory), archives, figures)
    report = Report("Start and idle (seconds, unless said)", ["what", "median", "least", "most"])
    report.begin()
    for name, values in figures.items():
        report.add(name, round(median(values), 2), round(min(values), 2), round(max(values), 2))
    write_json(options.json, [report])


if __name__ == "__main__":
    main()
