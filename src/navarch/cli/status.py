"""navarch status"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from navarch.cli.common import cluster_options, existing
from navarch.cluster import lifecycle


@click.command("status")
@cluster_options
def command(name: str, state_root: Path, run_root: Path) -> None:
    """Say how a cluster and its parts are. Exits with 1 unless all is well."""
    parts = lifecycle.status(existing(name, state_root, run_root))
    width = max(map(len, parts))
    for part, text in parts.items():
        click.echo(f"{part:{width}}  {text}")
    if any(word in text for text in parts.values() for word in ("not ", "NotReady")):
        sys.exit(1)
