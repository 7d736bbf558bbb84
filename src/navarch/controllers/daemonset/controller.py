"""DaemonSets: one pod on every node that should have one.

Source of the rules: upstream's pkg/controller/daemon.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from navarch.client.resources import DAEMON_SETS, NODES, PODS
from navarch.controllers import history, objects
from navarch.controllers.daemonset import placement, rolling
from navarch.controllers.daemonset.backoff import Failure, Failures
from navarch.controllers.endpoints.backends import POD_NODE, pod_node
from navarch.controllers.replicaset import ORPHAN, OWNER, delete_pod, owner_index
from navarch.controlloop.plan import Action, Caches, Call, Create, Delete, Emit, Patch, Plan, Report, Watch
from navarch.machinery.types import Key, Obj, key_of

KIND = "DaemonSet"
BURST = 250
"""Pods made, and pods deleted, in one round."""
COUNTS = (
    "currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady", "updatedNumberScheduled",
    "numberAvailable", "numberUnavailable",
)  # fmt: skip
ALWAYS_THERE = COUNTS[:4]
"""The others are left out where they are zero."""


@dataclass(frozen=True, slots=True)
class Observed:
    set: Obj
    nodes: Sequence[Obj]
    pods: Sequence[Obj]
    """Pods that the set controls, and orphans of its namespace that it selects."""
    revisions: Sequence[Obj]
    """The set's own, and orphans of its namespace."""
    failures: Mapping[str, Failure] = field(default_factory=dict[str, Failure])
    """The last failure on a node."""


class DaemonSetController:
    name = "daemonset-controller"

    def __init__(self) -> None:
        self._failures = Failures()
        self.watches = (
            Watch(DAEMON_SETS, lambda old, new, caches: [key_of(o) for o in (new or old,) if o is not None]),
            Watch(PODS, self._pod_keys, {OWNER: owner_index, POD_NODE: pod_node}),
            Watch(history.REVISIONS, _revision_keys, {OWNER: owner_index}),
            Watch(NODES, _node_keys),
        )

    def _pod_keys(self, old: Obj | None, new: Obj | None, caches: Caches) -> Iterable[Key]:
        keys = objects.owner_keys(old, new, KIND)
        if new is not None and objects.controller_of(new) is None and not objects.is_deleting(new):
            labels = objects.labels_of(new)
            sets = caches[DAEMON_SETS].list(new["metadata"]["namespace"])
            keys.update(key_of(s) for s in sets if objects.selects(s["spec"].get("selector"), labels))
        return keys

    def observe(self, key: Key, caches: Caches) -> Observed | None:
        found = caches[DAEMON_SETS].get(key.namespace, key.name)
        if found is None:
            return None
        uid, orphan = objects.uid_of(found), ORPHAN + key.namespace
        selector = found["spec"].get("selector")
        orphans = caches[PODS].by_index(OWNER, orphan)
        pods = [
            *caches[PODS].by_index(OWNER, uid),
            *(pod for pod in orphans if objects.selects(selector, objects.labels_of(pod))),
        ]
        revisions = caches[history.REVISIONS]
        candidates = [*revisions.by_index(OWNER, uid), *revisions.by_index(OWNER, orphan)]
        names = {placement.target_node(pod) for pod in pods if objects.phase_of(pod) == "Failed"}
        failures = {name: last for name in names if (last := self._failures.get(backoff_key(found, name))) is not None}
        return Observed(found, list(caches[NODES].list()), pods, candidates, failures)

    def reconcile(self, observed: Observed, now: float) -> Plan:
        if objects.is_deleting(observed.set):
            return Plan(reasons=["being deleted: its pods are left to the garbage collector"])
        if observed.set["spec"].get("selector") == {}:
            message = "This daemon set is selecting all pods. A non-empty selector is required."
            return Plan([Emit(observed.set, "Warning", "SelectingAll", message)], reasons=[message])
        return _Round(observed, now, self._failures).run()


