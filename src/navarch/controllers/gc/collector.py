"""Runs the garbage collector: feeds the graph from the caches of every served resource, and acts on what it returns.

Deletions carry the uid and the resourceVersion that the decision was made on: whoever changed the object meanwhile
wins, and it is looked at again. Source: upstream's pkg/controller/garbagecollector.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from navarch.client.informer import Informer, InformerFactory
from navarch.client.interface import Client, Resource
from navarch.controllers import objects
from navarch.controllers.discovery import Served, served
from navarch.controllers.gc.graph import (
    FOREGROUND_FINALIZER,
    ORPHAN_FINALIZER,
    Graph,
    Item,
    Work,
    has_finalizer,
    is_foreground,
)
from navarch.controlloop.queue import ShutDown, WorkQueue
from navarch.machinery.clock import World
from navarch.machinery.errors import StatusError
from navarch.machinery.types import GroupKind, GroupResource, GroupVersion, Obj

NEEDED = {"list", "watch", "delete"}
IGNORED = {GroupResource("", "events"), GroupResource("events.k8s.io", "events")}
REGISTRATIONS = {
    GroupResource("apiextensions.k8s.io", "customresourcedefinitions"),
    GroupResource("apiregistration.k8s.io", "apiservices"),
}
"""What says that other resources are served."""
SYNC_SECONDS = 10.0
AGAIN_SECONDS = 30.0
WORKERS = 10
REDISCOVER = "rediscover"
Listener = Callable[[Resource, "Obj | None", "Obj | None"], None]
log = logging.getLogger(__name__)


class Owners(NamedTuple):
    """An object's owner references, sorted by what is known of the owners."""

    solid: Sequence[Obj]
    gone: Sequence[Obj]
    waiting: Sequence[Obj]
    """Being deleted in the foreground: they wait for their dependents."""


