"""The plugins of a standard server, in upstream's order (kube-apiserver's recommended plugin order)."""

from __future__ import annotations

from navarch.apiserver.admission.certificates import (
    Authorize,
    CertificateApproval,
    CertificateSigning,
    CertificateSubjectRestriction,
)
from navarch.apiserver.admission.chain import BasePlugin
from navarch.apiserver.admission.ingress import DefaultIngressClass
from navarch.apiserver.admission.interface import Plugin
from navarch.apiserver.admission.lifecycle import NamespaceLifecycle
from navarch.apiserver.admission.limitranger import LimitRanger
from navarch.apiserver.admission.noderestriction import NodeRestriction
from navarch.apiserver.admission.pods import DefaultTolerationSeconds, Priority, TaintNodesByCondition
from navarch.apiserver.admission.podsecurity import PodSecurity
from navarch.apiserver.admission.policies import MutatingAdmissionPolicy, ValidatingAdmissionPolicy
from navarch.apiserver.admission.resourcequota import ResourceQuota
from navarch.apiserver.admission.runtimeclass import RuntimeClass
from navarch.apiserver.admission.serviceaccount import ServiceAccount
from navarch.apiserver.admission.storage import DefaultStorageClass, StorageObjectInUseProtection
from navarch.apiserver.admission.webhooks import MutatingAdmissionWebhook, ValidatingAdmissionWebhook
from navarch.apiserver.watchcache import CacheSet
from navarch.apiserver.webhooks import Webhooks
from navarch.machinery.clock import World


def standard_plugins(caches: CacheSet, world: World, authorize: Authorize, webhooks: Webhooks) -> list[Plugin]:
    plugins: list[BasePlugin] = [
        NamespaceLifecycle(caches),
        LimitRanger(caches),
        ServiceAccount(caches, world),
        NodeRestriction(caches),
        TaintNodesByCondition(),
        PodSecurity(caches),
        Priority(caches),
        DefaultTolerationSeconds(),
        DefaultStorageClass(caches),
        StorageObjectInUseProtection(),
        RuntimeClass(caches),
        CertificateApproval(authorize),
        CertificateSigning(authorize),
        CertificateSubjectRestriction(),
        DefaultIngressClass(caches),
        MutatingAdmissionPolicy(caches, authorize),
        MutatingAdmissionWebhook(caches, authorize, webhooks, world),
        ValidatingAdmissionPolicy(caches, authorize),
        ValidatingAdmissionWebhook(caches, authorize, webhooks, world),
        ResourceQuota(caches, world),
    ]
    return list(plugins)
