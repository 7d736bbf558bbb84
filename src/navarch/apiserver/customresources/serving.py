"""Serves what definitions make: follows them, writes their conditions, puts their kinds in place and takes them away.

One loop does what are several controllers upstream (apiextensions' naming, establishing, nonstructural schema, API approval
and finalizer): it looks at one definition at a time, so that names are given out in one order.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from navarch.api.apiextensions.customresourcedefinition import CLEANUP, GROUP
from navarch.api.apiextensions.kinds import CustomKind, custom_kind
from navarch.api.kind import Kind
from navarch.apiserver.customresources import status as statuses
from navarch.apiserver.customresources.cache import CustomCache, VersionCache
from navarch.apiserver.customresources.conversion import Conversion, WebhookConversion
from navarch.apiserver.customresources.registry import CustomRegistry
from navarch.apiserver.customresources.status import ESTABLISHED, TERMINATING, Taken, is_true, next_status
from navarch.apiserver.registry.call import Call, DeleteOptions
from navarch.apiserver.registry.listing import ListOptions
from navarch.apiserver.registry.scale import Scale
from navarch.apiserver.watchcache import Entry
from navarch.client.interface import Resource
from navarch.controlloop.queue import ShutDown, WorkQueue
from navarch.machinery import trees
from navarch.machinery.errors import StatusError
from navarch.machinery.types import GroupResource, Obj

if TYPE_CHECKING:
    from navarch.apiserver.server import ApiServer

log = logging.getLogger(__name__)
CRDS = Resource(GROUP, "v1", "customresourcedefinitions", namespaced=False)
RESOURCE = GroupResource(GROUP, "customresourcedefinitions")
LEAVING = ("delete", "deletecollection", "get", "list", "watch")
"""The verbs of a kind that goes, as discovery has them."""
SLICE = 100
"""Objects that are brought to a new schema at a time."""
LOOK_AGAIN_SECONDS = 1.0
"""Between two looks at whether the last objects of a definition that goes are gone."""


class Served:
    """What is in place for one definition."""

    def __init__(self, kind: CustomKind, cache: CustomCache) -> None:
        self.kind = kind
        self.cache = cache
        self.registries: dict[str, CustomRegistry] = {}


class CustomResources:
    """The custom kinds of one server."""

    def __init__(self, server: ApiServer) -> None:
        self._server = server
        self._definitions = server.caches[RESOURCE]
        self._queue: WorkQueue[str] = WorkQueue(server.world)
        self._served: dict[str, Served] = {}
        self._specs: dict[str, Obj] = {}
        """What is served was made of this: spec and accepted names."""
        self._taken: dict[str, Taken] = {}
        self._names: dict[str, tuple[str, Obj]] = {}
        """Definition -> its group and accepted names."""
        self._waiting: dict[str, set[str]] = {}
        """By group: the definitions that have not all the names they ask for."""
        self._task: asyncio.Task[None] | None = None
        self._emptying: dict[str, asyncio.Task[None]] = {}
        self._definitions.on_change(self._changed)

    async def start(self) -> None:
        """Serves what was served before."""
        for entry in self._definitions.range():
            self._learn(entry.name, entry.obj)
        for entry in self._definitions.range():
            if is_true(entry.obj, ESTABLISHED):
                await self._serve(entry)
        self._task = asyncio.create_task(self._run())

    def stop(self) -> None:
        self._queue.shut_down()
        for task in (self._task, *self._emptying.values()):
            if task is not None:
                task.cancel()

    def registry(self, group: str, version: str, plural: str) -> CustomRegistry | None:
        found = self._served.get(f"{plural}.{group}")
        return found.registries.get(version) if found is not None else None

    def kinds(self) -> Iterator[CustomKind]:
        return (served.kind for served in self._served.values())

    # -- the loop

    def _changed(self, entry: Entry | None, previous: Entry | None) -> None:
        found = entry or previous
        assert found is not None
        self._queue.add(found.name)

    async def _run(self) -> None:
        while True:
            try:
                name = await self._queue.get()
            except ShutDown:
                return
            try:
                await self._look(name)
                self._queue.forget(name)
            except Exception as error:
                if not isinstance(error, StatusError):
                    log.exception("definition %s", name)
                self._queue.add_rate_limited(name)
            finally:
                self._queue.done(name)

    async def _look(self, name: str) -> None:
        entry = self._definitions.get("", name)
        if entry is None:
            self._forget(name)
            return
        crd = entry.obj
        self._learn(name, crd)
        group = crd["spec"]["group"]
        wanted = next_status(crd, self._others(name), self._server.world.now())
        if wanted["acceptedNames"] == crd["spec"]["names"]:
            self._waiting.get(group, set()).discard(name)
        else:
            self._waiting.setdefault(group, set()).add(name)
        if wanted != (crd.get("status") or {}):
            names = wanted["acceptedNames"] != crd["status"].get("acceptedNames")
            if is_true({"status": wanted}, ESTABLISHED) and self._may_serve(crd):
                await self._serve(entry, {**crd, "status": wanted})
            await self._write(crd, wanted)
            if names:
                self._free(name)
            return
        if is_true(crd, ESTABLISHED):
            await self._serve(entry)
        if "deletionTimestamp" in crd["metadata"] and CLEANUP in (crd["metadata"].get("finalizers") or ()):
            self._empty(name, crd["metadata"]["uid"])

    async def _write(self, crd: Obj, status: Obj) -> Obj | None:
        """Writes the status; None where somebody else wrote first (the definition is then looked at again)."""
        try:
            return await self._server.system.update(CRDS, {**crd, "status": status}, subresource="status")
        except StatusError as error:
            if error.reason not in ("NotFound", "Conflict"):
                raise
            return None

    # -- names

    def _learn(self, name: str, crd: Obj) -> None:
        """Keeps account of the names that definitions have."""
        group, accepted = crd["spec"]["group"], (crd.get("status") or {}).get("acceptedNames") or {}
        known = self._names.get(name)
        if known == (group, accepted):
            return
        if known is not None:
            self._taken[known[0]].count(known[1], -1)
        self._names[name] = (group, accepted)
        self._taken.setdefault(group, Taken()).count(accepted, 1)

    def _others(self, name: str) -> Taken:
        return self._taken[self._names[name][0]]

    def _free(self, name: str) -> None:
        """Names may have become free: the definitions of the group that wait for some are looked at again."""
        for other in self._waiting.get(self._names[name][0], ()):
            if other != name:
                self._queue.add(other)

    def _forget(self, name: str) -> None:
        self._unserve(name)
        if name in self._names:
            group, accepted = self._names[name]
            self._taken[group].count(accepted, -1)
            self._waiting.get(group, set()).discard(name)
            self._free(name)
            del self._names[name]

    # -- serving

    def _may_serve(self, crd: Obj) -> bool:
        """Built-in kinds come first."""
        resource = GroupResource(crd["spec"]["group"], crd["spec"]["names"]["plural"])
        return resource not in self._server.scheme.builtin

    async def _serve(self, entry: Entry, crd: Obj | None = None) -> None:
        crd = crd or entry.obj
        name, made_of = entry.name, {"spec": crd["spec"], "names": crd["status"]["acceptedNames"]}
        terminating = is_true(crd, TERMINATING)
        before = self._served.get(name)
        if not self._may_serve(crd):
            return
        if before is None or self._specs.get(name) != made_of:
            await self._place(name, custom_kind(crd, entry.data), before)
            self._specs[name] = trees.copy(made_of) if len(entry.data) < 100_000 else made_of
        served = self._served[name]
        for registry in served.registries.values():
            if terminating and not registry.terminating:
                self._server.scheme.put(replace(served.kind.whole, verbs=LEAVING))
            registry.terminating = terminating

    async def _place(self, name: str, kind: CustomKind, before: Served | None) -> None:
        server = self._server
        if before is None:
            cache = CustomCache(kind.whole, server.caches)
            await server.caches.add(cache)
        else:
            cache = before.cache
            cache.kind = kind.whole
        served = Served(kind, cache)
        conversion = self._conversion(kind)
        group = kind.resource.group
        for version, one in kind.by_version.items():
            one = _convertible(one, conversion)
            view = VersionCache(one, cache, kind.compiled[version], conversion, f"{group}/{kind.storage}")
            registry = CustomRegistry(one, view, server)
            if one.has_subresource("scale"):
                registry.scale = Scale(registry, server.ownership)
            served.registries[version] = registry
        reselected = before is not None and _selectable(before.kind) != _selectable(kind)
        await self._warm(served, conversion, reselected)
        if before is not None:
            cache.keep([registry.view for registry in served.registries.values()])
            server.unserve(before.kind.whole)
            cache.fanout.stop()  # watches of what the kind was end; they begin anew with what it is
        self._served[name] = served
        server.serve(kind.whole, {v: served.registries[v] for v in kind.served}, served.registries[kind.storage])

    def _conversion(self, kind: CustomKind) -> Conversion:
        if kind.conversion.get("strategy") != "Webhook":
            return Conversion()
        return WebhookConversion(kind.name, kind.conversion["webhook"], self._server.webhooks, self._server.world)

    async def _warm(self, served: Served, conversion: Conversion, reselected: bool) -> None:
        """Brings the objects that are there to the new schemas, some at a time."""
        entries = served.cache.range()
        for start in range(0, len(entries), SLICE):
            if reselected:
                served.cache.refresh(entries[start : start + SLICE])
            if isinstance(conversion, WebhookConversion):
                continue
            for version in served.kind.served:
                served.registries[version].view.all_shown(entries[start : start + SLICE])
            await asyncio.sleep(0)

    def _unserve(self, name: str) -> None:
        served = self._served.pop(name, None)
        self._specs.pop(name, None)
        if served is not None:
            self._server.unserve(served.kind.whole)
            self._server.caches.drop(served.cache)
            served.cache.fanout.stop()

    # -- emptying what goes

    def _empty(self, name: str, uid: str) -> None:
        if name not in self._emptying:
            task = asyncio.create_task(self._finalize(name, uid))
            self._emptying[name] = task
            task.add_done_callback(lambda _: self._emptying.pop(name, None))

    async def _finalize(self, name: str, uid: str) -> None:
        """Deletes the objects of a definition, then takes away what keeps it."""
        while True:
            entry = self._definitions.get("", name)
            if entry is None or entry.obj["metadata"]["uid"] != uid:
                return
            try:
                if await self._emptied(name, entry.obj):
                    return
            except StatusError as error:
                log.warning("deleting the objects of %s: %s", name, error)
            await self._server.world.sleep(LOOK_AGAIN_SECONDS)

    async def _emptied(self, name: str, crd: Obj) -> bool:
        """One round. Whether nothing keeps the definition any more."""
        latest: Obj | None = crd
        if name in self._served:
            message = "CustomResource deletion is in progress"
            latest = await self._mark(crd, statuses.made(TERMINATING, "True", "InstanceDeletionInProgress", message))
        if latest is None:
            return False
        outcome = await self._delete_instances(name, latest)
        return outcome is not None and await self._release(latest, outcome)

    async def _mark(self, crd: Obj, condition: Obj) -> Obj | None:
        conditions = [dict(c) for c in crd["status"].get("conditions") or ()]
        statuses.set_condition(conditions, condition, self._server.world.now())
        status = {**crd["status"], "conditions": conditions}
        return crd if status == crd["status"] else await self._write(crd, status)

    async def _delete_instances(self, name: str, crd: Obj) -> Obj | None:
        """The condition that says how it ended; None: there are some left."""
        if not self._may_serve(crd):
            message = "instances overlap with built-in resources in storage"
            return statuses.made(TERMINATING, "False", "OverlappingBuiltInResource", message)
        served = self._served.get(name)
        if served is None:
            return statuses.made(TERMINATING, "False", "NeverEstablished", "resource was never established")
        registry = served.registries[served.kind.storage]
        user = self._server.system_user
        for namespace in sorted({entry.namespace for entry in served.cache.range()}):
            call = Call(user=user, version=registry.kind.hub, namespace=namespace)
            await self._server.operations.delete_collection(registry, call, DeleteOptions(), ListOptions())
        if len(served.cache):
            return None
        return statuses.made(TERMINATING, "False", "InstanceDeletionCompleted", "removed all instances")

    async def _release(self, crd: Obj, outcome: Obj) -> bool:
        conditions = [dict(c) for c in crd["status"].get("conditions") or ()]
        statuses.set_condition(conditions, outcome, self._server.world.now())
        left = [f for f in crd["metadata"].get("finalizers") or () if f != CLEANUP]
        metadata = {**crd["metadata"], "finalizers": left}
        changed = {**crd, "metadata": metadata, "status": {**crd["status"], "conditions": conditions}}
        return await self._write(changed, changed["status"]) is not None


def _selectable(kind: CustomKind) -> list[str]:
    """The fields that any version can be selected by."""
    fields = kind.whole.fields
    return sorted(fields({"metadata": {}})) if fields is not None else []


def _convertible(kind: Kind, conversion: Conversion) -> Kind:
    """A kind whose fields' owners can be followed through all its versions."""
    if not isinstance(conversion, WebhookConversion):
        return kind
    hub = kind.hub.api_version

    def to(version: str) -> Callable[[Obj], Obj]:
        return lambda obj: conversion.converted([obj], version)[0]

    others = (replace(v, encode=to(v.api_version), decode=to(hub)) for v in kind.versions[1:])
    return replace(kind, versions=(kind.hub, *others))
