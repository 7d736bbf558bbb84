"""The JavaScript client against the API server."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from tests.support import javascript
from tests.support.harness import BIN
from tests.support.processes import Processes

MODULES = BIN.parent / "javascript" / "node_modules"
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not MODULES.exists(), reason="script/setup dev has not been run")]


def test_javascript(server: Processes, nodes: None, namespace: str) -> None:
    node = javascript.program("node")
    assert node
    environment = {**os.environ, "KUBECONFIG": str(server.kubeconfig), "NODE_PATH": str(MODULES)}
    done = subprocess.run(
        [node, str(Path(__file__).with_name("client.cjs")), namespace],
        capture_output=True, text=True, timeout=120, env=environment, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stdout + done.stderr
