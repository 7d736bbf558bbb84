"""The legacy Endpoints of Services that select pods. Source: upstream's pkg/controller/endpoint."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from navarch.client.resources import ENDPOINTS, PODS, SERVICES
from navarch.controllers import objects
from navarch.controllers.endpoints import backends
from navarch.controllers.endpoints.triggers import Triggers, annotated
from navarch.controlloop.plan import Caches, Create, Delete, Plan, Update, Watch
from navarch.machinery.types import Key, Obj, key_of

MANAGED_BY = "endpoints.kubernetes.io/managed-by"
MANAGER = "endpoint-controller"
OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"
CAPACITY = 1000


@dataclass(frozen=True, slots=True)
class Observed:
    service: Obj | None
    current: Obj | None
    pods: Sequence[Obj] = ()
    trigger: str = ""


class EndpointsController:
    name = "endpoint-controller"

    def __init__(self) -> None:
        self._triggers = Triggers()
        self.watches = (
            Watch(SERVICES, backends.service_keys),
            Watch(PODS, backends.pod_keys),
            Watch(ENDPOINTS, _endpoints_keys),
        )

    def observe(self, key: Key, caches: Caches) -> Observed | None:
        service = caches[SERVICES].get(key.namespace, key.name)
        current = caches[ENDPOINTS].get(key.namespace, key.name)
        if service is None or not backends.has_pods(service):
            self._triggers.forget(key)
        if service is None:
            # Endpoints that nobody's Service stands for go only when we made them.
            ours = current is not None and objects.labels_of(current).get(MANAGED_BY) == MANAGER
            return Observed(None, current) if ours else None
        if not backends.has_pods(service):
            return None
        pods = backends.pods_of(service, caches[PODS].list(key.namespace))
        return Observed(service, current, pods, self._triggers.since_last_round(key, service, pods))

    def reconcile(self, observed: Observed, now: float) -> Plan:
        service, current = observed.service, observed.current
        if service is None:
            gone = [Delete(ENDPOINTS, key_of(current), objects.uid_of(current))] if current else []
            return Plan([*gone], reasons=["the service is gone"])
        subsets, truncated = truncate(subsets_of(service, observed.pods))
        labels = {**objects.labels_of(service), MANAGED_BY: MANAGER}
        labels.pop(backends.HEADLESS, None)
        if backends.is_headless(service):
            labels[backends.HEADLESS] = ""
        annotations = dict(objects.annotations_of(current)) if current else {}
        annotations.pop(OVER_CAPACITY, None)
        if truncated:
            annotations[OVER_CAPACITY] = "truncated"
        same = (
            current is not None
            and list(current.get("subsets") or ()) == subsets
            and objects.labels_of(current) == labels
            and objects.annotations_of(current) == annotations
        )
        annotations = annotated(annotations, observed.trigger)
        if current is None:
            return Plan([Create(ENDPOINTS, _new(service, labels, annotations, subsets))], reasons=["made anew"])
        if same:
            return Plan(reasons=["up to date"])
        meta = {**current["metadata"], "labels": labels, "annotations": annotations}
        changed = {**current, "metadata": meta, "subsets": subsets}
        return Plan([Update(ENDPOINTS, changed)], reasons=["the endpoints have changed"])


def _new(service: Obj, labels: dict[str, str], annotations: dict[str, str], subsets: list[Obj]) -> Obj:
    meta: Obj = {
        "name": service["metadata"]["name"],
        "namespace": service["metadata"]["namespace"],
        "labels": labels,
    }
    if annotations:
        meta["annotations"] = annotations
    return {"apiVersion": "v1", "kind": "Endpoints", "metadata": meta, "subsets": subsets}


def subsets_of(service: Obj, pods: Sequence[Obj]) -> list[Obj]:
    """Addresses that share all their ports share a subset; everything in a fixed order."""
    publish = bool(service["spec"].get("publishNotReadyAddresses"))
    family = backends.families_of(service)[0]
    ports_of: dict[tuple[bytes, bool], list[Obj]] = {}
    addresses: dict[tuple[bytes, bool], Obj] = {}
    for pod in pods:
        ip = backends.address_in(pod, family) if backends.has_address(pod, publish) else None
        if ip is None:
            continue
        ports = [_port(port) for port in backends.slice_ports(service, pod)]
        if not ports and (service["spec"].get("ports") or not backends.is_headless(service)):
            continue
        address = _address(service, pod, ip)
        key = (orjson.dumps(address), publish or objects.is_ready(pod))
        addresses[key] = address
        ports_of[key] = sorted(ports, key=lambda p: (p.get("name", ""), p["protocol"], p["port"]))
    grouped: dict[bytes, Obj] = {}
    for key, address in addresses.items():
        ports = ports_of[key]
        subset = grouped.setdefault(orjson.dumps(ports), {"ready": [], "not": [], "ports": ports})
        subset["ready" if key[1] else "not"].append(address)
    return [_subset(grouped[key]) for key in sorted(grouped)]


def _subset(parts: Obj) -> Obj:
    subset: Obj = {}
    if parts["ready"]:
        subset["addresses"] = backends.sorted_by_address(parts["ready"])
    if parts["not"]:
        subset["notReadyAddresses"] = backends.sorted_by_address(parts["not"])
    if parts["ports"]:
        subset["ports"] = parts["ports"]
    return subset


def _port(port: Obj) -> Obj:
    """An EndpointPort leaves an empty name out."""
    return {k: v for k, v in port.items() if k != "name" or v}


def _address(service: Obj, pod: Obj, ip: str) -> Obj:
    made: dict[str, Any] = {"ip": ip}
    if hostname := backends.hostname_of(pod, service):
        made["hostname"] = hostname
    if node := pod["spec"].get("nodeName"):
        made["nodeName"] = node
    return {**made, "targetRef": backends.pod_reference(pod)}


def truncate(subsets: list[Obj]) -> tuple[list[Obj], bool]:
    """At most CAPACITY addresses, ready ones first, in proportion to the subsets' sizes."""
    ready = sum(len(s.get("addresses", ())) for s in subsets)
    waiting = sum(len(s.get("notReadyAddresses", ())) for s in subsets)
    if ready + waiting <= CAPACITY:
        return subsets, False
    keep_ready = min(ready, CAPACITY)
    cut = _cut(subsets, "addresses", keep_ready, ready)
    return [s for s in _cut(cut, "notReadyAddresses", CAPACITY - keep_ready, waiting) if _is_populated(s)], True


def _is_populated(subset: Obj) -> bool:
    return bool(subset.get("addresses") or subset.get("notReadyAddresses"))


def _cut(subsets: list[Obj], name: str, keep: int, total: int) -> list[Obj]:
    made: list[Obj] = []
    left = keep
    for subset in subsets:
        addresses = subset.get(name, [])
        take = min(left, len(addresses) * keep // total) if total else 0
        left -= take
        kept = {k: v for k, v in subset.items() if k != name}
        made.append({**kept, name: addresses[:take]} if take else kept)
    return made


def _endpoints_keys(old: Obj | None, new: Obj | None, caches: Caches) -> Iterable[Key]:
    return [key_of(obj) for obj in (new or old,) if obj is not None]
