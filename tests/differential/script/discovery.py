"""What a server says of itself, and the objects that it makes when it starts."""

from __future__ import annotations

from collections.abc import Iterator

from tests.differential.steps import TABLE, Script, Step

GROUPS = [
    "admissionregistration.k8s.io/v1",
    "apiextensions.k8s.io/v1",
    "apiregistration.k8s.io/v1",
    "apps/v1",
    "authentication.k8s.io/v1",
    "authorization.k8s.io/v1",
    "autoscaling/v1",
    "autoscaling/v2",
    "batch/v1",
    "certificates.k8s.io/v1",
    "coordination.k8s.io/v1",
    "discovery.k8s.io/v1",
    "events.k8s.io/v1",
    "flowcontrol.apiserver.k8s.io/v1",
    "networking.k8s.io/v1",
    "node.k8s.io/v1",
    "policy/v1",
    "rbac.authorization.k8s.io/v1",
    "resource.k8s.io/v1",
    "scheduling.k8s.io/v1",
    "storage.k8s.io/v1",
]
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
DEFAULTS = {
    "kubernetes-service": "/api/v1/namespaces/default/services/kubernetes",
    "kubernetes-endpoints": "/api/v1/namespaces/default/endpoints/kubernetes",
    "kubernetes-slice": "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes",
    "namespace": "/api/v1/namespaces/kube-system",
    "service-range": "/apis/networking.k8s.io/v1/servicecidrs/kubernetes",
    "service-address": "/apis/networking.k8s.io/v1/ipaddresses/10.96.0.1",
    "authentication": "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication",
    "priority-classes": "/apis/scheduling.k8s.io/v1/priorityclasses?fieldSelector=metadata.name=system-node-critical",
    "bootstrap-labels": "/apis/rbac.authorization.k8s.io/v1/clusterroles?labelSelector=kubernetes.io/bootstrapping",
    "bindings": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings?labelSelector=kubernetes.io/bootstrapping",
    "system-roles": "/apis/rbac.authorization.k8s.io/v1/namespaces/kube-system/roles?labelSelector=kubernetes.io/bootstrapping",
    "system-bindings": "/apis/rbac.authorization.k8s.io/v1/namespaces/kube-system/rolebindings?labelSelector=kubernetes.io/bootstrapping",
    "public-roles": "/apis/rbac.authorization.k8s.io/v1/namespaces/kube-public/roles?labelSelector=kubernetes.io/bootstrapping",
}  # fmt: skip


def steps() -> Iterator[Step]:
    add = Script("discovery")
    add("version", "GET", "/version")
    add("api", "GET", "/api")
    add("core", "GET", "/api/v1")
    for group_version in GROUPS:
        add(group_version.replace("/", "-"), "GET", f"/apis/{group_version}")
        add(f"group-{group_version.replace('/', '-')}", "GET", f"/apis/{group_version.partition('/')[0]}")
    add("aggregated-api", "GET", "/api", accept=AGGREGATED)
    add("aggregated-apis", "GET", "/apis", accept=AGGREGATED)
    add("aggregated-fallback", "GET", "/apis", accept=AGGREGATED + ",application/json")
    add("openapi-etag", "HEAD", "/openapi/v3")
    for name, path in DEFAULTS.items():
        add(name, "GET", path)
    add("service-table", "GET", "/api/v1/namespaces/default/services/kubernetes", accept=TABLE)
    yield from add.steps
