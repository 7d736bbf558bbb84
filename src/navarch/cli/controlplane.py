"""navarch controlplane"""

from __future__ import annotations

import gc
from pathlib import Path

import click

from navarch.cli.common import cluster_options, existing


@click.command("controlplane")
@cluster_options
def command(name: str, state_root: Path, run_root: Path) -> None:
    """Run API server, controllers and scheduler of a cluster in one process (used by `up`)."""
    gc.disable()  # until `run_until_told`: what is imported is there to stay
    from navarch.api import features
    from navarch.apiserver.relaying import KubeletAccess
    from navarch.apiserver.server import ApiServerConfig
    from navarch.cluster import machine, pki
    from navarch.cluster.access import AccessFiles, BadFile, with_front_proxy
    from navarch.cluster.controlplane import ServingConfig, run_until_told, serve_cluster

    config = existing(name, state_root, run_root)
    places = pki.ensure(config)
    root_ca = places.ca_cert.read_text()
    serving = ServingConfig(
        host="0.0.0.0", port=config.api_port, certificate=places.apiserver.cert, key=places.apiserver.key
    )
    node_ip = machine.node_ip()
    server = ApiServerConfig(
        flags={
            "advertise-address": node_ip,
            "secure-port": str(config.api_port),
            "service-cluster-ip-range": config.service_cidr,
            "service-node-port-range": "-".join(map(str, config.node_port_range)),
        },
        features=features.parse(config.feature_gates, config.runtime_config),
        service_cidr=config.service_cidr,
        node_port_range=config.node_port_range,
        advertise_address=node_ip,
        advertise_port=config.api_port,
        client_ca_pem=root_ca.encode(),
        kubelets=KubeletAccess(
            certificate=places.kubelet_client.cert, key=places.kubelet_client.key, ca=places.ca_cert
        ),
        token_key_pem=places.sa_key.read_bytes(),
    )
    try:
        server = with_front_proxy(AccessFiles.at(config.state, config.logs).applied(server), places)
    except BadFile as error:
        raise click.ClickException(str(error)) from None
    run_until_told(lambda told: serve_cluster(told, serving, server, config.database, config, places))
