"""StatefulSets: pods with names and storage of their own, made, updated and removed in order.

Source of the rules: upstream's pkg/controller/statefulset. `reconcile` is one pass of its updateStatefulSet: what it plans
ends where upstream's pass would end.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from navarch.client.resources import PERSISTENT_VOLUME_CLAIMS, PODS, STATEFUL_SETS
from navarch.controllers import history, objects
from navarch.controllers.replicaset import ORPHAN, OWNER, owner_index
from navarch.controllers.statefulset import claims as claim_rules
from navarch.controllers.statefulset import pods as pod_rules
from navarch.controlloop.plan import Caches, Create, Delete, Plan, Report, Update, Watch
from navarch.machinery.types import Key, Obj, key_of

KIND = "StatefulSet"


@dataclass(frozen=True, slots=True)
class Observed:
    set: Obj
    pods: Sequence[Obj]
    """Pods that the set controls, and orphans that it selects and that are named for it."""
    revisions: Sequence[Obj]
    """The set's own, and orphans of its namespace."""
    claims: Sequence[Obj] = ()


class StatefulSetController:
    name = "statefulset-controller"

    def __init__(self) -> None:
        self.watches = (
            Watch(STATEFUL_SETS, lambda old, new, caches: [key_of(o) for o in (new or old,) if o is not None]),
            Watch(PODS, self._pod_keys, {OWNER: owner_index}),
            Watch(history.REVISIONS, _revision_keys, {OWNER: owner_index}),
            Watch(PERSISTENT_VOLUME_CLAIMS, lambda old, new, caches: ()),
        )

    def _pod_keys(self, old: Obj | None, new: Obj | None, caches: Caches) -> Iterable[Key]:
        keys = objects.owner_keys(old, new, KIND)
        if new is not None and objects.controller_of(new) is None and not objects.is_deleting(new):
            parent = pod_rules.parent_and_ordinal(new)[0]
            if parent and caches[STATEFUL_SETS].get(new["metadata"]["namespace"], parent) is not None:
                keys.add(Key(new["metadata"]["namespace"], parent))
        return keys

    def observe(self, key: Key, caches: Caches) -> Observed | None:
        found = caches[STATEFUL_SETS].get(key.namespace, key.name)
        if found is None:
            return None
        uid, selector = objects.uid_of(found), found["spec"].get("selector")
        orphans = caches[PODS].by_index(OWNER, ORPHAN + key.namespace)
        mine = [
            *caches[PODS].by_index(OWNER, uid),
            *(p for p in orphans if pod_rules.is_member(found, p) and objects.selects(selector, objects.labels_of(p))),
        ]
        known = caches[history.REVISIONS]
        revisions = [*known.by_index(OWNER, uid), *known.by_index(OWNER, ORPHAN + key.namespace)]
        templates = bool(found["spec"].get("volumeClaimTemplates"))
        return Observed(
            found, mine, revisions, list(caches[PERSISTENT_VOLUME_CLAIMS].list(key.namespace)) if templates else ()
        )

    def reconcile(self, observed: Observed, now: float) -> Plan:
        return _Pass(observed, now).run()


def _revision_keys(old: Obj | None, new: Obj | None, caches: Caches) -> Iterable[Key]:
    namespace = (new or old or {})["metadata"]["namespace"]
    return history.changed(old, new, KIND, caches[STATEFUL_SETS].list(namespace))


