"""Users by the headers of a front proxy that proves itself with a certificate. Source: request/headerrequest.

Aggregated API servers are asked this way by ours; whoever holds a certificate of the front proxy's authority may ask ours
so, too.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from urllib.parse import unquote

from navarch.apiserver.auth.x509 import AUTHENTICATED, ClientCertificates
from navarch.apiserver.request import Request, User
from navarch.machinery import errors
from navarch.machinery.clock import World

USER, UID, GROUP, EXTRA = "x-remote-user", "x-remote-uid", "x-remote-group", "x-remote-extra-"
CACHE_KEY = "frontproxy.verdict"


class FrontProxy:
    """The authenticator of X-Remote-* headers. `names` are the common names a proxy may have; empty: any."""

    def __init__(self, ca_pem: bytes, names: Collection[str], world: World) -> None:
        self._certificates = ClientCertificates(ca_pem, world, CACHE_KEY)
        self._names = frozenset(names)

    def authenticate(self, request: Request) -> User | None:
        """Raises 401 for headers from anybody else."""
        headers = request.headers
        name = headers.get(USER, "")
        if not name or request.connection.peer_certificate is None:
            return None
        proxy = self._certificates.authenticate(request)
        if self._names and (proxy is None or proxy.name not in self._names):
            raise errors.unauthorized()
        groups = tuple(group for group in headers.get(GROUP, "").split(", ") if group)
        extra = tuple(
            (unquote(key[len(EXTRA) :]), tuple(value.split(", ")))
            for key, value in sorted(headers.items())
            if key.startswith(EXTRA)
        )
        return authenticated(User(name, headers.get(UID, ""), groups, extra))


def authenticated(user: User) -> User:
    """The user as a member of system:authenticated, unless it says that it is not."""
    if user.name == "system:anonymous" or AUTHENTICATED in user.groups or "system:unauthenticated" in user.groups:
        return user
    return replace(user, groups=(*user.groups, AUTHENTICATED))
