"""PodDisruptionBudgets: how many of their pods may be evicted now. And conditions of evictions that never happened.

Source of the rules: upstream's pkg/controller/disruption.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from navarch.api.policy.disruption import DELETION_SECONDS, with_allowed
from navarch.client.interface import Client, Resource
from navarch.client.resources import (
    DEPLOYMENTS,
    DISRUPTION_BUDGETS,
    PODS,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    STATEFUL_SETS,
)
from navarch.controllers import objects
from navarch.controllers.deployment.numbers import scaled
from navarch.controllers.discovery import resource_of
from navarch.controlloop.plan import Caches, Call, Emit, Patch, Plan, Watch
from navarch.machinery import selectors
from navarch.machinery.clock import rfc3339
from navarch.machinery.errors import StatusError
from navarch.machinery.types import Key, Obj, key_of

OWNERS: Mapping[tuple[str, str], Resource] = {
    ("apps", "ReplicaSet"): REPLICA_SETS,
    ("extensions", "ReplicaSet"): REPLICA_SETS,
    ("apps", "StatefulSet"): STATEFUL_SETS,
    ("", "ReplicationController"): REPLICATION_CONTROLLERS,
}
"""Owners of pods whose scale the caches know. All others are asked through their scale subresource."""
UNMANAGED = (
    "Pods selected by this PodDisruptionBudget (selector: {selector}) were found to be unmanaged. As a result, the "
    "status of the PDB cannot be calculated correctly, which may result in undefined behavior. To account for these "
    'pods please set ".spec.minAvailable" field of the PDB to an integer value.'
)


class Scaled(NamedTuple):
    """A controller of pods, and how many it is to have."""

    uid: str
    replicas: int


@dataclass(frozen=True, slots=True)
class Observed:
    budget: Obj
    pods: Sequence[Obj]
    """Those that it selects."""
    scales: Mapping[str, Scaled]
    """What the caches know, by uid of the pods' controllers."""


class DisruptionController:
    name = "disruption-controller"
    event_source = "controllermanager"

    def __init__(self, client: Client) -> None:
        self._client = client
        owners = (DEPLOYMENTS, REPLICA_SETS, STATEFUL_SETS, REPLICATION_CONTROLLERS)
        self.watches = (
            Watch(DISRUPTION_BUDGETS, lambda old, new, caches: [key_of(new)] if new is not None else ()),
            Watch(PODS, _pod_keys),
            *(Watch(resource, lambda old, new, caches: ()) for resource in owners),
        )

    def observe(self, key: Key, caches: Caches) -> Observed | None:
        budget = caches[DISRUPTION_BUDGETS].get(key.namespace, key.name)
        if budget is None:
            return None
        selector = (budget.get("spec") or {}).get("selector")
        pods = [pod for pod in caches[PODS].list(key.namespace) if objects.selects(selector, objects.labels_of(pod))]
        references = {ref["uid"]: ref for pod in pods if (ref := objects.controller_of(pod)) is not None}
        found = {uid: known_scale(ref, key.namespace, caches) for uid, ref in references.items()}
        return Observed(budget, pods, {uid: scale for uid, scale in found.items() if scale is not None})

    def reconcile(self, observed: Observed, now: float) -> Plan:
        unknown = unknown_owners(observed)
        if not unknown:
            return decide(observed, observed.scales, now)
        names = ", ".join(f"{ref['kind']} {ref['name']}" for ref in unknown.values())
        ask = Call(f"ask for the scale of {names}", lambda: self._ask(observed, unknown, now))
        return Plan([ask], reasons=[f"its pods are those of {names}"])

    async def _ask(self, observed: Observed, unknown: Mapping[str, Obj], now: float) -> Plan:
        scales = dict(observed.scales)
        namespace = observed.budget["metadata"]["namespace"]
        for uid, reference in unknown.items():
            try:
                scale = await asked_scale(self._client, reference, namespace)
            except StatusError as error:
                return failed(observed.budget, error.message, now)
            if scale is not None:
                scales[uid] = scale
        return decide(observed, scales, now)


def known_scale(reference: Obj, namespace: str, caches: Caches) -> Scaled | None:
    """The scale of a pod's controller, or of the Deployment behind it; None where the caches do not know it."""
    resource = OWNERS.get((_group(reference), reference["kind"]))
    owner = _found(caches, resource, namespace, reference)
    if owner is None:
        return None
    behind = objects.controller_of(owner)
    if resource == REPLICA_SETS and behind is not None and behind["kind"] == "Deployment":
        of_apps = _group(behind) in ("apps", "extensions")
        owner = _found(caches, DEPLOYMENTS, namespace, behind) if of_apps else None
        if owner is None:
            return None
    return Scaled(objects.uid_of(owner), int(owner["spec"].get("replicas", 1)))


