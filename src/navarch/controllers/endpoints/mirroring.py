"""Slices that mirror hand-made Endpoints of Services without a selector. Source: pkg/controller/endpointslicemirroring."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from navarch.client.resources import ENDPOINT_SLICES, ENDPOINTS, SERVICES
from navarch.controllers import objects
from navarch.controllers.endpoints import backends, pack
from navarch.controllers.endpoints.slices import SERVICE_INDEX
from navarch.controlloop.plan import Caches, Delete, Emit, Plan, Watch
from navarch.machinery.types import Key, Obj, key_of

MANAGER = "endpointslicemirroring-controller.k8s.io"
SKIP_MIRROR = "endpointslice.kubernetes.io/skip-mirror"
LEADER = "control-plane.alpha.kubernetes.io/leader"
MAX_PER_SUBSET = 1000
NOT_COPIED = {"endpoints.kubernetes.io/last-change-trigger-time", "kubectl.kubernetes.io/last-applied-configuration"}


@dataclass(frozen=True, slots=True)
class Observed:
    endpoints: Obj | None
    """None where nothing is to be mirrored (any more)."""
    slices: Sequence[Obj]


class EndpointSliceMirroringController:
    name = "endpointslicemirroring-controller"
    event_source = "endpoint-slice-mirroring-controller"

    def __init__(self) -> None:
        self.watches = (
            Watch(ENDPOINTS, backends.service_keys),
            Watch(SERVICES, backends.service_keys),
            Watch(ENDPOINT_SLICES, _slice_keys, {SERVICE_INDEX: backends.service_index}),
        )

    def observe(self, key: Key, caches: Caches) -> Observed | None:
        endpoints = caches[ENDPOINTS].get(key.namespace, key.name)
        service = caches[SERVICES].get(key.namespace, key.name)
        slices = backends.slices_of(key, caches[ENDPOINT_SLICES].by_index(SERVICE_INDEX, str(key)), MANAGER)
        if endpoints is not None and service is not None and is_mirrored(endpoints, service):
            return Observed(endpoints, slices)
        return Observed(None, slices) if slices else None

    def reconcile(self, observed: Observed, now: float) -> Plan:
        endpoints = observed.endpoints
        if endpoints is None:
            gone = [Delete(ENDPOINT_SLICES, key_of(s), objects.uid_of(s)) for s in observed.slices]
            return Plan([*gone], reasons=["nothing to mirror any more"])
        meta = endpoints["metadata"]
        labels = {k: v for k, v in objects.labels_of(endpoints).items() if k not in backends.RESERVED}
        labels |= {backends.SERVICE_NAME: meta["name"], backends.MANAGED_BY: MANAGER}
        annotations = {k: v for k, v in objects.annotations_of(endpoints).items() if k not in NOT_COPIED}
        reference = objects.controller_reference(endpoints, "v1", "Endpoints")
        groups = groups_of(endpoints)
        kept = [s for s in observed.slices if groups]
        gone = [Delete(ENDPOINT_SLICES, key_of(s), objects.uid_of(s)) for s in observed.slices if not groups]
        actions = pack.pack(endpoints, reference, kept, groups, labels, annotations)
        left_out = sum(max(0, _count(subset) - MAX_PER_SUBSET) for subset in endpoints.get("subsets") or ())
        if left_out:
            message = (
                f"A max of {MAX_PER_SUBSET} addresses can be mirrored to EndpointSlices per Endpoints subset. "
                f"{left_out} addresses were skipped"
            )
            actions.append(Emit(endpoints, "Warning", "TooManyAddressesToMirror", message))
        return Plan([*gone, *actions], reasons=["hand-made Endpoints are mirrored"])


def is_mirrored(endpoints: Obj, service: Obj) -> bool:
    if service["spec"].get("selector") or service["spec"].get("type") == "ExternalName":
        return False
    if objects.labels_of(endpoints).get(SKIP_MIRROR) == "true" or LEADER in objects.annotations_of(endpoints):
        return False
    return bool(endpoints.get("subsets")) or not objects.is_deleting(endpoints)


def _count(subset: Obj) -> int:
    return sum(len(subset.get(name) or ()) for name in ("addresses", "notReadyAddresses"))


def groups_of(endpoints: Obj) -> list[pack.Group]:
    found: dict[bytes, pack.Group] = {}
    for subset in endpoints.get("subsets") or ():
        ports = [{"name": "", "protocol": "TCP", **port} for port in subset.get("ports") or ()]
        left = MAX_PER_SUBSET
        for name, ready in (("addresses", True), ("notReadyAddresses", False)):
            for address in (subset.get(name) or ())[:left]:
                left -= 1
                family = backends.family_of(address["ip"])
                group = found.setdefault(pack.group_key(family, ports), pack.Group(family, ports, limit=MAX_PER_SUBSET))
                group.endpoints.append(_endpoint(address, ready))
    return list(found.values())


def _endpoint(address: Obj, ready: bool) -> Obj:
    made: Obj = {"addresses": [address["ip"]], "conditions": {"ready": ready}}
    for name in ("hostname", "targetRef", "nodeName"):
        if address.get(name):
            made[name] = address[name]
    return made


def _slice_keys(old: Obj | None, new: Obj | None, caches: Caches) -> Iterable[Key]:
    keys: set[Key] = set()
    for endpoint_slice in (old, new):
        if endpoint_slice is not None and objects.labels_of(endpoint_slice).get(backends.MANAGED_BY) == MANAGER:
            name = objects.labels_of(endpoint_slice).get(backends.SERVICE_NAME, "")
            keys.add(Key(endpoint_slice["metadata"]["namespace"], name))
    return keys
