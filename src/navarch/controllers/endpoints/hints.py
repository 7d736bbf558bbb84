"""Hints about whom an endpoint is for: the zone or node that it is in, or a share of each zone by its CPUs. Pure.

Sources: k8s.io/endpointslice's trafficdist and topologycache.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from navarch.controllers import objects
from navarch.controllers.endpoints import pack
from navarch.controllers.endpoints.backends import ZONE
from navarch.machinery.quantity import Quantity
from navarch.machinery.types import Obj

ANNOTATIONS = ("service.kubernetes.io/topology-aware-hints", "service.kubernetes.io/topology-mode")
"""The first, deprecated, wins."""
CLOSE = ("PreferClose", "PreferSameZone", "PreferSameNode")
OVERLOAD = 0.2
"""By how much more than its share a zone's endpoints may be asked."""
CONTROL_PLANE = ("node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master")
NO_NODE_INFO = "Insufficient Node information: allocatable CPU or zone not specified on one or more nodes"
TOO_FEW = "Insufficient number of endpoints"
OVERLOADED = "Unable to allocate minimum required endpoints to each zone without exceeding overload threshold"
NO_ZONE = "One or more endpoints do not have a zone specified"
ENABLED, DISABLED = "Topology Aware Hints has been enabled", "Topology Aware Hints has been disabled"


def shares_zones(service: Obj) -> bool:
    """Whether each zone is to be served by a share of the endpoints that is like its share of the CPUs."""
    annotations = objects.annotations_of(service)
    value = next((annotations[name] for name in ANNOTATIONS if name in annotations), "")
    return value in ("Auto", "auto")


def near(service: Obj, endpoint: Obj) -> Obj | None:
    """The hint of an endpoint of a service whose traffic is to stay near."""
    distribution = service["spec"].get("trafficDistribution")
    if distribution not in CLOSE or not endpoint["conditions"]["ready"]:
        return None
    hints: Obj = {}
    if zone := endpoint.get("zone"):
        hints["forZones"] = [{"name": zone}]
    if distribution == "PreferSameNode" and (node := endpoint.get("nodeName")):
        hints["forNodes"] = [{"name": node}]
    return hints or None


# -- shares of zones


def cpu_of_zones(nodes: Iterable[Obj]) -> Mapping[str, float] | None:
    """Each zone's share of the CPUs of all ready nodes; None where that cannot be told."""
    found: Counter[str] = Counter()
    for node in nodes:
        labels = objects.labels_of(node)
        if any(label in labels for label in CONTROL_PLANE) or not objects.is_ready(node):
            continue
        cpu = Quantity.of(((node.get("status") or {}).get("allocatable") or {}).get("cpu", "0")).milli()
        if not labels.get(ZONE) or not cpu:
            return None
        found[labels[ZONE]] += cpu
    return {zone: cpu / found.total() for zone, cpu in found.items()} if len(found) >= 2 else None


@dataclass(frozen=True, slots=True)
class Shared:
    """What became of it: the hint of each endpoint, or why there are none."""

    zones: Mapping[int, str]
    """By the endpoint's id()."""
    why_not: str = ""


def share(groups: Sequence[pack.Group], cpu: Mapping[str, float] | None) -> Shared:
    """Shares the ready endpoints of one address type among the zones."""
    ready = [endpoint for group in groups for endpoint in group.endpoints if endpoint["conditions"]["ready"]]
    if cpu is None:
        return Shared({}, NO_NODE_INFO)
    amounts = f"({len(ready)} endpoints, {len(cpu)} zones)"
    if len(cpu) > len(ready):
        return Shared({}, f"{TOO_FEW} {amounts}")
    least = {zone: math.ceil(ratio * len(ready) / (1 + OVERLOAD)) for zone, ratio in cpu.items()}
    if sum(least.values()) > len(ready):
        return Shared({}, f"{OVERLOADED} {amounts}")
    if not all(endpoint.get("zone") for endpoint in ready):
        return Shared({}, NO_ZONE)
    desired = {zone: max(ratio * len(ready), least[zone]) for zone, ratio in cpu.items()}
    given = {id(endpoint): endpoint["zone"] for endpoint in ready}
    giving, receiving = _moves(desired, Counter(given.values()))
    for endpoint in ready:
        if giving[zone := endpoint["zone"]] > 0 and receiving:
            giving[zone] -= 1
            given[id(endpoint)] = receiving.pop(0)
    return Shared(given)


def _moves(desired: Mapping[str, float], have: Mapping[str, int]) -> tuple[Counter[str], list[str]]:
    """How many endpoints each zone gives up, and the zones that get one each."""
    surplus = {zone: have.get(zone, 0) - want for zone, want in desired.items()}
    giving, receiving = Counter[str](), list[str]()
    while True:
        most = max(surplus, key=lambda zone: (surplus[zone], zone))
        least = min(surplus, key=lambda zone: (surplus[zone], zone))
        give, take = surplus[most], -surplus[least]
        if give < 0.5 or take < 0.5 or (give < 1 and take < 1):
            return giving, receiving
        giving[most] += 1
        receiving.append(least)
        surplus[most] -= 1
        surplus[least] += 1
