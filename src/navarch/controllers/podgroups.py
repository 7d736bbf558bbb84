"""Pod groups stay until no pod is of them any more. Source: pkg/controller/scheduling/podgroupprotection."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from navarch.api.scheduling.podgroup import PROTECTION
from navarch.client.resources import POD_GROUPS, PODS
from navarch.controllers import objects
from navarch.controllers.protection import own_key
from navarch.controlloop.plan import Caches, Plan, Update, Watch
from navarch.machinery.types import Key, Obj


def group_of(pod: Obj) -> str:
    """The name of the group that a pod is of; "" where it is of none."""
    return (pod["spec"].get("schedulingGroup") or {}).get("podGroupName") or ""


def _has_run(pod: Obj) -> bool:
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def group_index(pod: Obj) -> Iterable[str]:
    name = group_of(pod)
    return [f"{pod['metadata']['namespace']}/{name}"] if name and not _has_run(pod) else []


def _freed(old: Obj | None, new: Obj | None, caches: Caches) -> Iterable[Key]:
    """The groups of pods that went or have run their course."""
    gone = old is not None and (new is None or objects.uid_of(new) != objects.uid_of(old))
    pods = [pod for pod in ((old if gone else None), new) if pod is not None and (pod is not new or _has_run(pod))]
    return [Key(pod["metadata"]["namespace"], group_of(pod)) for pod in pods if group_of(pod)]


@dataclass(frozen=True, slots=True)
class Observed:
    group: Obj
    pods: Sequence[Obj]
    """Those of it that have not run their course."""


class PodGroupProtectionController:
    name = "podgroup-protection-controller"

    def __init__(self) -> None:
        index: dict[str, Callable[[Obj], Iterable[str]]] = {"group": group_index}
        self.watches = (Watch(POD_GROUPS, own_key), Watch(PODS, _freed, index))

    def observe(self, key: Key, caches: Caches) -> Observed | None:
        found = caches[POD_GROUPS].get(key.namespace, key.name)
        if found is None:
            return None
        return Observed(found, list(caches[PODS].by_index("group", f"{key.namespace}/{key.name}")))

    def reconcile(self, observed: Observed, now: float) -> Plan:
        finalizers: list[str] = observed.group["metadata"].get("finalizers") or []
        if not objects.is_deleting(observed.group) or PROTECTION not in finalizers:
            return Plan(reasons=["it is guarded"])
        if observed.pods:
            return Plan(reasons=["it has pods"])
        kept = [name for name in finalizers if name != PROTECTION]
        made = {**observed.group, "metadata": {**observed.group["metadata"], "finalizers": kept}}
        return Plan([Update(POD_GROUPS, made)], reasons=["no pod is of it"])
