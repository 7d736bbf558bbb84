"""The questions authentication and authorization answer."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import NamedTuple, Protocol

from navarch.apiserver.request import Request, User


class Attributes(NamedTuple):
    """What authorization decides on (authorization.Attributes)."""

    user: User
    verb: str
    is_resource: bool
    path: str = ""
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    fields: str = ""
    """The field selector that a list, watch or deletecollection is narrowed to."""


class Decision(NamedTuple):
    allowed: bool
    denied: bool = False
    """A definite no, which stops the chain; otherwise `allowed` False is "no opinion"."""
    reason: str = ""


class Authenticator(Protocol):
    def authenticate(self, request: Request) -> User | Awaitable[User | None] | None:
        """The user, or None where this authenticator has nothing to go by. Raises StatusError 401 for credentials that
        are its kind but bad."""
        ...


class Authorizer(Protocol):
    def authorize(self, attributes: Attributes) -> Decision: ...
