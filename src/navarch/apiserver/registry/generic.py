"""One resource's objects: what get, create, update and delete mean for every kind (genericregistry.Store).

Writes run in upstream's order: managed fields, mutating admission, system metadata, the kind's preparation, validation,
validating admission, commit. Objects are in the hub version throughout. What is special about one resource is a
subclass that overrides the `begin_*` and `after_*` hooks.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, Protocol

import orjson

from navarch.api.features import Features
from navarch.api.kind import Kind, Prepare, ValidateUpdate, spec_of
from navarch.api.meta import validate_finalizer_names, validate_metadata, validate_metadata_update
from navarch.apiserver.admission.chain import Chain
from navarch.apiserver.admission.interface import AdmissionRequest, Body, Operation
from navarch.apiserver.fanout import Encoder, Watcher
from navarch.apiserver.registry.call import Call, DeleteOptions
from navarch.apiserver.registry.delete import delete
from navarch.apiserver.registry.updates import carry, carry_over, clear_status, keep_all_but_status, unchanged
from navarch.apiserver.registry.virtual import Virtual
from navarch.apiserver.watchcache import Entry, ResourceCache
from navarch.machinery import errors
from navarch.machinery.clock import World, rfc3339
from navarch.machinery.errors import FieldErrors
from navarch.machinery.types import GroupKind, GroupResource, GroupVersion, Obj
from navarch.store.interface import ConflictError, Store, Write

NAME_ATTEMPTS = 8
"""Tries to find a free generated name: enough for a million names of one prefix."""
UPDATE_ATTEMPTS = 50
NAMESPACES = GroupResource("", "namespaces")
MAX_GENERATED_PREFIX = 58

Make = Callable[["Entry | None"], Awaitable[Obj]]
"""From what is stored now (None: nothing) to the object that a client wants there, as a private copy."""
Finish = Callable[[bool], None]
"""Ends what a `begin_*` hook began: True when the write happened."""


class Environment(Protocol):
    """What registries share."""

    store: Store
    world: World
    admission: Chain
    features: Features


def finish_nothing(done: bool) -> None:
    """The end of a hook that began nothing."""


class DeleteInstead(Exception):
    """The update removed the last finalizer of an object that is being deleted."""

    def __init__(self, entry: Entry, obj: Obj) -> None:
        super().__init__(entry.key)
        self.entry = entry
        self.obj = obj


class Selection(NamedTuple):
    """What a request's selectors leave of a resource."""

    matches: Callable[[Entry], bool] | None
    """What a watch tells by; None: everything."""
    within: Callable[[Entry], bool] | None
    """The same for entries that are known to be of the namespace."""
    namespace: str
    name: str
    """The one name that can match, where the field selector says so."""
    bucket: tuple[str, str] | None
    """A field and its only possible value."""


