"""Evicts pods that do not tolerate their node's NoExecute taints. Source: upstream's pkg/controller/tainteviction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from navarch.api.podspec.placement import tolerates
from navarch.client.resources import NODES, PODS
from navarch.controllers import objects
from navarch.controllers.endpoints.backends import POD_NODE, pod_node
from navarch.controlloop.plan import Caches, Delete, Emit, Patch, Plan, Watch
from navarch.machinery.clock import rfc3339
from navarch.machinery.types import Key, Obj, key_of


@dataclass(frozen=True, slots=True)
class Observed:
    pod: Obj
    taints: Sequence[Obj]
    """The NoExecute taints of its node."""


class TaintEvictionController:
    name = "taint-eviction-controller"

    def __init__(self) -> None:
        self.watches = (
            Watch(PODS, _pod_keys, {POD_NODE: pod_node}),
            Watch(NODES, _node_keys),
        )

    def observe(self, key: Key, caches: Caches) -> Observed | None:
        pod = caches[PODS].get(key.namespace, key.name)
        if pod is None or objects.is_deleting(pod):
            return None
        node = caches[NODES].get("", pod["spec"].get("nodeName", ""))
        taints = no_execute(node) if node is not None else []
        return Observed(pod, taints) if taints else None

    def reconcile(self, observed: Observed, now: float) -> Plan:
        pod = observed.pod
        stay = tolerated_for(pod, observed.taints, now)
        if stay is None:
            return Plan(reasons=["tolerates the taints of its node for ever"])
        if stay > 0:
            return Plan(requeue_after=stay, reasons=[f"tolerates the taints of its node for {stay:.0f} s more"])
        key = key_of(pod)
        condition = {
            "type": "DisruptionTarget",
            "observedGeneration": objects.generation_of(pod),
            "status": "True",
            "reason": "DeletionByTaintManager",
            "message": "Taint manager: deleting due to NoExecute taint",
            "lastTransitionTime": rfc3339(now),
        }
        patch = {"metadata": {"uid": objects.uid_of(pod)}, "status": {"conditions": [condition]}}
        return Plan(
            [
                Emit(pod, "Normal", "TaintManagerEviction", f"Marking for deletion Pod {key}"),
                Patch(PODS, key, patch, "strategic", "status"),
                Delete(PODS, key, objects.uid_of(pod)),
            ],
            reasons=["does not tolerate the taints of its node"],
        )


def no_execute(node: Obj) -> list[Obj]:
    return [taint for taint in (node.get("spec") or {}).get("taints") or () if taint["effect"] == "NoExecute"]


def tolerated_for(pod: Obj, taints: Sequence[Obj], now: float) -> float | None:
    """Seconds that the pod may stay; 0: none, None: for ever. Each taint is tolerated from its own time on, as long as
    the first toleration that fits says."""
    stays: list[float] = []
    for taint in taints:
        fitting = next((t for t in pod["spec"].get("tolerations") or () if tolerates(t, taint)), None)
        if fitting is None:
            return 0.0
        if (seconds := fitting.get("tolerationSeconds")) is not None:
            since = objects.time_of(taint.get("timeAdded")) or now
            stays.append(max(0.0, since + max(0, seconds) - now))
    return min(stays, default=None)


def _pod_keys(old: Obj | None, new: Obj | None, caches: Caches) -> Iterable[Key]:
    if new is None or not new["spec"].get("nodeName") or objects.is_deleting(new):
        return ()
    same = (
        old is not None
        and old["spec"].get("nodeName")
        and old["spec"].get("tolerations") == new["spec"].get("tolerations")
    )
    node = None if same else caches[NODES].get("", new["spec"]["nodeName"])
    return (key_of(new),) if node is not None and no_execute(node) else ()


def _node_keys(old: Obj | None, new: Obj | None, caches: Caches) -> Iterable[Key]:
    if new is None or not no_execute(new) or (old is not None and no_execute(old) == no_execute(new)):
        return ()
    return [key_of(pod) for pod in caches[PODS].by_index(POD_NODE, new["metadata"]["name"])]
