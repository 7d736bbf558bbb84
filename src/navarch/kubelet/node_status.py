"""The Node object that a kubelet registers and keeps: pure functions from what the machine is to what the API shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from navarch import KUBERNETES_VERSION
from navarch.machinery.clock import rfc3339
from navarch.machinery.types import Obj

MAX_PODS = 110
IMAGES_MAX, NAMES_MAX = 50, 5
MEMORY_RESERVED = 100 << 20
"""Upstream's default hard eviction threshold, memory.available<100Mi: what pods may not have of the machine."""
STORAGE_RESERVED = 0.10
REPORT_SECONDS = 300.0
"""An unchanged status is written again so often."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFacts:
    """What the machine and its runtime are, as read at one time."""

    name: str
    addresses: Sequence[str]
    port: int
    cpus: int
    memory: int
    storage: int
    huge_pages: Mapping[str, int] = field(default_factory=dict)
    """Size (`2Mi`) -> bytes set aside."""
    architecture: str = "amd64"
    kernel: str = ""
    os_image: str = ""
    machine_id: str = ""
    system_uuid: str = ""
    boot_id: str = ""
    runtime: str = "containerd://"
    swap: int = 0
    max_pods: int = MAX_PODS
    images: Sequence[Obj] = ()
    """The CRI's Images."""
    volumes_in_use: Sequence[str] = ()
    """Unique names of attached volumes that pods have: not to be detached."""
    devices: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Resource of a device plugin -> (how many there are, how many are healthy)."""
    problems: Sequence[str] = ()
    """Why the node is not ready; empty where it is."""
    memory_pressure: bool = False
    disk_pressure: bool = False
    pid_pressure: bool = False


def labels(facts: NodeFacts) -> dict[str, str]:
    return {
        "beta.kubernetes.io/arch": facts.architecture,
        "beta.kubernetes.io/os": "linux",
        "kubernetes.io/arch": facts.architecture,
        "kubernetes.io/hostname": facts.name,
        "kubernetes.io/os": "linux",
    }


def new_node(facts: NodeFacts, now: float) -> Obj:
    """What is registered where there is no such Node yet."""
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": facts.name,
            "labels": labels(facts),
            "annotations": {"volumes.kubernetes.io/controller-managed-attach-detach": "true"},
        },
        "spec": {},
        "status": status({}, facts, now),
    }


def status(old: Obj, facts: NodeFacts, now: float) -> Obj:
    """The whole status; conditions keep their transition times where they did not change."""
    capacity = _capacity(facts)
    allocatable = dict(capacity)
    allocatable["memory"] = f"{max(facts.memory - MEMORY_RESERVED, 0) >> 10}Ki"
    allocatable["ephemeral-storage"] = str(int(facts.storage * (1 - STORAGE_RESERVED)))
    allocatable |= {name: str(healthy) for name, (_, healthy) in facts.devices.items()}
    return {
        "addresses": [
            *({"type": "InternalIP", "address": address} for address in facts.addresses),
            {"type": "Hostname", "address": facts.name},
        ],
        "capacity": capacity,
        "allocatable": allocatable,
        "conditions": _conditions(old, facts, now),
        "daemonEndpoints": {"kubeletEndpoint": {"Port": facts.port}},
        "nodeInfo": {
            "architecture": facts.architecture,
            "bootID": facts.boot_id,
            "containerRuntimeVersion": facts.runtime,
            "kernelVersion": facts.kernel,
            "kubeProxyVersion": "",
            "kubeletVersion": f"v{KUBERNETES_VERSION.removeprefix('v')}",
            "machineID": facts.machine_id,
            "operatingSystem": "linux",
            "osImage": facts.os_image,
            "systemUUID": facts.system_uuid,
            **({"swap": {"capacity": facts.swap}} if facts.swap else {}),
        },
        "images": _images(facts.images),
        **({"volumesInUse": list(facts.volumes_in_use)} if facts.volumes_in_use or "volumesInUse" in old else {}),
    }


def changed(old: Obj, new: Obj) -> bool:
    """Whether the API must be told before the next report is due: anything but heartbeats differs."""
    return _without_heartbeats(old) != _without_heartbeats(new)


def _without_heartbeats(tree: Obj) -> Obj:
    kept = {k: v for k, v in tree.items() if k not in ("conditions", "images", "config")}
    kept["conditions"] = [
        {k: v for k, v in c.items() if k != "lastHeartbeatTime"} for c in tree.get("conditions") or []
    ]
    kept["images"] = sorted(str(sorted(i.get("names") or [])) for i in tree.get("images") or [])
    return {name: value for name, value in kept.items() if value}


def _capacity(facts: NodeFacts) -> dict[str, str]:
    found = {
        "cpu": str(facts.cpus),
        "memory": f"{facts.memory >> 10}Ki",
        "ephemeral-storage": f"{facts.storage >> 10}Ki",
        "pods": str(facts.max_pods),
    }
    for size, amount in facts.huge_pages.items():
        found[f"hugepages-{size}"] = str(amount)
    return found | {name: str(count) for name, (count, _) in facts.devices.items()}


def _images(images: Sequence[Obj]) -> list[Obj]:
    """The largest ones, each with a few of its names."""
    largest = sorted(images, key=lambda i: -i.get("size", 0))[:IMAGES_MAX]
    found: list[Obj] = []
    for image in largest:
        names = [*image.get("repo_digests", []), *image.get("repo_tags", [])][:NAMES_MAX]
        found.append({"names": names, "sizeBytes": image.get("size", 0)})
    return found


def _conditions(old: Obj, facts: NodeFacts, now: float) -> list[Obj]:
    def pressure(kind: str, held: bool, bad: tuple[str, str], good: tuple[str, str]) -> Obj:
        return _condition(old, kind, held, *(bad if held else good), now)

    own = [
        pressure(
            "MemoryPressure",
            facts.memory_pressure,
            ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
            ("KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ),
        pressure(
            "DiskPressure",
            facts.disk_pressure,
            ("KubeletHasDiskPressure", "kubelet has disk pressure"),
            ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ),
        pressure(
            "PIDPressure",
            facts.pid_pressure,
            ("KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
            ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ),
    ]
    if facts.problems:
        text = facts.problems[0] if len(facts.problems) == 1 else f"[{', '.join(facts.problems)}]"
        own.append(_condition(old, "Ready", False, "KubeletNotReady", text, now))
    else:
        own.append(_condition(old, "Ready", True, "KubeletReady", "kubelet is posting ready status", now))
    names = {c["type"] for c in own}
    return [c for c in old.get("conditions") or [] if c["type"] not in names] + own


def _condition(old: Obj, kind: str, holds: bool, reason: str, message: str, now: float) -> Obj:
    text = "True" if holds else "False"
    before = next((c for c in old.get("conditions") or [] if c["type"] == kind), None)
    same = before is not None and before["status"] == text
    return {
        "type": kind,
        "status": text,
        "lastHeartbeatTime": rfc3339(now),
        "lastTransitionTime": before["lastTransitionTime"] if same and before else rfc3339(now),
        "reason": reason,
        "message": message,
    }
