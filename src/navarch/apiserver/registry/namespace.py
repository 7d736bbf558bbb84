"""Namespaces: deletion waits until their finalizers say that the content is gone."""

from __future__ import annotations

from navarch.api.core.namespace import validate_finalize
from navarch.api.kind import Prepare, ValidateUpdate
from navarch.apiserver.registry.call import Call, DeleteOptions
from navarch.apiserver.registry.delete import check_preconditions
from navarch.apiserver.registry.generic import Registry
from navarch.apiserver.watchcache import Entry
from navarch.machinery import trees
from navarch.machinery.clock import rfc3339
from navarch.machinery.types import Obj


class NamespaceRegistry(Registry):
    returns_deleted = True

    def should_delete(self, obj: Obj) -> bool:
        return super().should_delete(obj) and not trees.get(obj, "spec", "finalizers")

    def rules(self, subresource: str) -> tuple[Prepare, ValidateUpdate]:
        if subresource == "finalize":
            return _prepare_finalize, validate_finalize
        return super().rules(subresource)

    async def delete(self, call: Call, options: DeleteOptions) -> tuple[Entry, bool]:
        entry = self.get("", call.name)
        check_preconditions(self, options, entry, self.resource)
        await self.env.admission.review(self.admission_request(call, "DELETE", None, entry.obj))
        if "deletionTimestamp" not in entry.obj["metadata"]:
            return await self.modify(call, self._terminate), False
        if trees.get(entry.obj, "spec", "finalizers"):
            return entry, False
        return await super().delete(call, options)

    def _terminate(self, obj: Obj) -> None:
        obj["metadata"].setdefault("deletionTimestamp", rfc3339(self.env.world.now()))
        obj["status"] = {**obj.get("status", {}), "phase": "Terminating"}


def _prepare_finalize(new: Obj, old: Obj) -> None:
    if "status" in old:
        new["status"] = old["status"]