@dataclass(slots=True)
class _Pass:
    """One pass over a set: it adds to the plan until something must be waited for."""

    observed: Observed
    now: float
    plan: Plan = field(default_factory=Plan)
    revisions: Sequence[Obj] = ()
    """The set's, oldest first."""
    replicas: list[Obj | None] = field(default_factory=list["Obj | None"])
    condemned: list[Obj] = field(default_factory=list[Obj])
    deleted_for_update: int = 0

    @property
    def set(self) -> Obj:
        return self.observed.set

    @property
    def min_ready(self) -> int:
        return int(self.set["spec"].get("minReadySeconds", 0))

    def run(self) -> Plan:
        old_status = self.set.get("status") or {}
        collisions = old_status.get("collisionCount", 0) or 0
        claimed = history.claim(self.set, KIND, self.observed.revisions)
        self.revisions = claimed.mine
        looked = history.look(self.set, KIND, self.revisions, collisions)
        self.plan.actions.extend([*claimed.actions, *looked.actions])
        update = looked.current
        current = next(
            (r for r in self.revisions if r["metadata"]["name"] == old_status.get("currentRevision")), update
        )
        self.claim()
        self.sort()
        if objects.is_deleting(self.set):
            self.plan.reasons.append("being deleted: its pods are left to the garbage collector")
        else:
            self.steps(current, update)
        self.write_status(current, update, looked.collisions)
        limit = int(self.set["spec"].get("revisionHistoryLimit", 10))
        live = [pod_rules.revision_of(pod) for pod in self.members()]
        live += [current["metadata"]["name"], update["metadata"]["name"]]
        self.plan.actions.extend(history.truncated(self.revisions, live, limit))
        self.plan.requeue_after = pod_rules.next_available(self.replicas, self.min_ready, self.now)
        return self.plan

    # -- whose pods

    def claim(self) -> None:
        """Adopts and releases."""
        selector, uid = self.set["spec"].get("selector"), objects.uid_of(self.set)
        dying = objects.is_deleting(self.set)
        for pod in self.observed.pods:
            fits = objects.selects(selector, objects.labels_of(pod)) and pod_rules.is_member(self.set, pod)
            if objects.controller_uid(pod) == uid:
                if not fits and not dying:
                    self.plan.actions.append(objects.release(PODS, pod, self.set))
            elif fits and not dying and not objects.is_deleting(pod):
                self.plan.actions.append(objects.adopt(PODS, pod, self.set, "apps/v1", KIND))

    def members(self) -> list[Obj]:
        selector = self.set["spec"].get("selector")
        return [
            pod
            for pod in self.observed.pods
            if pod_rules.is_member(self.set, pod) and objects.selects(selector, objects.labels_of(pod))
        ]

    def sort(self) -> None:
        """By ordinal into those that are wanted and those that are not (highest first)."""
        first, count = pod_rules.start_of(self.set), pod_rules.replicas_of(self.set)
        self.replicas = [None] * count
        for pod in self.members():
            ordinal = pod_rules.ordinal_of(pod)
            if first <= ordinal < first + count:
                self.replicas[ordinal - first] = pod
            elif ordinal >= 0:
                self.condemned.append(pod)
        self.condemned.sort(key=pod_rules.ordinal_of, reverse=True)

    # -- the steps

    def steps(self, current: Obj, update: Obj) -> None:
        monotonic = self.set["spec"].get("podManagementPolicy", "OrderedReady") != "Parallel"
        self.plan.parallel = not monotonic
        for index in range(len(self.replicas)):
            if self.replica(index, current, update, monotonic) and monotonic:
                return
        if self.scale_down(monotonic):
            return
        if self.set["spec"].get("updateStrategy", {}).get("type") != "OnDelete":
            self.roll(update["metadata"]["name"])

    def replica(self, index: int, current: Obj, update: Obj, monotonic: bool) -> bool:
        """One wanted pod; True where an ordered set has to wait for it."""
        pod = self.replicas[index]
        ordinal = pod_rules.start_of(self.set) + index
        existing = claim_rules.by_name(self.observed.claims)
        if pod is None:
            return self.create(ordinal, current, update, existing)
        name = pod["metadata"]["name"]
        if objects.is_terminal(pod):
            if not objects.is_deleting(pod):
                self.delete(pod, f"pod {name} has ended and is made anew")
            return True
        if objects.phase_of(pod) in ("", "Pending"):
            self.plan.actions.extend(claim_rules.missing(self.set, pod, existing))
        if monotonic:
            if objects.is_deleting(pod):
                self.plan.reasons.append(f"waiting for pod {name} to terminate")
                return True
            if not pod_rules.is_available(pod, self.min_ready, self.now):
                self.plan.reasons.append(f"waiting for pod {name} to be running and available")
                return True
        self.plan.actions.extend(claim_rules.owners(self.set, pod, existing))
        if not (pod_rules.identity_matches(self.set, pod) and pod_rules.storage_matches(self.set, pod)):
            self.plan.actions.append(Update(PODS, pod_rules.with_identity(self.set, pod, ordinal)))
        return False

    def create(self, ordinal: int, current: Obj, update: Obj, existing: dict[str, Obj]) -> bool:
        chosen = current if self.wants_current(ordinal) else update
        pod = pod_rules.new_pod(history.restored(self.set, chosen), chosen["metadata"]["name"], ordinal)
        name = pod["metadata"]["name"]
        if claim_rules.stale(self.set, pod, existing):
            self.plan.reasons.append(f"waiting for the claims of an earlier pod {name} to go")
            return True
        self.plan.actions.extend(claim_rules.missing(self.set, pod, existing))
        set_name = self.set["metadata"]["name"]
        report = Report(
            self.set,
            ("SuccessfulCreate", f"Create Pod {name} in StatefulSet {set_name} successful"),
            ("FailedCreate", f"Create Pod {name} in StatefulSet {set_name} failed error: {{error}}"),
        )
        self.plan.actions.append(Create(PODS, pod, exists_ok=True, report=report))
        self.plan.reasons.append(f"pod {name} is missing")
        return True

    def wants_current(self, ordinal: int) -> bool:
        """Whether a new pod gets the template from before the update that is under way."""
        strategy, first = self.set["spec"].get("updateStrategy") or {}, pod_rules.start_of(self.set)
        if strategy.get("type", "RollingUpdate") != "RollingUpdate":
            return False
        rolling = strategy.get("rollingUpdate")
        if rolling is None:
            return ordinal < first + int((self.set.get("status") or {}).get("currentReplicas", 0))
        return ordinal < first + int(rolling.get("partition") or 0)

    def scale_down(self, monotonic: bool) -> bool:
        """Removes the pods beyond the wanted number; True where the pass ends here."""
        existing = claim_rules.by_name(self.observed.claims)
        for pod in self.condemned:
            self.plan.actions.extend(claim_rules.owners(self.set, pod, existing))
        first_unhealthy = self.first_unhealthy()
        for pod in self.condemned:
            name = pod["metadata"]["name"]
            if objects.is_deleting(pod):
                if monotonic:
                    self.plan.reasons.append(f"waiting for pod {name} to terminate before scaling down further")
                    return True
                continue
            healthy = pod_rules.is_available(pod, self.min_ready, self.now)
            if monotonic and not healthy and pod is not first_unhealthy:
                self.plan.reasons.append(f"waiting for an unhealthy pod before scaling down {name}")
                return True
            self.delete(pod, f"pod {name} is beyond the wanted number")
            if monotonic:
                return True
        return monotonic and bool(self.condemned)

    def first_unhealthy(self) -> Obj | None:
        for pod in self.replicas:
            if pod_rules.is_unavailable(pod, self.min_ready, self.now):
                return pod
        unhealthy = [p for p in self.condemned if pod_rules.is_unavailable(p, self.min_ready, self.now)]
        return unhealthy[-1] if unhealthy else None

    def roll(self, update: str) -> None:
        """Replaces the highest pod that has not the new template, one at a time, down to the partition."""
        rolling = (self.set["spec"].get("updateStrategy") or {}).get("rollingUpdate") or {}
        lowest = int(rolling.get("partition") or 0)
        for index in range(len(self.replicas) - 1, lowest - 1, -1):
            pod = self.replicas[index]
            if pod is None:
                return
            if pod_rules.revision_of(pod) != update and not objects.is_deleting(pod):
                self.delete(pod, f"pod {pod['metadata']['name']} has not the newest template")
                self.deleted_for_update = 1
                return
            if pod_rules.is_unavailable(pod, self.min_ready, self.now):
                self.plan.reasons.append(f"waiting for pod {pod['metadata']['name']} before updating the next")
                return
        self.plan.reasons.append("all pods are as they should be")

    def delete(self, pod: Obj, why: str) -> None:
        name, set_name = pod["metadata"]["name"], self.set["metadata"]["name"]
        report = Report(
            self.set,
            ("SuccessfulDelete", f"Delete Pod {name} in StatefulSet {set_name} successful"),
            ("FailedDelete", f"Delete Pod {name} in StatefulSet {set_name} failed error: {{error}}"),
        )
        self.plan.actions.append(Delete(PODS, key_of(pod), objects.uid_of(pod), report=report))
        self.plan.reasons.append(why)

    # -- status

    def write_status(self, current: Obj, update: Obj, collisions: int) -> None:
        status = status_of(self, current["metadata"]["name"], update["metadata"]["name"])
        status["collisionCount"] = collisions
        complete_update(self.set, status)
        if (write := objects.status_update(STATEFUL_SETS, self.set, status)) is not None:
            self.plan.actions.append(write)
            self.plan.on_error = lambda error: Plan([write])


