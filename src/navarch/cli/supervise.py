"""navarch supervise"""

from __future__ import annotations

from pathlib import Path

import click

from navarch.cli.common import cluster_options, existing
from navarch.cluster.processes import run_supervisor


@click.command("supervise")
@cluster_options
def command(name: str, state_root: Path, run_root: Path) -> None:
    """Keep a cluster's processes running (used by `up`, in a mount namespace of its own)."""
    run_supervisor(existing(name, state_root, run_root))
