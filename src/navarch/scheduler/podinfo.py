"""What the scheduler reads of a pod, extracted once: a frozen view that the cycle and its plugins share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from navarch.machinery.quantity import Quantity
from navarch.machinery.trees import get
from navarch.machinery.types import Key, Obj, key_of

DEFAULT_CPU_MILLI = 100
DEFAULT_MEMORY = 200 * 1024 * 1024
"""What a container that requests nothing counts as in scores (upstream's GetNonzeroRequests)."""

HostPort = tuple[str, str, int]
"""(address, protocol, port)"""


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
            host_ports=_host_ports(spec),
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


def amount(resource: str, text: str | int | float) -> int:
    """A quantity in the scheduler's units: milli for cpu, whole units (rounded up) for the rest."""
    quantity = Quantity.parse(str(text))
    return quantity.milli() if resource == "cpu" else quantity.value()


def pod_requests(spec: Obj) -> tuple[dict[str, int], tuple[int, int]]:
    """(requests, scored) of a pod: the sum over containers and sidecars, or the largest init step, plus overhead."""
    total: dict[str, int] = {}
    cpu = memory = 0
    for container in spec["containers"]:
        _add(total, requests := _container_requests(container))
        cpu += requests.get("cpu") or DEFAULT_CPU_MILLI
        memory += requests.get("memory") or DEFAULT_MEMORY
    sidecars: dict[str, int] = {}
    peak: dict[str, int] = {}
    for container in spec.get("initContainers") or []:
        requests = _container_requests(container)
        if container.get("restartPolicy") == "Always":
            _add(sidecars, requests)
            _raise(peak, sidecars)
        else:
            step = dict(sidecars)
            _add(step, requests)
            _raise(peak, step)
    _add(total, sidecars)
    _raise(total, peak)
    for name, text in get(spec, "resources", "requests", default={}).items():
        total[name] = amount(name, text)
    overhead = {name: amount(name, text) for name, text in (spec.get("overhead") or {}).items()}
    _add(total, overhead)
    cpu, memory = max(cpu, total.get("cpu", 0)), max(memory, total.get("memory", 0))
    return total, (cpu, memory)


def _container_requests(container: Obj) -> dict[str, int]:
    found = get(container, "resources", "requests", default={})
    return {name: amount(name, text) for name, text in found.items()}


def _add(total: dict[str, int], more: dict[str, int]) -> None:
    for name, value in more.items():
        total[name] = total.get(name, 0) + value


def _raise(total: dict[str, int], floor: dict[str, int]) -> None:
    for name, value in floor.items():
        if value > total.get(name, 0):
            total[name] = value


def _host_ports(spec: Obj) -> tuple[HostPort, ...]:
    containers = [*spec["containers"], *(c for c in spec.get("initContainers") or [] if c.get("restartPolicy"))]
    return tuple(
        (port.get("hostIP") or "0.0.0.0", port.get("protocol", "TCP"), port["hostPort"])
        for container in containers
        for port in container.get("ports") or []
        if port.get("hostPort")
    )
