"""navarch controller-manager"""

from __future__ import annotations

from pathlib import Path

import click

from navarch.cli.common import component_options, gate_option


@click.command("controller-manager")
@component_options("kube-controller-manager")
@gate_option
@click.option(
    "--cluster-cidr",
    default="10.244.0.0/16",
    show_default=True,
    metavar="CIDR",
    help="The pod range; each node gets a share.",
)
@click.option(
    "--root-ca-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The authority that every namespace is told of.",
)
@click.option(
    "--cluster-signing-cert-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The authority that signs certificate requests. Without it nobody does.",
)
@click.option(
    "--cluster-signing-key-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The key of --cluster-signing-cert-file.",
)
def command(
    kubeconfig: Path,
    leader_elect: bool,
    cluster_cidr: str,
    root_ca_file: Path | None,
    cluster_signing_cert_file: Path | None,
    cluster_signing_key_file: Path | None,
    feature_gates: str,
) -> None:
    """Run the controllers against an API server.

    Of several, one acts: the others wait for its Lease (kube-system/kube-controller-manager) to run out.
    """
    from navarch.api import features
    from navarch.cluster.components import Controllers, run_component

    root_ca = root_ca_file.read_text() if root_ca_file else ""
    certificate, key = cluster_signing_cert_file, cluster_signing_key_file
    if (certificate is None) != (key is None):
        raise click.UsageError("--cluster-signing-cert-file and --cluster-signing-key-file go together")
    signing = (certificate.read_bytes(), key.read_bytes()) if certificate and key else None
    part = Controllers(cluster_cidr, root_ca, signing, features.parse(feature_gates))
    run_component(kubeconfig, "kube-controller-manager", leader_elect, part)
