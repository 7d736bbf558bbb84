"""navarch simulate"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from navarch.sim.chaos import Report


@click.group("simulate")
def command() -> None:
    """Try things out without a cluster."""


@command.command("cluster")
@click.option("--seed", type=int, default=0, show_default=True, help="The first run's seed.")
@click.option("--runs", type=click.IntRange(1), default=1, show_default=True, help="How many seeds, one after another.")
@click.option("--nodes", type=click.IntRange(1, 50), default=3, show_default=True, help="Hollow nodes.")
@click.option(
    "--seconds", type=float, default=240.0, show_default=True, help="How long things go wrong, in virtual time."
)
@click.option("--story", is_flag=True, help="Tell what happened, also where all went well.")
def cluster(seed: int, runs: int, nodes: int, seconds: float, story: bool) -> None:
    """Run a whole control plane on virtual time while things go wrong: requests get lost, watches break, nodes are cut
    off, the control plane dies after any write. Ends with 1 where a promise was broken. The same seed does the same again.

    \b
    navarch simulate cluster --runs 100           a hundred seeds
    navarch simulate cluster --seed 42 --story    what happens in one of them
    """
    from navarch.sim.chaos import simulate_many

    started = time.monotonic()
    broken = 0
    reports = simulate_many(range(seed, seed + runs), processes=os.cpu_count() or 1, nodes=nodes, chaos=seconds)
    for done, report in enumerate(reports, 1):
        broken += bool(report.violations)
        _tell(report, story or bool(report.violations))
        if sys.stderr.isatty():
            click.echo(f"\r{done} of {runs} runs, {broken} broke a promise", nl=False, err=True)
    took = time.monotonic() - started
    click.echo(f"{runs} runs in {took:.0f} s, {broken} broke a promise")
    sys.exit(1 if broken else 0)


def _tell(report: Report, story: bool) -> None:
    if story:
        click.echo(f"seed {report.seed}")
        for line in report.story:
            click.echo(f"  {line}")
    outcome = f"{len(report.violations)} violations" if report.violations else "all promises kept"
    if story:
        click.echo(f"  {report.writes} writes in {report.seconds:.0f} virtual seconds, {outcome} ({report.digest})")


@command.command("scheduling")
@click.option(
    "-f",
    "--filename",
    "files",
    multiple=True,
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Pods and workloads (Deployment, StatefulSet, DaemonSet, Job ...), and what else decides about them.",
)
@click.option(
    "--nodes",
    "node_files",
    multiple=True,
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Nodes: `kubectl get nodes -o yaml` is one.",
)
@click.option("--strategy", type=click.Choice(["spread", "pack"]), default="spread", show_default=True)
@click.option(
    "--config",
    "config_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A KubeSchedulerConfiguration; its first profile is used, and --strategy is not.",
)
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def scheduling(
    files: tuple[Path, ...], node_files: tuple[Path, ...], strategy: str, config_file: Path | None, output: str
) -> None:
    """Say where pods would go, what that uses of the nodes, and what does not fit. Ends with 1 where something does not.

    \b
    navarch simulate scheduling -f pods.yaml --nodes nodes.yaml
    kubectl get nodes -o yaml > n.yaml; navarch simulate scheduling -f app.yaml --nodes n.yaml --strategy pack
    """
    from navarch.cli import simulated
    from navarch.machinery.errors import StatusError

    try:
        outcome = simulated.run([*node_files, *files], strategy, config_file)
    except (StatusError, ValueError, OSError) as error:
        raise click.ClickException(str(error)) from None
    for line in simulated.told(outcome) if output == "text" else [simulated.as_json(outcome)]:
        click.echo(line)
    sys.exit(0 if all(placed.node for placed in outcome.placed) else 1)
