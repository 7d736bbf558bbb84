"""What a node needs of its machine, and what to say when something is missing."""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path

CNI_DIRECTORIES = (Path("/usr/lib/cni"), Path("/opt/cni/bin"), Path("/usr/libexec/cni"))
PROGRAMS = {
    "containerd": "containerd",
    "ctr": "containerd",
    "crun": "crun",
    "nft": "nftables",
    "ip": "iproute2",
    "unshare": "util-linux",
    "nsenter": "util-linux",
}
"""Program -> the Debian package that has it."""
SEARCH_PATH = os.pathsep.join(["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"])


class MissingError(Exception):
    """The machine cannot run a node; the message says what to do about it."""


def program(name: str) -> str:
    """The path of a program a node needs. Raises MissingError."""
    found = shutil.which(name, path=SEARCH_PATH)
    if not found:
        raise MissingError(f"{name} is not installed: apt-get install {PROGRAMS.get(name, name)}")
    return found


def cni_directory() -> Path:
    for directory in CNI_DIRECTORIES:
        if (directory / "bridge").exists():
            return directory
    raise MissingError("the CNI plugins are not installed: apt-get install containernetworking-plugins")


def check() -> None:
    """Raises MissingError naming everything that this machine lacks for a node."""
    if platform.system() != "Linux":
        raise MissingError(
            f"a node needs Linux (this is {platform.system()}): containers are a Linux kernel feature. "
            "The API server alone runs anywhere: navarch apiserver --help"
        )
    if os.geteuid() != 0:
        raise MissingError("a node needs root (namespaces, cgroups, nftables): run this with sudo")
    missing = sorted({package for name, package in PROGRAMS.items() if not shutil.which(name, path=SEARCH_PATH)})
    try:
        cni_directory()
    except MissingError:
        missing.append("containernetworking-plugins")
    if missing:
        raise MissingError(f"missing packages; install them with: apt-get install {' '.join(missing)}")


def hybrid_cgroup_mount() -> Path | None:
    """The cgroup2 mount of a machine whose controllers are on cgroup v1, which crun refuses to run beside."""
    unified = Path("/sys/fs/cgroup/unified")
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    return unified if any(line.split()[1:3] == [str(unified), "cgroup2"] for line in mounts) else None
