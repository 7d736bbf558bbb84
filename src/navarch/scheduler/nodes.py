"""The cluster as arrays: a slot per node, a column per resource, kept as nodes and pods come and go.

Everything that changes leaves its slot in a journal, so that what was worked out for a class of pods is brought up to
date for those slots only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from navarch.api.podspec.placement import HostPort
from navarch.api.podspec.resources import amount
from navarch.machinery.types import Key, Obj
from navarch.scheduler.counts import Counts
from navarch.scheduler.podinfo import PodInfo
from navarch.scheduler.topology import Topology

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

CPU, MEMORY, PODS = "cpu", "memory", "pods"


class Journal:
    """Slots in the order in which they changed. A reader keeps the position up to which it has read."""

    LIMIT = 20_000

    def __init__(self) -> None:
        self._slots: list[int] = []
        self._dropped = 0

    @property
    def position(self) -> int:
        return self._dropped + len(self._slots)

    def add(self, slot: int) -> None:
        self._slots.append(slot)
        if len(self._slots) > self.LIMIT:
            half = self.LIMIT // 2
            del self._slots[:half]
            self._dropped += half

    def since(self, position: int) -> list[int] | None:
        """The slots changed since, or None where the journal no longer goes back that far."""
        if position < self._dropped:
            return None
        return self._slots[position - self._dropped :]


class Nodes:
    """All nodes and what runs (or is about to run) on them."""

    def __init__(self) -> None:
        self._slots: dict[str, int] = {}
        self._free: list[int] = []
        self._pods: dict[Key, tuple[int, PodInfo]] = {}
        self._homeless: dict[str, dict[Key, PodInfo]] = {}
        self._topologies: dict[str, Topology] = {}
        self.counts = Counts()
        self.names: list[str] = []
        self.objects: list[Obj | None] = []
        self.residents: list[dict[Key, PodInfo]] = []
        """The pods of each slot."""
        self.ports: list[dict[HostPort, int]] = []
        self.with_ports: set[int] = set()
        """Slots whose pods hold any host port."""
        self.claim_users: dict[Key, set[Key]] = {}
        """Claim -> the pods on nodes that use it."""
        self.images: dict[str, dict[int, int]] = {}
        """Name of an image -> slot -> its size there, in bytes."""
        self.alive: Bools = np.zeros(0, bool)
        self.allocatable: dict[str, Ints] = {}
        self.requested: dict[str, Ints] = {}
        self.scored: tuple[Ints, Ints] = (np.zeros(0, np.int64), np.zeros(0, np.int64))
        self.specs = Journal()
        """Changes of node objects: labels, taints, capacity."""
        self.usage = Journal()
        """Changes of what is requested on a node (a node's own change included)."""
        self.delegated: frozenset[str] = frozenset()
        """Resources that devices may serve where a node itself has none."""

    def __len__(self) -> int:
        """How many nodes there are."""
        return len(self._slots)

    @property
    def size(self) -> int:
        """How long the arrays are; dead slots included."""
        return len(self.names)

    def slot(self, name: str) -> int | None:
        return self._slots.get(name)

    def pods_on(self, slot: int) -> Iterable[PodInfo]:
        return self.residents[slot].values()

    def pod(self, key: Key) -> PodInfo | None:
        """The pod as it was counted, where it is."""
        known = self._pods.get(key)
        return known[1] if known else None

    def topology(self, key: str) -> Topology:
        """The domains of a label, kept from the first question on."""
        found = self._topologies.get(key)
        if found is None:
            found = self._topologies[key] = Topology(len(self.alive))
            for slot, node in enumerate(self.objects):
                if node is not None:
                    found.put(slot, _labels(node).get(key))
        return found

    # -- nodes

    def set_node(self, node: Obj) -> None:
        name = node["metadata"]["name"]
        slot = self._slots.get(name)
        if slot is None:
            slot = self._free.pop() if self._free else self._grow()
            self._slots[name] = slot
            self.names[slot] = name
            self.alive[slot] = True
        old = self.objects[slot]
        self.objects[slot] = node
        self._set_images(slot, old, node)
        given = node.get("status", {}).get("allocatable") or node.get("status", {}).get("capacity") or {}
        amounts = {resource: amount(resource, text) for resource, text in given.items()}
        for resource in amounts.keys() | self.allocatable.keys():
            self._column(self.allocatable, resource)[slot] = amounts.get(resource, 0)
        labels = _labels(node)
        for key, topology in self._topologies.items():
            topology.put(slot, labels.get(key))
        for info in self._homeless.pop(name, {}).values():
            self._place(info, slot)
        self.specs.add(slot)
        self.usage.add(slot)

    def remove_node(self, name: str) -> None:
        slot = self._slots.pop(name, None)
        if slot is None:
            return
        for info in list(self.pods_on(slot)):
            self.remove_pod(info.key)
            self._homeless.setdefault(name, {})[info.key] = info
        for column in self.allocatable.values():
            column[slot] = 0
        for topology in self._topologies.values():
            topology.put(slot, None)
        self._set_images(slot, self.objects[slot], None)
        self.alive[slot] = False
        self.objects[slot] = None
        self.names[slot] = ""
        self._free.append(slot)
        self.specs.add(slot)
        self.usage.add(slot)

    def _set_images(self, slot: int, old: Obj | None, new: Obj | None) -> None:
        before, after = _images(old), _images(new)
        if before == after:
            return
        for image in before:
            for name in image.get("names") or ():
                self.images.get(name, {}).pop(slot, None)
                if not self.images.get(name):
                    self.images.pop(name, None)
        for image in after:
            for name in image.get("names") or ():
                self.images.setdefault(name, {})[slot] = image.get("sizeBytes") or 0

    # -- pods

    def set_pod(self, info: PodInfo, node: str) -> None:
        """Counts the pod on the node, where it was not yet or was counted elsewhere or otherwise."""
        known = self._pods.get(info.key)
        slot = self._slots.get(node)
        if known:
            same = known[1].shape is info.shape and known[1].label_class == info.label_class
            if known[0] == slot and same:
                self._pods[info.key] = (known[0], info)
                self.residents[known[0]][info.key] = info
                return
            self.remove_pod(info.key)
        if slot is None:
            self._homeless.setdefault(node, {})[info.key] = info
        else:
            self._place(info, slot)

    def remove_pod(self, key: Key) -> bool:
        """False where no such pod was counted."""
        known = self._pods.pop(key, None)
        if known is None:
            return any(pods.pop(key, None) for pods in self._homeless.values())
        del self.residents[known[0]][key]
        self._count(known[1], known[0], -1)
        return True

    def _place(self, info: PodInfo, slot: int) -> None:
        self._pods[info.key] = (slot, info)
        self.residents[slot][info.key] = info
        self._count(info, slot, 1)

    def _count(self, info: PodInfo, slot: int, sign: int) -> None:
        for resource, value in info.requests:
            self._column(self.requested, resource)[slot] += sign * value
        self._column(self.requested, PODS)[slot] += sign
        self.scored[0][slot] += sign * info.scored[0]
        self.scored[1][slot] += sign * info.scored[1]
        for claim in info.claims:
            key = Key(info.key.namespace, claim)
            users = self.claim_users.setdefault(key, set())
            (users.add if sign > 0 else users.discard)(info.key)
            if not users:
                del self.claim_users[key]
        if info.host_ports:
            self._count_ports(info, slot, sign)
        self.counts.count(info, slot, sign)
        self.usage.add(slot)

    def _count_ports(self, info: PodInfo, slot: int, sign: int) -> None:
        ports = self.ports[slot]
        for port in info.host_ports:
            ports[port] = ports.get(port, 0) + sign
            if not ports[port]:
                del ports[port]
        (self.with_ports.add if ports else self.with_ports.discard)(slot)

    # -- arrays

    def free(self, resource: str) -> Ints:
        """What is left of a resource on every slot."""
        return self._column(self.allocatable, resource) - self._column(self.requested, resource)

    def free_at(self, resource: str, slot: int) -> int:
        allocatable, requested = self.allocatable.get(resource), self.requested.get(resource)
        there = allocatable.item(slot) if allocatable is not None else 0
        return there - (requested.item(slot) if requested is not None else 0)

    def capacity(self, resource: str) -> Ints:
        return self._column(self.allocatable, resource)

    def used(self, resource: str) -> Ints:
        return self._column(self.requested, resource)

    def _column(self, table: dict[str, Ints], resource: str) -> Ints:
        column = table.get(resource)
        if column is None:
            column = table[resource] = np.zeros(len(self.alive), np.int64)
        return column

    def _grow(self) -> int:
        slot = len(self.names)
        self.names.append("")
        self.objects.append(None)
        self.ports.append({})
        self.residents.append({})
        if slot >= len(self.alive):
            more = max(64, len(self.alive))
            self.alive = np.concatenate([self.alive, np.zeros(more, bool)])
            for table in (self.allocatable, self.requested):
                for resource, column in table.items():
                    table[resource] = np.concatenate([column, np.zeros(more, np.int64)])
            cpu, memory = (np.concatenate([column, np.zeros(more, np.int64)]) for column in self.scored)
            self.scored = (cpu, memory)
            for kept in (self.counts, *self._topologies.values()):
                kept.grow(len(self.alive))
        return slot


def _images(node: Obj | None) -> list[Obj]:
    return (node or {}).get("status", {}).get("images") or []


def _labels(node: Obj) -> Mapping[str, str]:
    return node["metadata"].get("labels") or {}
