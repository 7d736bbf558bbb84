"""Options and outcomes that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from navarch.cluster import state
from navarch.cluster.config import DEFAULT_NAME, RUN_ROOT, STATE_ROOT, ClusterConfig

F = TypeVar("F", bound=Callable[..., Any])


def cluster_options(function: F) -> F:
    """--name, and the (rarely needed) places where clusters are kept."""
    for option in (
        click.option(
            "--run-root",
            type=click.Path(path_type=Path),
            default=RUN_ROOT,
            envvar="NAVARCH_RUN_ROOT",
            hidden=True,
        ),
        click.option(
            "--state-root",
            type=click.Path(path_type=Path),
            default=STATE_ROOT,
            envvar="NAVARCH_STATE_ROOT",
            hidden=True,
        ),
        click.option("--name", default=DEFAULT_NAME, show_default=True, metavar="CLUSTER", help="Which cluster."),
    ):
        function = option(function)
    return function


def existing(name: str, state_root: Path, run_root: Path) -> ClusterConfig:
    """The cluster's configuration, or a clear way out."""
    config = state.load(name, state_root, run_root)
    if config is None:
        known = ", ".join(c.name for c in state.all_clusters(state_root, run_root)) or "none"
        raise click.ClickException(
            f"there is no cluster {name!r} on this machine (known: {known}); `navarch up` makes one"
        )
    return config


class FeatureGates(click.ParamType[str]):
    """The value of --feature-gates, or (`versions`) of --runtime-config: looked at, and left as it is."""

    name = "NAME=true,..."

    def __init__(self, versions: bool = False) -> None:
        self._versions = versions

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from navarch.api import features

        try:
            features.parse("" if self._versions else value, value if self._versions else "")
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return value


def gate_option(function: F) -> F:
    """--feature-gates."""
    option = click.option("--feature-gates", type=FeatureGates(), default="", help="Alpha features that are to be on.")
    return option(function)


def feature_options(function: F) -> F:
    """--feature-gates and --runtime-config, of whoever runs an API server."""
    versions = FeatureGates(versions=True)
    option = click.option("--runtime-config", type=versions, default="", help="Alpha versions that are to be served.")
    return gate_option(option(function))


def component_options(name: str) -> Callable[[F], F]:
    """--kubeconfig and --leader-elect of a component that runs against an API server elsewhere."""

    def wrap(function: F) -> F:
        for option in (
            click.option(
                "--leader-elect/--no-leader-elect",
                default=True,
                show_default=True,
                help="Of several, only the holder of the Lease acts.",
            ),
            click.option(
                "--kubeconfig",
                type=click.Path(exists=True, dir_okay=False, path_type=Path),
                envvar="KUBECONFIG",
                required=True,
                help=f"Where the API server is, and who this is (system:{name}, or an administrator).",
            ),
        ):
            function = option(function)
        return function

    return wrap


def agent_options(function: F) -> F:
    """--kubeconfig, --node-name and --node-ip of what runs on a node. The machine's own name and address are the defaults."""
    from navarch.cluster import machine

    for option in (
        click.option(
            "--node-ip", default=machine.node_ip, help="Where this node is reached. [default: its own address]"
        ),
        click.option(
            "--node-name",
            "--hostname-override",
            default=machine.node_name,
            help="What the Node is called. [default: the host's name]",
        ),
        click.option(
            "--kubeconfig",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            envvar="KUBECONFIG",
            required=True,
            help="Where the API server is, and who this is.",
        ),
    ):
        function = option(function)
    return function
