"""Claims and slices of devices: who may have admin access, bind claims and report on devices; when taints came.

Source: registry/resource.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from navarch.api.kind import Kind
from navarch.api.resource.resourceclaim import results_of
from navarch.api.resource.resourceslice import devices_of
from navarch.api.resource.rules import device_key
from navarch.apiserver.auth.interface import Attributes
from navarch.apiserver.filters.access import denied
from navarch.apiserver.registry.call import Call
from navarch.apiserver.registry.generic import Finish, Registry
from navarch.apiserver.request import User
from navarch.apiserver.watchcache import ResourceCache
from navarch.machinery import errors
from navarch.machinery.clock import rfc3339
from navarch.machinery.errors import FieldErrors
from navarch.machinery.types import GroupResource, Obj

if TYPE_CHECKING:
    from navarch.apiserver.server import ApiServer

NAMESPACES = GroupResource("", "namespaces")
ADMIN_ACCESS = "resource.kubernetes.io/admin-access"
"""The label of namespaces in which devices may be used by admins, beside those who have them."""
NODE_NAME = "authentication.kubernetes.io/node-name"
ACCOUNT_PREFIX = "system:serviceaccount:"


class SliceRegistry(Registry):
    returns_deleted = True

    async def begin_create(self, call: Call, obj: Obj) -> Finish:
        self._stamp(obj)
        return await super().begin_create(call, obj)

    async def begin_update(self, call: Call, obj: Obj, old: Obj) -> Finish:
        self._stamp(obj)
        return await super().begin_update(call, obj, old)

    def _stamp(self, obj: Obj) -> None:
        for device in devices_of(obj):
            for taint in device.get("taints") or ():
                if not taint.get("timeAdded"):
                    taint["timeAdded"] = rfc3339(self.env.world.now())


class ClaimRegistry(Registry):
    """Of claims, and of their templates."""

    returns_deleted = True

    def __init__(self, kind: Kind, cache: ResourceCache, server: ApiServer) -> None:
        super().__init__(kind, cache, server)
        self._server = server

    async def _before_create(self, call: Call, obj: Obj) -> None:
        spec = obj.get("spec") or {}
        spec = spec.get("spec") or {} if self.kind.kind == "ResourceClaimTemplate" else spec
        for index, request in enumerate((spec.get("devices") or {}).get("requests") or ()):
            if (request.get("exactly") or {}).get("adminAccess"):
                self._check_admin(call, obj, f"spec.devices.requests[{index}].adminAccess")
                break
        await super()._before_create(call, obj)

    def _before_update(self, call: Call, obj: Obj, old: Obj) -> None:
        super()._before_update(call, obj, old)
        if call.subresource == "status":
            self._check_status(call, obj, old)

    def _check_admin(self, call: Call, obj: Obj, path: str) -> None:
        namespace = self._server.registries[NAMESPACES].cache.get("", call.namespace)
        if namespace is None or namespace.labels.get(ADMIN_ACCESS) != "true":
            message = f"admin access to devices requires the `{ADMIN_ACCESS}: true` label on the containing namespace"
            raise self._refusal(obj, [(path, message)])

    def _refusal(self, obj: Obj, problems: Sequence[tuple[str, str]]) -> errors.StatusError:
        errs = FieldErrors()
        for path, message in problems:
            errs.forbidden(path, message)
        return errors.invalid(self.kind.group_kind, obj["metadata"].get("name", ""), errs)

    # -- the status

    def _check_status(self, call: Call, obj: Obj, old: Obj) -> None:
        if not _admin_result(old) and (path := _admin_result(obj)):
            self._check_admin(call, obj, path)
        status, before = obj.get("status") or {}, old.get("status") or {}
        verb = "patch" if call.options.get("kind") == "PatchOptions" else "update"
        problems: list[tuple[str, str]] = []
        if any((status.get(f) or None) != (before.get(f) or None) for f in ("allocation", "reservedFor")):
            problems += self._check_binding(call, verb)
        if status.get("allocation") is not None:
            problems += self._check_drivers(call, verb, status, before)
        if problems:
            raise self._refusal(obj, problems)

    def _check_binding(self, call: Call, verb: str) -> list[tuple[str, str]]:
        problem = self._problem(call, [verb], "binding", "", "")
        if not problem:
            return []
        needed = f'changing status.allocation or status.reservedFor requires resource="resourceclaims/binding", verb="{verb}"'
        return [("status.allocation", f"{needed} permission: {problem}")]

    def _check_drivers(self, call: Call, verb: str, status: Obj, before: Obj) -> list[tuple[str, str]]:
        """Only a driver may change what is told of its devices."""
        had = {device_key(device): device for device in before.get("devices") or ()}
        has = {device_key(device): device for device in status.get("devices") or ()}
        changed = {key[0] for key in had.keys() | has.keys() if had.get(key) != has.get(key)}
        verbs = [f"arbitrary-node:{verb}"]
        if _on_node(call.user, status.get("allocation") or {}):
            verbs.insert(0, f"associated-node:{verb}")
        found: list[tuple[str, str]] = []
        for driver in sorted(changed):
            if problem := self._problem(call, verbs, "driver", call.namespace, driver):
                needed = (
                    f'changing status.devices requires resource="resourceclaims/driver", verb="[{" ".join(verbs)}]"'
                )
                found.append(("status.devices", f"{needed} permission: {problem}"))
        return found

    def _problem(self, call: Call, verbs: Sequence[str], subresource: str, namespace: str, name: str) -> str:
        """Why the user has none of the verbs on the made-up subresource; empty where they have one."""
        first = ""
        for verb in verbs:
            group, resource = self.resource
            asked = Attributes(
                call.user, verb, True, "", group, call.version.version, resource, subresource, namespace, name
            )
            decision = self._server.decide(asked)
            if decision.allowed:
                return ""
            first = first or denied(asked, decision.reason).message
        return first


def _admin_result(obj: Obj) -> str:
    """The path of the first result with admin access."""
    for index, result in enumerate(results_of(obj)):
        if result.get("adminAccess"):
            return f"status.allocation.devices.results[{index}].adminAccess"
    return ""


def _on_node(user: User, allocation: Obj) -> bool:
    """Whether the user is a service account that speaks from the one node that the claim is for."""
    terms = (allocation.get("nodeSelector") or {}).get("nodeSelectorTerms") or ()
    if len(terms) != 1 or terms[0].get("matchExpressions") or not user.name.startswith(ACCOUNT_PREFIX):
        return False
    fields = terms[0].get("matchFields") or ()
    if len(fields) != 1 or (fields[0].get("key"), fields[0].get("operator")) != ("metadata.name", "In"):
        return False
    return dict(user.extra).get(NODE_NAME) == tuple(fields[0].get("values") or ()) and len(fields[0]["values"]) == 1
