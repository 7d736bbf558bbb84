"""EndpointSlices of Services that select pods."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from navarch.client.resources import ENDPOINT_SLICES, NODES, PODS, SERVICES
from navarch.controllers import objects
from navarch.controllers.endpoints import backends, hints, pack
from navarch.controllers.endpoints.triggers import Triggers, annotated
from navarch.controlloop.plan import Caches, Create, Delete, Emit, Plan, Update, Watch
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
    cpu: Mapping[str, float] | None = None
    """Each zone's share of the CPUs, where the service asks for it and it can be told."""
    trigger: str = ""


class EndpointSliceController:
    name = "endpointslice-controller"
    event_source = "endpoint-slice-controller"

    def __init__(self) -> None:
        self._triggers = Triggers()
        self.watches = (
            Watch(SERVICES, backends.service_keys),
            Watch(PODS, backends.pod_keys, {backends.POD_NODE: backends.pod_node}),
            Watch(NODES, _node_keys),
            Watch(ENDPOINT_SLICES, _slice_keys, {SERVICE_INDEX: backends.service_index}),
        )

    def observe(self, key: Key, caches: Caches) -> Observed | None:
        service = caches[SERVICES].get(key.namespace, key.name)
        found = caches[ENDPOINT_SLICES].by_index(SERVICE_INDEX, str(key))
        slices = backends.slices_of(key, found, MANAGER)
        if service is None or not backends.has_pods(service):
            self._triggers.forget(key)
            return Observed(None, slices) if slices else None
        pods = backends.pods_of(service, caches[PODS].list(key.namespace))
        zones = {
            node["metadata"]["name"]: zone
            for name in {pod["spec"].get("nodeName") for pod in pods}
            if name
            and (node := caches[NODES].get("", name)) is not None
            and (zone := objects.labels_of(node).get(backends.ZONE))
        }
        cpu = hints.cpu_of_zones(caches[NODES].list()) if hints.shares_zones(service) else None
        return Observed(service, slices, pods, zones, cpu, self._triggers.since_last_round(key, service, pods))

    def reconcile(self, observed: Observed, now: float) -> Plan:
        service = observed.service
        if service is None:
            gone = [Delete(ENDPOINT_SLICES, key_of(s), objects.uid_of(s)) for s in observed.slices]
            return Plan([*gone], reasons=["the service is gone or has no selector: so are its slices"])
        groups = groups_of(service, observed.pods, observed.zones)
        told = _share_zones(service, groups, observed) if hints.shares_zones(service) else []
        reference = objects.controller_reference(service, "v1", "Service")
        labels = backends.slice_labels(service, MANAGER)
        packed = pack.pack(service, reference, observed.slices, groups, labels)
        for action in packed:
            if isinstance(action, Create | Update):
                meta = action.object["metadata"]
                meta["annotations"] = annotated(meta.get("annotations") or {}, observed.trigger)
        plan = Plan([*packed, *told])
        amount = sum(len(group.endpoints) for group in groups)
        plan.reasons.append(f"{amount} endpoints of {len(observed.pods)} selected pods")
        return plan


def _share_zones(service: Obj, groups: Sequence[pack.Group], observed: Observed) -> list[Emit]:
    """Gives the endpoints their hints. Returns what is to be told of it."""
    told: list[Emit] = []
    for family in sorted({group.address_type for group in groups}):
        of_family = [group for group in groups if group.address_type == family]
        shared = hints.share(of_family, observed.cpu)
        for endpoint in (endpoint for group in of_family for endpoint in group.endpoints):
            endpoint.pop("hints", None)
            if zone := shared.zones.get(id(endpoint)):
                endpoint["hints"] = {"forZones": [{"name": zone}]}
        had = any(
            endpoint.get("hints")
            for old in observed.slices
            if old.get("addressType") == family
            for endpoint in old.get("endpoints") or ()
        )
        if shared.why_not:
            message = f"{shared.why_not}, addressType: {family}"
            told.append(Emit(service, "Warning", "TopologyAwareHintsDisabled", message))
        elif not had:
            message = f"{hints.ENABLED}, addressType: {family}"
            told.append(Emit(service, "Normal", "TopologyAwareHintsEnabled", message))
    return told


def _node_keys(old: Obj | None, new: Obj | None, caches: Caches) -> Iterable[Key]:
    """Services with pods on a node whose zone has changed, and those that are shared by the zones' CPUs."""
    keys = set(backends.node_keys(old, new, caches))
    if _capacity(old) != _capacity(new):
        keys.update(key_of(service) for service in caches[SERVICES].list() if hints.shares_zones(service))
    return keys


def _capacity(node: Obj | None) -> tuple[object, ...]:
    if node is None:
        return ()
    status = node.get("status") or {}
    return objects.labels_of(node), objects.is_ready(node), (status.get("allocatable") or {}).get("cpu")


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
    if hint := hints.near(service, made):
        made["hints"] = hint
    return made


def _slice_keys(old: Obj | None, new: Obj | None, caches: Caches) -> Iterable[Key]:
    keys: set[Key] = set()
    for endpoint_slice in (old, new):
        if endpoint_slice is not None and objects.labels_of(endpoint_slice).get(backends.MANAGED_BY) == MANAGER:
            name = objects.labels_of(endpoint_slice).get(backends.SERVICE_NAME, "")
            keys.add(Key(endpoint_slice["metadata"]["namespace"], name))
    return keys
