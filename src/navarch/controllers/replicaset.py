"""ReplicaSets and ReplicationControllers: as many pods as asked for, no more and no fewer.

Source of the rules: upstream's pkg/controller/replicaset. Expectations are not needed: the control loop never lets a
key be observed on a cache that is older than the key's own writes.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cmp_to_key

from navarch.client.interface import Resource
from navarch.client.resources import PODS, REPLICA_SETS, REPLICATION_CONTROLLERS
from navarch.controllers import objects
from navarch.controlloop.plan import Action, Caches, Create, Delete, Plan, Report, Watch
from navarch.machinery import trees
from navarch.machinery.clock import rfc3339
from navarch.machinery.types import Key, Obj, key_of

BURST = 500
"""Pods made or deleted in one round."""
PHASE_ORDER = {"Pending": 0, "Unknown": 1, "Running": 2}
DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
OWNER = "controller-uid"
"""Index of pods and sets: the uid of the controller; ORPHAN + namespace where there is none."""
ORPHAN = "orphan/"


def owner_index(obj: Obj) -> Iterable[str]:
    return (objects.controller_uid(obj) or ORPHAN + obj["metadata"].get("namespace", ""),)


@dataclass(frozen=True, slots=True)
class Flavour:
    """What a ReplicaSet and a ReplicationController differ in."""

    name: str
    resource: Resource
    kind: str


REPLICA_SET = Flavour("replicaset-controller", REPLICA_SETS, "ReplicaSet")
REPLICATION_CONTROLLER = Flavour("replication-controller", REPLICATION_CONTROLLERS, "ReplicationController")


@dataclass(frozen=True, slots=True)
class Observed:
    set: Obj
    pods: Sequence[Obj]
    """Pods that the set controls, and orphans of its namespace that it selects."""
    related: Sequence[Obj] = ()
    """Pods of all sets with the same owner (the old and new sets of a Deployment): they spread together."""


def selector_of(replica_set: Obj) -> Obj | None:
    selector = replica_set["spec"].get("selector")
    if replica_set.get("kind") == "ReplicationController":
        return {"matchLabels": selector} if selector else None
    return selector


class ReplicaSetController:
    """Both kinds, by flavour."""

    def __init__(self, flavour: Flavour = REPLICA_SET) -> None:
        self.name = flavour.name
        self._flavour = flavour
        self.watches = (
            Watch(flavour.resource, self._set_keys, {OWNER: owner_index}),
            Watch(PODS, self._pod_keys, {OWNER: owner_index}),
        )

    def _set_keys(self, old: Obj | None, new: Obj | None, caches: Caches) -> Iterable[Key]:
        return [key_of(obj) for obj in (new or old,) if obj is not None]

    def _pod_keys(self, old: Obj | None, new: Obj | None, caches: Caches) -> Iterable[Key]:
        keys = objects.owner_keys(old, new, self._flavour.kind)
        if new is not None and objects.controller_of(new) is None and _may_be_wanted(old, new):
            sets = caches[self._flavour.resource].list(new["metadata"]["namespace"])
            keys.update(key_of(s) for s in sets if objects.selects(selector_of(s), objects.labels_of(new)))
        return keys

    def observe(self, key: Key, caches: Caches) -> Observed | None:
        sets, pods = caches[self._flavour.resource], caches[PODS]
        replica_set = sets.get(key.namespace, key.name)
        if replica_set is None:
            return None
        selector = selector_of(replica_set)
        orphans = pods.by_index(OWNER, ORPHAN + key.namespace)
        mine = [
            *pods.by_index(OWNER, objects.uid_of(replica_set)),
            *(pod for pod in orphans if objects.selects(selector, objects.labels_of(pod))),
        ]
        owner = objects.controller_uid(replica_set)
        siblings = sets.by_index(OWNER, owner) if owner else (replica_set,)
        related = [pod for s in siblings for pod in pods.by_index(OWNER, objects.uid_of(s))]
        return Observed(replica_set, mine, related)

    def reconcile(self, observed: Observed, now: float) -> Plan:
        replica_set = observed.set
        plan = Plan(parallel=True, gather=objects.gathering(len(observed.pods)))
        active = claim(self._flavour, observed, plan)
        if not objects.is_deleting(replica_set):
            plan.actions.extend(manage(self._flavour, observed, active, now, plan.reasons))
        else:
            plan.reasons.append("being deleted: its pods are left to the garbage collector")
        wanted = int(replica_set["spec"].get("replicas", 1))
        status = status_of(replica_set, active, len(terminating(observed)), now)
        managed = any(isinstance(action, Create | Delete) for action in plan.actions)
        if managed:
            # The caches will show these pods before the next round, which then writes the status once.
            def failed(error: Exception) -> Plan:
                return self._failure(replica_set, status, len(active) - wanted, str(error), now)

            plan.on_error = failed
        elif (write := objects.status_update(self._flavour.resource, replica_set, status)) is not None:
            plan.actions.append(write)
        plan.requeue_after = next_check(active, int(replica_set["spec"].get("minReadySeconds", 0)), now)
        return plan

    def _failure(self, replica_set: Obj, status: Obj, difference: int, message: str, now: float) -> Plan:
        if objects.condition_of(status, "ReplicaFailure") is None:
            condition = {
                "type": "ReplicaFailure",
                "status": "True",
                "lastTransitionTime": rfc3339(now),
                "reason": "FailedCreate" if difference < 0 else "FailedDelete",
                "message": message,
            }
            status = {**status, "conditions": [*status.get("conditions", ()), condition]}
        kept = (replica_set.get("status") or {}).get("conditions")
        if kept and objects.condition_of({"conditions": kept}, "ReplicaFailure") is not None:
            status = {**status, "conditions": kept}
        write = objects.status_update(self._flavour.resource, replica_set, status)
        return Plan([write] if write is not None else [])


def _may_be_wanted(old: Obj | None, new: Obj) -> bool:
    """An orphan is of interest when it appears, and when its labels or its controller have changed."""
    if objects.is_deleting(new):
        return False
    return old is None or objects.labels_of(old) != objects.labels_of(new) or objects.controller_of(old) is not None


def terminating(observed: Observed) -> list[Obj]:
    """The set's pods that are being deleted and have not ended."""
    uid, selector = objects.uid_of(observed.set), selector_of(observed.set)
    return [
        pod
        for pod in observed.pods
        if objects.is_deleting(pod)
        and not objects.is_terminal(pod)
        and objects.controller_uid(pod) == uid
        and objects.selects(selector, objects.labels_of(pod))
    ]


