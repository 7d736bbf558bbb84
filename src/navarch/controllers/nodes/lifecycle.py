"""Node health: conditions turn Unknown when a kubelet falls silent; taints say so. Source: upstream's nodelifecycle."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from navarch.client.resources import LEASES, NODES, PODS
from navarch.controllers import objects
from navarch.controllers.endpoints.backends import POD_NODE, pod_node
from navarch.controllers.nodes.zones import Zones
from navarch.controlloop.plan import Caches, Emit, Patch, Plan, Watch
from navarch.machinery.clock import World, rfc3339
from navarch.machinery.types import Key, Obj, key_of

LEASE_NAMESPACE = "kube-node-lease"
GRACE_SECONDS = 50.0
"""How long a kubelet may be silent (upstream's node-monitor-grace-period since 1.32)."""
STARTUP_SECONDS = 60.0
"""The same for one that never spoke."""
WATCHED = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")
NOT_READY, UNREACHABLE = "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
CONDITION_TAINTS = {
    ("Ready", "False"): NOT_READY,
    ("Ready", "Unknown"): UNREACHABLE,
    ("MemoryPressure", "True"): "node.kubernetes.io/memory-pressure",
    ("DiskPressure", "True"): "node.kubernetes.io/disk-pressure",
    ("PIDPressure", "True"): "node.kubernetes.io/pid-pressure",
    ("NetworkUnavailable", "True"): "node.kubernetes.io/network-unavailable",
}
OURS_NO_SCHEDULE = {*CONDITION_TAINTS.values(), UNSCHEDULABLE}
OURS_NO_EXECUTE = {NOT_READY, UNREACHABLE}
BETA_OS, OS = "beta.kubernetes.io/os", "kubernetes.io/os"
BETA_ARCH, ARCH = "beta.kubernetes.io/arch", "kubernetes.io/arch"


@dataclass(frozen=True, slots=True)
class Observed:
    node: Obj
    heard_at: float
    """When this process last saw a sign of life: the kubelet's clock is not trusted."""
    any_ready: bool
    """Whether any node of the cluster is ready. Where none is, the fault is likely ours, and nobody is evicted."""
    pods: Sequence[Obj] = ()
    turn: float = 0.0
    """When the pods of a node that is not ready may be evicted."""
    event: Literal["", "Registered", "Removed"] = ""
    """What this process has just learnt of the node."""


class NodeLifecycleController:
    name = "node-lifecycle-controller"
    event_source = "node-controller"

    def __init__(self, world: World) -> None:
        self._world = world
        self._heard: dict[str, tuple[str, float]] = {}
        self._zones = Zones()
        self._known: dict[str, Obj] = {}
        """The nodes that events have told of, by name."""
        self.watches = (
            Watch(NODES, self._node_keys),
            Watch(LEASES, self._lease_keys),
            Watch(PODS, _no_keys, {POD_NODE: pod_node}),
        )

    def _node_keys(self, old: Obj | None, new: Obj | None, caches: Caches) -> Iterable[Key]:
        node = new or old
        if node is None:
            return ()
        name, any_ready = node["metadata"]["name"], self._zones.any_ready
        turned = self._zones.forget(name) if new is None else self._zones.note(new, _is_ready(new))
        self._note(name, new)
        keys = {key_of(node), *(Key("", other) for other in turned)}
        if any_ready != self._zones.any_ready:
            if not any_ready:
                self._all_heard()
            keys.update(key_of(other) for other in caches[NODES].list())
        return keys

    def _all_heard(self) -> None:
        """Where nobody was heard of, it was us who did not hear: every node gets its time anew."""
        now = self._world.now()
        self._heard = {name: (mark, now) for name, (mark, _) in self._heard.items()}

    def _note(self, name: str, node: Obj | None) -> None:
        """Notes a sign of life."""
        if node is None:
            self._heard.pop(name, None)
            self._heard.pop("lease " + name, None)
        else:
            self._hear(name, _heartbeat(node))

    def _lease_keys(self, old: Obj | None, new: Obj | None, caches: Caches) -> Iterable[Key]:
        """Renewals are noted and wake nobody: the key's timer finds out."""
        if new is not None and new["metadata"].get("namespace") == LEASE_NAMESPACE:
            self._hear(new["metadata"]["name"], (new.get("spec") or {}).get("renewTime", ""), "lease ")
        return ()

    def _hear(self, name: str, mark: str, source: str = "") -> None:
        last = self._heard.get(source + name)
        if last is None or last[0] != mark:
            self._heard[source + name] = (mark, self._world.now())

    def observe(self, key: Key, caches: Caches) -> Observed | None:
        node, known = caches[NODES].get("", key.name), self._known.get(key.name)
        if node is None:
            gone = self._known.pop(key.name, None)
            return Observed(gone, 0.0, True, event="Removed") if gone is not None else None
        fresh = known is None or objects.uid_of(known) != objects.uid_of(node)
        self._known[key.name] = node
        marks = [self._heard[name] for name in (key.name, "lease " + key.name) if name in self._heard]
        ready = objects.condition_of(node.get("status") or {}, "Ready")
        heard = max((at for _, at in marks), default=objects.created_at(node))
        if ready is None and "lease " + key.name not in self._heard:
            heard = objects.created_at(node)
        pods, turn = (), 0.0
        if not _is_ready(node):
            pods = caches[PODS].by_index(POD_NODE, key.name)
            turn = self._zones.turn(key.name, self._world.now())
        return Observed(node, heard, self._zones.any_ready, pods, turn, "Registered" if fresh else "")

    def reconcile(self, observed: Observed, now: float) -> Plan:
        node, plan = observed.node, Plan()
        if observed.event:
            plan.actions.append(_told(node, observed.event))
        if observed.event == "Removed":
            return plan
        status = node.get("status") or {}
        never = objects.condition_of(status, "Ready") is None
        silent_for, grace = now - observed.heard_at, STARTUP_SECONDS if never else GRACE_SECONDS
        if silent_for > grace:
            changed = {**status, "conditions": unknown_conditions(node, now)}
            if (write := objects.status_update(NODES, node, changed)) is not None:
                plan.actions.append(write)
            status = changed
            plan.reasons.append(f"the kubelet has been silent for {silent_for:.0f} s")
        else:
            plan.requeue_after = grace - silent_for + 0.01
        self._set_taints(observed, status, now, plan)
        self._set_labels(node, plan)
        ready = objects.condition_of(status, "Ready")
        if ready is not None and ready["status"] != "True":
            if ready["status"] == "Unknown":  # a kubelet that speaks tells of its pods itself
                plan.actions.extend(_pods_not_ready(observed.pods, now))
            was = objects.condition_of(node.get("status") or {}, "Ready")
            if was is not None and was["status"] == "True":
                message = f"Node {node['metadata']['name']} status is now: NodeNotReady"
                plan.actions.append(Emit(node, "Normal", "NodeNotReady", message))
        return plan

    @staticmethod
    def _set_labels(node: Obj, plan: Plan) -> None:
        """The labels of old names follow the ones of today."""
        labels = objects.labels_of(node)
        change = {
            beta: labels[stable]
            for beta, stable in ((BETA_OS, OS), (BETA_ARCH, ARCH))
            if stable in labels and labels.get(beta) != labels[stable]
        }
        if change:
            plan.actions.append(
                Patch(NODES, key_of(node), {"metadata": {"labels": change, "uid": objects.uid_of(node)}})
            )

    @staticmethod
    def _set_taints(observed: Observed, status: Obj, now: float, plan: Plan) -> None:
        node, wait = observed.node, observed.turn - now
        was = list((node.get("spec") or {}).get("taints") or ())
        may_evict = observed.any_ready and (wait <= 0 or any(_evicts(taint) for taint in was))
        taints = wanted_taints(node, status, may_evict, now)
        if taints != was:
            change = objects.exact(node, {"spec": {"taints": taints or None}})
            plan.actions.append(Patch(NODES, key_of(node), change))
            plan.reasons.append("taints: " + (", ".join(f"{t['key']}:{t['effect']}" for t in taints) or "none"))
        if observed.any_ready and not may_evict:
            plan.reasons.append("its pods are not evicted yet: other nodes of its zone are lost, too")
            if math.isfinite(wait):
                plan.requeue_after = min(wait, plan.requeue_after or wait)


def _evicts(taint: Obj) -> bool:
    return taint["effect"] == "NoExecute" and taint["key"] in OURS_NO_EXECUTE


def _told(node: Obj, event: str) -> Emit:
    name = node["metadata"]["name"]
    if event == "Removed":
        return Emit(node, "Normal", "RemovingNode", f"Node {name} event: Removing Node {name} from Controller")
    return Emit(node, "Normal", "RegisteredNode", f"Node {name} event: Registered Node {name} in Controller")


def _no_keys(old: Obj | None, new: Obj | None, caches: Caches) -> Iterable[Key]:
    return ()


def _is_ready(node: Obj) -> bool:
    condition = objects.condition_of(node.get("status") or {}, "Ready")
    return condition is not None and condition["status"] == "True"


def _heartbeat(node: Obj) -> str:
    condition = objects.condition_of(node.get("status") or {}, "Ready") or {}
    return condition.get("lastHeartbeatTime", "")


def unknown_conditions(node: Obj, now: float) -> list[Obj]:
    """The node's conditions once nobody knows better."""
    conditions: list[Obj] = list((node.get("status") or {}).get("conditions") or ())
    stamp = rfc3339(now)
    for kind in WATCHED:
        current = objects.condition_of({"conditions": conditions}, kind)
        if current is None:
            conditions.append(
                {
                    "type": kind,
                    "status": "Unknown",
                    "reason": "NodeStatusNeverUpdated",
                    "message": "Kubelet never posted node status.",
                    "lastHeartbeatTime": node["metadata"].get("creationTimestamp", stamp),
                    "lastTransitionTime": stamp,
                }
            )
        elif current["status"] != "Unknown":
            unknown = {
                **current,
                "status": "Unknown",
                "reason": "NodeStatusUnknown",
                "message": "Kubelet stopped posting node status.",
                "lastTransitionTime": stamp,
            }
            conditions[conditions.index(current)] = unknown
    return conditions


def wanted_taints(node: Obj, status: Obj, may_evict: bool, now: float) -> list[Obj]:
    """The node's taints: ours follow its conditions, all others stay. Those that stay keep their place and time."""
    spec = node.get("spec") or {}
    schedule = {
        CONDITION_TAINTS[mark]
        for condition in status.get("conditions") or ()
        if (mark := (condition["type"], condition["status"])) in CONDITION_TAINTS
    }
    execute = schedule & OURS_NO_EXECUTE if may_evict else set[str]()
    if spec.get("unschedulable"):
        schedule.add(UNSCHEDULABLE)
    wanted = {(key, "NoSchedule") for key in schedule} | {(key, "NoExecute") for key in execute}
    taints: list[Obj] = []
    for taint in spec.get("taints") or ():
        mark = (taint["key"], taint["effect"])
        ours = OURS_NO_SCHEDULE if taint["effect"] == "NoSchedule" else OURS_NO_EXECUTE
        if mark in wanted or taint["effect"] == "PreferNoSchedule" or taint["key"] not in ours:
            taints.append(taint)
            wanted.discard(mark)
    stamp = rfc3339(now)
    return taints + [{"key": key, "effect": effect, "timeAdded": stamp} for key, effect in sorted(wanted)]


def _pods_not_ready(pods: Iterable[Obj], now: float) -> Iterable[Patch | Emit]:
    """Pods of a node that is not ready are not ready either, so that services leave them."""
    for pod in pods:
        condition = objects.ready_condition(pod)
        if condition is None or condition["status"] != "True":
            continue
        changed = {"type": "Ready", "status": "False", "lastTransitionTime": rfc3339(now)}
        patch = {"metadata": {"uid": objects.uid_of(pod)}, "status": {"conditions": [changed]}}
        yield Patch(PODS, key_of(pod), patch, "strategic", "status")
        yield Emit(pod, "Warning", "NodeNotReady", "Node is not ready")