def backoff_key(daemon_set: Obj, node: str) -> tuple[str, ...]:
    """A new generation starts from the beginning."""
    return objects.uid_of(daemon_set), str((daemon_set.get("status") or {}).get("observedGeneration", 0)), node


def _node_keys(old: Obj | None, new: Obj | None, caches: Caches) -> Iterable[Key]:
    """The sets that have something to do with the change of a node."""
    sets = caches[DAEMON_SETS].list()
    if new is None:
        return [key_of(s) for s in sets]
    if old is not None and objects.labels_of(old) == objects.labels_of(new) and _taints(old) == _taints(new):
        return ()
    there = {objects.controller_uid(pod) for pod in caches[PODS].by_index(POD_NODE, new["metadata"]["name"])}
    keys: list[Key] = []
    for daemon_set in sets:
        fit, runs = placement.fit_of(daemon_set), objects.uid_of(daemon_set) in there
        was, now = None if old is None else fit.on(old), fit.on(new)
        misplaced = runs and (daemon_set.get("status") or {}).get("numberMisscheduled", 0) > 0
        if runs != now[0] or misplaced or (was is not None and was != now):
            keys.append(key_of(daemon_set))
    return keys


def _taints(node: Obj) -> Sequence[Obj]:
    return (node.get("spec") or {}).get("taints") or ()


def _revision_keys(old: Obj | None, new: Obj | None, caches: Caches) -> Iterable[Key]:
    namespace = (new or old or {})["metadata"]["namespace"]
    return history.changed(old, new, KIND, caches[DAEMON_SETS].list(namespace))