class GarbageCollector:
    name = "generic-garbage-collector"
    event_source = "garbage-collector-controller"

    def __init__(self, client: Client, informers: InformerFactory, world: World) -> None:
        self.graph = Graph()
        self.queue: WorkQueue[Work | str] = WorkQueue(world)
        self._undecided: dict[Item, None] = {}
        """Objects with owners of kinds that were not known: the next discovery may know them."""
        self._client = client
        self._informers = informers
        self._resources: dict[GroupKind, Resource] = {}
        self._monitors: dict[Resource, tuple[Informer, Callable[[], None]]] = {}
        self._workers: list[asyncio.Task[None]] = []
        self._listeners: list[Listener] = []
        self.ready = False
        """Whether every cache has been filled once."""

    def listen(self, listener: Listener) -> None:
        """Calls `listener` for every object that comes, changes or goes, of whatever resource."""
        self._listeners.append(listener)

    def objects_of(self, resource: GroupResource, namespace: str) -> Sequence[Obj] | None:
        """The objects of a resource in a namespace ("": of all, or of the cluster); None where it is not served, or its cache
        is not filled yet."""
        for found, (informer, _) in self._monitors.items():
            if (found.group, found.plural) == resource:
                there = found.namespaced or not namespace
                return list(informer.list(namespace)) if there and informer.synced.done() else None
        return None

    async def start(self) -> None:
        """Returns when every cache is filled and the graph stands."""
        await self._discover()
        self.ready = True
        loop = asyncio.get_running_loop()
        self._workers = [loop.create_task(self._work(), name=self.name) for _ in range(WORKERS)]

    async def stop(self) -> None:
        for _, remove in self._monitors.values():
            remove()
        self.queue.shut_down()
        for worker in self._workers:
            worker.cancel()
        for worker in self._workers:
            with suppress(asyncio.CancelledError):
                await worker

    # -- feeding the graph

    async def _discover(self) -> None:
        failed: dict[str, str] = {}
        found = await served(self._client, failed)
        if failed:
            self.queue.add_after(REDISCOVER, AGAIN_SECONDS)
        self._resources = {GroupKind(s.resource.group, s.kind): s.resource for s in found}
        wanted = {s.resource for s in found if _is_collectable(s)}
        for resource in [resource for resource in self._monitors if resource not in wanted]:
            _, remove = self._monitors.pop(resource)
            remove()
            informer = self._informers.forget(resource)
            if informer is not None:
                await informer.stop()
        fresh = [self._monitor(resource) for resource in sorted(wanted) if resource not in self._monitors]
        if fresh:  # an extension server that does not answer holds nobody up for long
            await asyncio.wait([informer.synced for informer in fresh], timeout=SYNC_SECONDS)
        undecided, self._undecided = self._undecided, {}
        for item in undecided:
            self.queue.add(Work("check", item))

    def _monitor(self, resource: Resource) -> Informer:
        informer = self._informers[resource]
        informer.start()

        def changed(old: Obj | None, new: Obj | None) -> None:
            for work in self.graph.step(resource, old, new):
                self.queue.add(work)
            for listener in self._listeners:
                listener(resource, old, new)
            if GroupResource(resource.group, resource.plural) in REGISTRATIONS:
                self.queue.add_after(REDISCOVER, 1.0)

        self._monitors[resource] = (informer, informer.add_handler(changed))
        return informer

    # -- acting

    async def _work(self) -> None:
        while True:
            try:
                work = await self.queue.get()
            except ShutDown:
                return
            try:
                await self._do(work)
                self.queue.forget(work)
            except Exception as error:
                if not isinstance(error, StatusError | ConnectionError):
                    log.exception("collecting %s", work)
                elif not (isinstance(error, StatusError) and error.code == 409):
                    log.warning("collecting %s: %s", work, error)
                self.queue.add_rate_limited(work)
            finally:
                self.queue.done(work)

    async def _do(self, work: Work | str) -> None:
        if isinstance(work, str):
            await self._discover()
        elif work.what == "orphan":
            await self._orphan(work.item)
        else:
            await self._check(work.item)

    def _cached(self, item: Item) -> Obj | None:
        """The object, if it is still the same one."""
        monitor = self._monitors.get(item.resource)
        obj = monitor[0].get(item.namespace, item.name) if monitor else None
        return obj if obj is not None and objects.uid_of(obj) == item.uid else None

    async def _check(self, item: Item) -> None:
        obj = self._cached(item)
        if obj is None:
            return
        if objects.is_deleting(obj):
            if is_foreground(obj):
                await self._continue_foreground(item, obj)
            return
        references = obj["metadata"].get("ownerReferences") or ()
        if not references:
            return
        owners = await self._classify(item, references)
        dependents = self.graph.dependents(item.uid)
        if owners.solid:
            if owners.gone or owners.waiting:
                await self._keep_owners(item, obj, owners.solid)
        elif owners.waiting and dependents:
            if any(dependent.item.uid in self.graph.foreground for dependent in dependents):
                # A circle of foreground deletions would wait for itself: this link is not to block.
                released = [{**reference, "blockOwnerDeletion": False} for reference in references]
                await self._keep_owners(item, obj, released)
            else:
                await self._delete(item, obj, "Foreground")
        else:
            await self._delete(item, obj, _policy(obj))

    async def _classify(self, item: Item, references: Sequence[Obj]) -> Owners:
        solid: list[Obj] = []
        gone: list[Obj] = []
        waiting: list[Obj] = []
        for reference in references:
            owner = await self._owner(item, reference)
            if owner is None:
                gone.append(reference)
            elif owner and is_foreground(owner):
                waiting.append(reference)
            else:
                solid.append(reference)
        return Owners(solid, gone, waiting)

    async def _owner(self, item: Item, reference: Obj) -> Obj | None:
        """The owner; None where it is certainly gone (the API itself said so). {} where nobody can tell."""
        uid = reference["uid"]
        group = GroupVersion.parse(reference["apiVersion"]).group
        resource = self._resources.get(GroupKind(group, reference["kind"]))
        if self.graph.is_absent(uid):
            return None
        if resource is None:
            self._undecided[item] = None
            return {}
        namespace = item.namespace if resource.namespaced else ""
        cached = self._cached(Item(resource, namespace, reference["name"], uid))
        if cached is not None:
            return cached
        if resource.namespaced and not item.namespace:
            return {}
        try:
            live = await self._client.get(resource, reference["name"], namespace)
        except StatusError as error:
            if error.code != 404:
                raise
            live = None
        if live is not None and objects.uid_of(live) == uid:
            return live
        self.graph.set_absent(uid)
        return None

    async def _keep_owners(self, item: Item, obj: Obj, references: Sequence[Obj]) -> None:
        await self._patch(item, obj, {"ownerReferences": list(references) or None})

    async def _patch(self, item: Item, obj: Obj, metadata: dict[str, Any]) -> None:
        patch = objects.exact(obj, {"metadata": metadata})
        await self._gone_is_fine(self._client.patch(item.resource, item.name, patch, item.namespace))

    async def _delete(self, item: Item, obj: Obj, propagation: Any) -> None:
        await self._gone_is_fine(
            self._client.delete(
                item.resource,
                item.name,
                item.namespace,
                uid=item.uid,
                resource_version=obj["metadata"].get("resourceVersion", ""),
                propagation=propagation,
            )
        )

    @staticmethod
    async def _gone_is_fine(request: Any) -> None:
        try:
            await request
        except StatusError as error:
            if error.code != 404:
                raise

    async def _continue_foreground(self, item: Item, obj: Obj) -> None:
        """Deletes the dependents that block; without any, lets the owner go."""
        blocking = [dependent for dependent in self.graph.dependents(item.uid) if dependent.blocks]
        if not blocking:
            await self._drop_finalizer(item, obj, FOREGROUND_FINALIZER)
            return
        for dependent in blocking:
            if dependent.item.uid not in self.graph.foreground:
                self.queue.add(Work("check", dependent.item))

    async def _orphan(self, item: Item) -> None:
        """Takes the owner out of all its dependents, then lets it go."""
        obj = self._cached(item)
        if obj is None or not has_finalizer(obj, ORPHAN_FINALIZER):
            return
        for dependent in self.graph.dependents(item.uid):
            child = self._cached(dependent.item)
            if child is not None:
                references = child["metadata"].get("ownerReferences") or ()
                left = [reference for reference in references if reference["uid"] != item.uid]
                await self._keep_owners(dependent.item, child, left)
        await self._drop_finalizer(item, obj, ORPHAN_FINALIZER)

    async def _drop_finalizer(self, item: Item, obj: Obj, finalizer: str) -> None:
        left = [name for name in obj["metadata"].get("finalizers") or () if name != finalizer]
        await self._patch(item, obj, {"finalizers": left or None})


def _is_collectable(found: Served) -> bool:
    return found.verbs >= NEEDED and GroupResource(found.resource.group, found.resource.plural) not in IGNORED


def _policy(obj: Obj) -> str:
    """How to delete: a finalizer that is already there says what its author wanted."""
    if has_finalizer(obj, ORPHAN_FINALIZER):
        return "Orphan"
    return "Foreground" if has_finalizer(obj, FOREGROUND_FINALIZER) else "Background"
