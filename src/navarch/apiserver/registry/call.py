"""Who asks for what, and how: what every registry operation is told, whichever edge the request came in at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from navarch.api.kind import Version
from navarch.apiserver.admission.interface import Body, Note
from navarch.apiserver.request import User
from navarch.machinery.types import Obj


class Face(NamedTuple):
    """How admission sees an update that is made through a subresource of another kind."""

    subresource: str
    body: Body
    show: Callable[[Obj], Obj]
    """From the stored object to what the subresource shows of it."""


@dataclass(slots=True, kw_only=True)
class Call:
    """One request to a registry. Objects travel in the hub version; `version` is what the client speaks."""

    user: User
    version: Version
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    manager: str = ""
    """The field manager: what the client named, else the first word of its user agent."""
    dry_run: bool = False
    options: Obj = field(default_factory=dict)
    """The CreateOptions, UpdateOptions, PatchOptions or DeleteOptions, for admission."""
    warnings: list[str] = field(default_factory=list)
    """Texts for the answer's Warning headers."""
    note: Note | None = None
    """Takes annotations for the audit log; None: nobody reads them."""
    face: Face | None = None


@dataclass(slots=True, kw_only=True)
class DeleteOptions:
    """metav1.DeleteOptions, already checked."""

    grace_period_seconds: int | None = None
    uid: str | None = None
    resource_version: str | None = None
    propagation: str = ""
    """`Background`, `Foreground`, `Orphan` or empty."""
    orphan_dependents: bool | None = None
    """The field that propagationPolicy has replaced."""
    ignore_store_read_error: bool = False
