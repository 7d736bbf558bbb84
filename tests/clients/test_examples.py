"""The examples for `navarch.testing`, run as their readers would: pytest finds the fixture by itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.harness import ROOT

pytestmark = pytest.mark.slow


def test_the_examples_pass(tmp_path: Path) -> None:
    environment = {**os.environ, "HOME": str(tmp_path)}
    environment.pop("KUBECONFIG", None)
    words = [sys.executable, "-m", "pytest", "-c", "/dev/null", "-p", "no:cacheprovider", "-q"]
    done = subprocess.run(
        [*words, str(ROOT / "examples" / "testing")],
        capture_output=True, text=True, timeout=120, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 passed" in done.stdout
