"""Pods that nobody else will ever end: of nodes that are gone, never bound and being deleted, or too many ended ones.

Source of the rules: upstream's pkg/controller/podgc. Woken by events, not by a period.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from navarch.client.interface import Client
from navarch.client.resources import NODES, PODS
from navarch.controllers import objects
from navarch.controllers.endpoints.backends import POD_NODE, pod_node
from navarch.controlloop.plan import Action, Caches, Call, Delete, Patch, Plan, Watch
from navarch.machinery.clock import World, rfc3339
from navarch.machinery.errors import StatusError
from navarch.machinery.types import Key, Obj, key_of

QUARANTINE_SECONDS = 40.0
"""How long a node must have been gone."""
THRESHOLD = 12500
"""Ended pods that are kept."""
TERMINATED = Key("", "terminated")
TERMINAL = "terminal"
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"


@dataclass(frozen=True, slots=True)
class Observed:
    pod: Obj | None
    node: Obj | None = None
    missing_since: float | None = None
    ended: Sequence[Obj] = ()


class PodGcController:
    name = "pod-garbage-collector"

    def __init__(self, world: World, client: Client, threshold: int = THRESHOLD) -> None:
        self._world = world
        self._client = client
        self._threshold = threshold
        self._missing: dict[str, float] = {}
        self.watches = (
            Watch(PODS, self._pod_keys, {POD_NODE: pod_node, TERMINAL: _terminal}),
            Watch(NODES, self._node_keys),
        )

    def _pod_keys(self, old: Obj | None, new: Obj | None, caches: Caches) -> Iterable[Key]:
        if new is None:
            return ()
        if objects.is_terminal(new) and len(caches[PODS].by_index(TERMINAL, "true")) > self._threshold > 0:
            return (TERMINATED,)
        name = new["spec"].get("nodeName", "")
        if objects.is_deleting(new) or (name and caches[NODES].get("", name) is None):
            return (key_of(new),)
        return ()

    def _node_keys(self, old: Obj | None, new: Obj | None, caches: Caches) -> Iterable[Key]:
        node = new or old
        if node is None:
            return ()
        name = node["metadata"]["name"]
        if new is None:
            self._missing.setdefault(name, self._world.now())
        else:
            self._missing.pop(name, None)
            if not _has_taint(new, OUT_OF_SERVICE):
                return ()
        return [key_of(pod) for pod in caches[PODS].by_index(POD_NODE, name)]

    def observe(self, key: Key, caches: Caches) -> Observed | None:
        if key == TERMINATED:
            return Observed(None, ended=caches[PODS].by_index(TERMINAL, "true"))
        pod = caches[PODS].get(key.namespace, key.name)
        if pod is None:
            return None
        name = pod["spec"].get("nodeName", "")
        node = caches[NODES].get("", name) if name else None
        missing = self._missing.setdefault(name, self._world.now()) if name and node is None else None
        return Observed(pod, node, missing)

    def reconcile(self, observed: Observed, now: float) -> Plan:
        pod = observed.pod
        if pod is None:
            surplus = len(observed.ended) - self._threshold
            oldest = sorted(
                observed.ended, key=lambda p: (not _is_evicted(p), objects.created_at(p), p["metadata"]["name"])
            )
            actions = [action for p in oldest[: max(0, surplus)] for action in end(p, now)]
            return Plan(actions, reasons=[f"{len(observed.ended)} ended pods are kept at most {self._threshold}"])
        name = pod["spec"].get("nodeName", "")
        if not name:
            if not objects.is_deleting(pod):
                return Plan()
            return Plan(end(pod, now), reasons=["being deleted, and was never on a node"])
        if observed.missing_since is not None:
            wait = observed.missing_since + QUARANTINE_SECONDS - now
            if wait > 0:
                return Plan(requeue_after=wait, reasons=[f"node {name} is gone: looked at again in {wait:.0f} s"])
            check = Call(f"verify that node {name} is gone", lambda: self._verify_gone(name))
            return Plan([check, *end(pod, now, orphaned=True)], reasons=[f"node {name} no longer exists"])
        node = observed.node
        dead = node is not None and not objects.is_ready(node) and _has_taint(node, OUT_OF_SERVICE)
        if dead and objects.is_deleting(pod):
            return Plan(end(pod, now), reasons=[f"being deleted, and node {name} is out of service"])
        return Plan()

    async def _verify_gone(self, name: str) -> None:
        """Raises where the API still has the node: the cache was wrong, and nothing is deleted."""
        try:
            await self._client.get(NODES, name)
        except StatusError as error:
            if error.code == 404:
                return
            raise
        raise RuntimeError(f"node {name} exists after all")


def end(pod: Obj, now: float, orphaned: bool = False) -> list[Action]:
    """Marks a pod failed that had not ended, and deletes it at once."""
    actions: list[Action] = []
    key = key_of(pod)
    if not objects.is_terminal(pod):
        status: Obj = {"phase": "Failed", "observedGeneration": objects.generation_of(pod)}
        if orphaned:
            status["conditions"] = [
                {
                    "type": "DisruptionTarget",
                    "observedGeneration": objects.generation_of(pod),
                    "status": "True",
                    "reason": "DeletionByPodGC",
                    "message": "PodGC: node no longer exists",
                    "lastTransitionTime": rfc3339(now),
                }
            ]
        patch = {"metadata": {"uid": objects.uid_of(pod)}, "status": status}
        actions.append(Patch(PODS, key, patch, "strategic", "status"))
    return [*actions, Delete(PODS, key, objects.uid_of(pod), grace_period_seconds=0)]


def _terminal(pod: Obj) -> Iterable[str]:
    return ("true",) if objects.is_terminal(pod) else ()


def _has_taint(node: Obj, key: str) -> bool:
    return any(taint["key"] == key for taint in (node.get("spec") or {}).get("taints") or ())


def _is_evicted(pod: Obj) -> bool:
    status = pod.get("status") or {}
    return status.get("phase") == "Failed" and status.get("reason") == "Evicted"
