"""The processes of a cluster: which there are, and how the supervisor over them is started and stopped."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from navarch.cluster import runtime
from navarch.cluster.config import ClusterConfig
from navarch.cluster.platform import hybrid_cgroup_mount, program
from navarch.cluster.supervisor import Child, Process, supervise

CONTAINERD, CONTROL_PLANE, NODE, SUPERVISOR = "containerd", "control-plane", "node", "supervisor"


KUBELET, POD_LOGS, CONTAINER_LOGS = Path("/var/lib/kubelet"), Path("/var/log/pods"), Path("/var/log/containers")


def navarch_command(config: ClusterConfig, *words: str) -> list[str]:
    """This very navarch, as a command for the cluster."""
    roots = ["--state-root", str(config.state_root), "--run-root", str(config.run_root)]
    return [sys.executable, "-m", "navarch.cli.main", *words, "--name", config.name, *roots]


def children(config: ClusterConfig) -> list[Child]:
    """In the order in which they start; they stop in reverse."""
    environment = {**os.environ, "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    commands = {
        CONTAINERD: runtime.containerd_command(config),
        CONTROL_PLANE: navarch_command(config, "controlplane"),
        NODE: navarch_command(config, "node"),
    }
    return [Child(name, command, config.run, config.logs, environment) for name, command in commands.items()]


def run_supervisor(config: ClusterConfig) -> None:
    """The supervisor's own main: in the node's mount namespace, until told to stop."""
    prepare_mounts(config)
    supervise(children(config), config.run / f"{SUPERVISOR}.pid")


def prepare_mounts(config: ClusterConfig) -> None:
    """Makes the private mount namespace fit for containers. Harmless when done twice."""
    subprocess.run([program("mount"), "--make-rslave", "/"], check=True)
    subprocess.run([program("mount"), "--make-rshared", "/"], check=True)
    if unified := hybrid_cgroup_mount():
        subprocess.run([program("umount"), str(unified)], check=True)
    for place, own in well_known(config).items():
        own.mkdir(parents=True, exist_ok=True)
        place.mkdir(parents=True, exist_ok=True)
        if not place.samefile(own):
            subprocess.run([program("mount"), "--bind", str(own), str(place)], check=True)
            # Shared with containers, but not with the folder itself: what is mounted in one would appear in both.
            for kind in ("--make-private", "--make-shared"):
                subprocess.run([program("mount"), kind, str(place)], check=True)


def well_known(config: ClusterConfig) -> dict[Path, Path]:
    """Where drivers and log collectors look on a node -> the cluster's own folder, which is shown there: in the node's
    mount namespace only, so that clusters do not meet, nor any with a kubelet that the machine has already."""
    return {
        KUBELET: config.state / "kubelet",
        POD_LOGS: config.logs / "pods",
        CONTAINER_LOGS: config.logs / "containers",
    }


def process(config: ClusterConfig, name: str) -> Process | None:
    """One of the cluster's processes, if it runs."""
    return Process.read(config.run / f"{name}.pid")


def start_supervisor(config: ClusterConfig) -> None:
    """Starts the supervisor in the background, in the mount namespace of a part that survived, or in a new one."""
    if process(config, SUPERVISOR):
        return
    survivor = next((p for name in (CONTAINERD, NODE) if (p := process(config, name))), None)
    if survivor:
        enter = [program("nsenter"), f"--mount=/proc/{survivor.pid}/ns/mnt", "--"]
    else:
        enter = [program("unshare"), "--mount", "--propagation", "slave", "--"]
    config.logs.mkdir(parents=True, exist_ok=True)
    config.run.mkdir(parents=True, exist_ok=True)
    with open(config.logs / f"{SUPERVISOR}.log", "ab") as log:
        subprocess.Popen(
            [*enter, *navarch_command(config, "supervise")],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",
        )


def log_tail(config: ClusterConfig, name: str, lines: int = 15) -> str:
    path = config.logs / f"{name}.log"
    try:
        return "\n".join(Path(path).read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""
