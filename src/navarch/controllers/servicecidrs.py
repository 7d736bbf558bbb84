"""ServiceCIDRs: ready as soon as they are made, and gone only once no address needs them. Source: controller/servicecidrs."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from navarch.client.resources import IP_ADDRESSES, SERVICE_CIDRS
from navarch.controllers import objects
from navarch.controlloop.plan import Action, Caches, Patch, Plan, Update, Watch
from navarch.machinery.clock import rfc3339
from navarch.machinery.types import Key, Obj, key_of

FINALIZER = "networking.k8s.io/service-cidr-finalizer"
MANAGED_BY, ALLOCATOR = "ipaddress.kubernetes.io/managed-by", "ipallocator.k8s.io"
GRACE_SECONDS = 10.0
"""How long a range that is to go waits, so that nobody is given an address of it meanwhile."""
IN_USE = "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR"
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Observed:
    range: Obj
    others: Sequence[Obj]
    addresses: Sequence[str]
    """Those that services have."""


class ServiceCidrController:
    name = "service-cidr-controller"

    def __init__(self) -> None:
        self.watches = (Watch(SERVICE_CIDRS, _all_ranges), Watch(IP_ADDRESSES, _going_ranges))

    def observe(self, key: Key, caches: Caches) -> Observed | None:
        found = caches[SERVICE_CIDRS].get("", key.name)
        if found is None:
            return None
        going = objects.is_deleting(found)
        held = [a["metadata"]["name"] for a in caches[IP_ADDRESSES].list() if _is_ours(a)] if going else []
        return Observed(found, [o for o in caches[SERVICE_CIDRS].list() if o is not found], held)

    def reconcile(self, observed: Observed, now: float) -> Plan:
        found = observed.range
        finalizers: list[str] = found["metadata"].get("finalizers") or []
        if objects.is_deleting(found):
            return self._ending(observed, finalizers, now)
        actions: list[Action] = []
        if FINALIZER not in finalizers:
            change = {"metadata": {"finalizers": [*finalizers, FINALIZER]}}
            return Plan([Patch(SERVICE_CIDRS, key_of(found), objects.exact(found, change))], reasons=["to be guarded"])
        if (update := _told(found, "True", "", "Kubernetes Service CIDR is ready", now)) is not None:
            actions.append(update)
        return Plan(actions, reasons=["its addresses may be given"])

    def _ending(self, observed: Observed, finalizers: list[str], now: float) -> Plan:
        found = observed.range
        if FINALIZER not in finalizers:
            return Plan(reasons=["it is not ours to keep"])
        if not can_go(networks(found), observed.others, observed.addresses):
            update = _told(found, "False", "Terminating", IN_USE, now)
            return Plan([update] if update is not None else [], reasons=["addresses of it are in use"])
        left = GRACE_SECONDS - (now - objects.time_of(found["metadata"]["deletionTimestamp"]))
        if left > 0:
            return Plan(requeue_after=left, reasons=["nobody may be given an address of it meanwhile"])
        change = {"metadata": {"finalizers": [name for name in finalizers if name != FINALIZER]}}
        return Plan([Patch(SERVICE_CIDRS, key_of(found), objects.exact(found, change))], reasons=["nobody needs it"])


def networks(range_: Obj) -> list[Network]:
    return [ipaddress.ip_network(cidr) for cidr in (range_.get("spec") or {}).get("cidrs") or ()]


def can_go(ending: Sequence[Network], others: Sequence[Obj], addresses: Sequence[str]) -> bool:
    """Whether every address that services have is in another range as well."""
    kept = [network for other in others for network in networks(other)]
    for text in addresses:
        address = ipaddress.ip_address(text)
        if any(address in network for network in ending) and not any(address in network for network in kept):
            return False
    return True


def _told(range_: Obj, status: str, reason: str, message: str, now: float) -> Update | None:
    """The condition Ready, where it does not say so already. One that is true keeps its words: the server's own."""
    before = range_.get("status") or {}
    ready = objects.condition_of(before, "Ready") or {}
    same = ready.get("status") == status and (status == "True" or ready.get("reason") == reason)
    if same:
        return None
    made = {
        "type": "Ready",
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": rfc3339(now),
    }
    conditions = [*objects.without_condition(before.get("conditions") or (), "Ready"), made]
    return objects.status_update(SERVICE_CIDRS, range_, {**before, "conditions": conditions})


def _is_ours(address: Obj) -> bool:
    return objects.labels_of(address).get(MANAGED_BY) == ALLOCATOR


def _all_ranges(old: Obj | None, new: Obj | None, caches: Caches) -> Iterable[Key]:
    """Any range may be what lets another go."""
    return [key_of(found) for found in caches[SERVICE_CIDRS].list()]


def _going_ranges(old: Obj | None, new: Obj | None, caches: Caches) -> Iterable[Key]:
    if new is not None:
        return ()
    return [key_of(found) for found in caches[SERVICE_CIDRS].list() if objects.is_deleting(found)]
