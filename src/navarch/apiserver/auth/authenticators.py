"""Authenticators put together: certificates first, then bearer tokens of every source (upstream's union)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Sequence
from functools import partial
from typing import NamedTuple, Protocol

from navarch.apiserver.auth.interface import Authenticator
from navarch.apiserver.auth.x509 import AUTHENTICATED
from navarch.apiserver.request import Request, User
from navarch.machinery import errors
from navarch.machinery.errors import StatusError

SOCKET_PREFIX = "base64url.bearer.authorization.k8s.io."
"""A WebSocket subprotocol that carries a bearer token: browsers cannot set headers on WebSockets."""
MAX_TOKEN = 64 * 1024


class BadToken(Exception):
    """The token is of a source's kind, but not good; the text says why."""


class Verified(NamedTuple):
    """Whose token it is. `audiences` are those of the asked ones that the token is for."""

    user: User
    audiences: tuple[str, ...] = ()
    notes: tuple[tuple[str, str], ...] = ()
    """What the audit log is to know of the token."""


class TokenSource(Protocol):
    def verify(self, token: str, audiences: Sequence[str]) -> Verified | Awaitable[Verified | None] | None:
        """None for a token of another kind. `audiences` empty: the API server's own. Raises BadToken, at once or when
        awaited."""
        ...


class BearerTokens:
    """The authenticator of Authorization headers."""

    def __init__(self, sources: Sequence[TokenSource]) -> None:
        self.sources = list(sources)

    def authenticate(self, request: Request) -> User | Awaitable[User] | None:
        """Raises 401 for a token that no source vouches for."""
        token = token_of(request)
        if not token:
            return None
        try:
            found = self.verify(token)
        except BadToken:
            raise errors.unauthorized() from None
        if not isinstance(found, Verified):
            return self._user(found)
        if found.notes:
            request.annotations = {**request.annotations, **dict(found.notes)}
        return found.user

    async def _user(self, found: Awaitable[Verified]) -> User:
        try:
            return (await found).user
        except BadToken:
            raise errors.unauthorized() from None

    def verify(self, token: str, audiences: Sequence[str] = ()) -> Verified | Awaitable[Verified]:
        """Asks the sources in turn. Raises BadToken, at once or when awaited."""
        why = ["invalid bearer token"]
        for index, source in enumerate(self.sources if len(token) <= MAX_TOKEN else ()):
            try:
                if found := source.verify(token, audiences):
                    return found if isinstance(found, Verified) else self._later(found, index, token, audiences, why)
            except BadToken as err:
                why.append(str(err))
        raise _bad(why)

    async def _later(
        self, found: Awaitable[Verified | None], index: int, token: str, audiences: Sequence[str], why: list[str]
    ) -> Verified:
        """The same, from a source on that takes its time."""
        rest = self.sources[index + 1 :]
        for ask in (lambda: found, *(partial(source.verify, token, audiences) for source in rest)):
            try:
                answer = ask()
                verified = answer if answer is None or isinstance(answer, Verified) else await answer
                if verified is not None:
                    return verified
            except BadToken as err:
                why.append(str(err))
        raise _bad(why)


def _bad(why: Sequence[str]) -> BadToken:
    return BadToken("[" + ", ".join(why) + "]" if len(why) > 1 else why[0])


def token_of(request: Request) -> str:
    """The request's bearer token, or ""."""
    scheme, _, rest = request.headers.get("authorization", "").strip().partition(" ")
    if scheme.lower() == "bearer":
        return rest.partition(" ")[0]
    if request.headers.get("upgrade", "").lower() == "websocket":
        return _socket_token(request)
    return ""


def _socket_token(request: Request) -> str:
    for offer in request.headers.get("sec-websocket-protocol", "").split(","):
        encoded = offer.strip()
        if encoded.startswith(SOCKET_PREFIX):
            encoded = encoded.removeprefix(SOCKET_PREFIX)
            try:
                return base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode()
            except (binascii.Error, UnicodeDecodeError):
                raise errors.unauthorized() from None
    return ""


class Union:
    """The first authenticator that knows the user. A failure counts only where no other one does."""

    def __init__(self, authenticators: Sequence[Authenticator]) -> None:
        self._authenticators = tuple(authenticators)

    def authenticate(self, request: Request) -> User | Awaitable[User | None] | None:
        failure: StatusError | None = None
        for authenticator in self._authenticators:
            try:
                if found := authenticator.authenticate(request):
                    return found
            except StatusError as err:
                failure = failure or err
        if failure is not None:
            raise failure
        return None


class FixedTokens:
    """Tokens that the composition root hands out, for as long as the server lives."""

    def __init__(self, users: dict[str, User]) -> None:
        self._users = {token: _authenticated(user) for token, user in users.items()}

    def verify(self, token: str, audiences: Sequence[str]) -> Verified | None:
        user = self._users.get(token)
        return Verified(user, tuple(audiences)) if user is not None else None


def _authenticated(user: User) -> User:
    if AUTHENTICATED in user.groups:
        return user
    return User(user.name, user.uid, (*user.groups, AUTHENTICATED), user.extra)
