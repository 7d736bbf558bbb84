"""Tokens of service accounts that live in secrets: filled, deleted with their accounts, and given up when long unused.

Sources: upstream's pkg/controller/serviceaccount, tokens_controller.go and legacy_serviceaccount_token_cleaner.go.
"""

from __future__ import annotations

import base64
import datetime
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

from navarch.client.interface import Client
from navarch.client.resources import CONFIG_MAPS, PODS, SECRETS, SERVICE_ACCOUNTS
from navarch.controllers import objects
from navarch.controlloop.plan import Caches, Call, Delete, Patch, Plan, Update, Watch
from navarch.machinery.clock import rfc3339
from navarch.machinery.errors import StatusError
from navarch.machinery.types import Key, Obj, key_of

Sign = Callable[[Obj, Obj], str]
"""(service account, secret) -> the secret's token."""
TOKEN_TYPE = "kubernetes.io/service-account-token"
ACCOUNT_NAME, ACCOUNT_UID = "kubernetes.io/service-account.name", "kubernetes.io/service-account.uid"
ACCOUNT, LISTED = "account", "listed-secret"
"""Indexes: secrets by namespace/account, and accounts by namespace/secret."""


@dataclass(frozen=True, slots=True)
class Observed:
    key: Key
    secret: Obj | None
    account: Obj | None = None
    listed_by: Sequence[Obj] = ()
    """Accounts that name the secret, where it is gone."""


class TokensController:
    """Keys are secrets. `client` looks accounts up that the cache does not have (yet). Without `sign` no token is made."""

    name = "serviceaccount-token-controller"

    def __init__(self, client: Client, sign: Sign | None = None, ca: str = "") -> None:
        self._client = client
        self._sign = sign
        self._ca = _encoded(ca)
        self.watches = (
            Watch(SECRETS, _token_keys, {ACCOUNT: account_index}),
            Watch(SERVICE_ACCOUNTS, _account_keys, {LISTED: _listed_index}),
        )

    def observe(self, key: Key, caches: Caches) -> Observed | None:
        secret = caches[SECRETS].get(key.namespace, key.name)
        if secret is None:
            return Observed(key, None, listed_by=caches[SERVICE_ACCOUNTS].by_index(LISTED, str(key)))
        if objects.is_deleting(secret) or not any(account_index(secret)):
            return None
        name = objects.annotations_of(secret)[ACCOUNT_NAME]
        return Observed(key, secret, caches[SERVICE_ACCOUNTS].get(key.namespace, name))

    def reconcile(self, observed: Observed, now: float) -> Plan:
        secret = observed.secret
        if secret is None:
            unlisted = [_unlisted(account, observed.key.name) for account in observed.listed_by]
            return Plan([*unlisted], reasons=["it is gone: no account lists it any more"])
        if _is_of(secret, observed.account):
            return self._filled(secret, observed.account)
        look = Call("look whether its service account is there", lambda: self._look(secret))
        return Plan([look], reasons=["the cache has no such service account"])

    async def _look(self, secret: Obj) -> Plan:
        meta = secret["metadata"]
        try:
            account = await self._client.get(SERVICE_ACCOUNTS, meta["annotations"][ACCOUNT_NAME], meta["namespace"])
        except StatusError as error:
            if error.code != 404:
                raise
            account = None
        if _is_of(secret, account):
            return self._filled(secret, account)
        gone = Delete(SECRETS, key_of(secret), objects.uid_of(secret))
        return Plan([gone], reasons=["its service account is not there"])

    def _filled(self, secret: Obj, account: Obj | None) -> Plan:
        data = secret.get("data") or {}
        if self._sign is None or account is None:
            return Plan(reasons=["its service account is there"])
        lacking: dict[str, str] = {}
        if not data.get("token"):
            lacking["token"] = _encoded(self._sign(account, secret))
        if self._ca and data.get("ca.crt") != self._ca:
            lacking["ca.crt"] = self._ca
        if not data.get("namespace"):
            lacking["namespace"] = _encoded(secret["metadata"]["namespace"])
        if not lacking:
            return Plan(reasons=["it has the token of its service account"])
        annotations = {**objects.annotations_of(secret), ACCOUNT_UID: objects.uid_of(account)}
        meta = {**secret["metadata"], "annotations": annotations}
        filled = Update(SECRETS, {**secret, "metadata": meta, "data": {**data, **lacking}})
        return Plan([filled], reasons=[f"it lacks {', '.join(lacking)}"])


def _is_of(secret: Obj, account: Obj | None) -> bool:
    uid = objects.annotations_of(secret).get(ACCOUNT_UID, "")
    return account is not None and uid in ("", objects.uid_of(account))


def _unlisted(account: Obj, secret: str) -> Update:
    kept = [reference for reference in account["secrets"] if reference.get("name") != secret]
    return Update(SERVICE_ACCOUNTS, {**account, "secrets": kept})


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def account_index(secret: Obj) -> Iterable[str]:
    """namespace/name of the account that a token Secret is for."""
    name = objects.annotations_of(secret).get(ACCOUNT_NAME)
    return (f"{secret['metadata']['namespace']}/{name}",) if secret.get("type") == TOKEN_TYPE and name else ()


def _listed_index(account: Obj) -> Iterable[str]:
    namespace = account["metadata"]["namespace"]
    return [f"{namespace}/{reference.get('name', '')}" for reference in account.get("secrets") or ()]


