"""The plugins that there are, in upstream's order (kubeapiserver's AllOrderedPlugins), and which of them run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from navarch.api.features import PREEMPTION, Features
from navarch.apiserver.admission.certificates import (
    Authorize,
    CertificateApproval,
    CertificateSigning,
    CertificateSubjectRestriction,
)
from navarch.apiserver.admission.ingress import DefaultIngressClass
from navarch.apiserver.admission.interface import Plugin
from navarch.apiserver.admission.lifecycle import NamespaceLifecycle
from navarch.apiserver.admission.limitranger import LimitRanger
from navarch.apiserver.admission.measures import Measures
from navarch.apiserver.admission.noderestriction import NodeRestriction
from navarch.apiserver.admission.nodes import PodResizeValidator, PodTopologyLabels
from navarch.apiserver.admission.podgroups import PodGroupProtection, PodGroupWorkloadExists
from navarch.apiserver.admission.pods import DefaultTolerationSeconds, Priority, TaintNodesByCondition
from navarch.apiserver.admission.podsecurity import PodSecurity
from navarch.apiserver.admission.policies import MutatingAdmissionPolicy, ValidatingAdmissionPolicy
from navarch.apiserver.admission.resourcequota import Limited, ResourceQuota
from navarch.apiserver.admission.runtimeclass import RuntimeClass
from navarch.apiserver.admission.serviceaccount import ServiceAccount
from navarch.apiserver.admission.settings import BadSettings, Settings, pod_security
from navarch.apiserver.admission.storage import (
    DefaultStorageClass,
    PersistentVolumeClaimResize,
    StorageObjectInUseProtection,
)
from navarch.apiserver.admission.webhooks import MutatingAdmissionWebhook, ValidatingAdmissionWebhook
from navarch.apiserver.credentials import BadCredentials, Credentials, of_webhooks
from navarch.apiserver.watchcache import CacheSet
from navarch.apiserver.webhooks import Webhooks
from navarch.client.interface import Client
from navarch.machinery.clock import World

if TYPE_CHECKING:
    from navarch.apiserver.admission.eventratelimit import Limit


@dataclass(frozen=True, slots=True)
class Parts:
    """What plugins are made of."""

    caches: CacheSet
    world: World
    authorize: Authorize
    webhooks: Webhooks
    settings: Settings
    measures: Measures
    client: Callable[[], Client]
    """The server's own, once it is there."""
    features: Features


class Entry(NamedTuple):
    name: str
    by_default: bool
    make: Callable[[Parts], Plugin]


def _pod_security(parts: Parts) -> Plugin:
    return PodSecurity(parts.caches, *pod_security(parts.settings.configurations.get("PodSecurity") or {}))


def _optional(name: str, make: Callable[[Parts], Plugin]) -> Entry:
    return Entry(name, False, make)


def _plain(name: str) -> Entry:
    """An optional plugin that is made of nothing."""

    def make(parts: Parts) -> Plugin:
        from navarch.apiserver.admission import optional

        plugin: Callable[[], Plugin] = getattr(optional, name)
        return plugin()

    return Entry(name, False, make)


def _exists(parts: Parts) -> Plugin:
    from navarch.apiserver.admission.optional import NamespaceExists

    return NamespaceExists(parts.caches)


def _provision(parts: Parts) -> Plugin:
    from navarch.apiserver.admission.optional import NamespaceAutoProvision

    return NamespaceAutoProvision(parts.caches, parts.client)


def _tolerations(parts: Parts) -> Plugin:
    from navarch.apiserver.admission.tolerations import PodTolerationRestriction

    configuration = parts.settings.configurations.get("PodTolerationRestriction") or {}
    defaults, allowed = configuration.get("default") or (), configuration.get("whitelist") or ()
    return PodTolerationRestriction(parts.caches, defaults, allowed)


def _node_selector(parts: Parts) -> Plugin:
    from navarch.apiserver.admission.optional import PodNodeSelector

    configuration = parts.settings.configurations.get("PodNodeSelector") or {}
    return PodNodeSelector(parts.caches, configuration.get("podNodeSelectorPluginConfig") or {})


def _event_limits(settings: Settings) -> list[Limit]:
    from navarch.apiserver.admission.eventratelimit import limits_of

    try:
        return limits_of(settings.configurations.get("EventRateLimit") or {})
    except ValueError as error:
        raise BadSettings(str(error)) from None


def _event_rates(parts: Parts) -> Plugin:
    from navarch.apiserver.admission.eventratelimit import EventRateLimit

    return EventRateLimit(parts.world, _event_limits(parts.settings))


def _owners(parts: Parts) -> Plugin:
    from navarch.apiserver.admission.owners import OwnerReferencesPermissionEnforcement

    return OwnerReferencesPermissionEnforcement(parts.caches, parts.authorize)


