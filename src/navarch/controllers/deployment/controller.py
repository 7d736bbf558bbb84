"""Deployments: ReplicaSets scaled so that one template gives way to the next. Source: upstream's controller/deployment."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from navarch.client.resources import DEPLOYMENTS, PODS, REPLICA_SETS
from navarch.controllers import objects
from navarch.controllers.deployment import numbers, revisions
from navarch.controllers.deployment import status as statuses
from navarch.controllers.replicaset import ORPHAN, OWNER, owner_index
from navarch.controlloop.plan import Caches, Create, Delete, Emit, Patch, Plan, Update, Watch
from navarch.machinery.errors import StatusError
from navarch.machinery.types import Key, Obj, key_of


@dataclass(frozen=True, slots=True)
class Observed:
    deployment: Obj
    sets: Sequence[Obj]
    """ReplicaSets that the Deployment controls, and orphans that it selects."""
    old_pods_of: Mapping[str, Sequence[Obj]] = field(default_factory=dict)
    """Pods by the uid of their set; looked up for the strategy Recreate only."""
    named: Obj | None = None
    """A ReplicaSet that already has the name that the next one would get."""


class DeploymentController:
    name = "deployment-controller"

    def __init__(self) -> None:
        self.watches = (
            Watch(DEPLOYMENTS, _own_key),
            Watch(REPLICA_SETS, _set_keys, {OWNER: owner_index}),
            Watch(PODS, _pod_keys, {OWNER: owner_index}),
        )

    def observe(self, key: Key, caches: Caches) -> Observed | None:
        deployment = caches[DEPLOYMENTS].get(key.namespace, key.name)
        if deployment is None:
            return None
        all_sets, pods = caches[REPLICA_SETS], caches[PODS]
        uid, selector = objects.uid_of(deployment), deployment["spec"].get("selector")
        orphans = all_sets.by_index(OWNER, ORPHAN + key.namespace)
        sets = [
            *all_sets.by_index(OWNER, uid),
            *(s for s in orphans if objects.selects(selector, objects.labels_of(s))),
        ]
        pods_of: dict[str, Sequence[Obj]] = {}
        if not numbers.is_rolling(deployment):
            pods_of = {objects.uid_of(s): pods.by_index(OWNER, objects.uid_of(s)) for s in sets}
        name = revisions.set_name(deployment, revisions.template_hash(deployment))
        return Observed(deployment, sets, pods_of, all_sets.get(key.namespace, name))

    def reconcile(self, observed: Observed, now: float) -> Plan:
        return _Round(observed, now).plan()


class _Round:
    """One decision about one Deployment. Each step adds to the plan; `_write_status` comes last."""

    def __init__(self, observed: Observed, now: float) -> None:
        self.deployment: Obj = observed.deployment
        self.observed = observed
        self.now = now
        self.made = Plan()
        self.sets = self._claim()
        self.new = revisions.find_new(self.deployment, self.sets)
        self.old = [s for s in self.sets if s is not self.new]
        was = self.deployment.get("status") or {}
        self.conditions: list[Obj] = list(was.get("conditions") or ())
        self.noted = False
        """Whether its annotations are not yet written."""

    def plan(self) -> Plan:
        spec = self.deployment["spec"]
        if self.made.actions:
            # One that is adopted may have the current template: the next round goes on with what is ours then.
            self.made.reasons.append("replica sets are adopted or released")
            return self.made
        if spec.get("selector") == {}:
            return self._selects_all()
        if objects.is_deleting(self.deployment):
            self.made.reasons.append("being deleted: its sets are left to the garbage collector")
            return self._write_status(counts_only=True)
        self.conditions = statuses.paused_conditions(self.deployment, self.conditions, self.now)
        if self._sync_revision():
            return self.made
        if spec.get("paused"):
            self.made.reasons.append("paused: scaled, but not rolled out")
            self._scale()
            self._clean_up()
            return self._write_status(counts_only=True)
        if self._is_scaling():
            self._scale()
            return self._write_status(counts_only=True)
        return self._roll() if numbers.is_rolling(self.deployment) else self._recreate()

    def _claim(self) -> list[Obj]:
        """Adopts orphans that match and releases sets that do not; returns those that remain ours."""
        deployment = self.deployment
        selector, uid = deployment["spec"].get("selector"), objects.uid_of(deployment)
        claimed: list[Obj] = []
        for replica_set in self.observed.sets:
            selected = objects.selects(selector, objects.labels_of(replica_set))
            if objects.controller_uid(replica_set) == uid:
                if selected:
                    claimed.append(replica_set)
                elif not objects.is_deleting(deployment):
                    self.made.actions.append(objects.release(REPLICA_SETS, replica_set, deployment))
            elif selected and not objects.is_deleting(deployment) and not objects.is_deleting(replica_set):
                api_version = DEPLOYMENTS.api_version
                self.made.actions.append(
                    objects.adopt(REPLICA_SETS, replica_set, deployment, api_version, "Deployment")
                )
        return claimed

    def _selects_all(self) -> Plan:
        message = "This deployment is selecting all pods. A non-empty selector is required."
        self.made.actions.append(Emit(self.deployment, "Warning", "SelectingAll", message))
        status = {
            **(self.deployment.get("status") or {}),
            "observedGeneration": self.deployment["metadata"].get("generation", 0),
        }
        self._put_status(status)
        self.made.reasons.append("the selector is empty: nothing is done")
        return self.made

    # -- revisions

    def _sync_revision(self) -> bool:
        """Brings the annotations of the new set, then the Deployment's, up to date. True where the set was written:
        the next round goes on with what came of it."""
        new = self.new
        if new is None:
            return False
        annotations = dict(objects.annotations_of(new))
        wanted = revisions.set_annotations(self.deployment, annotations, revisions.max_revision(self.old) + 1)
        seconds = self.deployment["spec"].get("minReadySeconds", 0)
        if wanted != annotations or new["spec"].get("minReadySeconds", 0) != seconds:
            change: Obj = {"metadata": {"annotations": objects.merge_diff(annotations, wanted)}}
            if new["spec"].get("minReadySeconds", 0) != seconds:
                change["spec"] = {"minReadySeconds": seconds}
            self.made.actions.append(Patch(REPLICA_SETS, key_of(new), objects.exact(new, change)))
            self.made.reasons.append(f"replica set {new['metadata']['name']} gets its revision")
            return True
        self._set_revision(annotations.get(revisions.REVISION, ""))
        progressing = objects.condition_of({"conditions": self.conditions}, "Progressing")
        if statuses.deadline_of(self.deployment) is not None and progressing is None:
            message = f'Found new replica set "{new["metadata"]["name"]}"'
            found = statuses.condition("Progressing", "True", statuses.FOUND, message, self.now)
            self.conditions = statuses.with_condition(self.conditions, found)
        return False

    def _set_revision(self, revision: str) -> None:
        if revision and objects.annotations_of(self.deployment).get(revisions.REVISION) != revision:
            meta = self.deployment["metadata"]
            annotations = {**objects.annotations_of(self.deployment), revisions.REVISION: revision}
            self.deployment = {**self.deployment, "metadata": {**meta, "annotations": annotations}}
            self.noted = True

    def _create_new(self) -> Plan:
        """Creates the set for the current template. A name that is taken by another template is a hash collision."""
        if self.observed.named is not None:
            return self._collide()
        new = revisions.new_set(self.deployment, self.old)
        name, size = new["metadata"]["name"], numbers.replicas_of(new)
        self.made.actions.append(Create(REPLICA_SETS, new))
        if size > 0:
            self._tell(f"Scaled up replica set {name} from 0 to {size}")
        self.made.on_error = self._create_failed(self.deployment, name)
        self._set_revision(new["metadata"]["annotations"][revisions.REVISION])
        self.made.reasons.append(f"no replica set has the current template: {name} is created with {size}")
        if statuses.deadline_of(self.deployment) is not None:
            message = f'Created new replica set "{name}"'
            created = statuses.condition("Progressing", "True", statuses.CREATED, message, self.now)
            self.conditions = statuses.with_condition(self.conditions, created)
        status = statuses.counts(self.deployment, self.sets, None, self.conditions, self.now)
        self._put_status(status)
        return self.made

    def _collide(self) -> Plan:
        was = self.deployment.get("status") or {}
        self._put_status({**was, "collisionCount": was.get("collisionCount", 0) + 1})
        self.made.reasons.append("the name of the next replica set is taken: its hash is made anew")
        return self.made

    def _create_failed(self, deployment: Obj, name: str) -> Callable[[Exception], Plan]:
        def failed(error: Exception) -> Plan:
            if isinstance(error, StatusError) and error.reason == "AlreadyExists":
                return Plan()
            message = f'Failed to create new replica set "{name}": {error}'
            plan = Plan([Emit(deployment, "Warning", statuses.CREATE_ERROR, message)])
            was = deployment.get("status") or {}
            if statuses.deadline_of(deployment) is not None:
                bad = statuses.condition("Progressing", "False", statuses.CREATE_ERROR, message, self.now)
                status = {**was, "conditions": statuses.with_condition(was.get("conditions") or (), bad)}
                if (write := objects.status_update(DEPLOYMENTS, deployment, status)) is not None:
                    plan.actions.append(write)
            return plan

        return failed

    # -- scaling

    def _is_scaling(self) -> bool:
        """Whether the Deployment was resized since its active sets were."""
        wanted = numbers.replicas_of(self.deployment)
        noted = [numbers.annotated(s, numbers.DESIRED) for s in numbers.active(self.sets)]
        return any(desired is not None and desired != wanted for desired in noted)

    def _scale(self) -> None:
        """To the Deployment's size: the one active set alone, or every active set in proportion."""
        sets = numbers.active(self.sets)
        if len(sets) <= 1:
            only = sets[0] if sets else self.new or max(self.old, key=numbers.by_creation, default=None)
            if only is not None:
                self._resize(only, numbers.replicas_of(self.deployment))
        elif numbers.is_saturated(self.deployment, self.new):
            for replica_set in numbers.active(self.old):
                self._resize(replica_set, 0)
        elif numbers.is_rolling(self.deployment):
            sizes = numbers.proportional(self.deployment, sets)
            for replica_set in sets:
                self._resize(replica_set, sizes[replica_set["metadata"]["name"]], force=True)

    def _resize(self, replica_set: Obj, size: int, force: bool = False) -> bool:
        """Adds the write; `force` also brings the annotations of a set that keeps its size up to date."""
        was, name = numbers.replicas_of(replica_set), replica_set["metadata"]["name"]
        wanted = revisions.replica_annotations(self.deployment)
        annotations = objects.annotations_of(replica_set)
        if was == size and not (force and any(annotations.get(k) != v for k, v in wanted.items())):
            return False
        change: Obj = {"metadata": {"annotations": wanted}}
        if was != size:
            change["spec"] = {"replicas": size}
        self.made.actions.append(Patch(REPLICA_SETS, key_of(replica_set), objects.exact(replica_set, change)))
        if was != size:
            way = "up" if was < size else "down"
            self._tell(f"Scaled {way} replica set {name} from {was} to {size}")
            self.made.reasons.append(f"replica set {name} is scaled {way} from {was} to {size}")
        return True

    def _tell(self, message: str) -> None:
        self.made.actions.append(Emit(self.deployment, "Normal", "ScalingReplicaSet", message))

    # -- rolling out

    def _roll(self) -> Plan:
        new = self.new
        if new is None:
            return self._create_new()
        wanted, size = numbers.replicas_of(self.deployment), numbers.replicas_of(new)
        target = wanted if size > wanted else numbers.new_set_replicas(self.deployment, numbers.total(self.sets), size)
        scaled = size != wanted and self._resize(new, target)
        if not scaled:
            sizes = numbers.scale_down_old(self.deployment, new, self.old)
            for replica_set in self.old:
                name = replica_set["metadata"]["name"]
                scaled = (name in sizes and self._resize(replica_set, sizes[name])) or scaled
        if not scaled:
            self._explain_wait(new)
        return self._finish(scaled)

    def _explain_wait(self, new: Obj) -> None:
        available, size = numbers.count_of(new, "availableReplicas"), numbers.replicas_of(new)
        name = new["metadata"]["name"]
        if available < numbers.replicas_of(self.deployment):
            self.made.reasons.append(f"waiting: {available} of {size} pods of replica set {name} are available")
        else:
            self.made.reasons.append(f"replica set {name} is rolled out")

    def _recreate(self) -> Plan:
        scaled = False
        for replica_set in numbers.active(self.old):
            scaled = self._resize(replica_set, 0) or scaled
        if not scaled and self._old_pods_run():
            self.made.reasons.append("waiting: pods of old replica sets still run")
            return self._finish(True)
        if not scaled:
            if self.new is None:
                return self._create_new()
            self._resize(self.new, numbers.replicas_of(self.deployment))
        return self._finish(scaled)

    def _old_pods_run(self) -> bool:
        if numbers.total_of(self.old, "replicas") > 0:
            return True
        new = objects.uid_of(self.new) if self.new is not None else ""
        return any(
            not objects.is_terminal(pod)
            for uid, pods in self.observed.old_pods_of.items()
            if uid != new
            for pod in pods
        )

    def _finish(self, scaled: bool) -> Plan:
        if not scaled and statuses.is_complete(self.deployment, self.deployment.get("status") or {}):
            self._clean_up()
        return self._write_status()

    def _clean_up(self) -> None:
        """Deletes the oldest empty sets beyond revisionHistoryLimit."""
        limit = self.deployment["spec"].get("revisionHistoryLimit")
        if limit is None or limit == numbers.MAX_INT32:
            return
        alive = sorted((s for s in self.old if not objects.is_deleting(s)), key=revisions.revision_of)
        for replica_set in alive[: max(0, len(alive) - limit)]:
            seen = numbers.count_of(replica_set, "observedGeneration")
            busy = numbers.count_of(replica_set, "replicas") or numbers.replicas_of(replica_set)
            if not busy and replica_set["metadata"].get("generation", 0) <= seen:
                name = replica_set["metadata"]["name"]
                self.made.actions.append(Delete(REPLICA_SETS, key_of(replica_set), objects.uid_of(replica_set)))
                self.made.reasons.append(f"replica set {name} is beyond the revision history limit of {limit}")

    # -- status

    def _write_status(self, counts_only: bool = False) -> Plan:
        make = statuses.counts if counts_only else statuses.rollout
        status = make(self.deployment, self.sets, self.new, self.conditions, self.now)
        self._put_status(status)
        if not counts_only:
            self.made.requeue_after = statuses.progress_check(self.deployment, status, self.now)
        return self.made

    def _put_status(self, status: Obj) -> None:
        """Annotations go with it: written with the spec they would be a generation of their own."""
        write = objects.status_update(DEPLOYMENTS, self.deployment, status)
        if write is None and self.noted:
            write = Update(DEPLOYMENTS, self.deployment, "status")
        if write is not None:
            self.made.actions.append(write)