def _found(caches: Caches, resource: Resource | None, namespace: str, reference: Obj) -> Obj | None:
    owner = caches[resource].get(namespace, reference["name"]) if resource is not None else None
    return owner if owner is not None and objects.uid_of(owner) == reference["uid"] else None


def _group(reference: Obj) -> str:
    return reference["apiVersion"].rpartition("/")[0]


async def asked_scale(client: Client, reference: Obj, namespace: str) -> Scaled | None:
    """Through the owner's scale subresource; None where the owner is gone."""
    mapped = await resource_of(client, reference["apiVersion"], reference["kind"])
    if not mapped.has_scale:
        name = f"{mapped.resource.plural}.{mapped.resource.group}".rstrip(".")
        raise StatusError(404, "NotFound", f"{name} does not implement the scale subresource")
    try:
        scale = await client.get(mapped.resource, reference["name"], namespace, subresource="scale")
    except StatusError as error:
        if error.code == 404:
            return None
        raise
    if objects.uid_of(scale) != reference["uid"]:
        return None
    return Scaled(reference["uid"], int((scale.get("spec") or {}).get("replicas", 0)))


def counts_scales(budget: Obj) -> bool:
    """Whether what is expected depends on the scale of the pods' owners: not for a plain number of those that stay."""
    spec = budget.get("spec") or {}
    return spec.get("maxUnavailable") is not None or isinstance(spec.get("minAvailable"), str)


def unknown_owners(observed: Observed) -> dict[str, Obj]:
    if not counts_scales(observed.budget):
        return {}
    references = [ref for pod in observed.pods if (ref := objects.controller_of(pod)) is not None]
    return {ref["uid"]: ref for ref in references if ref["uid"] not in observed.scales}


def decide(observed: Observed, scales: Mapping[str, Scaled], now: float) -> Plan:
    """Counts, once every owner that can be known is."""
    budget, pods, plan = observed.budget, observed.pods, Plan()
    if not pods:
        plan.actions.append(Emit(budget, "Normal", "NoPods", "No matching pods found"))
    owners: dict[str, int] = {}
    if counts_scales(budget):
        for pod in pods:
            reference = objects.controller_of(pod)
            if reference is None:
                continue
            if (scale := scales.get(reference["uid"])) is None:
                return failed(budget, f'found no controllers for pod "{pod["metadata"]["name"]}"', now)
            owners[scale.uid] = scale.replicas
        if any(objects.controller_of(pod) is None for pod in pods):
            message = UNMANAGED.replace("{selector}", selectors.shown(budget["spec"].get("selector") or {}))
            plan.actions.append(Emit(budget, "Warning", "UnmanagedPods", message))
    expected, desired = wanted(budget, len(pods), sum(owners.values()))
    disrupted = still_disrupted(observed, now)
    plan.actions += _not_deleted(observed, disrupted)
    healthy = sum(
        objects.is_ready(pod) and not objects.is_deleting(pod) and pod["metadata"]["name"] not in disrupted
        for pod in pods
    )
    allowed = max(0, healthy - desired) if expected > 0 else 0
    status = status_of(budget, (allowed, healthy, desired, expected), disrupted, now)
    if (write := objects.status_update(DISRUPTION_BUDGETS, budget, status)) is not None:
        plan.actions.append(write)
    plan.reasons.append(f"{healthy} of {expected} pods are healthy, {desired} must be: {allowed} may be evicted")
    if disrupted:
        plan.requeue_after = min(map(objects.time_of, disrupted.values())) + DELETION_SECONDS - now + 0.01
    return plan


def wanted(budget: Obj, pods: int, scale: int) -> tuple[int, int]:
    """(expected, desired healthy). A plain minimum expects the pods that are there; all else what their owners want."""
    spec = budget.get("spec") or {}
    if (most := spec.get("maxUnavailable")) is not None:
        return scale, max(0, scale - scaled(most, scale, True))
    least = spec.get("minAvailable")
    if least is None:
        return 0, 0
    return (scale, scaled(least, scale, True)) if isinstance(least, str) else (pods, least)


def still_disrupted(observed: Observed, now: float) -> dict[str, str]:
    """Evicted pods that are about to be deleted: name -> when they were evicted."""
    marked: Mapping[str, str] = (observed.budget.get("status") or {}).get("disruptedPods") or {}
    names = {pod["metadata"]["name"] for pod in observed.pods if not objects.is_deleting(pod)}
    return {
        name: stamp
        for name, stamp in marked.items()
        if name in names and objects.time_of(stamp) + DELETION_SECONDS >= now
    }


