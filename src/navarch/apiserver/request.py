"""Requests as the API server sees them: who asks, and what the path asks for.

Handlers take a `Request` and return a `Response`, or an awaitable of one: reads answer at once, without a task. Failures
are raised as `StatusError`; anything else that is raised is a logged 500.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import navarch.http.messages as http
from navarch.http.messages import Connection, Response, StreamWriter, Tunnel
from navarch.machinery.types import Obj

if TYPE_CHECKING:
    from navarch.apiserver.auth.interface import Decision

__all__ = ["ANONYMOUS", "Connection", "Handler", "Request", "RequestInfo", "Response", "StreamWriter", "Tunnel", "User"]


@dataclass(frozen=True, slots=True)
class User:
    """Who asks. Compared and hashed by identity of content, so that authorization can be cached by it."""

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def info(self) -> Obj:
        """authentication.UserInfo; what is empty is left out."""
        info: Obj = {"username": self.name}
        if self.uid:
            info["uid"] = self.uid
        if self.groups:
            info["groups"] = list(self.groups)
        if self.extra:
            info["extra"] = {key: list(values) for key, values in self.extra}
        return info


PATCH_NOTE = "patch.webhook.admission.k8s.io/"
"""Begins the keys of notes that say what bodies say: they are for logs that have bodies."""
ANONYMOUS = User("system:anonymous", groups=("system:unauthenticated",))


class RequestInfo(NamedTuple):
    """What a path asks for, as upstream's RequestInfo: the input of authorization, of routing and of audit. Read by
    `filters.request_info`, which caches and shares them."""

    path: str
    verb: str
    """The API verb (get, list, watch, create, update, patch, delete, deletecollection) of a resource request, the
    lower-case method of any other; "" for a method that is no verb."""
    is_resource: bool = False
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    """Of a namespace itself: its own name."""
    name: str = ""
    """Of a list or watch: the one name that its field selector asks for, else empty."""
    parts: tuple[str, ...] = ()
    """Path segments after the subresource (proxy paths)."""


NO_INFO = RequestInfo("", "")
NO_ANNOTATIONS: dict[str, str] = {}


class Request(http.Request):
    """An HTTP request, and what the filters found out about it."""

    __slots__ = (
        "annotations",
        "audit_id",
        "constraint",
        "decision",
        "impersonator",
        "info",
        "known",
        "priority",
        "user",
        "warnings",
    )

    def __init__(
        self,
        method: str,
        path: str,
        raw_query: str,
        headers: Mapping[str, str],
        body: bytes,
        connection: Connection,
    ) -> None:
        super().__init__(method, path, raw_query, headers, body, connection)
        self.user: User = ANONYMOUS
        self.known = False
        """Whether the user has been found out."""
        self.impersonator: User | None = None
        """Who asked, where `user` is whom they act as."""
        self.constraint = ""
        """The verb of the constrained impersonation that made it possible."""
        self.decision: Decision | None = None
        """What authorization said; None before it was asked."""
        self.info: RequestInfo = NO_INFO
        self.audit_id = ""
        self.priority: tuple[tuple[str, str], ...] = ()
        """Headers that tell its flow schema and priority level."""
        self.annotations: dict[str, str] = NO_ANNOTATIONS
        """Notes for the audit log; replace, do not change."""
        self.warnings: list[str] = []
        """Texts of Warning headers to send with the answer (RFC 7234, code 299)."""

    def note(self, key: str, value: str) -> None:
        """Annotates the request for the audit log."""
        self.annotations = {**self.annotations, key: value}


Handler: TypeAlias = "Callable[[Request], Response | Awaitable[Response]]"
