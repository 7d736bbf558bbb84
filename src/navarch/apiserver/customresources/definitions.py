"""The registry of CustomResourceDefinitions: one that is deleted waits until its objects are gone."""

from __future__ import annotations

import asyncio

import orjson

from navarch.api.apiextensions.customresourcedefinition import CLEANUP
from navarch.api.apiextensions.spec import validate_spec
from navarch.apiserver.customresources import status as statuses
from navarch.apiserver.registry.call import Call, DeleteOptions
from navarch.apiserver.registry.delete import check_preconditions
from navarch.apiserver.registry.generic import UPDATE_ATTEMPTS, Finish, Registry, finish_nothing
from navarch.apiserver.watchcache import Entry
from navarch.machinery import errors, trees
from navarch.machinery.clock import rfc3339
from navarch.machinery.errors import FieldErrors
from navarch.machinery.types import Obj
from navarch.store.interface import ConflictError

LARGE = 32 * 1024
"""Bytes of a spec that is looked at outside the event loop."""


class DefinitionRegistry(Registry):
    async def begin_create(self, call: Call, obj: Obj) -> Finish:
        await _judge(obj["spec"], None, False)
        return finish_nothing

    async def begin_update(self, call: Call, obj: Obj, old: Obj) -> Finish:
        if not call.subresource:
            await _judge(obj["spec"], old["spec"], statuses.is_true(old, statuses.ESTABLISHED))
        return finish_nothing

    async def delete(self, call: Call, options: DeleteOptions) -> tuple[Entry, bool]:
        key = self.cache.key(call.namespace, call.name)
        for _ in range(UPDATE_ATTEMPTS):
            entry = self.cache.by_key(key)
            if entry is None:
                raise errors.not_found(self.resource, call.name)
            if "deletionTimestamp" in entry.obj["metadata"]:
                return await super().delete(call, options)
            check_preconditions(self, options, entry, self.resource)
            await self.env.admission.review(self.admission_request(call, "DELETE", None, entry.obj))
            try:
                return await self.rewrite(call, entry, self._marked(entry.obj)), False
            except ConflictError:
                continue
        raise errors.conflict(self.resource, call.name)

    def _marked(self, crd: Obj) -> Obj:
        obj, now = trees.copy(crd), self.env.world.now()
        metadata = obj["metadata"]
        metadata["deletionTimestamp"] = rfc3339(now)
        finalizers = metadata.setdefault("finalizers", [])
        if CLEANUP not in finalizers:
            finalizers.append(CLEANUP)
        message = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon"
        pending = statuses.made(statuses.TERMINATING, "True", "InstanceDeletionPending", message)
        conditions = obj["status"]["conditions"] = obj["status"].get("conditions") or []
        statuses.set_condition(conditions, pending, now)
        return obj


async def _judge(spec: Obj, old: Obj | None, established: bool) -> None:
    if len(orjson.dumps(spec)) > LARGE:
        await asyncio.to_thread(validate_spec, spec, old, established, FieldErrors())
