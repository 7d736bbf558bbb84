"""Pools: the slices of one driver that belong together, as a node sees them. Source: structured's pools_incubating.go."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from navarch.api.podspec.placement import term_matches
from navarch.machinery.quantity import Quantity
from navarch.machinery.types import Obj

Counter = tuple[str, str]
"""Counter set, counter."""


class PoolId(NamedTuple):
    driver: str
    pool: str

    def __str__(self) -> str:
        return f"{self.driver}/{self.pool}"


class DeviceId(NamedTuple):
    driver: str
    pool: str
    device: str

    def __str__(self) -> str:
        return f"{self.driver}/{self.pool}/{self.device}"


@dataclass(frozen=True, slots=True, eq=False)
class Device:
    id: DeviceId
    spec: Obj
    slice: Obj
    selected: dict[str, bool] = field(default_factory=dict)
    """Expression of a selector -> what it says of the device: many pods have the same."""

    @property
    def is_shared(self) -> bool:
        """Several claims may have it, each a share of its capacity."""
        return bool(self.spec.get("allowMultipleAllocations"))

    @property
    def holder(self) -> Obj:
        """What says for which nodes it is: itself, or its slice."""
        spec = self.slice["spec"]
        return self.spec if spec.get("perDeviceNodeSelection") else spec

    def consumes(self) -> Iterable[tuple[Counter, Quantity]]:
        for consumption in self.spec.get("consumesCounters") or ():
            for name, counter in (consumption.get("counters") or {}).items():
                yield (consumption["counterSet"], name), Quantity.of(counter["value"])


@dataclass(frozen=True, slots=True)
class Pool:
    id: PoolId
    devices: Sequence[Device] = ()
    """Of the slices that are for the node, in order."""
    elsewhere: Sequence[Device] = ()
    """Of its other slices: they may use the same counters."""
    counters: Mapping[Counter, Quantity] = field(default_factory=dict)
    flaw: str = ""
    """Why nothing of it can be had: `being updated`, or `invalid`."""

    @property
    def waits(self) -> bool:
        """It has devices that must be got ready before a pod is bound: it comes after those that have none."""
        return any(device.spec.get("bindingConditions") for device in self.devices)


def pool_of(one: Obj) -> PoolId:
    return PoolId(one["spec"]["driver"], one["spec"]["pool"]["name"])


def generation(one: Obj) -> int:
    return one["spec"]["pool"].get("generation") or 0


class Slices:
    """All slices, by where they are."""

    def __init__(self, slices: Iterable[Obj]) -> None:
        self._on_node: dict[str, list[Obj]] = {}
        self._anywhere: list[Obj] = []
        self._pools: dict[PoolId, list[Obj]] = {}
        self._devices: dict[str, list[Device]] = {}
        """Of each slice, once something is asked of it."""
        self._seen: dict[str, tuple[Obj, list[Pool]]] = {}
        """Node -> as it was when its pools were worked out, and these."""
        for one in sorted(slices, key=lambda s: s["metadata"]["name"]):
            spec = one["spec"]
            self._pools.setdefault(pool_of(one), []).append(one)
            if spec.get("nodeName") and not spec.get("sharedCounters"):
                self._on_node.setdefault(spec["nodeName"], []).append(one)
            else:
                self._anywhere.append(one)

    def pools(self, node: Obj) -> list[Pool]:
        """The pools with something for a node, of the newest generation that it sees of each, in the order of allocation."""
        name = node["metadata"]["name"]
        known = self._seen.get(name)
        if known is None or known[0] is not node:
            known = self._seen[name] = (node, self._worked_out(node))
        return known[1]

    def _worked_out(self, node: Obj) -> list[Pool]:
        found: dict[PoolId, list[Obj]] = {}
        for one in (*self._on_node.get(node["metadata"]["name"], ()), *self._anywhere):
            if not _concerns(one, node):
                continue
            known = found.setdefault(pool_of(one), [])
            if known and generation(one) > generation(known[0]):
                known.clear()
            if not known or generation(one) == generation(known[0]):
                known.append(one)
        pools = [pool for key, slices in found.items() if (pool := self._pool(key, slices)) is not None]
        return sorted(pools, key=lambda pool: (pool.waits, pool.id))

    def _pool(self, key: PoolId, slices: Sequence[Obj]) -> Pool | None:
        """None where a newer generation has nothing for the node."""
        current, everything = generation(slices[0]), self._pools[key]
        if any(generation(one) > current for one in everything):
            return None
        whole = [one for one in everything if generation(one) == current]
        if len(whole) != slices[0]["spec"]["pool"].get("resourceSliceCount"):
            return Pool(key, flaw="being updated")
        here = {one["metadata"]["name"] for one in slices}
        devices = [device for one in whole if one["metadata"]["name"] in here for device in self._devices_of(key, one)]
        elsewhere = [
            device for one in whole if one["metadata"]["name"] not in here for device in self._devices_of(key, one)
        ]
        counters = _counters(whole)
        names = {device.id for device in devices}
        if counters is None or len(names) != len(devices):
            return Pool(key, flaw="invalid")
        if any(counter not in counters for device in (*devices, *elsewhere) for counter, _ in device.consumes()):
            return Pool(key, flaw="invalid")
        return Pool(key, devices, elsewhere, counters)

    def _devices_of(self, key: PoolId, one: Obj) -> list[Device]:
        name = one["metadata"]["name"]
        if name not in self._devices:
            specs = one["spec"].get("devices") or ()
            self._devices[name] = [Device(DeviceId(*key, spec["name"]), spec, one) for spec in specs]
        return self._devices[name]


def is_reached(holder: Obj, node: Obj) -> bool:
    """Whether a slice, or a device of one that says it for each, is for a node."""
    if holder.get("nodeName"):
        return holder["nodeName"] == node["metadata"]["name"]
    if holder.get("allNodes"):
        return True
    selector = holder.get("nodeSelector")
    return selector is not None and any(term_matches(term, node) for term in selector.get("nodeSelectorTerms") or ())


def _concerns(one: Obj, node: Obj) -> bool:
    spec = one["spec"]
    if spec.get("sharedCounters"):
        return True
    if spec.get("perDeviceNodeSelection"):
        return any(is_reached(device, node) for device in spec.get("devices") or ())
    return is_reached(spec, node)


def _counters(slices: Iterable[Obj]) -> dict[Counter, Quantity] | None:
    """None where two sets have one name."""
    found: dict[Counter, Quantity] = {}
    sets: set[str] = set()
    for one in slices:
        for each in one["spec"].get("sharedCounters") or ():
            if each["name"] in sets:
                return None
            sets.add(each["name"])
            found |= {(each["name"], name): Quantity.of(c["value"]) for name, c in (each.get("counters") or {}).items()}
    return found
