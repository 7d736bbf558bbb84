"""The verbs, for every resource and for both edges (HTTP and in-process): what surrounds a registry's write.

A write comes in as a tree of the request's version; it leaves as the entry that holds its result. Upstream's order:
decode and default, managed fields, mutating admission, then the registry.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from navarch.api.kind import Kind, Version
from navarch.apiserver import codec
from navarch.apiserver.admission.chain import Chain
from navarch.apiserver.patching import Patch
from navarch.apiserver.registry.call import Call, DeleteOptions
from navarch.apiserver.registry.generic import Registry
from navarch.apiserver.registry.listing import ListOptions, Page, list_objects
from navarch.apiserver.watchcache import CacheSet, Entry
from navarch.machinery import errors
from navarch.machinery.decode import yaml_errors
from navarch.machinery.errors import StatusError
from navarch.machinery.types import Obj

Tree = Callable[[], Any]
"""Gives the body's tree, a private one at each call."""


class FieldOwnership(Protocol):
    """Keeps metadata.managedFields (machinery.apply, bound to a kind's schema)."""

    def update(self, kind: Kind, call: Call, live: Obj | None, new: Obj) -> Obj: ...

    def apply(self, kind: Kind, call: Call, live: Obj | None, applied: Obj, force: bool) -> Obj: ...


class Operations:
    """Writes and reads of all resources that registries hold."""

    def __init__(self, caches: CacheSet, admission: Chain, ownership: FieldOwnership) -> None:
        self.caches = caches
        self.admission = admission
        self.ownership = ownership

    async def create(self, registry: Registry, call: Call, tree: Any, validation: str) -> Entry:
        obj = _decoded(registry, call, tree, validation)
        metadata = obj["metadata"]
        for name in ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"):
            metadata.pop(name, None)
        if metadata.get("resourceVersion"):
            raise errors.bad_request("resourceVersion should not be set on objects to be created")
        registry.match_namespace(call, metadata)
        dedupe_owners(metadata, call.warnings)
        obj = self.ownership.update(registry.kind, call, None, obj)
        await self.admission.admit(registry.admission_request(call, "CREATE", obj, None))
        return await registry.create(call, obj)

    async def update(self, registry: Registry, call: Call, tree: Tree, validation: str) -> tuple[Entry, bool]:
        """PUT. Returns the entry, and whether it is new."""

        async def make(existing: Entry | None) -> Obj:
            obj = _decoded(registry, call, tree(), validation)
            if not obj["metadata"].get("name"):
                why = f"the name of the object ({call.name} based on URL) was undeterminable: name must be provided"
                raise errors.bad_request(why)
            check_name(obj["metadata"], call.name)
            return await self._owned(registry, call, existing, obj)

        return await registry.update(call, make)

    async def patch(self, registry: Registry, call: Call, patch: Patch, validation: str) -> tuple[Entry, bool]:
        """The four patch types. Returns the entry, and whether it is new (only server-side apply makes objects)."""
        if patch.type == "apply":
            return await self._apply(registry, call, patch, validation)

        async def make(existing: Entry | None) -> Obj:
            if existing is None:
                raise errors.not_found(registry.resource, call.name)
            tree = codec.from_hub(registry.kind, call.version, existing.private())
            patched = patch.applied_to(tree, call.version)
            if patch.duplicates and validation == codec.STRICT:
                raise patch.unfit(patched, "strict decoding error: " + ", ".join(patch.duplicates))
            try:
                obj = _decoded(registry, call, patched, validation)
            except StatusError as err:
                if err.code != 400:
                    raise
                raise patch.unfit(patched, err.message, err.__cause__) from None
            check_name(obj["metadata"], call.name)
            dedupe_owners(obj["metadata"], call.warnings, admitted=True)
            return await self._owned(registry, call, existing, obj)

        if validation == codec.WARN:
            call.warnings.extend(patch.duplicates)
        return await registry.update(call, make)

    async def _apply(self, registry: Registry, call: Call, patch: Patch, validation: str) -> tuple[Entry, bool]:
        async def make(existing: Entry | None) -> Obj:
            live = existing.obj if existing is not None else None
            obj = self.ownership.apply(registry.kind, call, live, patch.tree, patch.force)
            check_name(obj["metadata"], call.name)
            if patch.duplicates and validation == codec.STRICT:
                lines = "".join(yaml_errors(list(patch.duplicates)))
                raise errors.bad_request(f"error strict decoding YAML: error converting YAML to JSON: {lines}")
            dedupe_owners(obj["metadata"], call.warnings, admitted=True)
            return await self._admitted(registry, call, live, obj)

        if validation == codec.WARN:
            call.warnings.extend(patch.duplicates)
        return await registry.update(call, make, create=True)

    async def _owned(self, registry: Registry, call: Call, existing: Entry | None, obj: Obj) -> Obj:
        dedupe_owners(obj["metadata"], call.warnings)
        live = existing.obj if existing is not None else None
        return await self._admitted(registry, call, live, self.ownership.update(registry.kind, call, live, obj))

    async def _admitted(self, registry: Registry, call: Call, live: Obj | None, obj: Obj) -> Obj:
        registry.match_namespace(call, obj["metadata"])
        operation = "CREATE" if live is None else "UPDATE"
        await self.admission.admit(registry.admission_request(call, operation, obj, live))
        return obj

    async def delete(self, registry: Registry, call: Call, options: DeleteOptions) -> tuple[Entry, bool]:
        """Returns the last state, and whether it is gone."""
        return await registry.delete(call, options)

    async def delete_collection(
        self, registry: Registry, call: Call, options: DeleteOptions, selection: ListOptions
    ) -> Page:
        """Deletes what the selection lists; answers the list as it was."""
        found = list_objects(registry, call.namespace, selection, self.caches.revision)
        page = await found if isinstance(found, Awaitable) else found
        for entry in page.entries:
            one = Call(
                user=call.user,
                version=call.version,
                namespace=entry.namespace,
                name=entry.name,
                dry_run=call.dry_run,
                options=call.options,
                warnings=call.warnings,
                note=call.note,
            )
            try:
                await registry.delete(one, options)
            except StatusError as err:
                if err.reason != "NotFound":
                    raise
        return page


