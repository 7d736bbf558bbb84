"""Bootstrap tokens: how a machine that has nothing yet asks for a certificate.

A token `ID.SECRET` is good while the secret kube-system/bootstrap-token-ID says so. Source: plugin/pkg/auth/
authenticator/token/bootstrap, cluster-bootstrap/token.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Callable, Sequence

from navarch.apiserver.auth.authenticators import Verified
from navarch.apiserver.auth.frontproxy import authenticated
from navarch.apiserver.request import User
from navarch.machinery.clock import World, parse_time
from navarch.machinery.types import GroupResource, Obj

TOKEN = re.compile(r"([a-z0-9]{6})\.([a-z0-9]{16})", re.ASCII)
EXTRA_GROUP = re.compile(r"system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]", re.ASCII)
SECRETS = GroupResource("", "secrets")
NAMESPACE, TYPE = "kube-system", "bootstrap.kubernetes.io/token"
GROUP = "system:bootstrappers"
Lookup = Callable[[GroupResource, str, str], "Obj | None"]


class BootstrapTokens:
    """The source of these tokens, looked up at every use."""

    def __init__(self, lookup: Lookup, world: World) -> None:
        self._lookup = lookup
        self._world = world

    def verify(self, token: str, audiences: Sequence[str]) -> Verified | None:
        match = TOKEN.fullmatch(token)
        secret = self._lookup(SECRETS, NAMESPACE, f"bootstrap-token-{match[1]}") if match else None
        if match is None or secret is None or secret.get("type") != TYPE:
            return None
        data = {key: _text(value) for key, value in (secret.get("data") or {}).items()}
        if "deletionTimestamp" in secret["metadata"] or self._expired(data.get("expiration", "")):
            return None
        if not hmac.compare_digest(data.get("token-secret", ""), match[2]) or data.get("token-id") != match[1]:
            return None
        groups = _groups(data.get("auth-extra-groups", ""))
        if data.get("usage-bootstrap-authentication") != "true" or groups is None:
            return None
        return Verified(authenticated(User(f"system:bootstrap:{match[1]}", groups=groups)), tuple(audiences))

    def _expired(self, text: str) -> bool:
        """What is no time has passed."""
        if not text:
            return False
        try:
            return parse_time(text) <= self._world.now()
        except ValueError:
            return True


def _groups(extra: str) -> tuple[str, ...] | None:
    """None where one of them is not allowed."""
    found = [group for group in extra.split(",") if group]
    if not all(EXTRA_GROUP.fullmatch(group) for group in found):
        return None
    return tuple(sorted({GROUP, *found}))


def _text(encoded: str) -> str:
    try:
        return base64.b64decode(encoded).decode("ascii")
    except (binascii.Error, ValueError):
        return ""
