"""What every namespace gets (the default service account, the cluster's CA), and the clean-up of legacy tokens."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from navarch.client.interface import Resource
from navarch.client.resources import CONFIG_MAPS, NAMESPACES, SECRETS, SERVICE_ACCOUNTS
from navarch.controllers import objects
from navarch.controlloop.plan import Caches, Create, Delete, Patch, Plan, Update, Watch
from navarch.machinery.types import Key, Obj, key_of

DEFAULT_ACCOUNT = "default"
CA_NAME = "kube-root-ca.crt"
DESCRIPTION = "kubernetes.io/description"
CA_DESCRIPTION = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the "
    "internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes "
    "clusters."
)
Sign = Callable[[Obj, Obj], str]
"""(service account, secret) -> the secret's token."""
TOKEN_TYPE = "kubernetes.io/service-account-token"
ACCOUNT_NAME, ACCOUNT_UID = "kubernetes.io/service-account.name", "kubernetes.io/service-account.uid"


@dataclass(frozen=True, slots=True)
class Observed:
    namespace: str
    current: Obj | None
    """The object that the namespace ought to have."""


class _PerNamespace:
    """Keys are namespaces; each active one is to hold one object of a fixed name."""

    def __init__(self, resource: Resource, wanted: str) -> None:
        self._resource = resource
        self._wanted = wanted
        self.watches = (Watch(NAMESPACES, _namespace_keys), Watch(resource, self._object_keys))

    def _object_keys(self, old: Obj | None, new: Obj | None, caches: Caches) -> Iterable[Key]:
        obj = new or old
        if obj is None or obj["metadata"]["name"] != self._wanted:
            return ()
        return (Key("", obj["metadata"]["namespace"]),)

    def observe(self, key: Key, caches: Caches) -> Observed | None:
        namespace = caches[NAMESPACES].get("", key.name)
        if namespace is None or objects.is_deleting(namespace):
            return None
        return Observed(key.name, caches[self._resource].get(key.name, self._wanted))


class ServiceAccountController(_PerNamespace):
    name = "service-account-controller"

    def __init__(self) -> None:
        super().__init__(SERVICE_ACCOUNTS, DEFAULT_ACCOUNT)

    def reconcile(self, observed: Observed, now: float) -> Plan:
        if observed.current is not None:
            return Plan(reasons=["the default service account is there"])
        account = {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": DEFAULT_ACCOUNT, "namespace": observed.namespace},
        }
        return Plan([Create(SERVICE_ACCOUNTS, account, exists_ok=True)], reasons=["it has no default service account"])


class RootCaPublisher(_PerNamespace):
    name = "root-ca-cert-publisher"

    def __init__(self, ca: str) -> None:
        super().__init__(CONFIG_MAPS, CA_NAME)
        self._data = {"ca.crt": ca}

    def reconcile(self, observed: Observed, now: float) -> Plan:
        current = observed.current
        annotations = {DESCRIPTION: CA_DESCRIPTION}
        if current is None:
            meta = {"name": CA_NAME, "namespace": observed.namespace, "annotations": annotations}
            made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": self._data}
            return Plan([Create(CONFIG_MAPS, made, exists_ok=True)], reasons=["it has no copy of the cluster's CA"])
        if current.get("data") == self._data and objects.annotations_of(current).get(DESCRIPTION):
            return Plan(reasons=["its copy of the cluster's CA is right"])
        meta = {**current["metadata"], "annotations": {**objects.annotations_of(current), **annotations}}
        changed = {**current, "metadata": meta, "data": self._data}
        return Plan([Update(CONFIG_MAPS, changed)], reasons=["its copy of the cluster's CA was changed"])


@dataclass(frozen=True, slots=True)
class ObservedToken:
    secret: Obj
    account: Obj | None


class LegacyTokenController:
    """Fills token Secrets of service accounts, and deletes those whose account is gone. Without `sign` it fills none."""

    name = "legacy-service-account-token-cleaner"

    def __init__(self, sign: Sign | None = None, ca: str = "") -> None:
        self._sign = sign
        self._ca = _encoded(ca)
        self.watches = (
            Watch(SECRETS, _token_keys, {"account": _account_index}),
            Watch(SERVICE_ACCOUNTS, _account_keys),
        )

    def observe(self, key: Key, caches: Caches) -> ObservedToken | None:
        secret = caches[SECRETS].get(key.namespace, key.name)
        if secret is None or objects.is_deleting(secret) or not any(_account_index(secret)):
            return None
        name = objects.annotations_of(secret)[ACCOUNT_NAME]
        return ObservedToken(secret, caches[SERVICE_ACCOUNTS].get(key.namespace, name))

    def reconcile(self, observed: ObservedToken, now: float) -> Plan:
        secret, account = observed.secret, observed.account
        uid = objects.annotations_of(secret).get(ACCOUNT_UID, "")
        if account is not None and uid in ("", objects.uid_of(account)):
            return self._filled(secret, account)
        if account is None and not uid:
            return Plan(reasons=["its service account does not exist yet"])
        gone = Delete(SECRETS, key_of(secret), objects.uid_of(secret))
        return Plan([gone], reasons=["its service account is gone"])

    def _filled(self, secret: Obj, account: Obj) -> Plan:
        data = secret.get("data") or {}
        if self._sign is None or objects.is_deleting(account):
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
        change = {"data": lacking, "metadata": {"annotations": {ACCOUNT_UID: objects.uid_of(account)}}}
        filled = Patch(SECRETS, key_of(secret), objects.exact(secret, change))
        return Plan([filled], reasons=[f"it lacks {', '.join(lacking)}"])


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _namespace_keys(old: Obj | None, new: Obj | None, caches: Caches) -> Iterable[Key]:
    return (Key("", new["metadata"]["name"]),) if new is not None and old is None else ()


def _account_index(secret: Obj) -> Iterable[str]:
    """namespace/name of the account that a token Secret is for."""
    name = objects.annotations_of(secret).get(ACCOUNT_NAME)
    return (f"{secret['metadata']['namespace']}/{name}",) if secret.get("type") == TOKEN_TYPE and name else ()


def _token_keys(old: Obj | None, new: Obj | None, caches: Caches) -> Iterable[Key]:
    return (key_of(new),) if new is not None and any(_account_index(new)) else ()


def _account_keys(old: Obj | None, new: Obj | None, caches: Caches) -> Iterable[Key]:
    """Of an account that has come or gone."""
    account = new if old is None else old
    if account is None or (old is not None and new is not None):
        return ()
    return [key_of(secret) for secret in caches[SECRETS].by_index("account", str(key_of(account)))]
