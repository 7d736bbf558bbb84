"""navarch down"""

from __future__ import annotations

from pathlib import Path

import click

from navarch.cli.common import cluster_options, existing
from navarch.cluster import state
from navarch.cluster.lifecycle import Progress
from navarch.cluster.lifecycle import down as take_down


@click.command("down")
@cluster_options
@click.option("--keep-data", is_flag=True, help="Keep the cluster's state: the next `up` resumes it.")
def command(name: str, state_root: Path, run_root: Path, keep_data: bool) -> None:
    """Take a cluster off this machine.

    Ends its processes and containers and removes its network, cgroups, mounts and files (with --keep-data, all but its
    data). Nothing of it stays behind.
    """
    with state.locked(state_root):
        config = existing(name, state_root, run_root)
        take_down(config, Progress(click.echo), keep_data)
    click.echo(f"Cluster {name} is down.")
