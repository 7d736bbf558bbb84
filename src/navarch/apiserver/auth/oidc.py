"""Tokens of OpenID Connect providers. Source: plugin authenticator/token/oidc, OpenID Connect Discovery 1.0.

A provider's keys are fetched when its first token comes, and again (not more often than every ten seconds) when a token
names a key that is not among them.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Sequence
from typing import Any

from navarch.apiserver.auth.authenticators import BadToken, Verified
from navarch.apiserver.auth.configuration import JwtIssuer
from navarch.apiserver.auth.fetch import FetchError, Peer
from navarch.apiserver.auth.frontproxy import authenticated
from navarch.apiserver.auth.identities import Identity
from navarch.machinery.clock import World

ALGORITHMS = ("RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512")
DISCOVERY = "/.well-known/openid-configuration"
REFETCH_SECONDS = 10.0
NOT_BEFORE_LEEWAY = 300.0
REMEMBERED = 4096


class OidcTokens:
    """The tokens of one issuer."""

    def __init__(self, config: JwtIssuer, world: World) -> None:
        self._config = config
        self._identity = Identity(config)
        self._world = world
        self._keys: Any = None
        self._fetched = float("-inf")
        self._lock = asyncio.Lock()
        self._good: OrderedDict[str, tuple[float, Verified]] = OrderedDict()

    def verify(self, token: str, audiences: Sequence[str]) -> Verified | Awaitable[Verified | None] | None:
        known = self._good.get(token)
        if known is not None and self._world.now() < known[0]:
            return Verified(known[1].user, tuple(audiences))
        if _unverified(token, 1).get("iss") != self._config.url:
            return None
        return self._verify(token, audiences)

    async def _verify(self, token: str, audiences: Sequence[str]) -> Verified:
        claims = await self._claims(token)
        listed = claims.get("aud")
        own = [listed] if isinstance(listed, str) else listed if isinstance(listed, list) else []
        if not set(map(str, own)) & self._config.audiences:
            raise BadToken(f"oidc: verify token: oidc: expected audience in {sorted(self._config.audiences)} got {own}")
        now, end = self._world.now(), claims.get("exp")
        if not isinstance(end, int | float) or end <= now:
            raise BadToken("oidc: verify token: oidc: token is expired")
        start = claims.get("nbf", 0)
        if not isinstance(start, int | float) or now + NOT_BEFORE_LEEWAY < start:
            raise BadToken("oidc: verify token: oidc: current time is before the nbf (not before) time")
        user = authenticated(self._identity.of(claims))
        self._good[token] = (float(end), Verified(user))
        if len(self._good) > REMEMBERED:
            self._good.popitem(last=False)
        return Verified(user, tuple(audiences))

    async def _claims(self, token: str) -> dict[str, Any]:
        """The claims of a token whose signature is good. Raises BadToken."""
        from joserfc import jws
        from joserfc.errors import JoseError

        import_error: Exception | None = None
        for keys in (self._keys, None):
            try:
                keys = keys or await self._fetch(_unverified(token, 0).get("kid"))
                found = await asyncio.to_thread(jws.deserialize_compact, token, keys, algorithms=list(ALGORITHMS))
                claims = _json(found.payload)
                if isinstance(claims, dict) and claims.get("iss") == self._config.url:
                    return claims
            except FetchError as err:
                raise BadToken(f"oidc: authenticator not initialized: {err}") from None
            except (JoseError, ValueError, TypeError) as err:
                import_error = err
        raise BadToken(f"oidc: verify token: failed to verify signature: {import_error}")

    async def _fetch(self, key_id: object) -> Any:
        """The provider's keys; those at hand where they are new enough or have the key. Raises FetchError."""
        from joserfc.errors import JoseError
        from joserfc.jwk import KeySet

        async with self._lock:
            if self._keys is not None and self._world.now() < self._fetched + REFETCH_SECONDS:
                return self._keys
            self._fetched = self._world.now()
            config = self._config
            document = await self._get(config.discovery_url or config.url.rstrip("/") + DISCOVERY)
            if not isinstance(document, dict) or document.get("issuer") != config.url:
                raise FetchError("oidc: issuer did not match the issuer returned by provider")
            content = await self._get(str(document.get("jwks_uri", "")))
            try:
                self._keys = KeySet.import_key_set(content)
            except (JoseError, ValueError, TypeError, KeyError) as err:
                raise FetchError(f"oidc: the provider's keys cannot be read: {err}") from None
            return self._keys

    async def _get(self, url: str) -> Any:
        if not url.startswith("https://"):
            raise FetchError(f"oidc: {url!r} is no https address")
        peer = Peer(url, self._config.ca_pem)
        try:
            return await peer.ask()
        finally:
            peer.close()


def _unverified(token: str, part: int) -> dict[str, Any]:
    """A token's header (0) or claims (1), believed by nobody yet."""
    import base64
    import binascii

    parts = token.split(".")
    if len(parts) != 3:
        return {}
    try:
        found = _json(base64.urlsafe_b64decode(parts[part] + "=" * (-len(parts[part]) % 4)))
    except (binascii.Error, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _json(data: bytes) -> Any:
    import orjson

    return orjson.loads(data)
