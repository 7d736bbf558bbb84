"""Tokens of service accounts: issued, verified, and void once what they are bound to is gone.

Source: KEP-1205 (bound tokens), KEP-4193 (their claims), pkg/serviceaccount. Signed with the key of the configuration:
RS256 or ES256; without one, with an ES256 key of this server's life.
"""

from __future__ import annotations

import base64
import binascii
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import orjson

from navarch.apiserver.auth.authenticators import BadToken, Verified
from navarch.apiserver.auth.x509 import AUTHENTICATED, CREDENTIAL_ID
from navarch.apiserver.request import User
from navarch.machinery.clock import World, parse_time
from navarch.machinery.types import GroupResource, Obj

LEEWAY = 60.0
"""Seconds that clocks may differ by."""
CACHED_TOKENS = 4096
PREFIX = "system:serviceaccount:"
LEGACY_ISSUER = "kubernetes/serviceaccount"
STALE = "authentication.k8s.io/stale-token"
EXTRA = "authentication.kubernetes.io/"
Lookup = Callable[[GroupResource, str, str], "Obj | None"]
"""(resource, namespace, name) -> the object as it is now."""
ACCOUNTS = GroupResource("", "serviceaccounts")
BOUND = {
    "secret": GroupResource("", "secrets"),
    "pod": GroupResource("", "pods"),
    "node": GroupResource("", "nodes"),
}


class Claims(NamedTuple):
    """A token whose signature is good. `end` is its expiry in seconds since the epoch."""

    audiences: tuple[str, ...]
    start: float
    end: float
    private: Obj
    """The claim `kubernetes.io`."""
    user: User


class ServiceAccountTokens:
    """Issues tokens, and is the source that verifies them."""

    def __init__(self, world: World, lookup: Lookup, issuer: str, key_pem: bytes = b"") -> None:
        self.issuer = issuer
        self.audiences: tuple[str, ...] = (issuer,)
        """Those of the API server itself."""
        self._world = world
        self._lookup = lookup
        self._pem = key_pem
        self._loaded: Any = None
        self._verified: OrderedDict[str, Claims] = OrderedDict()
        self._signed: OrderedDict[str, Obj] = OrderedDict()

    # -- keys

    @property
    def _key(self) -> Any:
        """The signing key, loaded when it is first needed: that takes its time."""
        if self._loaded is None:
            self._loaded = _load_key(self._pem)
        return self._loaded

    @property
    def _algorithm(self) -> str:
        return "RS256" if self._key.key_type == "RSA" else "ES256"

    def key_set(self) -> Obj:
        """The JWKS with which others can verify the tokens (RFC 7517)."""
        return {"keys": [self._key.as_dict(private=False) | {"alg": self._algorithm, "use": "sig"}]}

    def configuration(self, address: str) -> Obj:
        """OpenID Connect discovery: where the keys are. `address` is the API server's `host:port`."""
        return {
            "issuer": self.issuer,
            "jwks_uri": f"https://{address}/openid/v1/jwks",
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [self._algorithm],
        }

    # -- issuing

    def issue(
        self, namespace: str, account: Obj, audiences: Sequence[str], seconds: int, bound: Obj, warn_after: int = 0
    ) -> str:
        """A token of a service account that lives for `seconds`. `bound` maps pod, secret and node to their name and
        uid."""
        from joserfc import jwt

        now = int(self._world.now())
        name, uid = account["metadata"]["name"], account["metadata"]["uid"]
        private: Obj = {"namespace": namespace, "serviceaccount": {"name": name, "uid": uid}, **bound}
        if warn_after:
            private["warnafter"] = now + warn_after
        claims = {
            "aud": list(audiences),
            "exp": now + seconds,
            "iat": now,
            "iss": self.issuer,
            "jti": self._world.uid(),
            "kubernetes.io": private,
            "nbf": now,
            "sub": f"{PREFIX}{namespace}:{name}",
        }
        header = {"alg": self._algorithm, "kid": self._key.kid}
        return jwt.encode(header, claims, self._key, algorithms=[self._algorithm])

    # -- verifying

    def verify(self, token: str, audiences: Sequence[str]) -> Verified | None:
        """Signature, time, audience, and that the account and what the token is bound to still exist. Raises BadToken."""
        claims = self._verified.get(token) or self._decode(token)
        if claims is None:
            return None
        wanted = audiences or self.audiences
        shared = tuple(a for a in claims.audiences if a in wanted)
        if not shared:
            raise BadToken(
                f"token audiences {_listed(claims.audiences)} is invalid for the target audiences {_listed(wanted)}"
            )
        now = self._world.now()
        if now > claims.end + LEEWAY:
            raise BadToken("service account token has expired")
        if now < claims.start - LEEWAY:
            raise BadToken("service account token is not valid yet")
        self._check_objects(claims.private, now)
        late = int(now) - int(claims.private.get("warnafter") or now)
        stale = f"subject: {claims.user.name}, seconds after warning threshold: {late}"
        return Verified(claims.user, shared, ((STALE, stale),) if late > 0 else ())

    def _decode(self, token: str) -> Claims | None:
        """Checks the signature, and keeps what has a good one."""
        claims = self.signed(token)
        if claims is None or claims.get("iss") != self.issuer:
            return None
        try:
            decoded = _claims(claims)
        except (ValueError, KeyError, TypeError, AttributeError):
            return None
        self._verified[token] = decoded
        if len(self._verified) > CACHED_TOKENS:
            self._verified.popitem(last=False)
        return decoded

    def signed(self, token: str) -> Obj | None:
        """The claims of a token that our key has signed."""
        known = self._signed.get(token)
        if known is not None or token.count(".") != 2:
            return known
        claims = _payload(token)
        if claims.get("iss") not in (self.issuer, LEGACY_ISSUER):
            return None
        from joserfc import jws
        from joserfc.errors import JoseError

        try:
            jws.deserialize_compact(token, self._key, algorithms=[self._algorithm])
        except (JoseError, ValueError, KeyError, TypeError, AttributeError):
            return None
        self._signed[token] = claims
        if len(self._signed) > CACHED_TOKENS:
            self._signed.popitem(last=False)
        return claims

    def issue_legacy(self, account: Obj, secret: Obj) -> str:
        """The token of a secret for a service account: it ends with the secret."""
        from joserfc import jwt

        meta = account["metadata"]
        namespace, name = meta["namespace"], meta["name"]
        at = "kubernetes.io/serviceaccount/"
        claims = {
            "iss": LEGACY_ISSUER,
            f"{at}namespace": namespace,
            f"{at}secret.name": secret["metadata"]["name"],
            f"{at}service-account.name": name,
            f"{at}service-account.uid": meta["uid"],
            "sub": f"{PREFIX}{namespace}:{name}",
        }
        header = {"alg": self._algorithm, "kid": self._key.kid}
        return jwt.encode(header, claims, self._key, algorithms=[self._algorithm])

    def _check_objects(self, private: Obj, now: float) -> None:
        namespace, account = private["namespace"], private["serviceaccount"]
        found = self._lookup(ACCOUNTS, namespace, account["name"])
        if found is None:
            raise BadToken(f'serviceaccounts "{account["name"]}" not found')
        if found["metadata"]["uid"] != account["uid"]:
            raise BadToken(f"service account UID ({found['metadata']['uid']}) does not match claim ({account['uid']})")
        if _gone(found, now):
            raise BadToken(f"service account {namespace}/{account['name']} has been deleted")
        for word, resource in BOUND.items():
            ref = private.get(word)
            if ref is None or (word == "node" and "pod" in private):
                continue
            obj = self._lookup(resource, "" if word == "node" else namespace, ref["name"])
            if obj is None or _gone(obj, now):
                raise BadToken("service account token has been invalidated")
            if obj["metadata"]["uid"] != ref["uid"]:
                raise BadToken(
                    f"{word} UID ({obj['metadata']['uid']}) does not match service account {word} ref claim "
                    f"({ref['uid']})"
                )


