"""How fast nodes that are lost give up their pods: by zone, slower where many are lost at once. Source: nodelifecycle."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from navarch.controllers import objects
from navarch.machinery.types import Obj

RATE, SLOW_RATE = 0.1, 0.01
"""Nodes a second: usually, and in a large zone of which much is lost."""
LARGE_ZONE = 50
"""A zone of no more nodes gives up none while much of it is lost."""
UNHEALTHY = 0.55
EXCLUDED = "node.kubernetes.io/exclude-disruption"
State = Literal["normal", "partial", "full"]


def zone_of(node: Obj) -> str:
    """Region and zone."""
    labels = objects.labels_of(node)
    region, zone = (
        labels.get(f"failure-domain.beta.kubernetes.io/{part}", labels.get(f"topology.kubernetes.io/{part}", ""))
        for part in ("region", "zone")
    )
    return f"{region}:{zone}" if region or zone else ""


@dataclass(slots=True)
class Zone:
    nodes: dict[str, bool] = field(default_factory=dict[str, bool])
    """Which are ready, and how many: nodes come and go by the thousand."""
    ready: int = 0
    state: State = "normal"
    free_at: float = -math.inf
    """When the next node may be given up."""
    slots: dict[str, float] = field(default_factory=dict[str, float])
    """When each lost node may be."""

    @property
    def rate(self) -> float:
        if self.state != "partial":
            return RATE
        return SLOW_RATE if len(self.nodes) > LARGE_ZONE else 0.0

    def put(self, name: str, ready: bool | None) -> None:
        """None: the node is gone."""
        self.ready -= self.nodes.pop(name, False)
        if ready is not None:
            self.nodes[name] = ready
            self.ready += ready
        if ready is not False:
            self.slots.pop(name, None)

    def judged(self) -> State:
        lost = len(self.nodes) - self.ready
        if lost and lost == len(self.nodes):
            return "full"
        return "partial" if lost > 2 and lost / len(self.nodes) >= UNHEALTHY else "normal"


class Zones:
    """All zones, and the turn of each lost node."""

    def __init__(self) -> None:
        self._zones: dict[str, Zone] = {}
        self._of: dict[str, str] = {}

    @property
    def any_ready(self) -> bool:
        """Whether any node of the cluster is ready. Where none is, the fault is likely ours, and nobody is evicted."""
        return any(zone.ready for zone in self._zones.values())

    def note(self, node: Obj, ready: bool) -> Iterable[str]:
        """A node as it is now. Returns the nodes whose turn has changed with it."""
        name, zone = node["metadata"]["name"], zone_of(node)
        moved = self.forget(name) if self._of.get(name, zone) != zone or EXCLUDED in objects.labels_of(node) else ()
        if EXCLUDED in objects.labels_of(node):
            return moved
        self._of[name] = zone
        found = self._zones.setdefault(zone, Zone())
        found.put(name, ready)
        return {*moved, *self._judge(found)}

    def forget(self, name: str) -> Iterable[str]:
        found = self._zones.get(self._of.pop(name, "\0"))
        if found is None:
            return ()
        found.put(name, None)
        return self._judge(found)

    @staticmethod
    def _judge(zone: Zone) -> Iterable[str]:
        state = zone.judged()
        if state == zone.state:
            return ()
        zone.state = state
        turned = set(zone.slots)
        zone.slots.clear()
        zone.free_at = -math.inf
        return turned

    def turn(self, name: str, now: float) -> float:
        """When a lost node's pods may be evicted; infinity: not while its zone is as it is."""
        zone = self._zones.get(self._of.get(name, "\0"))
        if zone is None:
            return now
        if name not in zone.slots:
            if not zone.rate:
                return math.inf
            zone.slots[name] = max(now, zone.free_at)
            zone.free_at = zone.slots[name] + 1 / zone.rate
        return zone.slots[name]