def _own_key(old: Obj | None, new: Obj | None, caches: Caches) -> Iterable[Key]:
    return [key_of(obj) for obj in (new or old,) if obj is not None]


def _set_keys(old: Obj | None, new: Obj | None, caches: Caches) -> Iterable[Key]:
    keys = objects.owner_keys(old, new, "Deployment")
    if new is not None and objects.controller_of(new) is None and not objects.is_deleting(new):
        for deployment in caches[DEPLOYMENTS].list(new["metadata"]["namespace"]):
            if objects.selects(deployment["spec"].get("selector"), objects.labels_of(new)):
                keys.add(key_of(deployment))
    return keys


def _pod_keys(old: Obj | None, new: Obj | None, caches: Caches) -> Iterable[Key]:
    """A Recreate rollout waits for old pods to end; nothing else here looks at pods."""
    if old is None or (new is not None and not objects.is_terminal(new)):
        return ()
    keys: set[Key] = set()
    for owner in objects.owner_keys(old, None, "ReplicaSet"):
        replica_set = caches[REPLICA_SETS].get(*owner)
        for key in objects.owner_keys(replica_set, None, "Deployment") if replica_set else ():
            deployment = caches[DEPLOYMENTS].get(*key)
            if deployment is not None and not numbers.is_rolling(deployment):
                keys.add(key)
    return keys