def claim(flavour: Flavour, observed: Observed, plan: Plan) -> list[Obj]:
    """The active pods that are the set's after adoption and release, which go into the plan."""
    replica_set, selector = observed.set, selector_of(observed.set)
    uid, dying = objects.uid_of(replica_set), objects.is_deleting(replica_set)
    claimed: list[Obj] = []
    for pod in observed.pods:
        if not objects.is_active(pod):
            continue
        selected = objects.selects(selector, objects.labels_of(pod))
        if objects.controller_uid(pod) == uid:
            if selected:
                claimed.append(pod)
            elif not dying:
                plan.actions.append(objects.release(PODS, pod, replica_set))
                plan.reasons.append(f"pod {pod['metadata']['name']} is released: the selector no longer matches it")
        elif selected and not dying:
            api_version = flavour.resource.api_version
            plan.actions.append(objects.adopt(PODS, pod, replica_set, api_version, flavour.kind))
            plan.reasons.append(f"pod {pod['metadata']['name']} is adopted: it matches and has no controller")
            claimed.append(pod)
    return claimed


def manage(flavour: Flavour, observed: Observed, active: Sequence[Obj], now: float, reasons: list[str]) -> list[Action]:
    """The pods to make or to delete, at most BURST in one round."""
    wanted = int(observed.set["spec"].get("replicas", 1))
    difference = len(active) - wanted
    if difference < 0:
        reasons.append(f"{len(active)} of {wanted} pods exist: {-difference} more are needed")
        return [create_pod(flavour, observed.set) for _ in range(min(-difference, BURST))]
    if difference > 0:
        reasons.append(f"{len(active)} pods exist where {wanted} are wanted: {difference} are too many")
        chosen = pods_to_delete(active, observed.related, min(difference, BURST), now)
        return [delete_pod(observed.set, pod) for pod in chosen]
    reasons.append(f"{wanted} pods are wanted and exist")
    return []


def pod_from_template(owner: Obj, template: Obj, api_version: str, kind: str) -> Obj:
    """A pod with a generated name, controlled by `owner`."""
    meta = template.get("metadata") or {}
    made: Obj = {"generateName": owner["metadata"]["name"] + "-", "namespace": owner["metadata"].get("namespace", "")}
    for field in ("labels", "annotations"):
        if meta.get(field):
            made[field] = dict(meta[field])
    if meta.get("finalizers"):
        made["finalizers"] = list(meta["finalizers"])
    made["ownerReferences"] = [objects.controller_reference(owner, api_version, kind)]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": made, "spec": trees.copy(template.get("spec") or {})}


def create_pod(flavour: Flavour, replica_set: Obj) -> Create:
    pod = pod_from_template(
        replica_set, replica_set["spec"].get("template") or {}, flavour.resource.api_version, flavour.kind
    )
    report = Report(
        replica_set, ("SuccessfulCreate", "Created pod: {name}"), ("FailedCreate", "Error creating: {error}")
    )
    return Create(PODS, pod, report=report)


