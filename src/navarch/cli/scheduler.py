"""navarch scheduler"""

from __future__ import annotations

from pathlib import Path

import click

from navarch.cli.common import component_options, gate_option


@click.command("scheduler")
@component_options("kube-scheduler")
@gate_option
@click.option(
    "--scheduler-name",
    default="default-scheduler",
    show_default=True,
    help="The pods it is for: those whose spec.schedulerName says so.",
)
@click.option(
    "--config",
    "config_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A KubeSchedulerConfiguration (kubescheduler.config.k8s.io/v1): profiles, plugins, extenders.",
)
def command(
    kubeconfig: Path, leader_elect: bool, scheduler_name: str, config_file: Path | None, feature_gates: str
) -> None:
    """Run the scheduler against an API server.

    Of several, one acts: the others wait for its Lease (kube-system/kube-scheduler) to run out.
    """
    from navarch.api import features
    from navarch.cluster.components import Scheduling, run_component

    part = Scheduling(scheduler_name, config_file, features.parse(feature_gates))
    try:
        leader_elect = leader_elect and part.read().leads_alone
    except (OSError, ValueError) as error:
        raise click.ClickException(f"{config_file}: {error}") from None
    run_component(kubeconfig, "kube-scheduler", leader_elect, part)