def _decoded(registry: Registry, call: Call, tree: Any, validation: str) -> Obj:
    """The tree's object. An empty list of managers resets them, as one empty entry does, but decoding drops empty lists."""
    metadata: Any = tree.get("metadata") if isinstance(tree, dict) else None
    if isinstance(metadata, dict) and metadata.get("managedFields") == []:
        metadata["managedFields"] = [{}]
    return codec.decode_object(registry.kind, call.version, tree, validation, call.warnings)


def check_name(metadata: Obj, name: str) -> None:
    """The body's name is the path's."""
    found = metadata.get("name", "")
    if not found:
        raise errors.bad_request(
            f"the name of the object ({name} based on URL) was undeterminable: name must be provided"
        )
    if found != name:
        raise errors.bad_request(f"the name of the object ({found}) does not match the name on the URL ({name})")


def dedupe_owners(metadata: Obj, warnings: list[str], admitted: bool = False) -> None:
    """Owner references by uid, the first of each kept. `admitted`: the warning says so, as it does of patches."""
    owners: list[Obj] = metadata.get("ownerReferences") or []
    if len(owners) < 2:
        return
    seen: dict[str, Obj] = {}
    for owner in owners:
        seen.setdefault(owner.get("uid", ""), owner)
    if len(seen) == len(owners):
        return
    metadata["ownerReferences"] = list(seen.values())
    warnings.append(
        f".metadata.ownerReferences contains duplicate entries{' after mutating admission happens' if admitted else ''}; "
        "API server dedups owner references in 1.20+, and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: "
        + ", ".join(uid for uid in seen if sum(o.get("uid", "") == uid for o in owners) > 1)
    )


def version_of(kind: Kind, group: str, version: str) -> Version | None:
    return next((v for v in kind.versions if v.group == group and v.version == version), None)
