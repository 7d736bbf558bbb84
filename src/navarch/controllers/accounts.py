"""What every namespace gets: the default service account, and the cluster's CA."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from navarch.client.interface import Resource
from navarch.client.resources import CONFIG_MAPS, NAMESPACES, SERVICE_ACCOUNTS
from navarch.controllers import objects
from navarch.controlloop.plan import Caches, Create, Plan, Update, Watch
from navarch.machinery.types import Key, Obj

DEFAULT_ACCOUNT = "default"
CA_NAME = "kube-root-ca.crt"
DESCRIPTION = "kubernetes.io/description"
CA_DESCRIPTION = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the "
    "internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes "
    "clusters."
)


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


def _namespace_keys(old: Obj | None, new: Obj | None, caches: Caches) -> Iterable[Key]:
    return (Key("", new["metadata"]["name"]),) if new is not None and old is None else ()