@dataclass(slots=True)
class _Round:
    """One round over a set."""

    observed: Observed
    now: float
    failures: Failures
    plan: Plan = field(default_factory=lambda: Plan(parallel=True))
    delete: dict[str, Obj] = field(default_factory=dict[str, Obj])
    """What goes, by name."""
    create_on: list[str] = field(default_factory=list[str])
    waits: list[float] = field(default_factory=list[float])

    @property
    def set(self) -> Obj:
        return self.observed.set

    def run(self) -> Plan:
        revisions = history.claim(self.set, KIND, self.observed.revisions)
        old_status = self.set.get("status") or {}
        looked = history.look(self.set, KIND, revisions.mine, old_status.get("collisionCount") or 0)
        self.plan.actions.extend([*revisions.actions, *looked.actions])
        hashed = looked.current["metadata"]["labels"].get(history.POD_HASH, looked.current["metadata"]["name"])
        claimed = self.claim()
        self.unite(revisions.mine, looked.current, claimed, hashed)
        by_node = group(pod for pod in claimed if not (objects.is_terminal(pod) and objects.is_deleting(pod)))
        fit = placement.fit_of(self.set)
        fits = {node["metadata"]["name"]: fit.on(node) for node in self.observed.nodes}
        self.manage(by_node, fits, hashed)
        if not self.delete and not self.create_on and rolling.is_rolling(self.set):
            runs = {name: run for name, (run, _) in fits.items()}
            step = rolling.next_step(self.set, by_node, runs, hashed, self.now)
            self.delete = {pod["metadata"]["name"]: pod for pod in step.delete}
            self.create_on = step.create_on
        self.act(hashed)
        self.plan.actions.extend(self.obsolete(revisions.mine, looked.current, claimed))
        self.write_status(by_node, fits, hashed, looked.collisions)
        self.plan.requeue_after = min(self.waits, default=None)
        self.plan.gather = objects.gathering(len(self.observed.nodes))
        return self.plan

    # -- whose pods

    def claim(self) -> list[Obj]:
        selector, uid = self.set["spec"].get("selector"), objects.uid_of(self.set)
        claimed: list[Obj] = []
        for pod in self.observed.pods:
            fits = objects.selects(selector, objects.labels_of(pod))
            if objects.controller_uid(pod) == uid:
                if fits:
                    claimed.append(pod)
                else:
                    self.plan.actions.append(objects.release(PODS, pod, self.set))
            elif fits and not objects.is_deleting(pod):
                self.plan.actions.append(objects.adopt(PODS, pod, self.set, "apps/v1", KIND))
                claimed.append(pod)
        return claimed

    def unite(self, revisions: Sequence[Obj], current: Obj, pods: Sequence[Obj], hashed: str) -> None:
        """Of several revisions with one content the newest stays; the pods of the others become its own."""
        doubles = [r for r in revisions if r.get("data") == current["data"] and not _same(r, current)]
        names = {objects.labels_of(r).get(history.POD_HASH) for r in doubles}
        for pod in pods if doubles else ():
            if objects.labels_of(pod).get(history.POD_HASH) in names:
                meta = {"uid": objects.uid_of(pod), "labels": {history.POD_HASH: hashed}}
                self.plan.actions.append(Patch(PODS, key_of(pod), {"metadata": meta}))
        self.plan.actions.extend(Delete(history.REVISIONS, key_of(r), objects.uid_of(r)) for r in doubles)

    def obsolete(self, revisions: Sequence[Obj], current: Obj, pods: Sequence[Obj]) -> list[Action]:
        """Old revisions beyond the limit that no pod is of, the oldest first."""
        live = {objects.labels_of(pod).get(history.POD_HASH) for pod in pods}
        old = [r for r in revisions if r.get("data") != current["data"]]
        excess = max(len(old) - int(self.set["spec"].get("revisionHistoryLimit", 10)), 0)
        unused = [r for r in old if objects.labels_of(r).get(history.POD_HASH) not in live]
        return [Delete(history.REVISIONS, key_of(r), objects.uid_of(r)) for r in unused[:excess]]

    # -- a pod on every node, no more

    def manage(self, by_node: Mapping[str, list[Obj]], fits: Mapping[str, tuple[bool, bool]], hashed: str) -> None:
        surge = rolling.bounds(self.set, 1).surge > 0
        for name, (should_run, may_stay) in fits.items():
            pods = by_node.get(name)
            if pods is None:
                if should_run:
                    self.create_on.append(name)
                    self.plan.reasons.append(f"node {name} should run a pod and has none")
            elif not may_stay:
                for pod in pods:
                    self.remove(pod, f"node {name} should not run it")
            else:
                running = self.living(pods, name)
                if not surge:
                    for pod in placement.oldest_first(running)[1:]:
                        self.remove(pod, f"node {name} has another")
                elif not running and should_run:
                    self.create_on.append(name)
                else:
                    self.prune(running, hashed)
        for name, pods in by_node.items():
            for pod in pods:
                if name not in fits and not pod["spec"].get("nodeName"):
                    self.remove(pod, f"node {name} is gone before the pod got there")

    def living(self, pods: Sequence[Obj], node: str) -> list[Obj]:
        """A node's pods that go on; those that have ended are removed."""
        running: list[Obj] = []
        for pod in pods:
            phase = objects.phase_of(pod)
            if objects.is_deleting(pod):
                continue
            if phase == "Failed":
                self.failed(pod, node)
            elif phase == "Succeeded":
                text = f"Found succeeded daemon pod {key_of(pod)} on node {node}, will try to delete it"
                self.plan.actions.append(Emit(self.set, "Normal", "SucceededDaemonPod", text))
                self.remove(pod, "it has ended")
            else:
                running.append(pod)
        return running

    def failed(self, pod: Obj, node: str) -> None:
        last = self.observed.failures.get(node)
        if last is not None and (wait := last.wait(self.now)) > 0:
            self.waits.append(wait)
            self.plan.reasons.append(f"pods fail on node {node}: the next is made in {wait:.0f} s")
            return
        key, now = backoff_key(self.set, node), self.now
        self.plan.actions.append(Call(f"remember the failure on {node}", lambda: self.failures.note(key, now)))
        text = f"Found failed daemon pod {key_of(pod)} on node {node}, will try to kill it"
        self.plan.actions.append(Emit(self.set, "Warning", "FailedDaemonPod", text))
        self.remove(pod, "it has failed")

    def prune(self, running: Sequence[Obj], hashed: str) -> None:
        """With surge a node may have two: an old one that is ready, and a new one that is not yet available."""
        new: Obj | None = None
        old: Obj | None = None
        for pod in placement.oldest_first(running):
            of_new = objects.labels_of(pod).get(history.POD_HASH) == hashed
            if of_new and new is None:
                new = pod
            elif not of_new and old is None:
                old = pod
            else:
                self.remove(pod, "its node has another like it")
        if new is None or old is None:
            return
        minimum = int(self.set["spec"].get("minReadySeconds", 0))
        if not objects.is_ready(old):
            self.remove(old, "it is not ready, and its successor is there")
        elif objects.available_in(new, minimum, self.now) == 0:
            self.remove(old, "its successor is available")

    def remove(self, pod: Obj, why: str) -> None:
        if not objects.is_deleting(pod):
            self.delete[pod["metadata"]["name"]] = pod
            self.plan.reasons.append(f"pod {pod['metadata']['name']} goes: {why}")

    def act(self, hashed: str) -> None:
        report = Report(
            self.set, ("SuccessfulCreate", "Created pod: {name}"), ("FailedCreate", "Error creating: {error}")
        )
        self.plan.actions.extend(
            Create(PODS, placement.new_pod(self.set, node, hashed), report=report) for node in self.create_on[:BURST]
        )
        self.plan.actions.extend(delete_pod(self.set, pod) for pod in list(self.delete.values())[:BURST])

    # -- status

    def write_status(
        self,
        by_node: Mapping[str, Sequence[Obj]],
        fits: Mapping[str, tuple[bool, bool]],
        hashed: str,
        collisions: int,
    ) -> None:
        status = status_of(self.set, by_node, fits, hashed, self.now)
        if collisions:
            status["collisionCount"] = collisions
        write = objects.status_update(DAEMON_SETS, self.set, status)
        writes: list[Action] = [] if write is None else [write]
        if self.create_on or self.delete:
            # The caches will show these pods before the next round, which then writes the status once.
            self.plan.on_error = lambda error: Plan(writes)
        else:
            self.plan.actions.extend(writes)
        minimum = int(self.set["spec"].get("minReadySeconds", 0))
        pods = (pod for pods in by_node.values() for pod in pods)
        self.waits.extend(wait for pod in pods if (wait := objects.available_in(pod, minimum, self.now)))


