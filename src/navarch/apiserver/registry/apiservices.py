"""API services: what this server serves itself is available at once. Source: kube-aggregator's registry/apiservice."""

from __future__ import annotations

from navarch.apiserver.aggregation.availability import LOCAL, with_condition
from navarch.apiserver.registry.call import Call
from navarch.apiserver.registry.generic import Registry
from navarch.machinery.types import Obj


class ApiServiceRegistry(Registry):
    async def _before_create(self, call: Call, obj: Obj) -> None:
        await super()._before_create(call, obj)
        if (obj.get("spec") or {}).get("service") is None and (
            made := with_condition(obj, LOCAL, self.env.world.now())
        ):
            obj["status"] = made["status"]
