"""Who has to go when the node runs short, and who may not come: pure decisions.

Source: pkg/kubelet/eviction (signals, thresholds, ranking, messages) and pkg/kubelet/preemption.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from navarch.api.podspec.placement import tolerates
from navarch.api.podspec.resources import aggregate, requests_of
from navarch.kubelet.admission import Refusal, is_static
from navarch.kubelet.container_config import qos_class
from navarch.kubelet.static_pods import is_mirror
from navarch.machinery.quantity import NANO, Quantity
from navarch.machinery.types import Obj

RESOURCE = {
    "memory.available": "memory",
    "nodefs.available": "ephemeral-storage",
    "nodefs.inodesFree": "inodes",
    "imagefs.available": "ephemeral-storage",
    "imagefs.inodesFree": "inodes",
    "pid.available": "pids",
}
CONDITION = {
    "memory": "MemoryPressure",
    "ephemeral-storage": "DiskPressure",
    "inodes": "DiskPressure",
    "pids": "PIDPressure",
}
TRANSITION_SECONDS = 300.0
"""So long a condition holds after its cause was last seen."""
CRITICAL = 2_000_000_000
"""The priority from which on a pod is critical."""
EVICTED = "Evicted"


class Reading(NamedTuple):
    """How much there is of what a signal tells of."""

    available: int
    capacity: int


class Met(NamedTuple):
    """A threshold that is met."""

    signal: str
    quantity: str
    available: str

    @property
    def resource(self) -> str:
        return RESOURCE[self.signal]


@dataclass(frozen=True, slots=True)
class Use:
    """What a pod uses."""

    pod: Obj
    memory: int = 0
    disk: int = 0
    inodes: int = 0
    processes: int = 0
    container_memory: Mapping[str, int] = field(default_factory=dict)
    container_disk: Mapping[str, int] = field(default_factory=dict)
    """Writable layer and logs."""
    volumes: Mapping[str, int] = field(default_factory=dict)
    """emptyDir volumes on disk, bytes."""


def binary(amount: int) -> str:
    return str(Quantity(amount * NANO, "BinarySI"))


def threshold(text: str, capacity: int) -> int:
    """What a threshold (`100Mi`, `10%`) is of a capacity. Raises ValueError."""
    if text.endswith("%"):
        return int(capacity * float(text[:-1]) / 100)
    return Quantity.parse(text).value()


def met(thresholds: Mapping[str, str], readings: Mapping[str, Reading]) -> list[Met]:
    """Those that are met, memory first."""
    found: list[Met] = []
    for signal, text in thresholds.items():
        reading = readings.get(signal)
        if reading is None or reading.available >= (limit := threshold(text, reading.capacity)):
            continue
        show = str if RESOURCE[signal] in ("inodes", "pids") else binary
        found.append(Met(signal, show(limit), show(reading.available)))
    return sorted(found, key=lambda each: each.resource != "memory")


def is_critical(pod: Obj) -> bool:
    return is_static(pod) or is_mirror(pod) or (pod["spec"].get("priority") or 0) >= CRITICAL


# -- ranking


def _request(pod: Obj, resource: str) -> int:
    return requests_of(pod["spec"]).get(resource, 0)


def ranked(resource: str, uses: Iterable[Use]) -> list[Use]:
    """The first to go first: who uses more than it asked for, then by priority, then by how much more."""
    measures: dict[str, Callable[[Use], int]] = {
        "memory": lambda use: use.memory,
        "ephemeral-storage": lambda use: use.disk,
        "inodes": lambda use: use.inodes,
        "pids": lambda use: use.processes,
    }
    used = measures[resource]

    def key(use: Use) -> tuple[bool, int, int]:
        over = used(use) - _request(use.pod, resource)
        within = resource != "pids" and over <= 0
        return within, use.pod["spec"].get("priority") or 0, -over

    return sorted(uses, key=key)


def message(threshold: Met, use: Use) -> str:
    text = f"The node was low on resource: {threshold.resource}. "
    text += f"Threshold quantity: {threshold.quantity}, available: {threshold.available}. "
    held = {"memory": use.container_memory, "ephemeral-storage": use.container_disk}.get(threshold.resource, {})
    for container in use.pod["spec"]["containers"]:
        amount = held.get(container["name"], 0)
        request = ((container.get("resources") or {}).get("requests") or {}).get(threshold.resource, "0")
        if amount > Quantity.of(request).value():
            text += (
                f"Container {container['name']} was using {binary(amount)}, request is {request}, "
                f"has larger consumption of {threshold.resource}. "
            )
    return text


# -- local storage


def has_limits(pod: Obj) -> bool:
    """Whether anything limits what the pod keeps on the disk."""
    if "ephemeral-storage" in aggregate(pod["spec"], "limits"):
        return True
    empty = [volume.get("emptyDir") or {} for volume in pod["spec"].get("volumes") or ()]
    return any(source.get("sizeLimit") and source.get("medium") != "Memory" for source in empty)


def over_limit(use: Use) -> str:
    """Which limit of local storage the pod has exceeded, in words; "" where none."""
    spec = use.pod["spec"]
    for volume in spec.get("volumes") or ():
        text = (volume.get("emptyDir") or {}).get("sizeLimit")
        limit = Quantity.of(text).value() if text else 0
        if limit > 0 and use.volumes.get(volume["name"], 0) > limit:
            return f'Usage of EmptyDir volume "{volume["name"]}" exceeds the limit "{text}". '
    whole = aggregate(spec, "limits").get("ephemeral-storage")
    if whole is not None and use.disk > whole.value():
        return f"Pod ephemeral local storage usage exceeds the total limit of containers {whole}. "
    for container in spec["containers"]:
        text = ((container.get("resources") or {}).get("limits") or {}).get("ephemeral-storage")
        if text and use.container_disk.get(container["name"], 0) > Quantity.of(text).value() > 0:
            return f'Container {container["name"]} exceeded its local ephemeral storage limit "{text}". '
    return ""


# -- admission


def refusal(pod: Obj, conditions: Collection[str]) -> Refusal | None:
    """A node under pressure takes critical pods; one that is only short of memory, those that say what they need."""
    if not conditions or is_critical(pod):
        return None
    if set(conditions) == {"MemoryPressure"}:
        taint = {"key": "node.kubernetes.io/memory-pressure", "effect": "NoSchedule"}
        if qos_class(pod) != "BestEffort" or any(tolerates(t, taint) for t in pod["spec"].get("tolerations") or ()):
            return None
    return Refusal(EVICTED, f"The node had condition: [{' '.join(sorted(conditions))}]. ")


# -- room for critical pods


def preemptable(pod: Obj, other: Obj) -> bool:
    if is_critical(pod) and not is_critical(other):
        return True
    return (pod["spec"].get("priority") or 0) > (other["spec"].get("priority") or 0)


def victims(pod: Obj, lacks: Mapping[str, int], others: Iterable[Obj]) -> list[Obj] | None:
    """The pods to end so that a critical one has the room that it `lacks`: as few and as lowly as will do. None where
    no choice would."""
    candidates = [other for other in others if preemptable(pod, other)]
    if _left(lacks, candidates):
        return None
    lowly = {
        name: [p for p in candidates if qos_class(p) == name] for name in ("BestEffort", "Burstable", "Guaranteed")
    }
    best, burst = lowly["BestEffort"], lowly["Burstable"]
    guaranteed = _nearest(lowly["Guaranteed"], _left(lacks, [*best, *burst]))
    burstable = _nearest(burst, _left(lacks, [*best, *guaranteed]))
    return [*_nearest(best, _left(lacks, [*burstable, *guaranteed])), *burstable, *guaranteed]


def _given(pod: Obj, name: str) -> int:
    return 1 if name == "pods" else _request(pod, name)


def _left(lacks: Mapping[str, int], ended: Sequence[Obj]) -> dict[str, int]:
    left = {name: amount - sum(_given(pod, name) for pod in ended) for name, amount in lacks.items()}
    return {name: amount for name, amount in left.items() if amount > 0}


def _nearest(pods: Sequence[Obj], lacks: dict[str, int]) -> list[Obj]:
    """Picks, until nothing is lacking, the pod that leaves least; of equals the one that asked for less."""
    rest, chosen = list(pods), list[Obj]()
    while lacks and rest:

        def distance(pod: Obj, wanted: dict[str, int] = lacks) -> tuple[float, int]:
            shares = [max(1 - _given(pod, name) / amount, 0.0) for name, amount in wanted.items()]
            return sum(share * share for share in shares), _request(pod, "memory")

        picked = min(rest, key=distance)
        rest.remove(picked)
        chosen.append(picked)
        lacks = _left(lacks, [picked])
    return chosen
