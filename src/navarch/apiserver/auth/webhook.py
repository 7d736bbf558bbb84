"""Tokens that another server vouches for, by TokenReview. Source: apiserver's plugin authenticator/token/webhook.

The server is named by a kubeconfig file. Its answers are remembered for a while, the bad ones too.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import Any

from navarch.apiserver.auth.authenticators import BadToken, Verified
from navarch.apiserver.auth.fetch import FetchError, Peer
from navarch.apiserver.auth.frontproxy import authenticated
from navarch.apiserver.request import User
from navarch.client.kubeconfig import load
from navarch.machinery.clock import World

REMEMBERED_SECONDS = 120.0
REMEMBERED = 4096
API = "authentication.k8s.io/v1"


class WebhookTokens:
    def __init__(
        self, url: str, world: World, ca_pem: str = "", certificate: tuple[str, str] | None = None, token: str = ""
    ) -> None:
        self._peer = Peer(url, ca_pem, certificate)
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._world = world
        self._known: OrderedDict[bytes, tuple[float, Verified | str]] = OrderedDict()

    @staticmethod
    def from_kubeconfig(path: str, world: World) -> WebhookTokens:
        """Raises ValueError and OSError for a file that cannot be used."""
        found = load(Path(path))
        certificate = (str(found.certificate[0]), str(found.certificate[1])) if found.certificate else None
        return WebhookTokens(found.server, world, found.ca.read_text() if found.ca else "", certificate, found.token)

    def verify(self, token: str, audiences: Sequence[str]) -> Verified | Awaitable[Verified | None] | None:
        key = hashlib.sha256("\0".join((token, *audiences)).encode()).digest()
        known = self._known.get(key)
        if known is not None and self._world.now() < known[0]:
            if isinstance(known[1], str):
                raise BadToken(known[1])
            return known[1]
        return self._ask(key, token, audiences)

    async def _ask(self, key: bytes, token: str, audiences: Sequence[str]) -> Verified:
        spec: dict[str, Any] = {"token": token}
        if audiences:
            spec["audiences"] = list(audiences)
        body = {"apiVersion": API, "kind": "TokenReview", "metadata": {}, "spec": spec}
        try:
            answer = await self._peer.ask("POST", self._headers, body)
        except FetchError as err:
            raise BadToken(f"webhook authenticator request failed: {err}") from None
        verdict = _verdict(answer, audiences)
        self._known[key] = (self._world.now() + REMEMBERED_SECONDS, verdict)
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        if isinstance(verdict, str):
            raise BadToken(verdict)
        return verdict


def _verdict(answer: Any, audiences: Sequence[str]) -> Verified | str:
    """What a TokenReview says; a text where it says no."""
    try:
        status = answer["status"]
        if not status.get("authenticated"):
            return str(status.get("error") or "the webhook does not know the token")
        info = status.get("user") or {}
        extra = tuple((str(k), tuple(map(str, v))) for k, v in sorted((info.get("extra") or {}).items()))
        groups = tuple(map(str, info.get("groups") or ()))
        user = User(str(info.get("username", "")), str(info.get("uid", "")), groups, extra)
        answered = tuple(map(str, status.get("audiences") or ()))
    except (KeyError, TypeError, AttributeError):
        return "the webhook's answer is no TokenReview"
    if not user.name:
        return "the webhook's answer names nobody"
    shared = tuple(a for a in answered if a in audiences) if answered and audiences else tuple(audiences)
    if audiences and not shared:
        return "the webhook's audiences are not the ones that were asked for"
    return Verified(authenticated(user), shared)
