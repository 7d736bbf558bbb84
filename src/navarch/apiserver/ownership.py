"""metadata.managedFields at every write, by machinery.apply."""

from __future__ import annotations

from navarch.api.kind import Kind
from navarch.apiserver.registry.call import Call
from navarch.machinery import errors
from navarch.machinery.clock import World
from navarch.machinery.types import Obj


class Ownership:
    """Server-side apply is answered with 501 until machinery.apply is there; other writes keep what is recorded."""

    def __init__(self, world: World) -> None:
        self._world = world

    def update(self, kind: Kind, call: Call, live: Obj | None, new: Obj) -> Obj:
        recorded = live["metadata"].get("managedFields") if live is not None else None
        if recorded is not None:
            new["metadata"]["managedFields"] = recorded
        else:
            new["metadata"].pop("managedFields", None)
        return new

    def apply(self, kind: Kind, call: Call, live: Obj | None, applied: Obj, force: bool) -> Obj:
        raise errors.not_implemented("server-side apply is not served yet")
