"""Roles and bindings: nobody grants by them what they do not hold, unless they may `escalate` or `bind`.

Source: pkg/registry/rbac (policybased).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from navarch.api.kind import Kind
from navarch.apiserver.auth.escalation import EVERYTHING, TooMany, quoted, uncovered
from navarch.apiserver.auth.interface import Attributes
from navarch.apiserver.auth.rbac import Rule
from navarch.apiserver.registry.call import Call
from navarch.apiserver.registry.generic import Make, Registry
from navarch.apiserver.watchcache import Entry, ResourceCache
from navarch.machinery import errors
from navarch.machinery.types import Obj

if TYPE_CHECKING:
    from collections.abc import Sequence

    from navarch.apiserver.server import ApiServer

MASTERS = "system:masters"
COLLECTED = frozenset(("ownerReferences", "finalizers", "managedFields"))
"""What the garbage collector changes of any object."""


class PolicyRegistry(Registry):
    """The registry of one of the four kinds of rbac.authorization.k8s.io."""

    def __init__(self, kind: Kind, cache: ResourceCache, server: ApiServer) -> None:
        super().__init__(kind, cache, server)
        self._server = server

    async def create(self, call: Call, obj: Obj) -> Entry:
        self._check(call, obj, None)
        return await super().create(call, obj)

    async def update(self, call: Call, make: Make, *, create: bool = False) -> tuple[Entry, bool]:
        async def checked(existing: Entry | None) -> Obj:
            obj = await make(existing)
            old = existing.obj if existing is not None else None
            if old is None or not _only_collected(obj, old):
                self._check(call, obj, old)
            return obj

        return await super().update(call, checked, create=create)

    # -- judging

    def _check(self, call: Call, obj: Obj, old: Obj | None) -> None:
        """Raises 403 for what grants more than the user holds, and 404 for a binding of a role that is not there."""
        if MASTERS in call.user.groups:
            return
        if "roleRef" in obj:
            self._check_binding(call, obj)
        else:
            self._check_role(call, obj, old or {})

    def _check_role(self, call: Call, obj: Obj, old: Obj) -> None:
        if self._may(call, "escalate", self.resource.resource, call.name):
            return
        self._confirm(call, obj, [Rule.of(rule) for rule in obj.get("rules") or ()])
        if _aggregates(obj) or _aggregates(old):
            owned, _ = self._server.rbac.rules_for(call.user, call.namespace)
            if uncovered(owned, EVERYTHING):
                raise self._refuse(obj, "must have cluster-admin privileges to use the aggregationRule")

    def _check_binding(self, call: Call, obj: Obj) -> None:
        reference = obj["roleRef"]
        kind, name = reference.get("kind", ""), reference.get("name", "")
        if kind not in ("Role", "ClusterRole"):
            return  # validation, which comes next, refuses it with 422; upstream fails here, with 500
        resource = kind.lower() + "s"
        if self._may(call, "bind", resource, name):
            return
        rules = self._server.rbac.role(resource, "" if kind == "ClusterRole" else call.namespace, name)
        if rules is None:
            raise errors.not_found(self.resource, name)
        self._confirm(call, obj, rules)

    def _may(self, call: Call, verb: str, resource: str, name: str) -> bool:
        asked = Attributes(
            call.user, verb, True, "", self.resource.group, "*", resource, namespace=call.namespace, name=name
        )
        return self._server.decide(asked).allowed

    def _confirm(self, call: Call, obj: Obj, wanted: Sequence[Rule]) -> None:
        user = call.user
        owned, missing = self._server.rbac.rules_for(user, call.namespace)
        try:
            lacking = uncovered(owned, wanted)
        except TooMany as err:
            raise self._refuse(obj, str(err)) from None
        if not lacking:
            return
        why = (
            f'user "{user.name}" (groups={quoted(user.groups)}) is attempting to grant RBAC permissions not currently '
            "held:\n" + "\n".join(lacking)
        )
        if missing:
            why += f"; resolution errors: [{', '.join(dict.fromkeys(missing))}]"
        raise self._refuse(obj, why)

    def _refuse(self, obj: Obj, why: str) -> errors.StatusError:
        return errors.forbidden(self.resource, obj["metadata"].get("name", ""), why)


def _aggregates(role: Obj) -> bool:
    return bool((role.get("aggregationRule") or {}).get("clusterRoleSelectors"))


def _only_collected(new: Obj, old: Obj) -> bool:
    """Whether nothing differs but what the garbage collector changes."""

    def rest(obj: Obj) -> tuple[Obj, Obj]:
        metadata = {k: v for k, v in obj["metadata"].items() if k not in COLLECTED}
        return metadata, {k: v for k, v in obj.items() if k != "metadata"}

    return rest(new) == rest(old)
