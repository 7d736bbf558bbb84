"""Gives each node a /24 of the cluster's pod range. Source: upstream's nodeipam range allocator."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

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

    def __init__(self, cluster_cidr: str) -> None:
        self._range = ipaddress.IPv4Network(cluster_cidr)
        self.watches = (Watch(NODES, _keys),)

    def observe(self, key: Key, caches: Caches) -> Observed | None:
        return Observed(list(caches[NODES].list()))

    def reconcile(self, observed: Observed, now: float) -> Plan:
        used = {cidr for node in observed.nodes for cidr in cidrs_of(node)}
        free = self._free(used)
        plan = Plan()
        for node in sorted(observed.nodes, key=lambda n: (objects.created_at(n), n["metadata"]["name"])):
            if cidrs_of(node) or objects.is_deleting(node):
                continue
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
        taken = [ipaddress.ip_network(cidr, strict=False) for cidr in used]
        for network in self._range.subnets(new_prefix=max(MASK, self._range.prefixlen)):
            if not any(network.version == other.version and network.overlaps(other) for other in taken):
                yield str(network)


def cidrs_of(node: Obj) -> list[str]:
    spec = node.get("spec") or {}
    return list(spec.get("podCIDRs") or ()) or ([spec["podCIDR"]] if spec.get("podCIDR") else [])


def _keys(old: Obj | None, new: Obj | None, caches: Caches) -> Iterable[Key]:
    return (EVERYTHING,) if new is None or not cidrs_of(new) else ()
