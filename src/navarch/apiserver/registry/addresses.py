"""Cluster addresses: the ranges that they come from (ServiceCIDR), and who has which (IPAddress).

Every address of a service has an IPAddress object, written and deleted in the same commit as the service itself: the two
cannot disagree. Source: registry/core/service/ipallocator, whose repair loop only has to mend what was not made here.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from random import Random

from navarch.apiserver.registry.allocators import RangeFullError
from navarch.apiserver.watchcache import ResourceCache
from navarch.machinery.clock import World, rfc3339
from navarch.machinery.types import Obj
from navarch.store.interface import Write

FAMILY, MANAGED_BY = "ipaddress.kubernetes.io/ip-family", "ipaddress.kubernetes.io/managed-by"
ALLOCATOR = "ipallocator.k8s.io"
RANDOM_TRIES, MAX_SCAN = 16, 1 << 17
NO_RANGE, TAKEN = "the provided network does not match the current range", "provided IP is already allocated"


class AddressRange:
    """The addresses of one network that services may have: not the network's own nor, in IPv4, the broadcast address.

    Free choices come from the upper band first, so that the lower stays for those who choose their own (KEP-3070)."""

    def __init__(self, cidr: str) -> None:
        self.network = network = ipaddress.ip_network(cidr)
        self.first = int(network.network_address) + 1
        self.last = int(network.broadcast_address) - (network.version == 4)
        size = network.num_addresses
        self._band = min(max(16, size // 16), 256) if size >= 16 else 0

    def holds(self, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
        return address in self.network and self.first <= int(address) <= self.last

    def candidates(self, random: Random) -> Iterator[str]:
        """Addresses in the order to try them."""
        kind = ipaddress.IPv4Address if self.network.version == 4 else ipaddress.IPv6Address
        middle = self.first + self._band
        for low, high in ((middle, self.last), (self.first, min(middle - 1, self.last))):
            span = high - low + 1
            if span <= 0:
                continue
            for _ in range(min(RANDOM_TRIES, span)):
                yield str(kind(low + random.randrange(span)))
            yield from (str(kind(low + offset)) for offset in range(min(span, MAX_SCAN)))


_range = lru_cache(maxsize=64)(AddressRange)


class ServiceRanges:
    """Gives and takes back addresses. What a write in progress has taken is remembered here, all else in the caches."""

    def __init__(self, cidr: str, ranges: ResourceCache, addresses: ResourceCache, world: World) -> None:
        self.network = ipaddress.ip_network(cidr)
        self._ranges = ranges
        self._addresses = addresses
        self._world = world
        self._random = world.random()
        self._taken: set[str] = set()

    # -- allocation

    def hold(self, address: str) -> None:
        """An address that a service has already."""
        self._taken.add(canonical(address))

    def take(self, address: str) -> str:
        """Takes an address; answers what is wrong with it, or ""."""
        try:
            wanted = ipaddress.ip_address(address)
        except ValueError:
            return NO_RANGE
        ranges = [found for found in self._ready() if wanted in found.network]
        if not ranges:
            return NO_RANGE
        if not any(found.holds(wanted) for found in ranges):
            valid = ranges[0].network
            return f"the provided IP ({address}) is not in the valid range. The range of valid IPs is {valid}"
        if not self._is_free(str(wanted)):
            return TAKEN
        self._taken.add(str(wanted))
        return ""

    def take_any(self) -> str:
        """Raises RangeFullError."""
        for found in self._ready():
            for address in found.candidates(self._random):
                if self._is_free(address):
                    self._taken.add(address)
                    return address
        raise RangeFullError

    def release(self, address: str) -> None:
        self._taken.discard(canonical(address))

    def _is_free(self, address: str) -> bool:
        return address not in self._taken and self._addresses.get("", address) is None

    def _ready(self) -> list[AddressRange]:
        """The ranges of the cluster's family that give addresses: the configured one, unless its object says no, and
        those of further objects once they are ready."""
        own = str(self.network)
        ready: dict[str, bool] = {}
        for entry in self._ranges.range():
            for cidr in (entry.obj.get("spec") or {}).get("cidrs") or ():
                ready[cidr] = ready.get(cidr, False) or is_ready(entry.obj)
        ready.setdefault(own, True)
        texts = sorted((cidr for cidr, yes in ready.items() if yes), key=lambda cidr: cidr != own)
        return [found for found in map(_range, texts) if found.network.version == self.network.version]

    # -- objects

    def writes(self, gone: Collection[str], new: Collection[str], service: Obj) -> tuple[Write, ...]:
        """The IPAddress objects that change with a service."""
        cache = self._addresses
        found: list[Write] = []
        for address in gone:
            entry = cache.get("", canonical(address))
            if entry is not None and parent(entry.obj) == _reference(service):
                found.append(Write(entry.key, None, entry.revision))
        found += [self.write(address, service) for address in new if cache.get("", canonical(address)) is None]
        return tuple(found)

    def mending(self, held: Mapping[str, Obj]) -> list[Write]:
        """What makes the objects agree with the services; `held` is who has which address."""
        found = [self.write(address, service) for address, service in held.items()]
        found = [write for write in found if self._addresses.by_key(write.key) is None]
        for entry in self._addresses.range():
            service, ours = held.get(entry.obj["metadata"]["name"]), MANAGED_BY in entry.labels
            if service is None and ours:
                found.append(Write(entry.key, None, entry.revision))
            elif service is not None and parent(entry.obj) != _reference(service):
                found.append(self.write(entry.obj["metadata"]["name"], service)._replace(expect=entry.revision))
        return found

    def write(self, address: str, service: Obj) -> Write:
        """The object that says that a service has an address."""
        name = canonical(address)
        obj: Obj = {
            "apiVersion": self._addresses.kind.hub.api_version,
            "kind": self._addresses.kind.kind,
            "metadata": {
                "name": name,
                "uid": self._world.uid(),
                "creationTimestamp": rfc3339(self._world.now()),
                "labels": {FAMILY: "IPv6" if ":" in name else "IPv4", MANAGED_BY: ALLOCATOR},
            },
            "spec": {"parentRef": _reference(service)},
        }
        return Write(self._addresses.key("", name), self._addresses.encode(obj), 0)


def canonical(address: str) -> str:
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        return address


def is_ready(cidr: Obj) -> bool:
    """Whether addresses of a ServiceCIDR may be given."""
    conditions = (cidr.get("status") or {}).get("conditions") or ()
    ready = any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)
    return ready and "deletionTimestamp" not in cidr["metadata"]


def parent(address: Obj) -> Obj:
    return (address.get("spec") or {}).get("parentRef") or {}


def _reference(service: Obj) -> Obj:
    metadata = service["metadata"]
    return {"resource": "services", "namespace": metadata.get("namespace", ""), "name": metadata["name"]}
