"""navarch kubelet"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import click

from navarch.cli.common import agent_options

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("kubelet")
@agent_options
@click.option(
    "--container-runtime-endpoint",
    default="unix:///run/containerd/containerd.sock",
    show_default=True,
    help="The container runtime's socket (CRI).",
)
@click.option("--root-dir", type=click.Path(path_type=Path), default=Path("/var/lib/kubelet"), show_default=True)
@click.option("--pod-logs-dir", type=click.Path(path_type=Path), default=Path("/var/log/pods"), show_default=True)
@click.option("--cgroup-root", default="/", show_default=True, help="The cgroup that all pods live under.")
@click.option("--cluster-dns", required=True, help="The address of cluster DNS, as pods are told.")
@click.option("--cluster-domain", default="cluster.local", show_default=True)
@click.option("--resolv-conf", type=FILE, default=Path("/etc/resolv.conf"), show_default=True)
@click.option("--pod-manifest-path", type=click.Path(path_type=Path), help="A folder of static pods' manifests.")
@click.option("--max-pods", type=int, default=110, show_default=True)
@click.option("--eviction-hard", default="", help="Signal<amount, ...: the least that the node must have left.")
@click.option("--node-labels", default="", help="More labels of the node: a=b,c=d")
@click.option("--port", type=int, default=10250, show_default=True)
@click.option("--tls-cert-file", type=FILE, help="Without it the kubelet serves nothing (no logs, no exec).")
@click.option("--tls-private-key-file", type=FILE)
@click.option("--client-ca-file", type=FILE, help="Signs the certificates of those who may ask this kubelet.")
def command(
    kubeconfig: Path,
    node_name: str,
    node_ip: str,
    container_runtime_endpoint: str,
    root_dir: Path,
    pod_logs_dir: Path,
    cgroup_root: str,
    cluster_dns: str,
    cluster_domain: str,
    resolv_conf: Path,
    pod_manifest_path: Path | None,
    max_pods: int,
    eviction_hard: str,
    node_labels: str,
    port: int,
    tls_cert_file: Path | None,
    tls_private_key_file: Path | None,
    client_ca_file: Path | None,
) -> None:
    """Run the node agent against an API server and a container runtime. The pod network (CNI) is the runtime's."""
    from navarch.client.http import HttpClient
    from navarch.cluster.agents import KubeletAgent, run_agent
    from navarch.cluster.controlplane import run_until_told
    from navarch.http.tls import TlsConfig
    from navarch.kubelet.context import KubeletConfig
    from navarch.machinery.clock import RealWorld

    config = KubeletConfig(
        node_name=node_name,
        node_ip=node_ip,
        root=root_dir,
        log_root=pod_logs_dir,
        cgroup=cgroup_root.rstrip("/"),
        cluster_dns=cluster_dns,
        cluster_domain=cluster_domain,
        resolv_conf=resolv_conf,
        port=port,
        manifests=pod_manifest_path,
        max_pods=max_pods,
        log_links=pod_logs_dir.parent / "containers",
        eviction_hard=_thresholds(eviction_hard),
        labels={pair.partition("=")[0]: pair.partition("=")[2] for pair in node_labels.split(",") if pair},
    )
    serving = None
    if tls_cert_file and tls_private_key_file:
        serving = TlsConfig(certificate=tls_cert_file, key=tls_private_key_file)
    authority = client_ca_file.read_bytes() if client_ca_file else b""
    socket = Path(container_runtime_endpoint.removeprefix("unix://"))

    def make() -> tuple[KubeletAgent, Callable[[], Awaitable[None]]]:
        client = HttpClient.from_kubeconfig(kubeconfig, "kubelet")
        return KubeletAgent(config, socket, client, RealWorld(), serving, authority), client.close

    run_until_told(lambda told: run_agent(told, make))


def _thresholds(text: str) -> dict[str, str]:
    """`memory.available<100Mi,nodefs.available<10%`; upstream's defaults where nothing is said."""
    from navarch.kubelet.context import EVICTION_HARD
    from navarch.kubelet.eviction import RESOURCE, threshold

    if not text:
        return dict(EVICTION_HARD)
    found: dict[str, str] = {}
    for pair in text.split(","):
        signal, _, amount = (part.strip() for part in pair.partition("<"))
        try:
            threshold(amount, 0)
        except ValueError:
            raise click.BadParameter(f"{pair!r} has no amount", param_hint="--eviction-hard") from None
        if signal not in RESOURCE:
            raise click.BadParameter(f"{signal!r} is no signal", param_hint="--eviction-hard")
        found[signal] = amount
    return found
