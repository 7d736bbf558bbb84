"""EndpointSlices of Services that select pods."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from navarch.client.resources import ENDPOINT_SLICES, NODES, PODS, SERVICES
from navarch.controllers import objects
from navarch.controllers.endpoints import backends, pack
from navarch.controlloop.plan import Caches, Delete, Plan, Watch
from navarch.machinery.types import Key, Obj, key_of

MANAGER = "endpointslice-controller.k8s.io"
SERVICE_INDEX = "service"


@dataclass(frozen=True, slots=True)
class Observed:
    service: Obj | None
    slices: Sequence[Obj]
    pods: Sequence[Obj] = ()
    zones: Mapping[str, str] = field(default_factory=dict)
    """Zone by node name."""


class EndpointSliceController:
    name = "endpointslice-controller"

    def __init__(self) -> None:
        self.watches = (
            Watch(SERVICES, backends.service_keys),
            Watch(PODS, backends.pod_keys, {backends.POD_NODE: backends.pod_node}),
            Watch(NODES, backends.node_keys),
            Watch(ENDPOINT_SLICES, _slice_keys, {SERVICE_INDEX: backends.service_index}),
        )

    def observe(self, key: Key, caches: Caches) -> Observed | None:
        service = caches[SERVICES].get(key.namespace, key.name)
        found = caches[ENDPOINT_SLICES].by_index(SERVICE_INDEX, str(key))
        slices = backends.slices_of(key, found, MANAGER)
        if service is None or not backends.has_pods(service):
            return Observed(None, slices) if slices else None
        pods = backends.pods_of(service, caches[PODS].list(key.namespace))
        zones = {
            node["metadata"]["name"]: zone
            for name in {pod["spec"].get("nodeName") for pod in pods}
            if name
            and (node := caches[NODES].get("", name)) is not None
            and (zone := objects.labels_of(node).get(backends.ZONE))
        }
        return Observed(service, slices, pods, zones)

    def reconcile(self, observed: Observed, now: float) -> Plan:
        service = observed.service
        if service is None:
            gone = [Delete(ENDPOINT_SLICES, key_of(s), objects.uid_of(s)) for s in observed.slices]
            return Plan([*gone], reasons=["the service is gone or has no selector: so are its slices"])
        groups = groups_of(service, observed.pods, observed.zones)
        reference = objects.controller_reference(service, "v1", "Service")
        labels = backends.slice_labels(service, MANAGER)
        plan = Plan(pack.pack(service, reference, observed.slices, groups, labels))
        amount = sum(len(group.endpoints) for group in groups)
        plan.reasons.append(f"{amount} endpoints of {len(observed.pods)} selected pods")
        return plan


def groups_of(service: Obj, pods: Sequence[Obj], zones: Mapping[str, str]) -> list[pack.Group]:
    """Endpoints grouped by address type and ports; an empty group per family where no pod has an address."""
    found: dict[bytes, pack.Group] = {}
    for family in backends.families_of(service):
        before = len(found)
        for pod in sorted(pods, key=lambda p: p["metadata"]["name"]):
            ip = backends.address_in(pod, family) if backends.has_address(pod, True) else None
            if ip is None:
                continue
            ports = backends.slice_ports(service, pod)
            if not ports and service["spec"].get("ports"):
                continue
            group = found.setdefault(pack.group_key(family, ports), pack.Group(family, ports))
            group.endpoints.append(endpoint(service, pod, ip, zones))
        if len(found) == before:
            found[pack.group_key(family, [])] = pack.Group(family, [])
    return list(found.values())


def endpoint(service: Obj, pod: Obj, ip: str, zones: Mapping[str, str]) -> Obj:
    serving, terminating = objects.is_ready(pod), objects.is_deleting(pod)
    ready = bool(service["spec"].get("publishNotReadyAddresses")) or (serving and not terminating)
    made: Obj = {
        "addresses": [ip],
        "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
    }
    if hostname := backends.hostname_of(pod, service):
        made["hostname"] = hostname
    made["targetRef"] = backends.pod_reference(pod)
    if node := pod["spec"].get("nodeName"):
        made["nodeName"] = node
        if node in zones:
            made["zone"] = zones[node]
    return made


def _slice_keys(old: Obj | None, new: Obj | None, caches: Caches) -> Iterable[Key]:
    keys: set[Key] = set()
    for endpoint_slice in (old, new):
        if endpoint_slice is not None and objects.labels_of(endpoint_slice).get(backends.MANAGED_BY) == MANAGER:
            name = objects.labels_of(endpoint_slice).get(backends.SERVICE_NAME, "")
            keys.add(Key(endpoint_slice["metadata"]["namespace"], name))
    return keys
