"""Certificate requests: they say who made them, and when their conditions changed.

Source: registry/certificates strategy.
"""

from __future__ import annotations

from navarch.api.kind import Prepare, ValidateUpdate
from navarch.apiserver.registry.call import Call
from navarch.apiserver.registry.generic import Finish, Registry
from navarch.machinery.clock import rfc3339
from navarch.machinery.types import Obj


class CertificateRequestRegistry(Registry):
    def rules(self, subresource: str) -> tuple[Prepare, ValidateUpdate]:
        found = self.kind.extra["subresources"].get(subresource)
        return found if found is not None else super().rules(subresource)

    async def begin_create(self, call: Call, obj: Obj) -> Finish:
        spec = obj.setdefault("spec", {})
        for field in ("username", "uid", "groups", "extra"):
            spec.pop(field, None)
        spec.update(call.user.info())
        return await super().begin_create(call, obj)

    async def begin_update(self, call: Call, obj: Obj, old: Obj) -> Finish:
        if call.subresource:
            self._stamp((obj.get("status") or {}).get("conditions") or [], old)
        return await super().begin_update(call, obj, old)

    def _stamp(self, conditions: list[Obj], old: Obj) -> None:
        """Times that the client left out."""
        now = rfc3339(self.env.world.now())
        known: dict[tuple[str, str], str] = {}
        for before in (old.get("status") or {}).get("conditions") or ():
            if moment := before.get("lastTransitionTime"):
                known.setdefault((before.get("type", ""), before.get("status", "")), moment)
        for condition in conditions:
            if not condition.get("lastUpdateTime"):
                condition["lastUpdateTime"] = now
            if not condition.get("lastTransitionTime"):
                key = condition.get("type", ""), condition.get("status", "")
                condition["lastTransitionTime"] = known.get(key, now)
