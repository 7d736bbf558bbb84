"""The Client of everything that runs in the API server's own process: the registries, called directly.

No HTTP and no encoding, but the same authorization, admission and validation. What it returns is shared with the
caches: immutable.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Literal

from navarch.apiserver.auth.interface import Attributes
from navarch.apiserver.filters.request_info import name_selected
from navarch.apiserver.patching import Patch
from navarch.apiserver.registry.call import Call, DeleteOptions
from navarch.apiserver.registry.generic import Registry
from navarch.apiserver.registry.listing import ListOptions, list_objects, open_watch
from navarch.apiserver.registry.virtual import Virtual
from navarch.apiserver.request import Request, RequestInfo, User
from navarch.apiserver.watchcache import Entry
from navarch.apiserver.within import Connection, Within
from navarch.client.http import HttpClient
from navarch.client.interface import ListResult, PatchType, Resource, WatchEvent
from navarch.machinery import errors, trees
from navarch.machinery.types import GroupResource, Obj

if TYPE_CHECKING:
    from navarch.apiserver.server import ApiServer

PENDING_LIMIT = 50_000
"""Events that may wait for a reader before its watch is ended."""


class _ObjectEncoder:
    """Watch events as shared trees of the hub version."""

    name = "objects"

    def event(self, type: str, entry: Entry, revision: int) -> WatchEvent:
        return WatchEvent(type, entry.obj_at(revision))

    def bookmark(self, revision: int, initial_events_end: bool) -> WatchEvent:
        metadata: Obj = {"resourceVersion": str(revision)}
        if initial_events_end:
            metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
        return WatchEvent("BOOKMARK", {"metadata": metadata})


OBJECTS = _ObjectEncoder()


NOT_LOGGED = nullcontext()


class InProcessClient:
    """A Client that acts as `user`; `manager` owns the fields it writes (the last part of the user's name, unless it is
    given). Built-in resources must be named at their hub version."""

    def __init__(self, server: ApiServer, user: User, manager: str = "") -> None:
        self._server = server
        self._user = user
        self._manager = manager or user.name.rpartition(":")[2]
        self._headers = {"user-agent": self._manager}
        self._within = Within(server.handle_as, user)
        self._http = HttpClient("", user_agent=self._manager, transport=self._within)
        """For what other servers serve."""

    # -- reads

    async def get(self, resource: Resource, name: str, namespace: str = "", *, subresource: str = "") -> Obj:
        if other := self._elsewhere(resource):
            return await other.get(resource, name, namespace, subresource=subresource)
        registry = self._registry("get", resource, namespace, name, subresource)
        if subresource and (virtual := self._virtual(registry, subresource)):
            return await virtual.get(self._call(registry, namespace, name, subresource))
        return registry.get(namespace, name).obj

    async def list(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        resource_version: str = "",
        limit: int = 0,
        continue_token: str = "",
    ) -> ListResult:
        if other := self._elsewhere(resource):
            return await other.list(
                resource,
                namespace,
                label_selector=label_selector,
                field_selector=field_selector,
                resource_version=resource_version,
                limit=limit,
                continue_token=continue_token,
            )
        registry = self._registry("list", resource, namespace, fields=field_selector)
        options = ListOptions(
            label_selector=label_selector,
            field_selector=field_selector,
            resource_version=resource_version,
            limit=limit,
            continue_token=continue_token,
        )
        found = list_objects(registry, namespace, options, await self._server.current())
        page = await found if isinstance(found, Awaitable) else found
        items = [entry.obj for entry in page.entries]
        return ListResult(str(page.revision), items, page.continue_token, page.remaining or 0)

    async def watch(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        resource_version: str = "",
        timeout_seconds: int = 0,
    ) -> AsyncIterator[Sequence[WatchEvent]]:
        if other := self._elsewhere(resource):
            events = other.watch(
                resource,
                namespace,
                label_selector=label_selector,
                field_selector=field_selector,
                resource_version=resource_version,
                timeout_seconds=timeout_seconds,
            )
            async for batch in events:
                yield batch
            return
        registry = self._registry("watch", resource, namespace, fields=field_selector)
        options = ListOptions(
            label_selector=label_selector,
            field_selector=field_selector,
            resource_version=resource_version,
            bookmarks=True,
        )
        pending: list[WatchEvent] = []
        arrived = asyncio.Event()
        ended = False

        def sink(events: Sequence[WatchEvent]) -> None:
            pending.extend(events)
            arrived.set()

        def close() -> None:
            nonlocal ended
            ended = True
            arrived.set()

        watcher = open_watch(registry, namespace, options, await self._server.current(), OBJECTS, sink, close)
        timer = self._server.world.call_later(timeout_seconds, close) if timeout_seconds else None
        try:
            while True:
                if not ended:  # it may end while the last batch is being used
                    await arrived.wait()
                arrived.clear()
                if pending:
                    if len(pending) > PENDING_LIMIT:
                        raise errors.expired("the watch fell behind")
                    batch, pending = pending, []
                    yield batch
                elif ended:
                    return
        finally:
            watcher.cancel()
            if timer is not None:
                timer.cancel()

    # -- writes

    async def create(
        self, resource: Resource, obj: Obj, namespace: str = "", *, name: str = "", subresource: str = ""
    ) -> Obj:
        if other := self._elsewhere(resource):
            return await other.create(resource, obj, namespace, name=name, subresource=subresource)
        with self._logged("create", resource, namespace, name, subresource, obj):
            registry = self._registry("create", resource, namespace, name, subresource)
            call = self._call(registry, namespace, name, subresource)
            if subresource:
                virtual = self._virtual(registry, subresource)
                if virtual is None:
                    raise errors.path_not_found()
                return await virtual.create(call, trees.copy(obj))
            return (await self._server.operations.create(registry, call, trees.copy(obj), "Ignore")).obj

    async def update(self, resource: Resource, obj: Obj, namespace: str = "", *, subresource: str = "") -> Obj:
        if other := self._elsewhere(resource):
            return await other.update(resource, obj, namespace, subresource=subresource)
        name = obj["metadata"]["name"]
        with self._logged("update", resource, namespace, name, subresource, obj):
            registry = self._registry("update", resource, namespace, name, subresource)
            call = self._call(registry, namespace, name, subresource)
            if subresource and (virtual := self._virtual(registry, subresource)):
                return await virtual.update(call, lambda _: trees.copy(obj))
            entry, _ = await self._server.operations.update(registry, call, lambda: trees.copy(obj), "Ignore")
            return entry.obj

    async def patch(
        self,
        resource: Resource,
        name: str,
        patch: Any,
        namespace: str = "",
        *,
        type: PatchType = "merge",
        subresource: str = "",
        field_manager: str = "",
        force: bool = False,
    ) -> Obj:
        if other := self._elsewhere(resource):
            return await other.patch(
                resource,
                name,
                patch,
                namespace,
                type=type,
                subresource=subresource,
                field_manager=field_manager or self._manager if type == "apply" else field_manager,
                force=force,
            )
        with self._logged("patch", resource, namespace, name, subresource, patch):
            registry = self._registry("patch", resource, namespace, name, subresource)
            call = self._call(registry, namespace, name, subresource, field_manager)
            change = Patch(type, patch, force)
            if subresource and (virtual := self._virtual(registry, subresource)):
                if type == "apply":
                    return await virtual.apply(call, patch, force)
                return await virtual.update(call, change.applied_to_virtual)
            entry, _ = await self._server.operations.patch(registry, call, change, "Ignore")
            return entry.obj

    async def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str = "",
        *,
        uid: str = "",
        resource_version: str = "",
        grace_period_seconds: int | None = None,
        propagation: Literal["", "Background", "Foreground", "Orphan"] = "",
    ) -> Obj:
        if other := self._elsewhere(resource):
            return await other.delete(
                resource,
                name,
                namespace,
                uid=uid,
                resource_version=resource_version,
                grace_period_seconds=grace_period_seconds,
                propagation=propagation,
            )
        with self._logged("delete", resource, namespace, name):
            registry = self._registry("delete", resource, namespace, name)
            options = DeleteOptions(
                grace_period_seconds=grace_period_seconds,
                uid=uid or None,
                resource_version=resource_version or None,
                propagation=propagation,
            )
            entry, _ = await self._server.operations.delete(registry, self._call(registry, namespace, name), options)
            return entry.obj

    async def delete_collection(
        self, resource: Resource, namespace: str = "", *, label_selector: str = "", field_selector: str = ""
    ) -> None:
        if other := self._elsewhere(resource):
            await other.delete_collection(
                resource, namespace, label_selector=label_selector, field_selector=field_selector
            )
            return
        with self._logged("deletecollection", resource, namespace):
            registry = self._registry("deletecollection", resource, namespace, fields=field_selector)
            selection = ListOptions(label_selector=label_selector, field_selector=field_selector)
            call = self._call(registry, namespace, "")
            await self._server.operations.delete_collection(registry, call, DeleteOptions(), selection)

    async def raw(self, method: str, path: str, query: Mapping[str, str] | None = None, body: Any = None) -> Any:
        return await self._http.raw(method, path, query, body)

    # -- helpers

    def _elsewhere(self, resource: Resource) -> HttpClient | None:
        """The way to a resource that an extension server serves, or whose versions a webhook converts."""
        server = self._server
        remotes = server.aggregator.remotes
        if remotes and (resource.group, resource.version) in remotes:
            return self._http
        registry = server.registries.get(GroupResource(resource.group, resource.plural))
        return self._http if registry is not None and registry.converting else None

    def _logged(
        self, verb: str, resource: Resource, namespace: str, name: str = "", subresource: str = "", body: Any = None
    ) -> AbstractContextManager[None]:
        """Around a write: what the audit log hears of it."""
        audit = self._server.audit
        if audit is None or audit.policy.is_silent(verb, resource.group, resource.plural, subresource):
            return NOT_LOGGED
        path = _path(resource, namespace, name, subresource)
        if not name and isinstance(body, dict):
            name = body["metadata"].get("name", "")
        asked = self._attributes(verb, resource, namespace, name, subresource)
        request = Request("", path, "", self._headers, b"", Connection())
        request.user, request.audit_id = self._user, self._server.world.uid()
        request.info = RequestInfo(request.path, verb, True)
        request.decision = self._server.decide(asked)
        return audit.of_process(request, asked, body)

    def _attributes(
        self, verb: str, resource: Resource, namespace: str, name: str, subresource: str, fields: str = ""
    ) -> Attributes:
        return Attributes(
            self._user,
            verb,
            True,
            group=resource.group,
            version=resource.version,
            resource=resource.plural,
            subresource=subresource,
            namespace=namespace,
            name=name or name_selected(fields),
            fields=fields,
        )

    def _registry(
        self, verb: str, resource: Resource, namespace: str, name: str = "", subresource: str = "", fields: str = ""
    ) -> Registry:
        registry = self._server.registries.get(GroupResource(resource.group, resource.plural))
        if registry is not None and registry.kind.typed_items:
            registry = self._server.custom.registry(resource.group, resource.version, resource.plural)
        if registry is None:
            raise errors.path_not_found()
        self._server.authorize(self._attributes(verb, resource, namespace, name, subresource, fields))
        return registry

    def _virtual(self, registry: Registry, subresource: str) -> Virtual | None:
        return registry.virtual(subresource) or self._server.virtual(registry.resource, subresource)

    def _call(self, registry: Registry, namespace: str, name: str, subresource: str = "", manager: str = "") -> Call:
        return Call(
            user=self._user,
            version=registry.kind.hub,
            namespace=namespace,
            name=name,
            subresource=subresource,
            manager=manager or self._manager,
        )


def _path(resource: Resource, namespace: str, name: str, subresource: str) -> str:
    """The path that the same request would have over HTTP."""
    root = f"/apis/{resource.group}/{resource.version}" if resource.group else f"/api/{resource.version}"
    parts = [root, *(("namespaces", namespace) if namespace else ()), resource.plural, name, subresource]
    return "/".join(part for part in parts if part)
