"""Node health: conditions turn Unknown when a kubelet falls silent; taints say so. Source: upstream's nodelifecycle."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from navarch.client.resources import LEASES, NODES, PODS
from navarch.controllers import objects
from navarch.controllers.endpoints.backends import POD_NODE, pod_node
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


class NodeLifecycleController:
    name = "node-lifecycle-controller"

    def __init__(self, world: World) -> None:
        self._world = world
        self._heard: dict[str, tuple[str, float]] = {}
        self._ready: set[str] = set()
        self.watches = (
            Watch(NODES, self._node_keys),
            Watch(LEASES, self._lease_keys),
            Watch(PODS, _no_keys, {POD_NODE: pod_node}),
        )

    def _node_keys(self, old: Obj | None, new: Obj | None, caches: Caches) -> Iterable[Key]:
        node = new or old
        if node is None:
            return ()
        name, any_ready = node["metadata"]["name"], bool(self._ready)
        (self._ready.add if new is not None and _is_ready(new) else self._ready.discard)(name)
        if any_ready != bool(self._ready):
            self._note(name, new)
            return [key_of(other) for other in caches[NODES].list()]
        return (key_of(node),) if self._note(name, new) else ()

    def _note(self, name: str, node: Obj | None) -> bool:
        """Notes a sign of life; False for a node that is gone."""
        if node is None:
            self._heard.pop(name, None)
            self._heard.pop("lease " + name, None)
            return False
        self._hear(name, _heartbeat(node))
        return True

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
        node = caches[NODES].get("", key.name)
        if node is None:
            return None
        marks = [self._heard[name] for name in (key.name, "lease " + key.name) if name in self._heard]
        ready = objects.condition_of(node.get("status") or {}, "Ready")
        heard = max((at for _, at in marks), default=objects.created_at(node))
        if ready is None and "lease " + key.name not in self._heard:
            heard = objects.created_at(node)
        pods = () if _is_ready(node) else caches[PODS].by_index(POD_NODE, key.name)
        return Observed(node, heard, bool(self._ready), pods)

    def reconcile(self, observed: Observed, now: float) -> Plan:
        node, plan = observed.node, Plan()
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
        self._set_taints(node, status, observed.any_ready, now, plan)
        self._set_labels(node, plan)
        ready = objects.condition_of(status, "Ready")
        if ready is not None and ready["status"] != "True":
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
    def _set_taints(node: Obj, status: Obj, any_ready: bool, now: float, plan: Plan) -> None:
        was = list(node["spec"].get("taints") or ()) if "spec" in node else []
        taints = wanted_taints(node, status, any_ready, now)
        if taints != was:
            change = objects.exact(node, {"spec": {"taints": taints or None}})
            plan.actions.append(Patch(NODES, key_of(node), change))
            plan.reasons.append("taints: " + (", ".join(f"{t['key']}:{t['effect']}" for t in taints) or "none"))


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


def wanted_taints(node: Obj, status: Obj, any_ready: bool, now: float) -> list[Obj]:
    """The node's taints: ours follow its conditions, all others stay. Those that stay keep their place and time."""
    spec = node.get("spec") or {}
    schedule = {
        CONDITION_TAINTS[mark]
        for condition in status.get("conditions") or ()
        if (mark := (condition["type"], condition["status"])) in CONDITION_TAINTS
    }
    execute = schedule & OURS_NO_EXECUTE if any_ready else set[str]()
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
