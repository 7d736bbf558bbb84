"""The navarch command. Each subcommand is a module of this package, imported only when it is asked for."""

from __future__ import annotations

import importlib
import sys

import click

from navarch import KUBERNETES_VERSION, __version__

COMMANDS = {
    "up": "Bring up a cluster on this machine.",
    "down": "Take a cluster off this machine.",
    "status": "Say how a cluster and its parts are.",
    "kubeconfig": "Print an admin kubeconfig.",
    "kubectl": "Run kubectl against a cluster.",
    "image": "Load images into a cluster.",
    "why": "Say why something is as it is.",
    "simulate": "Try things out without a cluster.",
    "apiserver": "Run an API server (and its store).",
    "controller-manager": "Run the controllers.",
    "scheduler": "Run the scheduler.",
    "kubelet": "Run the node agent.",
    "proxy": "Run the service proxy.",
    "dns": "Run the cluster DNS server.",
    "controlplane": "Run API server, controllers and scheduler in one process (used by `up`).",
    "node": "Run kubelet, proxy and DNS in one process (used by `up`).",
    "supervise": "Keep a cluster's processes running (used by `up`).",
}
"""Name -> help line. The module is cli/<name with '-' as '_'>.py, and has a click command `command`."""


class LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"navarch.cli.{cmd_name.replace('-', '_')}")
        return module.command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message=f"navarch %(version)s (Kubernetes {KUBERNETES_VERSION})")
def cli() -> None:
    """Navarch: Kubernetes, whole, in Python.

    \b
    navarch up                      a cluster on this machine, in seconds
    navarch kubectl get pods -A     talk to it (or use any kubectl: the context is `navarch`)
    navarch why pod NAME            why a pod is where it is, or nowhere
    navarch down                    and it is gone, without a trace
    """


def main() -> None:
    try:
        cli(prog_name="navarch")
    except BrokenPipeError:
        sys.exit(1)


if __name__ == "__main__":
    main()
