"""What an admission plugin sees and may do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

from navarch.api.kind import Kind, Version
from navarch.apiserver.request import User
from navarch.machinery.types import GroupResource, Obj

Operation = Literal["CREATE", "UPDATE", "DELETE", "CONNECT"]
Note = Callable[[str, str], None]
"""Takes an annotation for the audit log: key and value."""


class Body(NamedTuple):
    """What a request's object is, where it is not of the resource's kind: a Scale, a Binding, a tunnel's options."""

    group: str
    version: str
    kind: str


@dataclass(slots=True)
class AdmissionRequest:
    """admission.Attributes. `object` may be changed in `admit` only; `old` never. Objects are in the hub version."""

    operation: Operation
    kind: Kind
    version: Version
    """The version of the request."""
    subresource: str
    namespace: str
    name: str
    object: Obj | None
    old: Obj | None
    user: User
    dry_run: bool = False
    options: Obj = field(default_factory=dict)
    """The CreateOptions, UpdateOptions, PatchOptions or DeleteOptions."""
    warnings: list[str] = field(default_factory=list)
    body: Body | None = None
    """None: the objects are of the resource's own kind."""
    note: Note | None = None
    again: bool = False
    """The mutating phase is in its second round: something was changed in the first after plugins had seen it."""
    unsettled: bool = False
    """Somebody changed the object, and a second round is due."""
    memory: dict[str, Any] | None = None
    """What plugins keep between the rounds, by their names."""
    resource: GroupResource = field(init=False)
    """The kind's group and plural."""

    def __post_init__(self) -> None:
        self.resource = self.kind.group_resource

    def replace(self, obj: Obj) -> None:
        """Puts another object in the place of this one; whoever holds it sees the change."""
        assert self.object is not None
        if obj is not self.object:
            self.object.clear()
            self.object.update(obj)

    def annotate(self, key: str, value: str) -> None:
        if self.note is not None:
            self.note(key, value)


def add_finalizer(request: AdmissionRequest, finalizer: str) -> None:
    """The object of the request does not go before `finalizer` is taken off it."""
    assert request.object is not None
    metadata = request.object["metadata"]
    present: list[str] = metadata.get("finalizers") or []
    if finalizer not in present:
        metadata["finalizers"] = [*present, finalizer]


class Plugin(Protocol):
    """A plugin implements either phase or both."""

    name: str

    def attach(self, changed: Callable[[], None]) -> None:
        """Gets what it is to call when its answers to `concerns` may have changed."""
        ...

    def concerns(self, request: AdmissionRequest) -> bool:
        """Whether it may care for requests like this one. Answered once for each kind, subresource and operation, and
        may look at nothing else."""
        ...

    def handles(self, request: AdmissionRequest) -> bool:
        """Asked before either phase of a request that it is concerned with; must be cheap."""
        ...

    async def admit(self, request: AdmissionRequest) -> None:
        """The mutating phase. Raises StatusError to refuse."""
        ...

    async def validate(self, request: AdmissionRequest) -> None:
        """The validating phase."""
        ...
