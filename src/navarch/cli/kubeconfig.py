"""navarch kubeconfig"""

from __future__ import annotations

from pathlib import Path

import click
import yaml

from navarch.cli.common import cluster_options, existing
from navarch.cluster import pki
from navarch.cluster.kubeconfig import context_name, renamed


@click.command("kubeconfig")
@cluster_options
def command(name: str, state_root: Path, run_root: Path) -> None:
    """Print an admin kubeconfig, for KUBECONFIG or --kubeconfig of any client."""
    config = existing(name, state_root, run_root)
    click.echo(yaml.safe_dump(renamed(pki.admin_kubeconfig(config), context_name(config)), sort_keys=False), nl=False)
