"""NamespaceLifecycle: nothing new in a namespace that is gone or going; the system's own namespaces stay."""

from __future__ import annotations

from navarch.apiserver.admission.chain import BasePlugin, refuse
from navarch.apiserver.admission.interface import AdmissionRequest
from navarch.apiserver.watchcache import CacheSet
from navarch.machinery import errors, trees
from navarch.machinery.types import GroupResource

NAMESPACES = GroupResource("", "namespaces")
IMMORTAL = frozenset(("default", "kube-system", "kube-public"))


class NamespaceLifecycle(BasePlugin):
    name = "NamespaceLifecycle"

    def __init__(self, caches: CacheSet) -> None:
        self._namespaces = caches[NAMESPACES]

    def concerns(self, request: AdmissionRequest) -> bool:
        return request.kind.namespaced or request.resource == NAMESPACES

    async def admit(self, request: AdmissionRequest) -> None:
        if request.resource == NAMESPACES or request.operation == "DELETE" or request.kind.ephemeral:
            return
        entry = self._namespaces.get("", request.namespace)
        if entry is None:
            raise errors.not_found(NAMESPACES, request.namespace)
        if request.operation != "CREATE" or trees.get(entry.obj, "status", "phase") != "Terminating":
            return
        namespace = request.namespace
        refusal = refuse(
            request, f"unable to create new content in namespace {namespace} because it is being terminated"
        )
        assert refusal.details is not None
        refusal.details["causes"] = [
            {
                "reason": "NamespaceTerminating",
                "message": f"namespace {namespace} is being terminated",
                "field": "metadata.namespace",
            }
        ]
        raise refusal

    async def validate(self, request: AdmissionRequest) -> None:
        if request.operation == "DELETE" and request.resource == NAMESPACES and request.name in IMMORTAL:
            raise errors.forbidden(NAMESPACES, request.name, "this namespace may not be deleted")
