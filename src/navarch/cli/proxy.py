"""navarch proxy"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import click

from navarch.cli.common import agent_options


@click.command("proxy")
@agent_options
@click.option("--cluster-cidr", required=True, help="The range of pods' addresses.")
@click.option("--service-cidr", required=True, help="The range of services' addresses.")
@click.option("--bridge", default="cni0", show_default=True, help="The interface that this node's pods are behind.")
@click.option("--table", default="navarch", show_default=True, help="The nftables table that is made and kept.")
@click.option(
    "--healthz-port", type=int, default=10256, show_default=True, help="Tells load balancers how it is; 0: no."
)
@click.option("--metrics-port", type=int, default=10249, show_default=True, help="On the loopback address; 0: nowhere.")
def command(
    kubeconfig: Path,
    node_name: str,
    node_ip: str,
    cluster_cidr: str,
    service_cidr: str,
    bridge: str,
    table: str,
    healthz_port: int,
    metrics_port: int,
) -> None:
    """Run the service proxy of a node: Services become nftables rules."""
    from navarch.client.http import HttpClient
    from navarch.cluster.agents import run_agent
    from navarch.cluster.controlplane import run_until_told
    from navarch.machinery.clock import RealWorld
    from navarch.proxy.proxy import Proxy, ProxyConfig
    from navarch.proxy.rules import Settings

    settings = Settings(table, cluster_cidr, service_cidr, bridge)
    config = ProxyConfig(
        node_name=node_name, node_ip=node_ip, settings=settings, health_port=healthz_port, metrics_port=metrics_port
    )

    def make() -> tuple[Proxy, Callable[[], Awaitable[None]]]:
        client = HttpClient.from_kubeconfig(kubeconfig, "kube-proxy")
        return Proxy(config, client, RealWorld()), client.close

    run_until_told(lambda told: run_agent(told, make))
