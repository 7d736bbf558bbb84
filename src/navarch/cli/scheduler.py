"""navarch scheduler"""

from __future__ import annotations

from pathlib import Path

import click

from navarch.cli.common import component_options


@click.command("scheduler")
@component_options("kube-scheduler")
@click.option(
    "--scheduler-name",
    default="default-scheduler",
    show_default=True,
    help="The pods it is for: those whose spec.schedulerName says so.",
)
def command(kubeconfig: Path, leader_elect: bool, scheduler_name: str) -> None:
    """Run the scheduler against an API server.

    Of several, one acts: the others wait for its Lease (kube-system/kube-scheduler) to run out.
    """
    from navarch.cluster.components import Scheduling, run_component

    run_component(kubeconfig, "kube-scheduler", leader_elect, Scheduling(scheduler_name))
