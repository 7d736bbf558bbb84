"""DynamicResources: nodes whose devices serve a pod's claims. Source: plugins/dynamicresources."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from navarch.api.podspec.placement import term_matches
from navarch.machinery.types import Key, Obj
from navarch.scheduler.devices import Devices, Given, Unallocatable
from navarch.scheduler.nodes import Ints
from navarch.scheduler.plugins.interface import Refusal, Rejected, View
from navarch.scheduler.podinfo import PodInfo
from navarch.scheduler.storage import is_for

MAX_RESERVED = 256
ELSEWHERE = "resourceclaim not available on the node"
NOT_SERVED = "cannot allocate all claims"


class Needed(NamedTuple):
    given: Sequence[Obj]
    """Allocations that are there already."""
    open: Sequence[Obj]
    """Claims that have none."""


def claims_of(pod: PodInfo, devices: Devices) -> list[Obj] | str:
    """A pod's claims for devices, or why it has to wait for one of them."""
    found: list[Obj] = []
    for name, own in _names(pod.obj):
        if name is None:
            return f'pod "{pod.key}": ResourceClaim not created yet'
        claim = devices.claims.get(Key(pod.key.namespace, name))
        if claim is None:
            return f'resourceclaim "{name}" not found'
        if claim["metadata"].get("deletionTimestamp"):
            return f'resourceclaim "{name}" is being deleted'
        if own and not is_for(claim, pod.obj):
            return f"ResourceClaim {pod.key.namespace}/{name} was not created for pod {pod.key} (pod is not owner)"
        found.append(claim)
    return found


def _names(pod: Obj) -> Iterator[tuple[str | None, bool]]:
    """(name of a claim, whether it is made for the pod); None where it is still to be made."""
    made = {s["name"]: s.get("resourceClaimName") for s in (pod.get("status") or {}).get("resourceClaimStatuses") or ()}
    for entry in pod["spec"].get("resourceClaims") or ():
        if "resourceClaimName" in entry:
            yield entry["resourceClaimName"], False
        elif entry["name"] not in made:
            yield None, True
        elif made[entry["name"]]:
            yield made[entry["name"]], True


def needed(pod: PodInfo, devices: Devices) -> Needed | str:
    claims = claims_of(pod, devices)
    if isinstance(claims, str):
        return claims
    given: list[Obj] = []
    unallocated: list[Obj] = []
    for claim in claims:
        status = claim.get("status") or {}
        consumers = status.get("reservedFor") or ()
        if status.get("allocation"):
            if len(consumers) >= MAX_RESERVED and not any(c["uid"] == pod.uid for c in consumers):
                return "resourceclaim in use"
            given.append(status["allocation"])
        elif claim["metadata"]["uid"] in devices.pending:
            meta = claim["metadata"]
            return f"resource claim {meta['namespace']}/{meta['name']} is in the process of being allocated"
        else:
            unallocated.append(claim)
    return Needed(given, unallocated)


def given_on(pod: PodInfo, devices: Devices, node: Obj) -> list[Given] | str:
    """What each of the pod's claims gets on the node that was chosen; or why that is not possible."""
    found = needed(pod, devices)
    claims = claims_of(pod, devices)
    if isinstance(found, str) or isinstance(claims, str):
        return str(found)
    try:
        allocations = devices.allocate(found.open, node) if found.open else []
    except Unallocatable as error:
        return str(error)
    if allocations is None:
        return NOT_SERVED
    by_uid = {c["metadata"]["uid"]: a for c, a in zip(found.open, allocations, strict=True)}
    return [Given(claim, by_uid.get(claim["metadata"]["uid"])) for claim in claims]


def in_the_way(pod: PodInfo, devices: Devices) -> Obj | None:
    """A claim of the pod that is allocated for certain nodes only, and that nobody else uses."""
    claims = claims_of(pod, devices)
    for claim in claims if not isinstance(claims, str) else ():
        status = claim.get("status") or {}
        others = [c for c in status.get("reservedFor") or () if c["uid"] != pod.uid]
        if (status.get("allocation") or {}).get("nodeSelector") and not others:
            return claim
    return None


class DynamicResources:
    name = "DynamicResources"
    filters = True
    weight = 0

    def prepare(self, pod: PodInfo, view: View) -> Any:
        if not pod.obj["spec"].get("resourceClaims"):
            return None
        found = needed(pod, view.around.devices)
        return Rejected(found) if isinstance(found, str) else found

    def refusals(self, prepared: Needed, pod: PodInfo, view: View) -> Sequence[Refusal]:
        nodes, devices = view.nodes, view.around.devices
        elsewhere = np.zeros(len(nodes.alive), bool)
        unserved = np.zeros(len(nodes.alive), bool)
        failures: dict[str, Any] = {}
        for slot in np.flatnonzero(view.affine & view.tolerated).tolist():
            node = nodes.objects[slot]
            assert node is not None
            if not all(_reaches(allocation, node) for allocation in prepared.given):
                elsewhere[slot] = True
            elif prepared.open:
                try:
                    unserved[slot] = devices.allocate(prepared.open, node) is None
                except Unallocatable as error:
                    failures.setdefault(str(error), np.zeros(len(nodes.alive), bool))[slot] = True
        found = [Refusal(elsewhere, ELSEWHERE, True), Refusal(unserved, NOT_SERVED, True)]
        return [*found, *(Refusal(mask, reason, True) for reason, mask in failures.items())]

    def score(self, prepared: Needed, pod: PodInfo, view: View, feasible: Ints) -> Ints | None:
        return None


def _reaches(allocation: Obj, node: Obj) -> bool:
    selector = allocation.get("nodeSelector")
    return selector is None or any(term_matches(term, node) for term in selector.get("nodeSelectorTerms") or ())
