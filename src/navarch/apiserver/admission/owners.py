"""OwnerReferencesPermissionEnforcement (off unless enabled): who may make an object another's dependent, and so block that
one's deletion. Source: plugin/pkg/admission/gc."""

from __future__ import annotations

from collections.abc import Callable

from navarch.apiserver.admission.chain import PODS, BasePlugin, refuse
from navarch.apiserver.admission.interface import AdmissionRequest
from navarch.apiserver.auth.interface import Attributes, Decision
from navarch.apiserver.watchcache import CacheSet
from navarch.machinery.types import GroupVersion, Obj

Authorize = Callable[[Attributes], Decision]


class OwnerReferencesPermissionEnforcement(BasePlugin):
    name = "OwnerReferencesPermissionEnforcement"

    def __init__(self, caches: CacheSet, authorize: Authorize) -> None:
        self._caches, self._authorize = caches, authorize

    def concerns(self, request: AdmissionRequest) -> bool:
        if request.resource == PODS and request.subresource == "status":
            return False
        return request.operation in ("CREATE", "UPDATE")

    async def validate(self, request: AdmissionRequest) -> None:
        new, old = _owners(request.object), _owners(request.old)
        if new == old:
            return
        if request.operation != "CREATE":
            decision = self._asks(request, "delete", request.version.group, request.kind.plural, request.name)
            if not decision.allowed:
                why = f"cannot set an ownerRef on a resource you can't delete: {decision.reason}, <nil>"
                raise refuse(request, why)
        known = {owner.get("uid"): owner for owner in old}
        blocking = [
            owner
            for owner in new
            if owner.get("blockOwnerDeletion") and not (known.get(owner.get("uid")) or {}).get("blockOwnerDeletion")
        ]
        if not blocking:
            return
        anything = Attributes(request.user, "update", True, "", "*", "*", "*", "finalizers", "", "*")
        if not self._authorize(anything).allowed:
            for owner in blocking:
                self._check(request, owner)

    def _check(self, request: AdmissionRequest, owner: Obj) -> None:
        version, name = owner.get("apiVersion", ""), owner.get("kind", "")
        try:
            group, number = GroupVersion.parse(version)
        except ValueError:
            group, number = "", ""
        for cache in self._caches:
            kind = cache.kind
            if kind.kind != name or not any((v.group, v.version) == (group, number) for v in kind.versions):
                continue
            namespace = request.namespace if kind.namespaced else ""
            asked = Attributes(
                request.user, "update", True, "", group, number, kind.plural, "finalizers", namespace, owner["name"]
            )
            decision = self._authorize(asked)
            if not decision.allowed:
                why = "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on"
                raise refuse(request, f"{why}: {decision.reason}, <nil>")
            return
        raise refuse(
            request,
            f"cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion {version} "
            f'Kind {name}: no matches for kind "{name}" in version "{version}"',
        )

    def _asks(self, request: AdmissionRequest, verb: str, group: str, resource: str, name: str) -> Decision:
        return self._authorize(
            Attributes(
                request.user,
                verb,
                True,
                "",
                group,
                request.version.version,
                resource,
                request.subresource,
                request.namespace,
                name,
            )
        )


def _owners(obj: Obj | None) -> list[Obj]:
    return ((obj or {}).get("metadata") or {}).get("ownerReferences") or []
