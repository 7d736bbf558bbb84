"""Which resources are more than their kind: their registries, and the subresources that are objects of other kinds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

from navarch.api.kind import Kind
from navarch.api.metrics.samples import GROUP as METRICS
from navarch.apiserver.customresources.definitions import DefinitionRegistry
from navarch.apiserver.registry.addresses import ServiceRanges
from navarch.apiserver.registry.apiservices import ApiServiceRegistry
from navarch.apiserver.registry.certificates import CertificateRequestRegistry
from navarch.apiserver.registry.components import ComponentStatuses
from navarch.apiserver.registry.devices import ClaimRegistry, SliceRegistry
from navarch.apiserver.registry.eviction import Eviction
from navarch.apiserver.registry.generic import Registry
from navarch.apiserver.registry.job import JobRegistry
from navarch.apiserver.registry.namespace import NamespaceRegistry
from navarch.apiserver.registry.pod import Binding, NamedBinding, PodRegistry
from navarch.apiserver.registry.policies import AdmissionPolicyRegistry, PolicyBindingRegistry
from navarch.apiserver.registry.proxy import Proxies
from navarch.apiserver.registry.rbac import PolicyRegistry
from navarch.apiserver.registry.reviews import review_handlers
from navarch.apiserver.registry.scale import Scale
from navarch.apiserver.registry.service import ServiceRegistry
from navarch.apiserver.registry.streams import PodStreams
from navarch.apiserver.registry.tokenrequest import TokenRequest
from navarch.apiserver.registry.usage import NodeMetrics, PodMetrics
from navarch.apiserver.registry.virtual import Virtual
from navarch.apiserver.registry.volume import VolumeRegistry
from navarch.apiserver.relaying import Pools
from navarch.apiserver.request import Request, RequestInfo, Response
from navarch.apiserver.watchcache import ResourceCache
from navarch.machinery.types import GroupResource

if TYPE_CHECKING:
    from navarch.apiserver.server import ApiServer

RETURN_DELETED = frozenset(
    GroupResource(group, plural)
    for group, plural in (
        ("", "persistentvolumeclaims"),
        ("", "podtemplates"),
        ("", "resourcequotas"),
        ("", "serviceaccounts"),
        ("resource.k8s.io", "deviceclasses"),
        ("resource.k8s.io", "resourceclaims"),
        ("resource.k8s.io", "resourceclaimtemplates"),
        ("resource.k8s.io", "resourceslices"),
        ("storage.k8s.io", "csidrivers"),
        ("storage.k8s.io", "csinodes"),
        ("storage.k8s.io", "storageclasses"),
        ("storage.k8s.io", "volumeattachments"),
        ("storage.k8s.io", "volumeattributesclasses"),
    )
)
"""Resources whose DELETE answers the object it deleted; the others answer a Status."""


Make = Callable[[Kind, ResourceCache, "ApiServer"], Registry]
_ADMISSION, _RBAC = "admissionregistration.k8s.io", "rbac.authorization.k8s.io"
SPECIAL: Mapping[GroupResource, Make] = {
    GroupResource("", "pods"): PodRegistry,
    GroupResource("", "namespaces"): NamespaceRegistry,
    GroupResource("", "persistentvolumes"): VolumeRegistry,
    GroupResource("apiextensions.k8s.io", "customresourcedefinitions"): DefinitionRegistry,
    GroupResource("batch", "jobs"): JobRegistry,
    GroupResource("certificates.k8s.io", "certificatesigningrequests"): CertificateRequestRegistry,
    GroupResource("apiregistration.k8s.io", "apiservices"): ApiServiceRegistry,
    GroupResource(_ADMISSION, "mutatingadmissionpolicies"): AdmissionPolicyRegistry,
    GroupResource(_ADMISSION, "validatingadmissionpolicies"): AdmissionPolicyRegistry,
    GroupResource(_ADMISSION, "mutatingadmissionpolicybindings"): PolicyBindingRegistry,
    GroupResource(_ADMISSION, "validatingadmissionpolicybindings"): PolicyBindingRegistry,
    GroupResource("resource.k8s.io", "resourceclaims"): ClaimRegistry,
    GroupResource("resource.k8s.io", "resourceclaimtemplates"): ClaimRegistry,
    GroupResource("resource.k8s.io", "resourceslices"): SliceRegistry,
    GroupResource(_RBAC, "roles"): PolicyRegistry,
    GroupResource(_RBAC, "rolebindings"): PolicyRegistry,
    GroupResource(_RBAC, "clusterroles"): PolicyRegistry,
    GroupResource(_RBAC, "clusterrolebindings"): PolicyRegistry,
}


def registry_for(kind: Kind, cache: ResourceCache, server: ApiServer) -> Registry:
    if kind.group_resource == GroupResource("", "services"):
        config = server.config
        ranges = server.caches[GroupResource("networking.k8s.io", "servicecidrs")]
        addresses = server.caches[GroupResource("networking.k8s.io", "ipaddresses")]
        given = ServiceRanges(config.service_cidr, ranges, addresses, server.world)
        return ServiceRegistry(kind, cache, server, given, addresses, config.node_port_range)
    if (make := SPECIAL.get(kind.group_resource)) is not None:
        return make(kind, cache, server)
    registry = Registry(kind, cache, server)
    registry.returns_deleted = kind.group_resource in RETURN_DELETED
    return registry


Carried = Callable[[Request, RequestInfo], Awaitable[Response]]


def carried_resources(server: ApiServer, pools: Pools) -> dict[tuple[GroupResource, str], Carried]:
    """Subresources whose requests are carried on to where the object runs."""
    streams, proxies = PodStreams(server.lookup, pools), Proxies(server.lookup, server.slices_of, pools)
    found: dict[tuple[GroupResource, str], Carried] = {
        (GroupResource("", "pods"), name): streams.handle for name in ("attach", "exec", "log", "portforward")
    }
    return found | {(GroupResource("", name), "proxy"): proxies.handle for name in ("nodes", "pods", "services")}


def virtual_resources(server: ApiServer) -> dict[tuple[GroupResource, str], Virtual]:
    """The handlers of subresources by (resource, subresource)."""
    found: dict[tuple[GroupResource, str], Virtual] = review_handlers(server)
    for resource, registry in server.registries.items():
        if registry.kind.has_subresource("scale"):
            found[resource, "scale"] = Scale(registry, server.ownership)
    found[GroupResource("", "componentstatuses"), ""] = ComponentStatuses(server)
    found[GroupResource(METRICS, "nodes"), ""] = NodeMetrics(server.usage, server.caches[GroupResource("", "nodes")])
    found[GroupResource(METRICS, "pods"), ""] = PodMetrics(server.usage, server.caches[GroupResource("", "pods")])
    pods = GroupResource("", "pods")
    if registry := server.registries.get(pods):
        found[pods, "binding"] = binding = Binding(registry)
        found[GroupResource("", "bindings"), ""] = NamedBinding(binding)
        budgets = server.registries.get(GroupResource("policy", "poddisruptionbudgets"))
        found[pods, "eviction"] = Eviction(registry, budgets)
    accounts = GroupResource("", "serviceaccounts")
    if registry := server.registries.get(accounts):
        found[accounts, "token"] = TokenRequest(registry, server.registries, server.tokens, server.world)
    return found
