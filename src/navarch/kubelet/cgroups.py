"""The tree of cgroups that pods live in: a folder per class of service and per pod, on cgroup v1 and v2 alike.

Source of the layout and the amounts: upstream's container manager with the cgroupfs driver. The runtime makes the
containers' own folders below a pod's; it leaves them empty behind, so a pod's folder is removed with all in it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from navarch.api.podspec.resources import aggregate
from navarch.kubelet.container_config import CPU_PERIOD, MIN_SHARES, cgroup_parent, cpu_quota, cpu_shares, qos_class
from navarch.machinery.quantity import Quantity
from navarch.machinery.types import Obj

ROOT = Path("/sys/fs/cgroup")
LIMITED = ("cpu", "memory", "pids")
"""The controllers in which the kubelet makes folders and sets amounts."""


def pod_amounts(pod: Obj) -> dict[str, int]:
    """Of the whole pod: cpu.shares, and where every container is limited cpu.quota (us per period) and memory (bytes)."""
    requests, limits = aggregate(pod["spec"], "requests"), aggregate(pod["spec"], "limits")
    own = pod["spec"].get("resources") or {}
    requests |= {name: Quantity.of(text) for name, text in (own.get("requests") or {}).items()}
    limits |= {name: Quantity.of(text) for name, text in (own.get("limits") or {}).items()}
    found: dict[str, int] = {}
    request = requests["cpu"].milli() if "cpu" in requests else 0
    tier = qos_class(pod)
    limit = limits["cpu"].milli() if "cpu" in limits else 0
    found["shares"] = MIN_SHARES if tier == "BestEffort" else cpu_shares(request or limit)
    containers = pod["spec"]["containers"]

    def all_have(name: str) -> bool:
        if name in (own.get("limits") or {}):
            return True
        return all(name in ((c.get("resources") or {}).get("limits") or {}) for c in containers)

    if limit and all_have("cpu"):
        found["quota"] = cpu_quota(limit)
    if "memory" in limits and all_have("memory"):
        found["memory"] = limits["memory"].value()
    return found


def weight(shares: int) -> int:
    """cgroup v2's cpu.weight for v1's cpu.shares (KEP 2254)."""
    return 1 + (max(shares, 2) - 2) * 9999 // 262142


class Cgroups:
    """`root` is the cluster's own cgroup, below every controller's root."""

    def __init__(self, root: str, mount: Path = ROOT) -> None:
        self._root = root
        self._mount = mount
        self.unified = (mount / "cgroup.controllers").exists()
        self._tiers: dict[str, int] = {}
        self._requests: dict[str, tuple[str, int]] = {}

    def _controllers(self) -> Iterable[Path]:
        """Every hierarchy's root."""
        if self.unified:
            return [self._mount]
        return [path for path in self._mount.iterdir() if path.is_dir() and not path.is_symlink()]

    def prepare(self) -> None:
        """The folders above the pods'."""
        for tier in ("", "/burstable", "/besteffort"):
            self._make(f"{self._root}/kubepods{tier}", {})
        self._set(f"{self._root}/kubepods/besteffort", {"shares": MIN_SHARES})

    def ensure(self, pod: Obj) -> None:
        """The pod's folder with its amounts. Raises OSError."""
        amounts = pod_amounts(pod)
        self._make(cgroup_parent(pod, self._root), amounts)
        if qos_class(pod) == "Burstable":
            self._requests[pod["metadata"]["uid"]] = ("burstable", amounts["shares"])
            self._set_tier()

    def resize(self, pod: Obj, amounts: Mapping[str, int]) -> None:
        """Other amounts for the folder that the pod has. Raises OSError."""
        self._set(cgroup_parent(pod, self._root), amounts)
        if "shares" in amounts and pod["metadata"]["uid"] in self._requests:
            self._requests[pod["metadata"]["uid"]] = ("burstable", amounts["shares"])
            self._set_tier()

    def remove(self, uid: str) -> None:
        """The pod's folders in every hierarchy and class; what still has processes is left for another time."""
        if self._requests.pop(uid, None):
            self._set_tier()
        for hierarchy in self._controllers():
            base = hierarchy / self._root.lstrip("/") / "kubepods"
            for tier in ("", "burstable", "besteffort"):
                _remove_tree(base / tier / f"pod{uid}")

    def orphans(self, known: Iterable[str]) -> list[str]:
        """Uids that have folders and that nobody knows."""
        found: set[str] = set()
        for hierarchy in self._controllers():
            base = hierarchy / self._root.lstrip("/") / "kubepods"
            for tier in ("", "burstable", "besteffort"):
                with contextlib.suppress(OSError):
                    found |= {name[3:] for name in os.listdir(base / tier) if name.startswith("pod")}
        return sorted(found - set(known))

    def _set_tier(self) -> None:
        shares = max(sum(shares for _, shares in self._requests.values()), MIN_SHARES)
        self._set(f"{self._root}/kubepods/burstable", {"shares": min(shares, 262_144)})

    def _make(self, path: str, amounts: Mapping[str, int]) -> None:
        if self.unified:
            folder = self._mount
            for part in path.strip("/").split("/"):
                _enable(folder)
                folder = folder / part
                folder.mkdir(exist_ok=True)
            _enable(folder)
        else:
            for controller in LIMITED:
                base = self._mount / controller
                if base.exists():
                    (base / path.lstrip("/")).mkdir(parents=True, exist_ok=True)
        self._set(path, amounts)

    def _set(self, path: str, amounts: Mapping[str, int]) -> None:
        for name, value in amounts.items():
            if self.unified:
                file, text = {
                    "shares": ("cpu.weight", str(weight(value))),
                    "quota": ("cpu.max", f"{value} {CPU_PERIOD}"),
                    "memory": ("memory.max", str(value)),
                }[name]
                target = self._mount / path.lstrip("/") / file
            else:
                controller, file, text = {
                    "shares": ("cpu", "cpu.shares", str(value)),
                    "quota": ("cpu", "cpu.cfs_quota_us", str(value)),
                    "memory": ("memory", "memory.limit_in_bytes", str(value)),
                }[name]
                target = self._mount / controller / path.lstrip("/") / file
            with contextlib.suppress(FileNotFoundError):
                target.write_text(text)


def _enable(folder: Path) -> None:
    """Hands the controllers down to the folder's children (cgroup v2)."""
    with contextlib.suppress(OSError):
        wanted = {*LIMITED, "cpuset", "io", "hugetlb"} & set((folder / "cgroup.controllers").read_text().split())
        enabled = set((folder / "cgroup.subtree_control").read_text().split())
        if missing := wanted - enabled:
            (folder / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in missing))


def _remove_tree(folder: Path) -> None:
    try:
        children = [entry.path for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return
    for child in children:
        _remove_tree(Path(child))
    with contextlib.suppress(OSError):
        folder.rmdir()