def status_of(seen: _Pass, current: str, update: str) -> Obj:
    """The status from the pods as they were seen, less what this pass takes away."""
    pods = [pod for pod in (*seen.replicas, *seen.condemned) if pod is not None]
    living = [pod for pod in pods if not objects.is_deleting(pod)]
    on_current = sum(pod_rules.revision_of(pod) == current for pod in living) - seen.deleted_for_update
    counts = {
        "readyReplicas": sum(map(pod_rules.is_running_and_ready, pods)),
        "currentReplicas": max(on_current, 0),
        "updatedReplicas": sum(pod_rules.revision_of(pod) == update for pod in living),
    }
    status: Obj = {
        "observedGeneration": seen.set["metadata"].get("generation", 0),
        "replicas": len(pods),
        **{name: count for name, count in counts.items() if count},
        "availableReplicas": sum(pod_rules.is_available(pod, seen.min_ready, seen.now) for pod in pods),
        "currentRevision": current,
        "updateRevision": update,
    }
    if kept := (seen.set.get("status") or {}).get("conditions"):
        status["conditions"] = kept
    return status


def complete_update(stateful_set: Obj, status: Obj) -> None:
    """Once every pod has the new template and is ready, it is the current one."""
    spec, count = stateful_set["spec"], status["replicas"]
    if (spec.get("updateStrategy") or {}).get("type", "RollingUpdate") != "RollingUpdate":
        return
    if status.get("updatedReplicas", 0) == count and status.get("readyReplicas", 0) == count:
        status["currentRevision"] = status["updateRevision"]
        status.pop("currentReplicas", None)
        if count:
            status["currentReplicas"] = status["updatedReplicas"]