def _same(a: Obj, b: Obj) -> bool:
    return a["metadata"]["name"] == b["metadata"]["name"]


def group(pods: Iterable[Obj]) -> dict[str, list[Obj]]:
    """By the node that they are on or were made for."""
    by_node: dict[str, list[Obj]] = {}
    for pod in pods:
        if name := placement.target_node(pod):
            by_node.setdefault(name, []).append(pod)
    return by_node


def status_of(
    daemon_set: Obj,
    by_node: Mapping[str, Sequence[Obj]],
    fits: Mapping[str, tuple[bool, bool]],
    hashed: str,
    now: float,
) -> Obj:
    counts = dict.fromkeys(COUNTS, 0)
    minimum = int(daemon_set["spec"].get("minReadySeconds", 0))
    for name, (should_run, _) in fits.items():
        pods = by_node.get(name)
        if not should_run:
            counts["numberMisscheduled"] += bool(pods)
            continue
        counts["desiredNumberScheduled"] += 1
        if pods:
            oldest = placement.oldest_first(pods)[0]
            counts["currentNumberScheduled"] += 1
            counts["numberReady"] += objects.is_ready(oldest)
            counts["numberAvailable"] += objects.available_in(oldest, minimum, now) == 0
            counts["updatedNumberScheduled"] += placement.is_updated(daemon_set, oldest, hashed)
    counts["numberUnavailable"] = counts["desiredNumberScheduled"] - counts["numberAvailable"]
    old = daemon_set.get("status") or {}
    kept = {name: old[name] for name in ("collisionCount", "conditions") if old.get(name) is not None}
    shown = {name: count for name, count in counts.items() if count or name in ALWAYS_THERE}
    generation = daemon_set["metadata"].get("generation")
    return {**kept, **shown, **({"observedGeneration": generation} if generation else {})}
