"""What the scheduler reads of a pod, extracted once: a frozen view that the cycle and its plugins share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from navarch.api.podspec.placement import HostPort, host_ports
from navarch.api.podspec.resources import amount, requests_of
from navarch.machinery.trees import get
from navarch.machinery.types import Key, Obj, key_of

DEFAULT_CPU_MILLI = 100
DEFAULT_MEMORY = 200 * 1024 * 1024
"""What a container that requests nothing counts as in scores (upstream's GetNonzeroRequests)."""


@dataclass(frozen=True, slots=True)
class PodInfo:
    key: Key
    uid: str
    priority: int
    scheduler: str
    node: str
    """spec.nodeName; empty while unscheduled."""
    requests: tuple[tuple[str, int], ...]
    """Resource -> amount (cpu in milli, everything else in units), sorted by name; zero amounts left out."""
    scored: tuple[int, int]
    """cpu (milli) and memory (bytes) with the defaults for containers that request none."""
    host_ports: tuple[HostPort, ...]
    placement: bytes
    """The parts of the spec that tie a pod to nodes, encoded: pods alike in it share what was worked out for them."""
    obj: Obj

    @staticmethod
    def of(pod: Obj) -> PodInfo:
        spec = pod["spec"]
        requests, scored = pod_requests(spec)
        return PodInfo(
            key=key_of(pod),
            uid=pod["metadata"].get("uid", ""),
            priority=spec.get("priority") or 0,
            scheduler=spec.get("schedulerName", "default-scheduler"),
            node=spec.get("nodeName", ""),
            requests=tuple(sorted((name, amount) for name, amount in requests.items() if amount)),
            scored=scored,
            host_ports=host_ports(spec),
            placement=placement_key(spec),
            obj=pod,
        )


def placement_key(spec: Obj) -> bytes:
    parts: list[Any] = [
        spec.get("nodeSelector"),
        get(spec, "affinity", "nodeAffinity"),
        spec.get("tolerations"),
    ]
    return orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)


def pod_requests(spec: Obj) -> tuple[dict[str, int], tuple[int, int]]:
    """(requests, scored) of a pod."""
    total = requests_of(spec)
    cpu = memory = 0
    for container in spec["containers"]:
        found = get(container, "resources", "requests", default={})
        cpu += amount("cpu", found.get("cpu", 0)) or DEFAULT_CPU_MILLI
        memory += amount("memory", found.get("memory", 0)) or DEFAULT_MEMORY
    return total, (max(cpu, total.get("cpu", 0)), max(memory, total.get("memory", 0)))