class Registry:
    """The registry of one kind."""

    returns_deleted: bool = False
    """Whether DELETE answers the object instead of a Status."""
    patch_types: tuple[str, ...] = ()
    """The media types of patches that it takes; empty: all."""
    converting: bool = False
    """Whether its reads and writes may raise NotConverted (customresources/conversion.py)."""

    def __init__(self, kind: Kind, cache: ResourceCache, env: Environment) -> None:
        self.kind = kind
        self.cache = cache
        self.env = env
        self.resource = kind.group_resource
        self._fields: frozenset[str] | None = None
        self.has_status = kind.has_subresource("status")

    # -- hooks of special resources

    def start(self) -> None:
        """The cache is loaded: allocators are rebuilt from it."""

    async def begin_create(self, call: Call, obj: Obj) -> Finish:
        return finish_nothing

    async def begin_update(self, call: Call, obj: Obj, old: Obj) -> Finish:
        return finish_nothing

    def after_delete(self, obj: Obj) -> None:
        """The object is gone from the store."""

    def alongside(self, new: Obj | None, old: Obj | None) -> tuple[Write, ...]:
        """What else the commit writes that makes `new` of `old` (None: there is none)."""
        return ()

    def should_delete(self, obj: Obj) -> bool:
        """Whether an update leaves an object that is being deleted with no finalizer and no grace left."""
        metadata = obj["metadata"]
        return (
            "deletionTimestamp" in metadata
            and not metadata.get("finalizers")
            and not metadata.get("deletionGracePeriodSeconds")
        )

    def virtual(self, subresource: str) -> Virtual | None:
        """The handler of a subresource that is an object of its own kind, where it is this registry's own."""
        return None

    def unseen(self, selection: Selection) -> Sequence[Entry] | None:
        """What a new watch begins with, where its watcher looks at entries itself; None: what the selection leaves."""
        return None

    def watcher(
        self,
        selection: Selection,
        encoder: Encoder,
        sink: Callable[[Sequence[Any]], None],
        closed: Callable[[], None],
        bookmarks: bool,
    ) -> Watcher:
        """Of what `selection` leaves; not yet begun."""
        return Watcher(self.cache.fanout, encoder, sink, closed, selection.matches, selection.bucket, bookmarks)

    def rules(self, subresource: str) -> tuple[Prepare, ValidateUpdate]:
        """How an update through a subresource (not `status`) is prepared and validated."""
        raise errors.path_not_found()

    async def delete(self, call: Call, options: DeleteOptions) -> tuple[Entry, bool]:
        """Deletes `call.name`, or marks it. Returns its last state, and whether it is gone."""
        return await delete(self, call, options)

    # -- reads

    def get(self, namespace: str, name: str) -> Entry:
        entry = self.cache.get(namespace, name)
        if entry is None:
            raise errors.not_found(self.resource, name)
        return entry

    def selectable_fields(self) -> frozenset[str]:
        """The field labels that a field selector may name."""
        fields = self._fields
        if fields is None:
            extra = self.kind.fields({"metadata": {}}) if self.kind.fields is not None else {}
            fields = self._fields = frozenset(("metadata.name", "metadata.namespace", *extra))
        return fields

    # -- create

    async def create(self, call: Call, obj: Obj) -> Entry:
        """Stores a new object; `obj` (defaulted, with managed fields, admitted) is the registry's from now on."""
        metadata = obj["metadata"]
        prefix = metadata.get("generateName", "")
        if metadata.get("name") or not prefix:
            return await self._create(call, obj)
        pristine = orjson.dumps(obj)
        for attempt in range(NAME_ATTEMPTS):
            if attempt:
                obj = orjson.loads(pristine)
            obj["metadata"]["name"] = prefix[:MAX_GENERATED_PREFIX] + self.env.world.suffix()
            try:
                return await self._create(call, obj)
            except errors.StatusError as err:
                if err.reason != "AlreadyExists" or attempt == NAME_ATTEMPTS - 1:
                    if err.reason == "AlreadyExists":
                        raise errors.generate_name_conflict(self.resource, obj["metadata"]["name"]) from None
                    raise
        raise AssertionError("unreachable")

    async def _create(self, call: Call, obj: Obj) -> Entry:
        self._fill_system_fields(obj)
        finish = await self.begin_create(call, obj)
        done = False
        try:
            await self._before_create(call, obj)
            name = obj["metadata"]["name"]
            key = self.cache.key(call.namespace, name)
            if (present := self.cache.by_key(key)) is not None:
                raise errors.already_exists(self.resource, name, "deletionTimestamp" in present.obj["metadata"])
            if call.dry_run:
                return self._unstored(key, obj)
            try:
                entry = await self._commit(key, obj, 0)
            except ConflictError:
                raise errors.already_exists(self.resource, name) from None
            done = True
            return entry
        finally:
            finish(done)

    def _fill_system_fields(self, obj: Obj) -> None:
        metadata = obj["metadata"]
        metadata["creationTimestamp"] = rfc3339(self.env.world.now())
        metadata["uid"] = self.env.world.uid()
        metadata.pop("resourceVersion", None)
        metadata.pop("selfLink", None)
        metadata.pop("deletionTimestamp", None)
        metadata.pop("deletionGracePeriodSeconds", None)

    async def _before_create(self, call: Call, obj: Obj) -> None:
        kind, metadata = self.kind, obj["metadata"]
        self.match_namespace(call, metadata)
        if self.has_status and not kind.keeps_status_on_create:
            clear_status(obj, kind.hub.definition)
        if kind.has_generation:
            metadata["generation"] = 1
        if kind.disable is not None:
            kind.disable(obj, None, self.env.features)
        kind.prepare_create(obj)
        kind.normalise(obj)
        errs = FieldErrors()
        validate_metadata(metadata, kind.namespaced, kind.name_is_valid, errs)
        if kind.qualified_finalizers and metadata.get("finalizers"):
            validate_finalizer_names(metadata, errs)
        kind.validate(obj, errs)
        call.version.validate_create(obj, errs)
        if errs:
            raise errors.invalid(kind.group_kind, metadata.get("name", ""), errs)
        call.warnings.extend(errs.warnings)
        if kind.warnings is not None:
            call.warnings.extend(kind.warnings(obj, None))
        await self.env.admission.validate(self.admission_request(call, "CREATE", obj, None))

    def match_namespace(self, call: Call, metadata: Obj) -> None:
        wanted = call.namespace if self.kind.namespaced else ""
        found = metadata.get("namespace", "")
        if found == wanted:
            return
        if found and wanted:
            raise errors.bad_request(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
        if wanted:
            metadata["namespace"] = wanted
        else:
            metadata.pop("namespace")

    # -- update

    async def update(self, call: Call, make: Make, *, create: bool = False) -> tuple[Entry, bool]:
        """Replaces the object `call.name` by what `make` makes of it; runs again when another write came between.
        `create` makes it where there is none (server-side apply does). Returns the entry, and whether it is new."""
        key = self.cache.key(call.namespace, call.name)
        may_create = (create or self.kind.allow_create_on_update) and not call.subresource
        for _ in range(UPDATE_ATTEMPTS):
            existing = self.cache.by_key(key)
            if existing is None:
                if not may_create:
                    raise errors.not_found(self.resource, call.name)
                obj = await make(None)
                return await self._create_on_update(call, obj), True
            try:
                return await self._update_or_remove(call, existing, await make(existing)), False
            except ConflictError:
                continue
        raise errors.conflict(self.resource, call.name)

    async def _update_or_remove(self, call: Call, existing: Entry, obj: Obj) -> Entry:
        """Raises ConflictError where another write came first, also where the last finalizer goes."""
        try:
            return await self._update(call, existing, obj)
        except DeleteInstead as due:
            return await self.remove(due.entry, due.obj, call)

    async def _create_on_update(self, call: Call, obj: Obj) -> Entry:
        uid = obj["metadata"].get("uid", "")
        if uid:
            raise errors.conflict(
                self.resource, call.name, _uid_mismatch(self.cache.key(call.namespace, call.name), uid, "")
            )
        return await self._create(call, obj)

    async def _update(self, call: Call, existing: Entry, obj: Obj) -> Entry:
        old = existing.obj
        self._check_preconditions(call, existing, obj)
        finish = await self.begin_update(call, obj, old)
        done = False
        try:
            self._before_update(call, obj, old)
            await self.env.admission.validate(self.admission_request(call, "UPDATE", obj, old))
            if self.should_delete(obj):
                raise DeleteInstead(existing, obj)
            if unchanged(obj, old):
                return existing
            if call.dry_run:
                return self._unstored(existing.key, obj)
            entry = await self._commit(existing.key, obj, existing.revision)
            done = True
            return entry
        finally:
            finish(done)

    def _check_preconditions(self, call: Call, existing: Entry, obj: Obj) -> None:
        metadata = obj["metadata"]
        uid, old_uid = metadata.get("uid", ""), existing.obj["metadata"].get("uid", "")
        if uid and uid != old_uid and call.options.get("kind") != "PatchOptions":
            raise errors.conflict(self.resource, call.name, _uid_mismatch(existing.key, uid, old_uid))
        version = metadata.get("resourceVersion") or "0"
        if version == "0":
            if self.kind.allow_unconditional_update:
                return
            errs = FieldErrors()
            errs.invalid("metadata.resourceVersion", 0, "must be specified for an update")
            raise errors.invalid(GroupKind(self.resource.group, self.resource.resource), call.name, errs)
        if version != str(existing.revision):
            raise errors.conflict(self.resource, call.name)

    def _before_update(self, call: Call, obj: Obj, old: Obj) -> None:
        kind, metadata, old_metadata = self.kind, obj["metadata"], old["metadata"]
        self.match_namespace(call, metadata)
        carry_over(metadata, old_metadata)
        errs = FieldErrors()
        if call.subresource == "status":
            keep_all_but_status(obj, old)
            kind.prepare_status_update(obj, old)
        elif call.subresource:
            self.rules(call.subresource)[0](obj, old)
            self._count_generation(obj, old)
        else:
            if self.has_status:
                carry(obj, old, "status")
            if kind.disable is not None:
                kind.disable(obj, old, self.env.features)
            kind.prepare_update(obj, old)
            self._count_generation(obj, old)
            kind.normalise(obj)
        validate_metadata(metadata, kind.namespaced, kind.name_is_valid, errs)
        if kind.qualified_finalizers and metadata.get("finalizers"):
            validate_finalizer_names(metadata, errs)
        validate_metadata_update(metadata, old_metadata, errs)
        if call.subresource == "status":
            kind.validate_status_update(obj, old, errs)
        elif call.subresource:
            self.rules(call.subresource)[1](obj, old, errs)
        else:
            if not kind.validates_what_changes:
                kind.validate(obj, errs)
            kind.validate_update(obj, old, errs)
            call.version.validate_update(obj, old, errs)
        if errs:
            raise errors.invalid(kind.group_kind, metadata.get("name", ""), errs)
        call.warnings.extend(errs.warnings)
        if kind.warnings is not None and not call.subresource:
            call.warnings.extend(kind.warnings(obj, old))

    def _count_generation(self, obj: Obj, old: Obj) -> None:
        if self.kind.has_generation and spec_of(obj) != spec_of(old):
            obj["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1

    # -- committing

    async def _commit(self, key: str, obj: Obj, expect: int) -> Entry:
        cache = self.cache
        value = cache.encode(obj)
        cache.hint(key, value, obj)
        known = cache.by_key(key) if expect else None
        further = self.alongside(obj, known.obj if known is not None else None)
        committed = await self.env.store.commit((Write(key, value, expect), *further))
        entry = cache.by_key(key)
        if entry is not None and entry.revision == committed.revision:
            return entry
        return cache.entry(key, value, committed.revision)

    def _unstored(self, key: str, obj: Obj) -> Entry:
        """The answer to a dry run."""
        entry = self.cache.entry(key, self.cache.encode(obj), 0)
        version = obj["metadata"].get("resourceVersion", "")
        if not version:
            obj["metadata"].pop("resourceVersion", None)
        entry.data = orjson.dumps(obj)
        return entry

    async def modify(self, call: Call, change: Callable[[Obj], None]) -> Entry:
        """Changes what is stored at `call.name` by the server's own hand: no admission, no validation. `change` gets a
        copy that is its own down to the fields of metadata, spec and status; it replaces what is below them. It runs
        again when another write came between."""
        key = self.cache.key(call.namespace, call.name)
        for _ in range(UPDATE_ATTEMPTS):
            existing = self.cache.by_key(key)
            if existing is None:
                raise errors.not_found(self.resource, call.name)
            obj = existing.opened()
            change(obj)
            try:
                return await self.rewrite(call, existing, obj)
            except ConflictError:
                continue
        raise errors.conflict(self.resource, call.name)

    async def rewrite(self, call: Call, entry: Entry, obj: Obj) -> Entry:
        """Stores what deletion has made of an object. Raises ConflictError where another write came first."""
        if call.dry_run:
            return self._unstored(entry.key, obj)
        return await self._commit(entry.key, obj, entry.revision)

    async def remove(self, entry: Entry, obj: Obj, call: Call) -> Entry:
        """Deletes what is stored at `entry`; answers `obj` as its last state."""
        if call.dry_run:
            return self._unstored(entry.key, obj)
        further = self.alongside(None, entry.obj)
        committed = await self.env.store.commit((Write(entry.key, None, entry.revision), *further))
        self.after_delete(obj)
        return self.cache.entry(entry.key, self.cache.encode(obj), committed.revision)

    def admission_request(self, call: Call, operation: Operation, obj: Obj | None, old: Obj | None) -> AdmissionRequest:
        name = call.name
        if not name and obj is not None:
            name = obj["metadata"].get("name", "")
        namespace = name if self.resource == NAMESPACES else call.namespace
        face, subresource, body = call.face, call.subresource, None
        if face is not None:
            subresource, body = face.subresource, face.body
            obj = face.show(obj) if obj is not None else None
            old = face.show(old) if old is not None else None
        return AdmissionRequest(
            operation,
            self.kind,
            call.version,
            subresource,
            namespace,
            name,
            obj,
            old,
            call.user,
            call.dry_run,
            call.options,
            call.warnings,
            body,
            call.note,
        )

    async def review(self, call: Call, operation: Operation, obj: Obj, body: Body) -> None:
        """Admission of an object of another kind that a subresource takes and nobody stores; may change `obj`."""
        obj.setdefault("apiVersion", str(GroupVersion(body.group, body.version)))
        obj.setdefault("kind", body.kind)
        if operation == "CREATE":
            self.match_namespace(call, obj.setdefault("metadata", {}))
        request = self.admission_request(call, operation, obj, None)
        request.body = body
        await self.env.admission.review(request)


def _uid_mismatch(key: str, wanted: str, found: str) -> str:
    return (
        f"StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: "
        f"Precondition failed: UID in precondition: {wanted}, UID in object meta: {found}"
    )