def _token_keys(old: Obj | None, new: Obj | None, caches: Caches) -> Iterable[Key]:
    secret = new or old
    return (key_of(secret),) if secret is not None and any(account_index(secret)) else ()


def _account_keys(old: Obj | None, new: Obj | None, caches: Caches) -> Iterable[Key]:
    """Of an account that has come or gone."""
    account = new if old is None else old
    if account is None or (old is not None and new is not None):
        return ()
    return [key_of(secret) for secret in caches[SECRETS].by_index(ACCOUNT, str(key_of(account)))]


# -- tokens that nobody uses

TRACKING = Key("kube-system", "kube-apiserver-legacy-service-account-token-tracking")
SECRET_FIELDS = frozenset(("secret", "secretRef", "secretKeyRef", "nodePublishSecretRef"))
"""What names a secret by its `name` in a pod (volumes, also projected ones, and environments)."""
LAST_USED, INVALID_SINCE = "kubernetes.io/legacy-token-last-used", "kubernetes.io/legacy-token-invalid-since"
DAY = 86400.0
UNUSED_SECONDS = 365 * DAY


@dataclass(frozen=True, slots=True)
class ObservedOld:
    secret: Obj
    account: Obj | None
    pods: Sequence[Obj]
    """Those of its namespace."""
    tracked_since: str
    """The day on which the use of tokens began to be noted; "" where nobody says."""


class LegacyTokenCleaner:
    """Marks tokens invalid that were made by themselves, for an account that lists them, and that nobody has used for a
    year; a year later it deletes them."""

    name = "legacy-service-account-token-cleaner"

    def __init__(self) -> None:
        self.watches = (
            Watch(SECRETS, _token_keys, {ACCOUNT: account_index}),
            Watch(SERVICE_ACCOUNTS, lambda old, new, caches: ()),
            Watch(CONFIG_MAPS, lambda old, new, caches: ()),
            Watch(PODS, lambda old, new, caches: ()),
        )

    def observe(self, key: Key, caches: Caches) -> ObservedOld | None:
        secret = caches[SECRETS].get(key.namespace, key.name)
        if secret is None or objects.is_deleting(secret) or not any(account_index(secret)):
            return None
        account = caches[SERVICE_ACCOUNTS].get(key.namespace, objects.annotations_of(secret)[ACCOUNT_NAME])
        tracking = caches[CONFIG_MAPS].get(*TRACKING) or {}
        since = (tracking.get("data") or {}).get("since", "")
        return ObservedOld(secret, account, list(caches[PODS].list(key.namespace)), since)

    def reconcile(self, observed: ObservedOld, now: float) -> Plan:
        secret, wait = observed.secret, DAY
        if reason := kept_because(observed, now):
            return Plan(requeue_after=wait, reasons=[reason])
        invalid = objects.labels_of(secret).get(INVALID_SINCE, "")
        if not _is_day(invalid):
            mark = {"metadata": {"uid": objects.uid_of(secret), "labels": {INVALID_SINCE: rfc3339(now)[:10]}}}
            patch = Patch(SECRETS, key_of(secret), mark)
            return Plan(
                [patch], requeue_after=wait, reasons=["it was not used for a year: it is invalid from today on"]
            )
        if invalid >= rfc3339(now - UNUSED_SECONDS)[:10]:
            return Plan(requeue_after=wait, reasons=[f"it has been invalid since {invalid}"])
        version = secret["metadata"]["resourceVersion"]
        return Plan([Delete(SECRETS, key_of(secret), resource_version=version)], reasons=["it was invalid for a year"])


def kept_because(observed: ObservedOld, now: float) -> str:
    """Why a token is left alone; empty where it is to be given up."""
    secret, account = observed.secret, observed.account
    oldest = rfc3339(now - UNUSED_SECONDS)[:10]
    if not _is_day(observed.tracked_since) or observed.tracked_since >= oldest:
        return "the use of tokens has not been noted for long enough"
    if objects.created_at(secret) >= now - UNUSED_SECONDS:
        return "it is younger than a year"
    used = objects.labels_of(secret).get(LAST_USED)
    if used is not None and (not _is_day(used) or used >= oldest):
        return f"it was used on {used}"
    name = secret["metadata"]["name"]
    if not _is_of(secret, account) or account is None:
        return "its service account is not there"
    if all(reference.get("name") != name for reference in account.get("secrets") or ()):
        return "its service account does not list it: somebody made it on purpose"
    if any(name in set(secrets_of(pod)) for pod in observed.pods):
        return "a pod uses it"
    return ""


def secrets_of(pod: Obj) -> Iterator[str]:
    """Names of all secrets that a pod names, wherever."""
    for reference in pod["spec"].get("imagePullSecrets") or ():
        yield reference.get("name", "")
    yield from _named(pod["spec"])


def _named(tree: Any) -> Iterator[str]:
    if isinstance(tree, list):
        for item in cast("list[Any]", tree):
            yield from _named(item)
    elif isinstance(tree, dict):
        for key, value in cast("dict[str, Any]", tree).items():
            if key == "secretName":
                yield value
            elif key in SECRET_FIELDS and "name" in value:
                yield value["name"]
            else:
                yield from _named(value)


def _is_day(text: str) -> bool:
    try:
        return datetime.date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False
