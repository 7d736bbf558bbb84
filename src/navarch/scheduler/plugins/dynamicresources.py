"""DynamicResources: nodes whose devices serve a pod's claims, and its extended resources. Source: plugins/dynamicresources."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from navarch.api.podspec.placement import term_matches
from navarch.api.podspec.resources import amount
from navarch.machinery.types import Key, Obj
from navarch.scheduler.devices import extended
from navarch.scheduler.devices.allocator import Allocator
from navarch.scheduler.devices.state import Devices, Given, NotHere, Unallocatable, claim_names, is_device_resource
from navarch.scheduler.nodes import Ints
from navarch.scheduler.plugins.interface import MAX_SCORE, PluginFailed, Refusal, Rejected, View
from navarch.scheduler.podinfo import PodInfo
from navarch.scheduler.storage import is_for

MAX_RESERVED = 256
MAX_ALTERNATIVES = 8
ELSEWHERE = "resourceclaim not available on the node"
NOT_SERVED = "cannot allocate all claims"
STALE = "cannot schedule extended resource claim"
NOT_BACKED = "cannot fit resource"


@dataclass(slots=True)
class Needed:
    claims: Sequence[Obj]
    """In the pod's order."""
    extended: Obj | None
    """The claim that stands for extended resources: without requests, or one that is left over."""
    allocator: Allocator
    found: dict[int, Sequence[Given]] = field(default_factory=dict)
    """Slot -> what the pod gets there."""

    @property
    def open(self) -> Sequence[Obj]:
        return [claim for claim in self.claims if not (claim.get("status") or {}).get("allocation")]


class Refused(Exception):
    """Why a node is out."""


def claims_of(pod: Obj, devices: Devices) -> list[Obj] | str:
    """A pod's claims for devices, or why it has to wait for one of them."""
    found: list[Obj] = []
    namespace, shown = pod["metadata"]["namespace"], f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
    for name, own in claim_names(pod):
        if name is None:
            return f'pod "{shown}": ResourceClaim not created yet'
        claim = devices.claims.get(Key(namespace, name))
        if claim is None:
            return f'resourceclaim "{name}" not found'
        if claim["metadata"].get("deletionTimestamp"):
            return f'resourceclaim "{name}" is being deleted'
        if own and not is_for(claim, pod):
            return f"ResourceClaim {namespace}/{name} was not created for pod {shown} (pod is not owner)"
        found.append(claim)
    return found


def needed(pod: PodInfo, devices: Devices, share: Callable[[], str] = lambda: "") -> Needed | str | None:
    """None where devices are not its concern; or why the pod fits nowhere."""
    claims = claims_of(pod.obj, devices)
    if isinstance(claims, str):
        return claims
    special = None
    if pod.requests and devices.backed(pod.requests):
        special = extended.claim_of(pod.obj, devices.claims.values()) or extended.claim_for(pod.obj)
    if not claims and special is None:
        return None
    for claim in claims:
        if problem := _problem(pod, claim, devices):
            return problem
    return Needed(claims, special, Allocator(devices, share))


def _problem(pod: PodInfo, claim: Obj, devices: Devices) -> str:
    status, meta = claim.get("status") or {}, claim["metadata"]
    if status.get("allocation"):
        consumers = status.get("reservedFor") or ()
        full = len(consumers) >= MAX_RESERVED and not any(c["uid"] == pod.uid for c in consumers)
        return "resourceclaim in use" if full else ""
    if meta["uid"] in devices.pending:
        return f"resource claim {meta['namespace']}/{meta['name']} is in the process of being allocated"
    for request in claim["spec"]["devices"].get("requests") or ():
        options = [(f"{request['name']}/{one['name']}", one) for one in request.get("firstAvailable") or ()]
        for name, one in options or [(request["name"], request["exactly"])]:
            if one["deviceClassName"] not in devices.classes:
                return f"request {name}: device class {one['deviceClassName']} does not exist"
    return ""


def given_at(pod: PodInfo, ready: Needed, node: Obj, devices: Devices) -> list[Given]:
    """What the pod gets of each claim on a node. Raises Refused, NotHere and Unallocatable."""
    special, mappings = _special(pod, ready, node, devices)
    for claim in ready.claims:
        if _is_away(claim, node, devices):
            raise Refused(ELSEWHERE)
    unserved = [*ready.open, *([special] if special is not None else [])]
    allocations = ready.allocator.allocate(unserved, node) if unserved else []
    if allocations is None:
        raise Refused(NOT_SERVED)
    by_uid = {c["metadata"]["uid"]: a for c, a in zip(unserved, allocations, strict=True)}
    found = [Given(claim, by_uid.get(claim["metadata"]["uid"])) for claim in ready.claims]
    if special is not None:
        found.append(Given(special, by_uid[special["metadata"]["uid"]], tuple(mappings)))
    return found


def _special(pod: PodInfo, ready: Needed, node: Obj, devices: Devices) -> tuple[Obj | None, list[Obj]]:
    """The claim for the extended resources that the node itself has none of."""
    if ready.extended is None:
        return None, []
    if not extended.is_unmade(ready.extended):
        raise Refused(STALE)
    given = (node.get("status") or {}).get("allocatable") or (node.get("status") or {}).get("capacity") or {}
    classes: dict[str, str] = {}
    for name, _ in pod.requests:
        if not is_device_resource(name):
            continue
        if name in devices.resources and not amount(name, str(given.get(name, "0"))):
            classes[name] = devices.resources[name]["metadata"]["name"]
        elif name not in given:
            raise Refused(NOT_BACKED)
    if not classes:
        return None, []
    requests, mappings = extended.requests_of(pod.obj, classes)
    return {**ready.extended, "spec": {"devices": {"requests": requests}}}, mappings