def delete_pod(replica_set: Obj, pod: Obj) -> Delete:
    report = Report(
        replica_set, ("SuccessfulDelete", "Deleted pod: {name}"), ("FailedDelete", "Error deleting: {error}")
    )
    return Delete(PODS, key_of(pod), objects.uid_of(pod), report=report)


# -- which pods go first


def pods_to_delete(active: Sequence[Obj], related: Sequence[Obj], count: int, now: float) -> Sequence[Obj]:
    """Those whose loss costs least (upstream's ActivePodsWithRanks)."""
    if count >= len(active):
        return active
    on_node = Counter(pod["spec"].get("nodeName", "") for pod in related if objects.is_active(pod))

    def compare(a: Obj, b: Obj) -> int:
        return compare_for_deletion(a, b, on_node, now)

    return sorted(active, key=cmp_to_key(compare))[:count]


def compare_for_deletion(a: Obj, b: Obj, on_node: Mapping[str, int], now: float) -> int:
    """Negative where `a` goes before `b`."""
    node_a, node_b = a["spec"].get("nodeName", ""), b["spec"].get("nodeName", "")
    if bool(node_a) != bool(node_b):
        return -1 if not node_a else 1
    ready_a, ready_b = objects.is_ready(a), objects.is_ready(b)
    keys = (
        (PHASE_ORDER.get(objects.phase_of(a), 0), PHASE_ORDER.get(objects.phase_of(b), 0)),
        (ready_a, ready_b),
        (deletion_cost(a), deletion_cost(b)),
        (-on_node.get(node_a, 0), -on_node.get(node_b, 0)),
    )
    for left, right in keys:
        if left != right:
            return -1 if left < right else 1
    if ready_a and (order := _younger(objects.ready_since(a), objects.ready_since(b), a, b, now)):
        return order
    restarts_a, restarts_b = most_restarts(a), most_restarts(b)
    if restarts_a != restarts_b:
        return -1 if restarts_a > restarts_b else 1
    return _younger(objects.created_at(a), objects.created_at(b), a, b, now)


def _younger(time_a: float, time_b: float, a: Obj, b: Obj, now: float) -> int:
    """The younger first, by powers of two of age; within one such bucket by uid (LogarithmicScaleDown)."""
    if time_a == time_b:
        return 0
    if not time_a or not time_b:
        return -1 if not time_a else 1
    rank_a, rank_b = _age_rank(now - time_a), _age_rank(now - time_b)
    if rank_a == rank_b:
        return -1 if objects.uid_of(a) < objects.uid_of(b) else 1
    return -1 if rank_a < rank_b else 1


def _age_rank(age: float) -> int:
    return int(math.log2(age * 1e9)) if age > 0 else -1


def deletion_cost(pod: Obj) -> int:
    text = objects.annotations_of(pod).get(DELETION_COST, "0")
    try:
        cost = int(text)
    except ValueError:
        return 0
    return cost if -(2**31) <= cost < 2**31 and text.removeprefix("-").isdecimal() else 0


def most_restarts(pod: Obj) -> int:
    return max((s.get("restartCount", 0) for s in pod.get("status", {}).get("containerStatuses") or ()), default=0)


# -- status


def status_of(replica_set: Obj, active: Sequence[Obj], terminating: int, now: float) -> Obj:
    """The status after a round without failure."""
    spec = replica_set["spec"]
    wanted_labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    ready = [pod for pod in active if objects.is_ready(pod)]
    minimum = int(spec.get("minReadySeconds", 0))
    counts = {
        "fullyLabeledReplicas": sum(objects.matches_labels(wanted_labels, objects.labels_of(p)) for p in active),
        "readyReplicas": len(ready),
        "availableReplicas": sum(objects.available_in(pod, minimum, now) == 0 for pod in ready),
    }
    status: Obj = {"replicas": len(active), **{name: count for name, count in counts.items() if count}}
    if replica_set.get("kind") != "ReplicationController":
        status["terminatingReplicas"] = terminating
    if generation := replica_set["metadata"].get("generation"):
        status["observedGeneration"] = generation
    conditions = (replica_set.get("status") or {}).get("conditions") or ()
    if kept := objects.without_condition(conditions, "ReplicaFailure"):
        status["conditions"] = kept
    return status


def next_check(active: Sequence[Obj], min_ready_seconds: int, now: float) -> float | None:
    """Seconds until the next ready pod becomes available."""
    if min_ready_seconds == 0:
        return None
    waits = [wait for pod in active if (wait := objects.available_in(pod, min_ready_seconds, now))]
    return min(waits) if waits else None
