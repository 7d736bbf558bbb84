"""Subresources that are objects of another kind: bindings, evictions, scales, tokens."""

from __future__ import annotations

from collections.abc import Callable

from navarch.apiserver.registry.call import Call
from navarch.machinery import errors
from navarch.machinery.types import Obj

Change = Callable[[Obj], Obj]
"""From the object as it is now (a private copy) to the object wanted."""


class Virtual:
    """Every verb is refused; subclasses serve some."""

    definition = ""
    """The schema's name of what a client sends."""

    async def get(self, call: Call) -> Obj:
        raise errors.method_not_allowed()

    async def everything(self, call: Call) -> list[Obj]:
        raise errors.method_not_allowed()

    async def create(self, call: Call, body: Obj) -> Obj:
        """POST; `body` is the handler's own. Answers with code 201."""
        raise errors.method_not_allowed()

    async def update(self, call: Call, change: Change) -> Obj:
        """PUT and PATCH."""
        raise errors.method_not_allowed()

    async def apply(self, call: Call, applied: Obj, force: bool) -> Obj:
        """Server-side apply."""
        raise errors.method_not_allowed()


def success() -> Obj:
    """The Status that answers a write with no object to show."""
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}
