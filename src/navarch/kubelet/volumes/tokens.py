"""Service account tokens for projected volumes: asked for, kept, and renewed in time. Source: pkg/kubelet/token."""

from __future__ import annotations

from typing import NamedTuple

from navarch.client.interface import Client
from navarch.client.resources import SERVICE_ACCOUNTS
from navarch.kubelet.volumes.payload import VolumeError
from navarch.machinery.clock import World, parse_time
from navarch.machinery.errors import StatusError
from navarch.machinery.types import Obj

TOKEN_SECONDS = 3600
REFRESH_SHARE = 0.8
"""A token is renewed when so much of its life has passed,"""
REFRESH_SECONDS = 24 * 3600.0
"""and after a day at the latest."""


class _Token(NamedTuple):
    text: str
    renew: float
    expires: float


class Tokens:
    def __init__(self, client: Client, world: World) -> None:
        self._client, self._world = client, world
        self._tokens: dict[tuple[str, str, str], _Token] = {}
        """(pod uid, volume, path) -> its token."""

    def forget(self, pod_uid: str) -> None:
        for key in [key for key in self._tokens if key[0] == pod_uid]:
            del self._tokens[key]

    async def of_volume(self, volume: Obj, pod: Obj) -> dict[str, str]:
        """Path -> token of each serviceAccountToken source. Raises VolumeError."""
        sources = volume["projected"].get("sources") or []
        wanted = [part["serviceAccountToken"] for part in sources if "serviceAccountToken" in part]
        return {part["path"]: await self._one(volume["name"], part, pod) for part in wanted}

    async def _one(self, volume: str, part: Obj, pod: Obj) -> str:
        meta, now = pod["metadata"], self._world.now()
        key = (meta["uid"], volume, part["path"])
        known = self._tokens.get(key)
        if known and now < known.renew:
            return known.text
        spec: Obj = {
            "audiences": [part["audience"]] if part.get("audience") else [],
            "expirationSeconds": part.get("expirationSeconds", TOKEN_SECONDS),
            "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": meta["name"], "uid": meta["uid"]},
        }
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "metadata": {}, "spec": spec}
        account = pod["spec"].get("serviceAccountName") or "default"
        try:
            answer = await self._client.create(
                SERVICE_ACCOUNTS, request, meta["namespace"], name=account, subresource="token"
            )
        except (StatusError, ConnectionError, OSError) as error:
            if known and now < known.expires:
                return known.text
            raise VolumeError(f"failed to fetch token: {error}") from None
        status = answer["status"]
        expires = parse_time(status["expirationTimestamp"])
        renew = now + min((expires - now) * REFRESH_SHARE, REFRESH_SECONDS)
        self._tokens[key] = _Token(status["token"], renew, expires)
        return status["token"]
