"""ResourceQuotas: their limits are published, and what their namespace uses is counted anew when something goes.

Admission charges what comes; this gives back. Source: upstream's pkg/controller/resourcequota.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from navarch.api import quota as rules
from navarch.api.podspec.resources import Amounts, amounts
from navarch.client.interface import Resource
from navarch.client.resources import RESOURCE_QUOTAS
from navarch.controllers import objects
from navarch.controlloop.plan import Caches, Lister, Plan, Watch
from navarch.machinery.types import GroupResource, Key, Obj, key_of

DEVICE_CLASSES = GroupResource("resource.k8s.io", "deviceclasses")
CONFIRM_SECONDS = 2.0
"""After less was counted than was charged, it is counted again: what was charged may have been just about to come."""
RESYNC_SECONDS = 300.0
"""Pods that ought to be gone stop counting without any event."""
STARTING_SECONDS = 0.1
MISSING_SECONDS = 3.0
"""Until resources that nobody serves are looked for again: a definition may bring them."""


class Everything(Protocol):
    """The caches of all resources (the garbage collector keeps them)."""

    ready: bool

    def objects_of(self, resource: GroupResource, namespace: str) -> Sequence[Obj] | None:
        """None where the resource is not served."""
        ...


@dataclass(frozen=True, slots=True)
class Observed:
    quota: Obj
    found: dict[GroupResource, Sequence[Obj] | None]
    """What its namespace has of the resources that it may count; None: not served."""
    around: rules.Surroundings | None = None


@dataclass(frozen=True, slots=True)
class Around:
    """What else there is where devices are counted."""

    everything: Everything

    def classes(self) -> Iterable[Obj]:
        return self.everything.objects_of(DEVICE_CLASSES, "") or ()

    def pod(self, namespace: str, name: str) -> Obj | None:
        pods = self.everything.objects_of(rules.PODS, namespace) or ()
        return next((pod for pod in pods if pod["metadata"]["name"] == name), None)

    def claims(self, namespace: str) -> Iterable[Obj]:
        return self.everything.objects_of(rules.DEVICE_CLAIMS, namespace) or ()


class QuotaController:
    name = "resourcequota-controller"

    def __init__(self, everything: Everything) -> None:
        self._everything = everything
        self.watches: Sequence[Watch] = (Watch(RESOURCE_QUOTAS, _quota_keys),)

    def observe(self, key: Key, caches: Caches) -> Observed | None:
        found = caches[RESOURCE_QUOTAS].get(key.namespace, key.name)
        if found is None:
            return None
        if not self._everything.ready:
            return Observed(found, {})
        names = (found.get("spec") or {}).get("hard") or ()
        resources = {resource for name in names for resource in rules.resources_of(name)}
        objects_of = {r: self._everything.objects_of(r, key.namespace) for r in resources}
        return Observed(found, objects_of, Around(self._everything))

    def reconcile(self, observed: Observed, now: float) -> Plan:
        if not self._everything.ready:
            return Plan(requeue_after=STARTING_SECONDS, reasons=["not everything is known yet"])
        quota, status = observed.quota, observed.quota.get("status") or {}
        hard = amounts((quota.get("spec") or {}).get("hard"))
        counted = rules.counted(quota, hard, observed.found.get, now, observed.around)
        before = amounts(status.get("used"))
        used: Amounts = {name: value for name, value in before.items() if name in hard} | counted
        missing = any(found is None for found in observed.found.values())
        lowered = any(name in before and value < before[name] for name, value in counted.items())
        again = MISSING_SECONDS if missing else CONFIRM_SECONDS if lowered else RESYNC_SECONDS
        plan = Plan(requeue_after=again, reasons=[f"{len(counted)} of {len(hard)} limits are counted"])
        same = amounts(status.get("hard")) == hard and amounts(status.get("used")) == used
        if not same or "hard" not in status or "used" not in status:
            made = {"hard": _texts(hard), "used": _texts(used)}
            if (write := objects.status_update(RESOURCE_QUOTAS, quota, made)) is not None:
                plan.actions.append(write)
        return plan

    def changed(self, resource: Resource, old: Obj | None, new: Obj | None, quotas: Lister) -> Iterable[Key]:
        """The quotas to count anew after a change: of what went, or takes another share than before."""
        if old is None or not resource.namespaced:
            return ()
        kind = GroupResource(resource.group, resource.plural)
        if new is not None and not _matters(kind, old, new):
            return ()
        evaluator = rules.evaluator_of(kind)
        if evaluator is None:
            return ()
        found = quotas.list(old["metadata"]["namespace"])
        return [key_of(q) for q in found if evaluator.names((q.get("status") or {}).get("hard") or ())]


def _matters(kind: GroupResource, old: Obj, new: Obj) -> bool:
    """Whether an object's share may have changed by more than admission has charged."""
    if kind == rules.PODS:
        over = objects.is_terminal(new) and not objects.is_terminal(old)
        return over or rules.is_terminating(old) != rules.is_terminating(new) or _given(old) != _given(new)
    if kind == rules.SERVICES:
        return (old.get("spec") or {}).get("type") != (new.get("spec") or {}).get("type")
    if kind == rules.CLAIMS:
        return (old.get("status") or {}) != (new.get("status") or {})
    return False


def _given(pod: Obj) -> list[tuple[str, object]]:
    status = pod.get("status") or {}
    fields = ("containerStatuses", "initContainerStatuses")
    return [(one["name"], one["resources"]) for f in fields for one in status.get(f) or () if one.get("resources")]


def _texts(found: Amounts) -> dict[str, str]:
    return {name: str(found[name]) for name in sorted(found)}


def _quota_keys(old: Obj | None, new: Obj | None, caches: Caches) -> Iterable[Key]:
    """A quota that is new, or whose limits have changed; its status is ours and admission's."""
    if new is None:
        return ()
    same = old is not None and old.get("spec") == new.get("spec") and _published(new)
    return () if same else (key_of(new),)


def _published(quota: Obj) -> bool:
    return (quota.get("status") or {}).get("hard") == (quota.get("spec") or {}).get("hard")
