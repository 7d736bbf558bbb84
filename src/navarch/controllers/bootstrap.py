"""Bootstrap tokens: they sign what machines that join read of the cluster, and go when they have run out.

Source of the rules: upstream's pkg/controller/bootstrap, and cluster-bootstrap/token.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import orjson

from navarch.client.resources import CONFIG_MAPS, SECRETS
from navarch.controllers import objects
from navarch.controlloop.plan import Caches, Delete, Plan, Update, Watch
from navarch.machinery.clock import parse_time
from navarch.machinery.types import Key, Obj, key_of

TOKEN_TYPE, TOKEN_NAMESPACE = "bootstrap.kubernetes.io/token", "kube-system"
CLUSTER_INFO = Key("kube-public", "cluster-info")
CONTENT, SIGNATURE = "kubeconfig", "jws-kubeconfig-"
TOKENS = "bootstrap-tokens"
"""Index of the secrets that are bootstrap tokens: all under one value."""
_NAME = re.compile(r"bootstrap-token-([a-z0-9]{6})", re.ASCII)


def text_of(secret: Obj, key: str) -> str:
    """A value of a secret; empty where it has none, or none that is text."""
    try:
        return base64.b64decode((secret.get("data") or {}).get(key, "")).decode()
    except (binascii.Error, ValueError):
        return ""


def left_of(secret: Obj, now: float) -> float | None:
    """Seconds until a token runs out (0: it has, or says no time), None where it never does."""
    text = text_of(secret, "expiration")
    if not text:
        return None
    try:
        return max(0.0, parse_time(text) - now)
    except ValueError:
        return 0.0


def _is_token(secret: Obj) -> bool:
    return secret.get("type") == TOKEN_TYPE and secret["metadata"].get("namespace") == TOKEN_NAMESPACE


def _token_index(secret: Obj) -> Iterable[str]:
    return ("",) if _is_token(secret) else ()


# -- signing


@dataclass(frozen=True, slots=True)
class Observed:
    info: Obj
    secrets: Sequence[Obj]


class BootstrapSigner:
    """Signs the kubeconfig in kube-public/cluster-info with every token that is for it."""

    name = "bootstrap-signer-controller"

    def __init__(self) -> None:
        self.watches = (
            Watch(CONFIG_MAPS, lambda old, new, caches: [CLUSTER_INFO] if new and key_of(new) == CLUSTER_INFO else ()),
            Watch(SECRETS, _signing_keys, {TOKENS: _token_index}),
        )

    def observe(self, key: Key, caches: Caches) -> Observed | None:
        info = caches[CONFIG_MAPS].get(*CLUSTER_INFO)
        return Observed(info, caches[SECRETS].by_index(TOKENS, "")) if info is not None else None

    def reconcile(self, observed: Observed, now: float) -> Plan:
        info = observed.info
        data: Mapping[str, str] = info.get("data") or {}
        if CONTENT not in data:
            return Plan(reasons=["it holds no kubeconfig"])
        tokens = dict(sorted(signing_tokens(observed.secrets, now).items()))
        kept = {name: value for name, value in data.items() if not name.startswith(SIGNATURE)}
        wanted = kept | {SIGNATURE + name: signature(data[CONTENT], name, key) for name, key in tokens.items()}
        ends = [left for secret in observed.secrets if (left := left_of(secret, now))]
        plan = Plan(requeue_after=min(ends) + 1 if ends else None, reasons=[f"{len(tokens)} tokens sign it"])
        if wanted != data:
            plan.actions.append(Update(CONFIG_MAPS, {**info, "data": wanted}))
        return plan


def signing_tokens(secrets: Iterable[Obj], now: float) -> dict[str, str]:
    """The tokens that sign: id -> secret."""
    found: dict[str, str] = {}
    for secret in secrets:
        match = _NAME.fullmatch(secret["metadata"]["name"])
        name, key = text_of(secret, "token-id"), text_of(secret, "token-secret")
        usable = match is not None and match[1] == name and key and left_of(secret, now) != 0
        if usable and text_of(secret, "usage-bootstrap-signing") == "true":
            found[name] = key
    return found


def signature(content: str, name: str, key: str) -> str:
    """A JWS (HS256) whose content is left out (RFC 7515, appendix F)."""
    header = _base64url(orjson.dumps({"alg": "HS256", "kid": name}))
    signed = f"{header}.{_base64url(content.encode())}".encode()
    return f"{header}..{_base64url(hmac.digest(key.encode(), signed, hashlib.sha256))}"


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _signing_keys(old: Obj | None, new: Obj | None, caches: Caches) -> Iterable[Key]:
    return [CLUSTER_INFO] if any(_is_token(secret) for secret in (old, new) if secret is not None) else ()


# -- cleaning


class TokenCleaner:
    """Deletes tokens that have run out."""

    name = "token-cleaner-controller"

    def __init__(self) -> None:
        self.watches = (Watch(SECRETS, lambda old, new, caches: [key_of(new)] if new and _is_token(new) else ()),)

    def observe(self, key: Key, caches: Caches) -> Obj | None:
        secret = caches[SECRETS].get(key.namespace, key.name)
        return secret if secret is not None and _is_token(secret) else None

    def reconcile(self, observed: Obj, now: float) -> Plan:
        left = left_of(observed, now)
        if left is None or left > 0:
            return Plan(requeue_after=left, reasons=["it has not run out"])
        gone = Delete(SECRETS, key_of(observed), objects.uid_of(observed))
        return Plan([gone], reasons=["it has run out"])