def _is_away(claim: Obj, node: Obj, devices: Devices) -> bool:
    allocation = (claim.get("status") or {}).get("allocation")
    if not allocation:
        return False
    selector = allocation.get("nodeSelector")
    if selector and not any(term_matches(term, node) for term in selector.get("nodeSelectorTerms") or ()):
        return True
    return _is_spoilt(claim, devices)


def _is_spoilt(claim: Obj, devices: Devices) -> bool:
    """Its devices could not be got ready, or not in time."""
    return bool(failure_of(claim)) or (claim["metadata"]["uid"] in devices.late and not is_ready(claim))


def failure_of(claim: Obj) -> str:
    """Why a device of the claim cannot be got ready; empty where that is not known."""
    for result, conditions in _conditions(claim):
        for kind in result.get("bindingFailureConditions") or ():
            found = conditions.get(kind) or {}
            if found.get("status") == "True":
                name = claim["metadata"]["name"]
                return f'claim={name}, reason={found.get("reason", "")}, message="{found.get("message", "")}"'
    return ""


def is_ready(claim: Obj) -> bool:
    """Whether all that a pod has to wait for with the claim's devices is done."""
    return all(
        (conditions.get(kind) or {}).get("status") == "True"
        for result, conditions in _conditions(claim)
        for kind in result["bindingConditions"]
    )


def _conditions(claim: Obj) -> list[tuple[Obj, dict[str, Obj]]]:
    """The results that have conditions, each with those of its device by type."""
    status = claim.get("status") or {}
    results = ((status.get("allocation") or {}).get("devices") or {}).get("results") or ()
    told = {(d["driver"], d["pool"], d["device"]): d.get("conditions") or () for d in status.get("devices") or ()}
    return [
        (result, {c["type"]: c for c in told.get((result["driver"], result["pool"], result["device"]), ())})
        for result in results
        if result.get("bindingConditions")
    ]


def given_on(pod: PodInfo, devices: Devices, node: Obj, share: Callable[[], str]) -> list[Given] | str:
    """What each of the pod's claims gets on the node that was chosen; or why that is not possible."""
    ready = needed(pod, devices, share)
    if ready is None or isinstance(ready, str):
        return ready or []
    try:
        return given_at(pod, ready, node, devices)
    except (Refused, NotHere, Unallocatable) as error:
        return str(error)


def in_the_way(pod: PodInfo, devices: Devices) -> Obj | None:
    """A claim of the pod that nobody else uses and that keeps it from nodes: one that is allocated for certain nodes only,
    or whose devices do not get ready; or what an earlier attempt left of a claim for its extended resources."""
    claims = claims_of(pod.obj, devices)
    for claim in claims if not isinstance(claims, str) else ():
        status = claim.get("status") or {}
        others = [c for c in status.get("reservedFor") or () if c["uid"] != pod.uid]
        kept = (status.get("allocation") or {}).get("nodeSelector") or _is_spoilt(claim, devices)
        if status.get("allocation") and kept and not others:
            return claim
    return extended.claim_of(pod.obj, devices.claims.values()) if devices.backed(pod.requests) else None


class DynamicResources:
    name = "DynamicResources"
    filters = True

    def __init__(self, weight: int = 2) -> None:
        self.weight = weight

    def prepare(self, pod: PodInfo, view: View) -> Any:
        if not pod.obj["spec"].get("resourceClaims") and not view.nodes.delegated:
            return None
        found = needed(pod, view.around.devices)
        return Rejected(found) if isinstance(found, str) else found

    def refusals(self, prepared: Needed, pod: PodInfo, view: View) -> Sequence[Refusal]:
        nodes, masks = view.nodes, dict[str, Any]()
        for slot in np.flatnonzero(view.affine & view.tolerated).tolist():
            node = nodes.objects[slot]
            assert node is not None
            try:
                prepared.found[slot] = given_at(pod, prepared, node, view.around.devices)
            except (Refused, NotHere) as error:
                masks.setdefault(str(error), np.zeros(len(nodes.alive), bool))[slot] = True
            except Unallocatable as error:
                raise PluginFailed(f'running "{self.name}" filter plugin: {error}') from None
        return [Refusal(mask, reason, True) for reason, mask in masks.items()]

    def score(self, prepared: Needed, pod: PodInfo, view: View, feasible: Ints) -> Ints | None:
        """Nodes where alternatives that come first can be had."""
        if not any(
            r.get("firstAvailable") for c in prepared.claims for r in c["spec"]["devices"].get("requests") or ()
        ):
            return None
        scores = np.array([_preference(prepared.found.get(slot, ())) for slot in feasible.tolist()], np.int64)
        highest = int(scores.max())
        return scores * MAX_SCORE // highest if highest else None


def _preference(found: Sequence[Given]) -> int:
    total = 0
    for claim, given, _ in found:
        allocation = given or claim["status"]["allocation"]
        taken = {result["request"] for result in (allocation.get("devices") or {}).get("results") or ()}
        for request in claim["spec"]["devices"].get("requests") or ():
            for index, one in enumerate(request.get("firstAvailable") or ()):
                if f"{request['name']}/{one['name']}" in taken:
                    total += MAX_ALTERNATIVES - index
    return total