def _load_key(pem: bytes) -> Any:
    from joserfc.errors import InvalidKeyTypeError
    from joserfc.jwk import ECKey, RSAKey

    if not pem:
        key = ECKey.generate_key("P-256")
    else:
        try:
            key = RSAKey.import_key(pem)
        except (InvalidKeyTypeError, ValueError):
            key = ECKey.import_key(pem)
    key.ensure_kid()
    return key


def _payload(token: str) -> Obj:
    """A token's claims, believed by nobody yet: it spares the tokens of others the judgement of their signatures."""
    part = token.split(".")[1]
    try:
        claims = orjson.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (binascii.Error, ValueError):
        return {}
    return claims if isinstance(claims, dict) else {}


def _claims(claims: Obj) -> Claims:
    """Raises KeyError, TypeError and ValueError for claims that are not a service account's."""
    private = claims["kubernetes.io"]
    namespace, account = str(private["namespace"]), private["serviceaccount"]
    if claims["sub"] != f"{PREFIX}{namespace}:{account['name']}":
        raise ValueError("the subject is not the service account")
    audiences = claims["aud"]
    listed = (audiences,) if isinstance(audiences, str) else tuple(str(a) for a in audiences)
    user = _user(namespace, account, private, str(claims.get("jti", "")))
    return Claims(listed, float(claims.get("nbf", 0)), float(claims["exp"]), private, user)


def _user(namespace: str, account: Obj, private: Obj, jti: str) -> User:
    extra: list[tuple[str, tuple[str, ...]]] = []
    if jti:
        extra.append((CREDENTIAL_ID, (f"JTI={jti}",)))
    for word in ("node", "pod"):
        if ref := private.get(word):
            extra.append((f"{EXTRA}{word}-name", (ref["name"],)))
            if uid := ref.get("uid", ""):
                extra.append((f"{EXTRA}{word}-uid", (uid,)))
    return account_user(namespace, account["name"], account["uid"], tuple(extra))


def account_user(namespace: str, name: str, uid: str, extra: tuple[tuple[str, tuple[str, ...]], ...] = ()) -> User:
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", AUTHENTICATED)
    return User(f"{PREFIX}{namespace}:{name}", uid, groups, extra)


def _gone(obj: Obj, now: float) -> bool:
    """Deleted for longer than clocks may differ."""
    deleted = obj["metadata"].get("deletionTimestamp")
    return deleted is not None and parse_time(deleted) < now - LEEWAY


def _listed(audiences: Sequence[str]) -> str:
    return "[" + " ".join(f'"{a}"' for a in audiences) + "]"
