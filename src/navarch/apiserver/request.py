"""Requests as the API server sees them: who asks, and what the path asks for.

Handlers take a `Request` and return a `Response`, or an awaitable of one: reads answer at once, without a task. Failures
are raised as `StatusError`; anything else that is raised is a logged 500.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import navarch.http.messages as http
from navarch.http.messages import Connection, Response, StreamWriter, Tunnel

__all__ = ["ANONYMOUS", "Connection", "Handler", "Request", "RequestInfo", "Response", "StreamWriter", "Tunnel", "User"]


@dataclass(frozen=True, slots=True)
class User:
    """Who asks. Compared and hashed by identity of content, so that authorization can be cached by it."""

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()


ANONYMOUS = User("system:anonymous", groups=("system:unauthenticated",))


class RequestInfo:
    """What a path asks for, as upstream's RequestInfo: the input of authorization, of routing and of audit.

    `verb` is the API verb (get, list, watch, create, update, patch, delete, deletecollection) of a resource request,
    the lower-case method of any other."""

    __slots__ = (
        "group",
        "is_resource",
        "name",
        "namespace",
        "parts",
        "path",
        "resource",
        "subresource",
        "verb",
        "version",
    )

    def __init__(
        self,
        path: str,
        verb: str,
        is_resource: bool = False,
        group: str = "",
        version: str = "",
        resource: str = "",
        subresource: str = "",
        namespace: str = "",
        name: str = "",
        parts: tuple[str, ...] = (),
    ) -> None:
        self.path = path
        self.verb = verb
        self.is_resource = is_resource
        self.group = group
        self.version = version
        self.resource = resource
        self.subresource = subresource
        self.namespace = namespace
        self.name = name
        self.parts = parts
        """Path segments after the subresource (proxy paths)."""


class Request(http.Request):
    """An HTTP request, and what the filters found out about it."""

    __slots__ = ("info", "user", "warnings")

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
        self.info: RequestInfo = RequestInfo(path, method.lower())
        self.warnings: list[str] = []
        """Texts of Warning headers to send with the answer (RFC 7234, code 299)."""


Handler: TypeAlias = "Callable[[Request], Response | Awaitable[Response]]"
