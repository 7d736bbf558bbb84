"""The container runtime's configuration: containerd with crun, and the pod network's CNI chain."""

from __future__ import annotations

import subprocess

import orjson

from navarch.cluster.config import ClusterConfig
from navarch.cluster.files import write_atomically
from navarch.cluster.platform import cni_directory, program

PAUSE_IMAGE = "navarch.local/pause:1"
"""The sandbox image: always loaded, never pulled."""


def containerd_config(config: ClusterConfig, cni_bin: str, crun: str) -> str:
    """containerd's config.toml (version 2, understood by 1.6 to 2.x through migration)."""
    return f"""\
version = 2
root = "{config.state}/containerd"
state = "{config.run}/containerd"
oom_score = 0
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.devmapper"]

[grpc]
  address = "{config.containerd_socket}"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  disable_apparmor = {_toml(not _apparmor_enabled())}
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  enable_unprivileged_ports = true
  enable_unprivileged_icmp = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    default_runtime_name = "crun"
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.crun]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.crun.options]
        BinaryName = "{crun}"
        SystemdCgroup = false
        Root = "{config.run}/crun"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{cni_bin}"
    conf_dir = "{config.state}/cni"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{config.state}/registries"
"""


def cni_config(config: ClusterConfig, pod_cidr: str) -> bytes:
    """The pod network of one node: a bridge, with addresses from the node's share of the pod range."""
    bridge = {
        "type": "bridge",
        "bridge": config.bridge,
        "isGateway": True,
        "isDefaultGateway": True,
        "hairpinMode": True,
        "ipMasq": False,
        "ipam": {
            "type": "host-local",
            "dataDir": f"{config.run}/ipam",
            "ranges": [[{"subnet": pod_cidr}]],
        },
    }
    return orjson.dumps(
        {"cniVersion": "0.4.0", "name": f"navarch-{config.name}", "plugins": [bridge]}, option=orjson.OPT_INDENT_2
    )


def write_configuration(config: ClusterConfig) -> None:
    """Everything containerd reads at start; the CNI chain follows once the node knows its pod range."""
    (config.state / "registries").mkdir(parents=True, exist_ok=True)
    (config.state / "cni").mkdir(parents=True, exist_ok=True)
    text = containerd_config(config, str(cni_directory()), program("crun"))
    write_atomically(config.state / "containerd.toml", text, 0o644)


def write_cni(config: ClusterConfig, pod_cidr: str) -> None:
    write_atomically(config.state / "cni" / "10-navarch.conflist", cni_config(config, pod_cidr), 0o644)


def containerd_command(config: ClusterConfig) -> list[str]:
    return [program("containerd"), "--config", str(config.state / "containerd.toml")]


def ctr(config: ClusterConfig, *arguments: str, timeout: float = 120) -> str:
    """Runs containerd's own client in the namespace of the CRI; returns what it prints. Raises on failure."""
    command = [program("ctr"), "--address", str(config.containerd_socket), "--namespace", "k8s.io", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    if done.returncode:
        raise RuntimeError(f"ctr {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def _toml(value: bool) -> str:
    return "true" if value else "false"


def _apparmor_enabled() -> bool:
    try:
        with open("/sys/module/apparmor/parameters/enabled") as file:
            return file.read().startswith("Y")
    except OSError:
        return False
