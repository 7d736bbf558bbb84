"""navarch up"""

from __future__ import annotations

from pathlib import Path

import click

from navarch.cli.common import cluster_options, feature_options
from navarch.cluster import platform, state
from navarch.cluster.lifecycle import Progress
from navarch.cluster.lifecycle import up as bring_up


@click.command("up")
@cluster_options
@click.option("--api-port", type=int, default=0, help="Port of the API server. [default: 6443, or the next free]")
@click.option(
    "--resolv-conf",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default=state.RESOLV_CONF,
    show_default=True,
    help="Whose name servers answer for names outside the cluster.",
)
@feature_options
def command(
    name: str,
    state_root: Path,
    run_root: Path,
    api_port: int,
    resolv_conf: Path,
    feature_gates: str,
    runtime_config: str,
) -> None:
    """Bring up a cluster on this machine.

    The control plane runs in one process and the node in another; containers run under containerd with crun. A cluster
    that runs already is left as it is; one whose parts died is completed. Data survives in /var/lib/navarch.
    """
    try:
        platform.check()
        with state.locked(state_root):
            config = state.load(name, state_root, run_root)
            if config is None:
                config = state.create(
                    name,
                    state_root,
                    run_root,
                    api_port=api_port,
                    resolv_conf=resolv_conf,
                    feature_gates=feature_gates,
                    runtime_config=runtime_config,
                )
            click.echo(f"Cluster {name}: pods {config.pod_cidr}, services {config.service_cidr}")
            bring_up(config, Progress(click.echo))
    except (platform.MissingError, state.ClusterError) as error:
        raise click.ClickException(str(error)) from None
    option = "" if name == "navarch" else f" --name {name}"
    click.echo(f"The cluster is up. Try: navarch kubectl{option} get nodes")
