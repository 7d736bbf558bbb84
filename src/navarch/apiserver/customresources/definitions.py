"""The registry of CustomResourceDefinitions: one that is deleted waits until its objects are gone."""

from __future__ import annotations

from navarch.api.apiextensions.customresourcedefinition import CLEANUP
from navarch.apiserver.customresources import status as statuses
from navarch.apiserver.registry.call import Call, DeleteOptions
from navarch.apiserver.registry.delete import check_preconditions
from navarch.apiserver.registry.generic import UPDATE_ATTEMPTS, Registry
from navarch.apiserver.watchcache import Entry
from navarch.machinery import errors, trees
from navarch.machinery.clock import rfc3339
from navarch.machinery.types import Obj
from navarch.store.interface import ConflictError


class DefinitionRegistry(Registry):
    async def delete(self, call: Call, options: DeleteOptions) -> tuple[Entry, bool]:
        key = self.cache.key(call.namespace, call.name)
        for _ in range(UPDATE_ATTEMPTS):
            entry = self.cache.by_key(key)
            if entry is None:
                raise errors.not_found(self.resource, call.name)
            if "deletionTimestamp" in entry.obj["metadata"]:
                return await super().delete(call, options)
            check_preconditions(self, options, entry, self.resource)
            await self.env.admission.validate(self.admission_request(call, "DELETE", None, entry.obj))
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
