"""navarch image"""

from __future__ import annotations

from pathlib import Path

import click

from navarch.cli.common import cluster_options, existing
from navarch.cluster import preload


@click.group("image")
def command() -> None:
    """Load images into a cluster."""


@command.command("load")
@cluster_options
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def load(name: str, state_root: Path, run_root: Path, file: Path) -> None:
    """Load an OCI or docker archive (`docker save`), so that pods can use its images without a registry."""
    try:
        names = preload.load(existing(name, state_root, run_root), file)
    except RuntimeError as error:
        raise click.ClickException(f"{file} could not be loaded: {error}") from None
    for image in names:
        click.echo(f"loaded {image}")


@command.command("list")
@cluster_options
def list_(name: str, state_root: Path, run_root: Path) -> None:
    """List the images that were loaded by hand."""
    for image in preload.loaded(existing(name, state_root, run_root)):
        click.echo(image)
