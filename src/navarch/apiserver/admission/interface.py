"""What an admission plugin sees and may do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol

from navarch.api.kind import Kind, Version
from navarch.apiserver.request import User
from navarch.machinery.types import GroupResource, Obj

Operation = Literal["CREATE", "UPDATE", "DELETE", "CONNECT"]


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
    """The CreateOptions, UpdateOptions or DeleteOptions."""
    warnings: list[str] = field(default_factory=list)
    resource: GroupResource = field(init=False)
    """The kind's group and plural."""

    def __post_init__(self) -> None:
        self.resource = self.kind.group_resource


class Plugin(Protocol):
    """A plugin implements either phase or both; `handles` is asked first and must be cheap."""

    name: str

    def handles(self, request: AdmissionRequest) -> bool: ...

    async def admit(self, request: AdmissionRequest) -> None:
        """The mutating phase. Raises StatusError to refuse."""
        ...

    async def validate(self, request: AdmissionRequest) -> None:
        """The validating phase."""
        ...
