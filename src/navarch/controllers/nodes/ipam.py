"""Gives each node a /24 of the cluster's pod range. Source: upstream's nodeipam range allocator."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from navarch.client.resources import NODES
from navarch.controllers import objects
from navarch.controlloop.plan import Caches, Emit, Patch, Plan, Watch
from navarch.machinery.types import Key, Obj, key_of

MASK = 24
EVERYTHING = Key("", "nodes")
"""One key for all nodes: allocations see one another."""


@dataclass(frozen=True, slots=True)
class Observed:
    nodes: Sequence[Obj]


class NodeIpamController:
    name = "node-ipam-controller"
    event_source = "cidrAllocator"

    def __init__(self, cluster_cidr: str) -> None:
        self._range = ipaddress.IPv4Network(cluster_cidr)
        self.watches = (Watch(NODES, _keys),)

    def observe(self, key: Key, caches: Caches) -> Observed | None:
        return Observed(list(caches[NODES].list()))

    def reconcile(self, observed: Observed, now: float) -> Plan:
        used = {cidr for node in observed.nodes for cidr in cidrs_of(node)}
        free = self._free(used)
        plan = Plan()
        waiting = [node for node in observed.nodes if not cidrs_of(node) and not objects.is_deleting(node)]
        for node in sorted(waiting, key=lambda n: (objects.created_at(n), n["metadata"]["name"])):
            name = node["metadata"]["name"]
            cidr = next(free, None)
            if cidr is None:
                message = f"Node {name} status is now: CIDRNotAvailable"
                plan.actions.append(Emit(node, "Normal", "CIDRNotAvailable", message))
                plan.reasons.append(f"no range is left for node {name}")
                plan.requeue_after = 60.0
                continue
            change = {"metadata": {"uid": objects.uid_of(node)}, "spec": {"podCIDR": cidr, "podCIDRs": [cidr]}}
            plan.actions.append(Patch(NODES, key_of(node), change, "strategic"))
            plan.reasons.append(f"node {name} gets {cidr}")
        return plan

    def _free(self, used: set[str]) -> Iterator[str]:
        """In order: what is used is passed by once, however much it is."""
        taken = sorted(span for cidr in used if (span := _span(cidr)))
        index, (start, end) = 0, _ends(self._range)
        prefix = max(MASK, self._range.prefixlen)
        size = 1 << (32 - prefix)
        for first in range(start, end + 1, size):
            while index < len(taken) and taken[index][1] < first:
                index += 1
            if index == len(taken) or taken[index][0] >= first + size:
                yield f"{ipaddress.IPv4Address(first)}/{prefix}"


def _ends(network: ipaddress.IPv4Network) -> tuple[int, int]:
    return int(network.network_address), int(network.broadcast_address)


@lru_cache(maxsize=1 << 14)
def _span(cidr: str) -> tuple[int, int] | None:
    """First and last address; None for IPv6."""
    network = ipaddress.ip_network(cidr, strict=False)
    return _ends(network) if isinstance(network, ipaddress.IPv4Network) else None


def cidrs_of(node: Obj) -> list[str]:
    spec = node.get("spec") or {}
    return list(spec.get("podCIDRs") or ()) or ([spec["podCIDR"]] if spec.get("podCIDR") else [])


def _keys(old: Obj | None, new: Obj | None, caches: Caches) -> Iterable[Key]:
    return (EVERYTHING,) if new is None or not cidrs_of(new) else ()
