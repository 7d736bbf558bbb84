"""An API server as a process on a durable store, that is killed and started again."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
from pathlib import Path

from navarch.client.http import HttpClient
from navarch.machinery.errors import StatusError

Failure = (StatusError, ConnectionError, OSError)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self.directory = directory
        self.kubeconfig = directory / "admin.kubeconfig"
        self.process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        words = ["apiserver", "--secure-port", str(self.port), "--data-dir", str(self.directory)]
        log = open(self.directory / "log", "ab")  # noqa: SIM115
        self.process = subprocess.Popen([sys.executable, "-m", "navarch.cli.main", *words], stdout=log, stderr=log)
        async with asyncio.timeout(30):
            while True:
                try:
                    client = HttpClient.from_kubeconfig(self.kubeconfig)
                    try:
                        if await client.raw("GET", "/readyz") == "ok":
                            return
                    finally:
                        await client.close()
                except (*Failure, FileNotFoundError):
                    await asyncio.sleep(0.02)

    def kill(self) -> None:
        assert self.process
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
