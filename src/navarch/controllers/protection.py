"""What is in use is not deleted before its users are: claims while pods have them, volumes while they are bound.

A finalizer guards each object; here it is given up. Source: pkg/controller/volume/pvcprotection and pvprotection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from navarch.client.interface import Resource
from navarch.client.resources import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS
from navarch.controllers import objects
from navarch.controlloop.plan import Caches, Plan, Update, Watch
from navarch.machinery.types import Key, Obj, key_of


def guard(resource: Resource, found: Obj, finalizer: str, used: bool) -> Plan:
    """Gives a living object its finalizer, and takes it from one that is being deleted and that nobody uses."""
    finalizers: list[str] = found["metadata"].get("finalizers") or []
    if objects.is_deleting(found):
        if finalizer not in finalizers or used:
            return Plan(reasons=["it is in use" if used else "it is not ours to keep"])
        kept, why = [name for name in finalizers if name != finalizer], "nobody uses it"
    elif finalizer not in finalizers:
        kept, why = [*finalizers, finalizer], "to be guarded"
    else:
        return Plan(reasons=["it is guarded"])
    made = {**found, "metadata": {**found["metadata"], "finalizers": kept}}
    return Plan([Update(resource, made)], reasons=[why])


def own_key(old: Obj | None, new: Obj | None, caches: Caches) -> Iterable[Key]:
    """The key of an object that is there."""
    return [key_of(new)] if new is not None else ()


def claims_of(pod: Obj) -> set[str]:
    """Names of the claims that a pod's volumes name, or that are made for its ephemeral volumes."""
    names: set[str] = set()
    for volume in pod["spec"].get("volumes") or ():
        if claim := volume.get("persistentVolumeClaim"):
            names.add(claim["claimName"])
        elif volume.get("ephemeral"):
            names.add(f"{pod['metadata']['name']}-{volume['name']}")
    return names


def uses(pod: Obj, claim: Obj) -> bool:
    """Whether a pod keeps a claim. One without a node does not: no kubelet starts a pod whose claim is being deleted."""
    if not pod["spec"].get("nodeName"):
        return False
    name, meta = claim["metadata"]["name"], pod["metadata"]
    shut_down = objects.is_deleting(pod) and meta.get("deletionGracePeriodSeconds") == 0
    for volume in pod["spec"].get("volumes") or ():
        if (volume.get("persistentVolumeClaim") or {}).get("claimName") == name:
            return True
        made_for = volume.get("ephemeral") and f"{meta['name']}-{volume['name']}" == name
        if made_for and not shut_down and objects.controller_uid(claim) == objects.uid_of(pod):
            return True
    return False


def claim_index(pod: Obj) -> Iterable[str]:
    return [f"{pod['metadata']['namespace']}/{name}" for name in claims_of(pod)]


@dataclass(frozen=True, slots=True)
class Observed:
    claim: Obj
    pods: Sequence[Obj]
    """Those that name it."""


class ClaimProtectionController:
    name = "persistentvolumeclaim-protection-controller"
    finalizer = "kubernetes.io/pvc-protection"

    def __init__(self) -> None:
        index: dict[str, Callable[[Obj], Iterable[str]]] = {"claim": claim_index}
        self.watches = (Watch(PERSISTENT_VOLUME_CLAIMS, own_key), Watch(PODS, _freed, index))

    def observe(self, key: Key, caches: Caches) -> Observed | None:
        found = caches[PERSISTENT_VOLUME_CLAIMS].get(key.namespace, key.name)
        if found is None:
            return None
        return Observed(found, list(caches[PODS].by_index("claim", f"{key.namespace}/{key.name}")))

    def reconcile(self, observed: Observed, now: float) -> Plan:
        used = any(uses(pod, observed.claim) for pod in observed.pods)
        return guard(PERSISTENT_VOLUME_CLAIMS, observed.claim, self.finalizer, used)


def _freed(old: Obj | None, new: Obj | None, caches: Caches) -> Iterable[Key]:
    """The claims of pods that went, and of those whose end has come so far that it may free them."""
    gone = old is not None and (new is None or objects.uid_of(new) != objects.uid_of(old))
    pods = [pod for pod in ((old if gone else None), new) if pod is not None]
    return [
        Key(pod["metadata"]["namespace"], name)
        for pod in pods
        if pod is not new or objects.is_deleting(pod)
        for name in claims_of(pod)
    ]


class VolumeProtectionController:
    name = "persistentvolume-protection-controller"
    finalizer = "kubernetes.io/pv-protection"

    def __init__(self) -> None:
        self.watches = (Watch(PERSISTENT_VOLUMES, own_key),)

    def observe(self, key: Key, caches: Caches) -> Obj | None:
        return caches[PERSISTENT_VOLUMES].get("", key.name)

    def reconcile(self, observed: Obj, now: float) -> Plan:
        bound = (observed.get("status") or {}).get("phase") == "Bound"
        return guard(PERSISTENT_VOLUMES, observed, self.finalizer, bound)
