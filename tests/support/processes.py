"""Components as processes of their own on loopback, and stock clients beside them: no containers, no root."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.harness import BIN, wait_for

KUBECTL = str(BIN / "kubectl")


class Processes:
    """`navarch` processes that keep their things in one directory; `stop` ends them all."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.kubeconfig = directory / "admin.kubeconfig"
        self.running: list[subprocess.Popen[bytes]] = []

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        log = open(self.directory / f"{words[0]}-{len(self.running)}.log", "wb")  # noqa: SIM115
        command = [sys.executable, "-m", "navarch.cli.main", *words]
        process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        self.running.append(process)
        return process

    def api_server(self, *options: str) -> subprocess.Popen[bytes]:
        """An API server that is ready."""
        self.kubeconfig.unlink(missing_ok=True)
        process = self.start("apiserver", "--secure-port", "0", "--data-dir", str(self.directory), *options)
        wait_for("the kubeconfig", self.kubeconfig.exists, 30)
        return process

    def kubectl(self, *words: str, check: bool = True, input: str | None = None, program: str = KUBECTL) -> str:
        """What it printed, errors included."""
        environment = {**os.environ, "KUBECONFIG": str(self.kubeconfig), "HOME": str(self.directory)}
        done = subprocess.run(
            [program, *words], capture_output=True, text=True, timeout=60, env=environment, input=input, check=False
        )
        if check and done.returncode:
            raise AssertionError(f"{' '.join(words)}: {done.stdout}{done.stderr}")
        return done.stdout + done.stderr

    def get(self, *words: str) -> Any:
        return json.loads(self.kubectl("get", *words, "-o", "json"))

    def stop(self) -> None:
        for process in reversed(self.running):
            process.terminate()
        for process in self.running:
            process.wait(15)
