"""navarch apiserver"""

from __future__ import annotations

import gc
import ipaddress
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from navarch.cli.access import access_options, flags
from navarch.cli.common import feature_options

if TYPE_CHECKING:
    from navarch.cluster.access import AccessFiles


@click.command("apiserver")
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where objects, certificates and the administrator's kubeconfig are kept. Without it nothing outlives the process.",
)
@click.option("--bind-address", default="127.0.0.1", show_default=True, help="The address to listen at.")
@click.option("--secure-port", type=int, default=6443, show_default=True, help="The port to listen at; 0 picks one.")
@click.option(
    "--service-cluster-ip-range",
    default="10.96.0.0/16",
    show_default=True,
    metavar="CIDR",
    help="Where Services' addresses come from.",
)
@click.option(
    "--advertise-address",
    default="",
    help="Where pods reach this server (the Service `kubernetes`). [default: the bind address]",
)
@click.option(
    "--kubeconfig",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the administrator's kubeconfig here. [default: DATA_DIR/admin.kubeconfig]",
)
@click.option(
    "--client-ca-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Further authorities whose client certificates name users.",
)
@click.option(
    "--tls-cert-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A certificate instead of one of its own.",
)
@click.option(
    "--tls-private-key-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The key of --tls-cert-file.",
)
@click.option(
    "--service-account-signing-key-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Signs tokens of service accounts. [default: a key of its own]",
)
@click.option(
    "--enable-priority-and-fairness",
    type=bool,
    default=True,
    show_default=True,
    help="Let requests wait for each other by priority; else only their number is bounded.",
)
@click.option("--max-requests-inflight", type=click.IntRange(1), default=400, show_default=True, help="Reads at once.")
@click.option(
    "--max-mutating-requests-inflight",
    type=click.IntRange(1),
    default=200,
    show_default=True,
    help="Writes at once; with fairness, both together are the seats that priority levels share.",
)
@access_options
@feature_options
@click.option("--controllers/--no-controllers", default=False, help="Run the controllers in the same process.")
@click.option("--scheduler/--no-scheduler", default=False, help="Run the scheduler in the same process.")
def command(
    data_dir: Path | None,
    bind_address: str,
    secure_port: int,
    service_cluster_ip_range: str,
    advertise_address: str,
    kubeconfig: Path | None,
    client_ca_file: Path | None,
    tls_cert_file: Path | None,
    tls_private_key_file: Path | None,
    service_account_signing_key_file: Path | None,
    controllers: bool,
    scheduler: bool,
    access: Callable[[Path | None], AccessFiles],
    enable_priority_and_fairness: bool,
    max_requests_inflight: int,
    max_mutating_requests_inflight: int,
    feature_gates: str,
    runtime_config: str,
) -> None:
    """Run an API server (and its store): no containers, no root, any machine that runs Python.

    \b
    navarch apiserver --secure-port 0 --kubeconfig /tmp/k &
    kubectl --kubeconfig /tmp/k api-resources

    It makes its own certificates, and an administrator's kubeconfig. With --controllers and --scheduler it is a whole
    control plane without nodes.
    """
    gc.disable()  # until `run_until_told`: what is imported is there to stay
    from navarch.api import features
    from navarch.apiserver.server import ApiServerConfig
    from navarch.cluster import pki
    from navarch.cluster.access import BadFile, with_front_proxy
    from navarch.cluster.controlplane import Alone, ServingConfig, run_until_told, serve_alone

    _check(service_cluster_ip_range, tls_cert_file, tls_private_key_file)
    with tempfile.TemporaryDirectory(prefix="navarch-") as scratch:
        home = data_dir or Path(scratch)
        places = pki.ensure_alone(home / "pki")
        config = ApiServerConfig(
            service_cidr=service_cluster_ip_range,
            advertise_address=advertise_address or bind_address,
            advertise_port=secure_port,
            client_ca_pem=places.ca_cert.read_bytes() + (client_ca_file.read_bytes() if client_ca_file else b""),
            flags=flags(),
            fairness=enable_priority_and_fairness,
            features=features.parse(feature_gates, runtime_config),
            max_reads=max_requests_inflight,
            max_writes=max_mutating_requests_inflight,
            token_key_pem=(service_account_signing_key_file or places.sa_key).read_bytes(),
        )
        try:
            config = with_front_proxy(access(data_dir).applied(config), places)
        except BadFile as error:
            raise click.ClickException(str(error)) from None
        serving = ServingConfig(
            host=bind_address,
            port=secure_port,
            certificate=tls_cert_file or places.apiserver.cert,
            key=tls_private_key_file or places.apiserver.key,
        )
        alone = Alone(
            database=home / "store.db" if data_dir else None,
            pki=places,
            kubeconfig=kubeconfig or home / "admin.kubeconfig",
            controllers=controllers,
            scheduler=scheduler,
        )
        run_until_told(lambda told: serve_alone(told, serving, config, alone, click.echo))


def _check(service_cluster_ip_range: str, certificate: Path | None, key: Path | None) -> None:
    """Raises UsageError for what does not fit together."""
    try:
        ipaddress.ip_network(service_cluster_ip_range)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--service-cluster-ip-range") from None
    if bool(certificate) != bool(key):
        raise click.UsageError("--tls-cert-file and --tls-private-key-file go together")
