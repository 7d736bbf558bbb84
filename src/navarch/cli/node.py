"""navarch node"""

from __future__ import annotations

import gc
from pathlib import Path

import click

from navarch.cli.common import cluster_options, existing


@click.command("node")
@cluster_options
def command(name: str, state_root: Path, run_root: Path) -> None:
    """Run kubelet, proxy and DNS in one process (used by `up`)."""
    gc.disable()  # until `run_until_told`: what is imported is there to stay
    from navarch.cluster.controlplane import run_until_told
    from navarch.cluster.node import run

    config = existing(name, state_root, run_root)
    run_until_told(lambda told: run(config, told))
