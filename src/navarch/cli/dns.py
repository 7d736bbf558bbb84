"""navarch dns"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import click

from navarch.cli.common import agent_options


@click.command("dns")
@agent_options
@click.option("--port", type=int, default=53, show_default=True)
@click.option("--cluster-domain", default="cluster.local", show_default=True)
@click.option("--clients", required=True, help="The networks that are answered, separated by commas.")
@click.option(
    "--resolv-conf",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default=Path("/etc/resolv.conf"),
    show_default=True,
    help="Whose name servers answer for names outside the cluster.",
)
def command(
    kubeconfig: Path, node_name: str, node_ip: str, port: int, cluster_domain: str, clients: str, resolv_conf: Path
) -> None:
    """Run the cluster DNS server, at a node's address."""
    from navarch.client.http import HttpClient
    from navarch.cluster.agents import run_agent
    from navarch.cluster.controlplane import run_until_told
    from navarch.dns.server import DnsConfig, DnsServer, upstreams_of
    from navarch.machinery.clock import RealWorld

    networks = tuple(network.strip() for network in clients.split(","))
    config = DnsConfig(
        address=node_ip, port=port, domain=cluster_domain, clients=networks, upstreams=upstreams_of(resolv_conf)
    )

    def make() -> tuple[DnsServer, Callable[[], Awaitable[None]]]:
        client = HttpClient.from_kubeconfig(kubeconfig, "dns")
        return DnsServer(config, client, RealWorld()), client.close

    run_until_told(lambda told: run_agent(told, make))
