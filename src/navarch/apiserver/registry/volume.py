"""Persistent volumes: a change of phase is dated."""

from __future__ import annotations

from navarch.apiserver.registry.call import Call
from navarch.apiserver.registry.generic import Finish, Registry, finish_nothing
from navarch.machinery.clock import rfc3339
from navarch.machinery.types import Obj

SINCE = "lastPhaseTransitionTime"


class VolumeRegistry(Registry):
    returns_deleted = True

    async def begin_update(self, call: Call, obj: Obj, old: Obj) -> Finish:
        if call.subresource == "status":
            status, before = obj.setdefault("status", {}), old.get("status") or {}
            if status.get("phase") != before.get("phase") and status.get(SINCE) in (None, before.get(SINCE)):
                status[SINCE] = rfc3339(self.env.world.now())
            elif SINCE not in status and SINCE in before:
                status[SINCE] = before[SINCE]
        return finish_nothing
