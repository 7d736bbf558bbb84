"""Namespaces being deleted: their content goes first (pods before all else), then they do.

Source of the rules: upstream's pkg/controller/namespace (with OrderedNamespaceDeletion).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from navarch.client.interface import Client, Resource
from navarch.client.resources import NAMESPACES, PODS
from navarch.controllers import objects
from navarch.controllers.discovery import served
from navarch.controlloop.plan import Caches, Call, Plan, Watch
from navarch.machinery.clock import World, rfc3339
from navarch.machinery.errors import StatusError
from navarch.machinery.types import Key, Obj

FINALIZER = "kubernetes"
RETRY_SECONDS = 2.0
"""Until a namespace with content left is looked at again (the end of its last pod wakes it earlier)."""
OK = {
    "NamespaceDeletionDiscoveryFailure": ("ResourcesDiscovered", "All resources successfully discovered"),
    "NamespaceDeletionGroupVersionParsingFailure": (
        "ParsedGroupVersions",
        "All legacy kube types successfully parsed",
    ),
    "NamespaceDeletionContentFailure": (
        "ContentDeleted",
        "All content successfully deleted, may be waiting on finalization",
    ),
    "NamespaceContentRemaining": ("ContentRemoved", "All content successfully removed"),
    "NamespaceFinalizersRemaining": ("ContentHasNoFinalizers", "All content-preserving finalizers finished"),
}


@dataclass(slots=True)
class Remaining:
    """What a round of deleting left behind."""

    counts: Counter[str] = field(default_factory=Counter[str])
    """Objects by `resource.group`."""
    finalizers: Counter[str] = field(default_factory=Counter[str])
    failures: list[str] = field(default_factory=list)
    discovery: str = ""

    @property
    def nothing(self) -> bool:
        return not self.counts and not self.failures and not self.discovery


class NamespaceController:
    name = "namespace-controller"

    def __init__(self, world: World, client: Client) -> None:
        self._world = world
        self._client = client
        self.watches = (Watch(NAMESPACES, _keys), Watch(PODS, _pod_keys))

    def observe(self, key: Key, caches: Caches) -> Obj | None:
        namespace = caches[NAMESPACES].get("", key.name)
        if namespace is None or not objects.is_deleting(namespace):
            return None
        return namespace if FINALIZER in ((namespace.get("spec") or {}).get("finalizers") or ()) else None

    def reconcile(self, observed: Obj, now: float) -> Plan:
        name = observed["metadata"]["name"]
        reason = "being deleted: its content goes first"
        return Plan([Call(f"delete the content of namespace {name}", lambda: self._empty(observed))], reasons=[reason])

    async def _empty(self, namespace: Obj) -> float | None:
        """One round. Returns when to come again, None once the namespace is finalized."""
        name = namespace["metadata"]["name"]
        remaining = await self._delete_content(name)
        status = status_of(namespace.get("status") or {}, remaining, self._world.now())
        write = objects.status_update(NAMESPACES, namespace, status)
        latest = namespace
        if write is not None:
            latest = await self._client.update(NAMESPACES, write.object, subresource="status")
        if not remaining.nothing:
            return RETRY_SECONDS
        spec = latest.get("spec") or {}
        left = [finalizer for finalizer in spec.get("finalizers") or () if finalizer != FINALIZER]
        finalized = {**latest, "spec": {**spec, "finalizers": left}}
        try:
            await self._client.update(NAMESPACES, finalized, subresource="finalize")
        except StatusError as error:
            if error.code != 404:
                raise
        return None

    async def _delete_content(self, name: str) -> Remaining:
        remaining = Remaining()
        failed: dict[str, str] = {}
        try:
            found = await served(self._client, failed)
        except StatusError as error:
            remaining.discovery = error.message
            return remaining
        if failed:
            which = ", ".join(f"{version}: {why}" for version, why in sorted(failed.items()))
            remaining.discovery = (
                f"Discovery failed for some groups, {len(failed)} failing: unable to retrieve the complete list of server "
                f"APIs: {which}"
            )
        resources = [
            entry.resource
            for entry in found
            if entry.resource.namespaced and entry.verbs >= {"list", "delete", "deletecollection"}
        ]
        if PODS in resources:
            await self._delete_all(PODS, name, remaining)
            if not remaining.nothing:
                return remaining
        for resource in resources:
            if resource != PODS:
                await self._delete_all(resource, name, remaining)
        return remaining

    async def _delete_all(self, resource: Resource, name: str, remaining: Remaining) -> None:
        try:
            listed = await self._client.list(resource, name, limit=1)
            if not listed.items:
                return
            await self._client.delete_collection(resource, name)
            left = (await self._client.list(resource, name)).items
        except StatusError as error:
            if error.code not in (404, 405):
                remaining.failures.append(error.message)
            return
        if left:
            remaining.counts[f"{resource.plural}.{resource.group}"] += len(left)
        for obj in left:
            remaining.finalizers.update(obj["metadata"].get("finalizers") or ())


def status_of(status: Obj, remaining: Remaining, now: float) -> Obj:
    """Phase and the five conditions."""
    bad = _failures(remaining)
    conditions: list[Obj] = list(status.get("conditions") or ())
    for kind, (reason, message) in OK.items():
        state = "False"
        if kind in bad:
            state, (reason, message) = "True", bad[kind]
        new = {
            "type": kind,
            "status": state,
            "lastTransitionTime": rfc3339(now),
            "reason": reason,
            "message": message,
        }
        old = objects.condition_of({"conditions": conditions}, kind)
        if old is None:
            conditions.append(new)
        elif any(old.get(part) != new[part] for part in ("status", "reason", "message")):
            conditions[conditions.index(old)] = new
    return {**status, "phase": "Terminating", "conditions": conditions}


def _failures(remaining: Remaining) -> dict[str, tuple[str, str]]:
    bad: dict[str, tuple[str, str]] = {}
    if remaining.discovery:
        bad["NamespaceDeletionDiscoveryFailure"] = ("DiscoveryFailed", remaining.discovery)
    if remaining.counts:
        listed = _sorted(f"{name} has {count} resource instances" for name, count in remaining.counts.items())
        bad["NamespaceContentRemaining"] = ("SomeResourcesRemain", f"Some resources are remaining: {listed}")
    if remaining.finalizers:
        listed = _sorted(f"{name} in {count} resource instances" for name, count in remaining.finalizers.items())
        message = f"Some content in the namespace has finalizers remaining: {listed}"
        bad["NamespaceFinalizersRemaining"] = ("SomeFinalizersRemain", message)
    if remaining.failures:
        count, listed = len(remaining.failures), _sorted(remaining.failures)
        message = f"Failed to delete all resource types, {count} remaining: {listed}"
        bad["NamespaceDeletionContentFailure"] = ("ContentDeletionFailed", message)
    return bad


def _sorted(parts: Iterable[str]) -> str:
    return ", ".join(sorted(parts))


def _keys(old: Obj | None, new: Obj | None, caches: Caches) -> Sequence[Key]:
    return (Key("", new["metadata"]["name"]),) if new is not None and objects.is_deleting(new) else ()


def _pod_keys(old: Obj | None, new: Obj | None, caches: Caches) -> Sequence[Key]:
    """The last pod's end lets its namespace go on."""
    if old is None or new is not None:
        return ()
    name = old["metadata"]["namespace"]
    namespace = caches[NAMESPACES].get("", name)
    if namespace is None or not objects.is_deleting(namespace) or any(True for _ in caches[PODS].list(name)):
        return ()
    return (Key("", name),)