def _quota(parts: Parts) -> Plugin:
    configuration = parts.settings.configurations.get("ResourceQuota") or {}
    limited = [Limited.of(tree) for tree in configuration.get("limitedResources") or ()]
    return ResourceQuota(parts.caches, parts.world, limited)


Hooks = type[MutatingAdmissionWebhook] | type[ValidatingAdmissionWebhook]


def _credentials(settings: Settings, name: str) -> Credentials | None:
    try:
        return of_webhooks(settings.configurations.get(name) or {})
    except BadCredentials as error:
        raise BadSettings(f"{name}: {error}") from None


def _webhooks(name: str, plugin: Hooks, parts: Parts) -> Plugin:
    credentials = _credentials(parts.settings, name)
    return plugin(parts.caches, parts.authorize, parts.webhooks, parts.world, parts.measures, credentials)


PLUGINS: tuple[Entry, ...] = (
    _plain("AlwaysAdmit"),
    _optional("NamespaceAutoProvision", _provision),
    Entry("NamespaceLifecycle", True, lambda p: NamespaceLifecycle(p.caches)),
    _optional("NamespaceExists", _exists),
    _plain("LimitPodHardAntiAffinityTopology"),
    Entry("LimitRanger", True, lambda p: LimitRanger(p.caches)),
    Entry("ServiceAccount", True, lambda p: ServiceAccount(p.caches, p.world)),
    Entry("NodeRestriction", True, lambda p: NodeRestriction(p.caches, p.authorize)),
    Entry("TaintNodesByCondition", True, lambda p: TaintNodesByCondition()),
    _plain("AlwaysPullImages"),
    Entry("PodSecurity", True, _pod_security),
    _optional("PodNodeSelector", _node_selector),
    Entry("Priority", True, lambda p: Priority(p.caches, p.features.has(PREEMPTION))),
    Entry("DefaultTolerationSeconds", True, lambda p: DefaultTolerationSeconds()),
    _optional("PodTolerationRestriction", _tolerations),
    _optional("EventRateLimit", _event_rates),
    _plain("ExtendedResourceToleration"),
    Entry("DefaultStorageClass", True, lambda p: DefaultStorageClass(p.caches)),
    Entry("StorageObjectInUseProtection", True, lambda p: StorageObjectInUseProtection()),
    _optional("OwnerReferencesPermissionEnforcement", _owners),
    Entry("PodGroupProtection", True, lambda p: PodGroupProtection()),
    Entry("PersistentVolumeClaimResize", True, lambda p: PersistentVolumeClaimResize(p.caches)),
    Entry("RuntimeClass", True, lambda p: RuntimeClass(p.caches)),
    Entry("CertificateApproval", True, lambda p: CertificateApproval(p.authorize)),
    Entry("CertificateSigning", True, lambda p: CertificateSigning(p.authorize)),
    Entry("CertificateSubjectRestriction", True, lambda p: CertificateSubjectRestriction()),
    Entry("DefaultIngressClass", True, lambda p: DefaultIngressClass(p.caches)),
    _plain("DenyServiceExternalIPs"),
    Entry("PodGroupWorkloadExists", True, lambda p: PodGroupWorkloadExists(p.caches)),
    Entry("PodTopologyLabels", True, lambda p: PodTopologyLabels(p.caches)),
    Entry("PodResizeValidator", True, lambda p: PodResizeValidator(p.caches)),
    Entry("MutatingAdmissionPolicy", True, lambda p: MutatingAdmissionPolicy(p.caches, p.authorize, p.measures)),
    Entry(
        "MutatingAdmissionWebhook", True, lambda p: _webhooks("MutatingAdmissionWebhook", MutatingAdmissionWebhook, p)
    ),
    Entry("ValidatingAdmissionPolicy", True, lambda p: ValidatingAdmissionPolicy(p.caches, p.authorize, p.measures)),
    Entry(
        "ValidatingAdmissionWebhook",
        True,
        lambda p: _webhooks("ValidatingAdmissionWebhook", ValidatingAdmissionWebhook, p),
    ),
    Entry("ResourceQuota", True, _quota),
    _plain("AlwaysDeny"),
)
"""Upstream leaves NodeRestriction off and kubeadm turns it on; here every node's kubelet relies on it. Of upstream's plugins
there are not: ImagePolicyWebhook, and those of kinds that are not served."""


def check(settings: Settings) -> None:
    """Raises BadSettings for settings that no server can start with, and OSError for files that they name."""
    settings.check(entry.name for entry in PLUGINS)
    pod_security(settings.configurations.get("PodSecurity") or {})
    for name in ("MutatingAdmissionWebhook", "ValidatingAdmissionWebhook"):
        _credentials(settings, name)
    if "EventRateLimit" in settings.enabled:
        _event_limits(settings)


def standard_plugins(parts: Parts) -> list[Plugin]:
    """Raises BadSettings."""
    check(parts.settings)
    return [entry.make(parts) for entry in PLUGINS if parts.settings.runs(entry.name, entry.by_default)]
