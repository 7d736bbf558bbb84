"""What the scheduler knows of devices: classes, slices, claims, and what of it all is in use."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from navarch.api.resourcenames import is_extended
from navarch.machinery.quantity import Quantity
from navarch.machinery.types import Key, Obj, key_of
from navarch.scheduler.devices.capacity import ZERO, Amounts
from navarch.scheduler.devices.pools import DeviceId, Slices

CLASS_PREFIX = "deviceclass.resource.kubernetes.io/"
"""Before a class's name: an extended resource that stands for its devices."""


class Given(NamedTuple):
    """What a pod gets of a claim."""

    claim: Obj
    allocation: Obj | None
    """None where the claim is allocated already."""
    mappings: tuple[Obj, ...] = ()
    """Where the claim is still to be made, for extended resources: which container has which request of it."""


class Unallocatable(Exception):
    """Something is wrong with a claim or class: scheduling cannot go on."""


class NotHere(Exception):
    """Why a node cannot serve claims, where that is more than that it has no devices for them."""


@dataclass(slots=True)
class Usage:
    """What is in use of devices, kept as allocations come and go."""

    whole: Counter[DeviceId] = field(default_factory=lambda: Counter[DeviceId]())
    shares: Counter[DeviceId] = field(default_factory=lambda: Counter[DeviceId]())
    """How many claims have a share of a device."""
    capacity: dict[DeviceId, dict[str, Quantity]] = field(default_factory=dict)

    def is_used(self, device: DeviceId) -> bool:
        return device in self.whole or device in self.shares

    def capacity_of(self, device: DeviceId) -> Amounts:
        return self.capacity.get(device) or {}

    def add(self, allocation: Obj, sign: int = 1) -> None:
        """Or takes it away again, with a sign of -1. Who only looks at a device does not use it."""
        for result in (allocation.get("devices") or {}).get("results") or ():
            if result.get("adminAccess"):
                continue
            device = DeviceId(result["driver"], result["pool"], result["device"])
            counted = self.shares if result.get("shareID") else self.whole
            counted[device] += sign
            if not counted[device]:
                del counted[device]
            if result.get("shareID"):
                self._consume(device, result.get("consumedCapacity") or {}, sign)

    def _consume(self, device: DeviceId, amounts: Mapping[str, str], sign: int) -> None:
        used = self.capacity.setdefault(device, {})
        for name, text in amounts.items():
            amount = Quantity.of(text)
            used[name] = used.get(name, ZERO) + (amount if sign > 0 else -amount)
        if device not in self.shares:
            del self.capacity[device]


@dataclass(slots=True)
class Devices:
    """The tables are read by anybody, and changed by the methods."""

    claims: dict[Key, Obj] = field(default_factory=dict)
    classes: dict[str, Obj] = field(default_factory=dict)
    usage: Usage = field(default_factory=Usage)
    pending: dict[str, Obj] = field(default_factory=dict)
    """uid of claims -> what was decided for them and is not known to the API yet."""
    late: set[str] = field(default_factory=set)
    """uids of claims whose devices did not get ready in time."""
    _slices: dict[str, Obj] = field(default_factory=dict)
    _placed: Slices | None = None
    _resources: dict[str, Obj] | None = None
    _allocated: dict[str, Obj] = field(default_factory=dict)
    """uid of claims -> the allocation that counts in `usage`."""

    # -- classes and slices

    def set_class(self, name: str, made: Obj | None) -> None:
        _set(self.classes, name, made)
        self._resources = None

    def set_slice(self, name: str, made: Obj | None) -> None:
        _set(self._slices, name, made)
        self._placed = None

    @property
    def slices(self) -> Slices:
        if self._placed is None:
            self._placed = Slices(self._slices.values())
        return self._placed

    @property
    def resources(self) -> Mapping[str, Obj]:
        """Extended resource -> the class whose devices it stands for; of several the newest, then the first by name."""
        if self._resources is None:
            found: dict[str, Obj] = {CLASS_PREFIX + name: made for name, made in self.classes.items()}
            by_name = sorted(self.classes.values(), key=lambda c: c["metadata"]["name"], reverse=True)
            for made in sorted(by_name, key=lambda c: c["metadata"].get("creationTimestamp") or ""):
                if resource := made["spec"].get("extendedResourceName"):
                    found[resource] = made
            self._resources = found
        return self._resources

    def backed(self, requests: Iterable[tuple[str, int]]) -> list[str]:
        """Those of a pod's resources that devices may serve."""
        known = self.resources
        return [name for name, amount in requests if amount and name in known and is_device_resource(name)]

    # -- claims

    def set_claim(self, old: Obj | None, new: Obj | None) -> None:
        if old is not None:
            self.claims.pop(key_of(old), None)
        if new is not None:
            self.claims[key_of(new)] = new
        for uid in {claim["metadata"]["uid"] for claim in (old, new) if claim is not None}:
            self._count(uid, new if new is not None and new["metadata"]["uid"] == uid else None)

    def promise(self, claim: Obj, allocation: Obj) -> None:
        uid = claim["metadata"]["uid"]
        self.pending[uid] = allocation
        self._count(uid, self.claims.get(key_of(claim)))

    def forget(self, claim: Obj) -> None:
        """What was promised is known to the API, or will not be."""
        uid = claim["metadata"]["uid"]
        if self.pending.pop(uid, None) is not None:
            known = self.claims.get(key_of(claim))
            self._count(uid, known if known is not None and known["metadata"]["uid"] == uid else None)

    def _count(self, uid: str, claim: Obj | None) -> None:
        status = (claim or {}).get("status") or {}
        allocation = status.get("allocation") or self.pending.get(uid)
        before = self._allocated.pop(uid, None)
        if not status.get("allocation"):
            self.late.discard(uid)
        if before is not None:
            self.usage.add(before, -1)
        if allocation is not None:
            self.usage.add(allocation)
            self._allocated[uid] = allocation


def _set(table: dict[str, Obj], name: str, made: Obj | None) -> None:
    if made is None:
        table.pop(name, None)
    else:
        table[name] = made


def is_device_resource(name: str) -> bool:
    return is_extended(name) or name.startswith(CLASS_PREFIX)


def claim_names(pod: Obj) -> Iterable[tuple[str | None, bool]]:
    """(name of a claim, whether it is made for the pod); None where it is still to be made."""
    made = {s["name"]: s.get("resourceClaimName") for s in (pod.get("status") or {}).get("resourceClaimStatuses") or ()}
    for entry in pod["spec"].get("resourceClaims") or ():
        if "resourceClaimName" in entry:
            yield entry["resourceClaimName"], False
        elif entry["name"] not in made:
            yield None, True
        elif made[entry["name"]]:
            yield made[entry["name"]], True


def is_named(pod: Obj, claim: Obj) -> bool:
    """Whether a claim is one of a pod's."""
    meta = claim["metadata"]
    same = meta.get("namespace") == pod["metadata"].get("namespace")
    return same and any(name == meta["name"] for name, _ in claim_names(pod))