def _not_deleted(observed: Observed, disrupted: Mapping[str, str]) -> Iterable[Emit]:
    meta = observed.budget["metadata"]
    marked = (observed.budget.get("status") or {}).get("disruptedPods") or {}
    message = f"Pod was expected by PDB {meta['namespace']}/{meta['name']} to be deleted but it wasn't"
    for pod in observed.pods:
        name = pod["metadata"]["name"]
        if name in marked and name not in disrupted and not objects.is_deleting(pod):
            yield Emit(pod, "Warning", "NotDeleted", message)


def status_of(budget: Obj, counts: tuple[int, int, int, int], disrupted: Mapping[str, str], now: float) -> Obj:
    """`counts`: disruptions allowed, pods that are healthy, that must be, and that are expected."""
    names = ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods")
    status: Obj = dict(zip(names, counts, strict=True))
    status["observedGeneration"] = budget["metadata"].get("generation", 0)
    if disrupted:
        status["disruptedPods"] = dict(disrupted)
    if conditions := (budget.get("status") or {}).get("conditions"):
        status["conditions"] = conditions
    return with_allowed(status, now)


def failed(budget: Obj, message: str, now: float) -> Plan:
    """Nothing can be counted: nothing may be evicted."""
    status = with_allowed({**(budget.get("status") or {}), "disruptionsAllowed": 0}, now, message)
    write = objects.status_update(DISRUPTION_BUDGETS, budget, status)
    text = f"Failed to calculate the number of expected pods: {message}"
    told = Emit(budget, "Warning", "CalculateExpectedPodCountFailed", text)
    return Plan([told, *([write] if write is not None else [])], reasons=[message])


def _pod_keys(old: Obj | None, new: Obj | None, caches: Caches) -> Iterable[Key]:
    """Budgets that select the pod, or did. Only what they count is of interest."""
    if old is not None and new is not None and _counted(old) == _counted(new):
        return ()
    namespace = (new or old or {})["metadata"]["namespace"]
    labels = [objects.labels_of(pod) for pod in (old, new) if pod is not None]
    return [
        key_of(budget)
        for budget in caches[DISRUPTION_BUDGETS].list(namespace)
        if any(objects.selects((budget.get("spec") or {}).get("selector"), found) for found in labels)
    ]


def _counted(pod: Obj) -> tuple[object, ...]:
    return objects.is_ready(pod), objects.is_deleting(pod), objects.labels_of(pod), objects.controller_uid(pod)


# -- evictions that did not happen


class StaleDisruptionController:
    """Takes back the DisruptionTarget of a pod that nobody has deleted for two minutes."""

    name = "stale-disruption-controller"

    def __init__(self) -> None:
        self.watches = (Watch(PODS, _marked_keys),)

    def observe(self, key: Key, caches: Caches) -> Obj | None:
        pod = caches[PODS].get(key.namespace, key.name)
        return pod if pod is not None and target_since(pod) is not None else None

    def reconcile(self, observed: Obj, now: float) -> Plan:
        wait = (target_since(observed) or 0.0) + DELETION_SECONDS - now
        if wait > 0:
            return Plan(requeue_after=wait, reasons=[f"about to be deleted: looked at again in {wait:.0f} s"])
        condition = {"type": "DisruptionTarget", "status": "False", "lastTransitionTime": rfc3339(now)}
        condition |= {"reason": None, "message": None, "observedGeneration": objects.generation_of(observed)}
        patch = {"metadata": {"uid": objects.uid_of(observed)}, "status": {"conditions": [condition]}}
        taken = Patch(PODS, key_of(observed), patch, "strategic", "status")
        return Plan([taken], reasons=["it was to be disrupted, and was not"])


def target_since(pod: Obj) -> float | None:
    """Since when a pod is marked that is not deleted. What its kubelet has marked may take any time."""
    if objects.is_deleting(pod) or objects.is_terminal(pod):
        return None
    condition = objects.condition_of(pod.get("status") or {}, "DisruptionTarget")
    if condition is None or condition["status"] != "True" or condition.get("reason") == "TerminationByKubelet":
        return None
    return objects.time_of(condition.get("lastTransitionTime"))


def _marked_keys(old: Obj | None, new: Obj | None, caches: Caches) -> Iterable[Key]:
    return [key_of(new)] if new is not None and target_since(new) is not None else ()
