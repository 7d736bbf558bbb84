"""Evicts pods whose devices have NoExecute taints that their claims do not tolerate.

Source: pkg/controller/devicetainteviction; KEP-5055. Taints come from slices; DeviceTaintRules are behind a gate that is shut.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from navarch.api.podspec.placement import tolerates
from navarch.client.interface import Resource
from navarch.client.resources import PODS
from navarch.controllers import objects
from navarch.controllers.resourceclaims import CLAIMS, claim_name, is_for, reserved_for
from navarch.controlloop.plan import Caches, Delete, Emit, Patch, Plan, Watch
from navarch.machinery.clock import rfc3339
from navarch.machinery.types import Key, Obj, key_of

SLICES = Resource("resource.k8s.io", "v1", "resourceslices", namespaced=False)
POOL = "devicepool"
"""Index of slices, and of claims by what they are given."""
NO_EXECUTE = "NoExecute"


class Tainted(NamedTuple):
    taint: Obj
    tolerations: Sequence[Obj]
    """Of the request that the device serves."""


@dataclass(frozen=True, slots=True)
class Observed:
    pod: Obj
    taints: Sequence[Tainted]


class DeviceTaintEvictionController:
    name = "device-taint-eviction-controller"

    def __init__(self) -> None:
        self.watches = (
            Watch(PODS, _pod_keys),
            Watch(CLAIMS, _claim_keys, {POOL: _pools_of_claim}),
            Watch(SLICES, _slice_keys, {POOL: lambda one: (_pool_of(one),)}),
        )

    def observe(self, key: Key, caches: Caches) -> Observed | None:
        pod = caches[PODS].get(key.namespace, key.name)
        if pod is None or objects.is_deleting(pod) or not pod["spec"].get("nodeName"):
            return None
        taints = [tainted for claim in _claims(pod, caches) for tainted in _taints(claim, caches)]
        return Observed(pod, taints) if taints else None

    def reconcile(self, observed: Observed, now: float) -> Plan:
        pod = observed.pod
        times = [when for tainted in observed.taints if (when := evicted_at(tainted, now)) is not None]
        if not times:
            return Plan(reasons=["its claims tolerate the taints of its devices for ever"])
        if (stay := min(times) - now) > 0:
            return Plan(
                requeue_after=stay, reasons=[f"its claims tolerate the taints of its devices for {stay:.0f} s more"]
            )
        key = key_of(pod)
        condition = {
            "type": "DisruptionTarget",
            "observedGeneration": objects.generation_of(pod),
            "status": "True",
            "reason": "DeletionByDeviceTaintManager",
            "message": "Device Taint manager: deleting due to NoExecute taint",
            "lastTransitionTime": rfc3339(now),
        }
        patch = {"metadata": {"uid": objects.uid_of(pod)}, "status": {"conditions": [condition]}}
        return Plan(
            [
                Emit(pod, "Normal", "DeviceTaintManagerEviction", "Marking for deletion"),
                Patch(PODS, key, patch, "strategic", "status"),
                Delete(PODS, key, objects.uid_of(pod)),
            ],
            reasons=["its claims do not tolerate the taints of its devices"],
        )


def evicted_at(tainted: Tainted, now: float) -> float | None:
    """When a taint drives pods out; None: never. Of tolerations, only those that name the effect count, and of their times
    the shortest."""
    since = objects.time_of(tainted.taint.get("timeAdded")) or now
    seconds: list[int] = []
    for toleration in tainted.tolerations:
        if toleration.get("effect") == NO_EXECUTE and tolerates(toleration, tainted.taint):
            if toleration.get("tolerationSeconds") is None:
                return None
            seconds.append(max(0, toleration["tolerationSeconds"]))
    return since + min(seconds, default=0)


def _claims(pod: Obj, caches: Caches) -> Iterable[Obj]:
    """Those that are allocated and reserved for the pod."""
    for wanted in pod["spec"].get("resourceClaims") or ():
        name = claim_name(pod, wanted)
        claim = caches[CLAIMS].get(pod["metadata"]["namespace"], name) if name else None
        if claim is None or ("resourceClaimName" not in wanted and not is_for(pod, claim)):
            continue
        if any(consumer["uid"] == objects.uid_of(pod) for consumer in reserved_for(claim)):
            yield claim


def _taints(claim: Obj, caches: Caches) -> Iterable[Tainted]:
    for result in _results(claim):
        slices = caches[SLICES].by_index(POOL, f"{result['driver']}/{result['pool']}")
        newest = max((_generation(one) for one in slices), default=0)
        for one in slices:
            for device in one["spec"].get("devices") or () if _generation(one) == newest else ():
                if device["name"] == result["device"]:
                    for taint in _driving_out(device):
                        yield Tainted(taint, result.get("tolerations") or ())


def _results(claim: Obj) -> Sequence[Obj]:
    allocation = (claim.get("status") or {}).get("allocation") or {}
    return (allocation.get("devices") or {}).get("results") or ()


def _driving_out(device: Obj) -> list[Obj]:
    return [taint for taint in device.get("taints") or () if taint.get("effect") == NO_EXECUTE]


def _generation(one: Obj) -> int:
    return one["spec"]["pool"].get("generation") or 0


def _pool_of(one: Obj) -> str:
    return f"{one['spec']['driver']}/{one['spec']['pool']['name']}"


# -- who is to be looked at when something changed


def _pools_of_claim(claim: Obj) -> Iterable[str]:
    return {f"{result['driver']}/{result['pool']}" for result in _results(claim)}


def _pod_keys(old: Obj | None, new: Obj | None, caches: Caches) -> Iterable[Key]:
    if new is None or not new["spec"].get("nodeName") or not new["spec"].get("resourceClaims"):
        return ()
    return () if old is not None and old["spec"].get("nodeName") else (key_of(new),)


def _claim_keys(old: Obj | None, new: Obj | None, caches: Caches) -> Iterable[Key]:
    if new is None or (old is not None and old.get("status") == new.get("status")):
        return ()
    return _pods_of(new)


def _pods_of(claim: Obj) -> list[Key]:
    consumers = [c for c in reserved_for(claim) if not c.get("apiGroup") and c["resource"] == "pods"]
    return [Key(claim["metadata"]["namespace"], consumer["name"]) for consumer in consumers]


def _slice_keys(old: Obj | None, new: Obj | None, caches: Caches) -> Iterable[Key]:
    """The pods with devices of pools whose taints are others now, or that have older or newer slices."""
    if old is not None and new is not None and _told(old) == _told(new):
        return ()
    pools = {_pool_of(one) for one in (old, new) if one is not None and any(_told(one)[1].values())}
    return [key for pool in pools for claim in caches[CLAIMS].by_index(POOL, pool) for key in _pods_of(claim)]


def _told(one: Obj) -> tuple[int, dict[str, list[Obj]]]:
    return _generation(one), {device["name"]: _driving_out(device) for device in one["spec"].get("devices") or ()}
