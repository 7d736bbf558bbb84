"""A real control plane for as long as a `with` lasts: etcd, kube-apiserver, kube-controller-manager and kube-scheduler, with
ports, data and authorities of their own."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.differential.controllers.play import Cluster, clean_environment
from tests.differential.controllers.scenario import Scenario

from navarch.client.http import HttpClient
from navarch.cluster.certificates import Authority
from navarch.machinery.clock import RealWorld
from navarch.testing.files import keep_pair, write_kubeconfig

HOST, START_SECONDS, AT_ONCE = "127.0.0.1", 60.0, 10
NAMES = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
QUICK = ("--kube-api-qps=500", "--kube-api-burst=1000")


def play(binaries: Path, scenarios: Sequence[Scenario]) -> dict[str, Any]:
    return asyncio.run(_play(binaries, scenarios))


async def _play(binaries: Path, scenarios: Sequence[Scenario]) -> dict[str, Any]:
    async with running(binaries) as kubeconfig:

        def connect(name: str) -> HttpClient:
            return HttpClient.from_kubeconfig(kubeconfig, name)

        cluster = Cluster(connect("scenarios"), RealWorld(), connect)
        await cluster.start()
        try:
            return await cluster.play(scenarios, AT_ONCE)
        finally:
            await cluster.stop()


@asynccontextmanager
async def running(binaries: Path) -> AsyncGenerator[Path]:
    """The administrator's kubeconfig."""
    with contextlib.ExitStack() as ends:
        home = Path(ends.enter_context(tempfile.TemporaryDirectory(prefix="real-")))
        ports = _ports(5)
        _authorities(home, ports[0])

        def start(name: str, *flags: str) -> None:
            log = ends.enter_context((home / f"{name}.log").open("wb"))
            process = subprocess.Popen(
                [binaries / name, *flags], stdout=log, stderr=log, cwd=home, env=clean_environment()
            )
            ends.callback(process.wait)
            ends.callback(process.terminate)

        _start_server(home, ports, start)
        await _ready(home / "admin.kubeconfig")
        _start_rest(home, ports, start)
        yield home / "admin.kubeconfig"


def _start_server(home: Path, ports: list[int], start: Any) -> None:
    api, client, peer = ports[:3]
    urls = f"http://{HOST}:{client}", f"http://{HOST}:{peer}"
    start(
        "etcd",
        *("-data-dir", str(home / "etcd"), "-listen-client-urls", urls[0], "-listen-peer-urls", urls[1]),
        "-unsafe-no-fsync",
    )
    start(
        "kube-apiserver",
        *(f"--etcd-servers={urls[0]}", f"--secure-port={api}", f"--bind-address={HOST}"),
        *("--advertise-address=192.0.2.1", "--service-cluster-ip-range=10.96.0.0/16", "--authorization-mode=Node,RBAC"),
        *("--allow-privileged=true", "--enable-bootstrap-token-auth=true", "--max-requests-inflight=2000"),
        *("--client-ca-file=ca.crt", "--tls-cert-file=server.crt", "--tls-private-key-file=server.key"),
        *("--service-account-key-file=sa.crt", "--service-account-signing-key-file=sa.key"),
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
    )


def _start_rest(home: Path, ports: list[int], start: Any) -> None:
    for name, port, flags in (
        (
            "kube-controller-manager",
            ports[3],
            [
                *("--use-service-account-credentials=true", "--service-account-private-key-file=sa.key"),
                *("--root-ca-file=ca.crt", "--cluster-signing-cert-file=ca.crt", "--cluster-signing-key-file=ca.key"),
                *("--cluster-cidr=10.244.0.0/16", "--allocate-node-cidrs=true"),
                *("--service-cluster-ip-range=10.96.0.0/16", "--controllers=*,bootstrapsigner,tokencleaner"),
            ],
        ),
        ("kube-scheduler", ports[4], []),
    ):
        own = f"{name}.kubeconfig"
        start(
            name,
            *(f"--kubeconfig={own}", f"--bind-address={HOST}", f"--secure-port={port}", "--leader-elect=false"),
            *(f"--authentication-kubeconfig={own}", f"--authorization-kubeconfig={own}", *QUICK, *flags),
        )


def _authorities(home: Path, port: int) -> None:
    authority, url = Authority.new("real"), f"https://{HOST}:{port}"
    keep_pair(home, "ca", (authority.pem, authority.key_pem))
    keep_pair(home, "server", authority.server("kube-apiserver", NAMES, [HOST, "10.96.0.1"]))
    keep_pair(home, "sa", authority.client("service-accounts"))
    for file, user, groups in (
        ("admin", "admin", ("system:masters",)),
        ("kube-controller-manager", "system:kube-controller-manager", ()),
        ("kube-scheduler", "system:kube-scheduler", ()),
    ):
        write_kubeconfig(home / f"{file}.kubeconfig", url, authority.pem, authority.client(user, *groups))


def _ports(count: int) -> list[int]:
    """Free ones."""
    with contextlib.ExitStack() as held:
        found: list[int] = []
        for _ in range(count):
            one = held.enter_context(socket.socket())
            one.bind((HOST, 0))
            found.append(one.getsockname()[1])
        return found


async def _ready(kubeconfig: Path) -> None:
    client = HttpClient.from_kubeconfig(kubeconfig, "scenarios")
    deadline = time.monotonic() + START_SECONDS
    try:
        while True:
            try:
                await client.raw("GET", "/readyz")
                return
            except Exception:
                if time.monotonic() > deadline:
                    raise
            await asyncio.sleep(0.3)
    finally:
        await client.close()
