"""Admission policies and their bindings: who makes one must be allowed to read the parameters that it reads.

Source: registry/admissionregistration (authz.go of each kind).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from navarch.api.kind import Kind
from navarch.apiserver.auth.interface import Attributes
from navarch.apiserver.registry.call import Call
from navarch.apiserver.registry.generic import Registry
from navarch.apiserver.watchcache import ResourceCache
from navarch.machinery import errors
from navarch.machinery.errors import FieldErrors
from navarch.machinery.types import GroupResource, Obj

if TYPE_CHECKING:
    from navarch.apiserver.server import ApiServer

GROUP = "admissionregistration.k8s.io"
BINDINGS = {
    "mutatingadmissionpolicybindings": GroupResource(GROUP, "mutatingadmissionpolicies"),
    "validatingadmissionpolicybindings": GroupResource(GROUP, "validatingadmissionpolicies"),
}
"""A binding's resource -> that of its policy."""


class _AuthorizedRegistry(Registry):
    """Asks, once all else is well, whether the user may read what the object refers to."""

    path = ""

    def __init__(self, kind: Kind, cache: ResourceCache, server: ApiServer) -> None:
        super().__init__(kind, cache, server)
        self._server = server

    async def _before_create(self, call: Call, obj: Obj) -> None:
        await super()._before_create(call, obj)
        self._authorize(call, obj, None)

    def _before_update(self, call: Call, obj: Obj, old: Obj) -> None:
        super()._before_update(call, obj, old)
        if not call.subresource:
            self._authorize(call, obj, old)

    def _authorize(self, call: Call, obj: Obj, old: Obj | None) -> None:
        if problem := self.problem(call, obj, old):
            errs = FieldErrors()
            errs.forbidden(self.path, problem)
            raise errors.invalid(self.kind.group_kind, obj["metadata"].get("name", ""), errs)

    def problem(self, call: Call, obj: Obj, old: Obj | None) -> str:
        """Why the user may not; empty where they may."""
        raise NotImplementedError

    def _may(self, call: Call, verb: str, kind: Obj | None, namespace: str, name: str) -> bool:
        """Whether the user may read objects of `kind` (None: not known; of any kind then)."""
        group = version = resource = "*"
        if kind is not None:
            group, _, version = kind.get("apiVersion", "").rpartition("/")
            resource = self._plural(group, kind.get("kind", "")) or "*"
        asked = Attributes(call.user, verb, True, "", group, version, resource, "", namespace, name)
        return self._server.decide(asked).allowed

    def _plural(self, group: str, kind: str) -> str:
        for registry in self._server.registries.values():
            found = registry.kind
            if found.kind == kind and any(version.group == group for version in found.versions):
                return found.plural
        return ""


class AdmissionPolicyRegistry(_AuthorizedRegistry):
    path = "spec.paramKind"

    def problem(self, call: Call, obj: Obj, old: Obj | None) -> str:
        kind = obj["spec"].get("paramKind")
        if kind is None or (old is not None and old["spec"].get("paramKind") == kind):
            return ""
        if self._may(call, "get", kind, "*", "*"):
            return ""
        return (
            f'user {call.user.name} must have "get" permission on all objects of the referenced paramKind '
            f"(kind={kind.get('kind', '')}, apiVersion={kind.get('apiVersion', '')})"
        )


class PolicyBindingRegistry(_AuthorizedRegistry):
    path = "spec.paramRef"

    def problem(self, call: Call, obj: Obj, old: Obj | None) -> str:
        spec, before = obj["spec"], (old or {}).get("spec") or {}
        reference = spec.get("paramRef")
        if reference is None or all(before.get(field) == spec.get(field) for field in ("paramRef", "policyName")):
            return ""
        policies = self._server.registries[BINDINGS[self.resource.resource]].cache
        policy = policies.get("", spec.get("policyName", ""))
        kind = policy.obj["spec"].get("paramKind") if policy is not None else None
        name = reference.get("name", "")
        verb = "get" if name else "list"
        if self._may(call, verb, kind, reference.get("namespace", ""), name):
            return ""
        if policy is None:
            return (
                f"unable to get policy {spec.get('policyName', '')} to determine minimum required permissions and user "
                f'{call.user.name} does not have "{verb}" permission for all groups, versions and resources'
            )
        return f'user {call.user.name} does not have "{verb}" permission on the object referenced by paramRef'
