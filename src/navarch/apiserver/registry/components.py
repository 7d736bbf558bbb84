"""The statuses of the control plane's parts, as they are at the moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from navarch.apiserver.registry.call import Call
from navarch.apiserver.registry.virtual import Virtual
from navarch.machinery import errors
from navarch.machinery.clock import parse_time
from navarch.machinery.types import GroupResource, Obj

if TYPE_CHECKING:
    from navarch.apiserver.server import ApiServer

LEASES = GroupResource("coordination.k8s.io", "leases")
NAMESPACE = "kube-system"
PARTS = {"controller-manager": "kube-controller-manager", "scheduler": "kube-scheduler"}
"""Parts and their leases."""
STORE = "etcd-0"


class ComponentStatuses(Virtual):
    """A part works that runs in this process, or that keeps its lease; the store works that this server runs on."""

    definition = "io.k8s.api.core.v1.ComponentStatus"

    def __init__(self, server: ApiServer) -> None:
        self._server = server

    async def get(self, call: Call) -> Obj:
        if call.name != STORE and call.name not in PARTS:
            raise errors.not_found(GroupResource("", "componentstatus"), call.name)
        return self._status(call.name)

    async def everything(self, call: Call) -> list[Obj]:
        return [self._status(name) for name in sorted((STORE, *PARTS))]

    def _status(self, name: str) -> Obj:
        wrong = self._wrong(name)
        condition = {"type": "Healthy", "status": "False" if wrong else "True", "message": wrong or "ok"}
        return {"kind": "ComponentStatus", "apiVersion": "v1", "metadata": {"name": name}, "conditions": [condition]}

    def _wrong(self, name: str) -> str:
        """Why a part does not work; empty where it does."""
        if name == STORE:
            return "" if self._server.started else "the store is being read"
        if name in self._server.components:
            return ""
        lease = self._server.lookup(LEASES, NAMESPACE, PARTS[name])
        spec = lease.get("spec") or {} if lease else {}
        renewed = spec.get("renewTime")
        if not renewed or not spec.get("holderIdentity"):
            return f"nobody holds the lease {NAMESPACE}/{PARTS[name]}"
        if parse_time(renewed) + (spec.get("leaseDurationSeconds") or 0) < self._server.world.now():
            return f"the lease {NAMESPACE}/{PARTS[name]} was last renewed at {renewed}"
        return ""
