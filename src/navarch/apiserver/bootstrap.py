"""The objects that every cluster has from its first moment, made and kept by the server itself."""

from __future__ import annotations

import asyncio
import ipaddress
from typing import TYPE_CHECKING

from navarch.apiserver import flowobjects, localservices, trust
from navarch.apiserver.admission.pods import SYSTEM_CLASSES
from navarch.apiserver.auth.policy import completed, defaults
from navarch.apiserver.registry.service import ServiceRegistry
from navarch.client.interface import Resource
from navarch.client.resources import (
    CONFIG_MAPS,
    ENDPOINT_SLICES,
    ENDPOINTS,
    NAMESPACES,
    PRIORITY_CLASSES,
    SERVICE_CIDRS,
    SERVICES,
)
from navarch.machinery.clock import rfc3339
from navarch.machinery.errors import StatusError
from navarch.machinery.types import GroupResource, Obj

if TYPE_CHECKING:
    from navarch.apiserver.server import ApiServer

SYSTEM_NAMESPACES = ("kube-system", "kube-public", "kube-node-lease", "default")
TRACKING = "kube-apiserver-legacy-service-account-token-tracking"
"""The ConfigMap that says since when the use of tokens in secrets is noted."""
CLASS_DESCRIPTIONS = {
    "system-cluster-critical": "Used for system critical pods that must run in the cluster, but can be moved to another "
    "node if necessary.",
    "system-node-critical": "Used for system critical pods that must not be moved from their current node.",
}


async def ensure(server: ApiServer) -> None:
    """Creates what is missing. Safe to run again, and beside another server."""
    for name in SYSTEM_NAMESPACES:
        await _create(server, NAMESPACES, {"metadata": {"name": name}})
    for name, value in SYSTEM_CLASSES.items():
        await _create(
            server,
            PRIORITY_CLASSES,
            {"metadata": {"name": name}, "value": value, "description": CLASS_DESCRIPTIONS[name]},
        )
    await _policy(server)
    today = rfc3339(server.world.now())[:10]
    await _create(server, CONFIG_MAPS, {"metadata": {"name": TRACKING}, "data": {"since": today}}, "kube-system")
    await asyncio.gather(flowobjects.ensure(server), localservices.ensure(server), trust.ensure(server))
    await _service_range(server)
    await _kubernetes_service(server)


async def _policy(server: ApiServer) -> None:
    """The default roles and bindings. All at once: they share the store's commits."""
    await asyncio.gather(*(_keep_policy(server, resource, wanted) for resource, wanted in defaults(server.features)))


async def _keep_policy(server: ApiServer, resource: Resource, wanted: Obj) -> None:
    namespace, name = wanted["metadata"].get("namespace", ""), wanted["metadata"]["name"]
    entry = server.registries[GroupResource(resource.group, resource.plural)].cache.get(namespace, name)
    if entry is None:
        await _create(server, resource, wanted, namespace)
    elif (better := completed(entry.obj, wanted)) is not None:
        await server.system.update(resource, better, namespace)


async def _create(server: ApiServer, resource: Resource, obj: Obj, namespace: str = "") -> None:
    registry = server.registries.get(GroupResource(resource.group, resource.plural))
    if registry is None or registry.cache.get(namespace, obj["metadata"]["name"]) is not None:
        return
    try:
        await server.system.create(resource, obj, namespace)
    except StatusError as err:
        if err.reason != "AlreadyExists":
            raise


async def _service_range(server: ApiServer) -> None:
    """The range that services have their addresses from, as an object; and an address object for every service."""
    cidrs = [server.config.service_cidr]
    await _create(server, SERVICE_CIDRS, {"metadata": {"name": "kubernetes"}, "spec": {"cidrs": cidrs}})
    found = await server.system.get(SERVICE_CIDRS, "kubernetes")
    conditions = (found.get("status") or {}).get("conditions") or ()
    if found["spec"]["cidrs"] == cidrs and not any(c.get("type") == "Ready" for c in conditions):
        ready = {
            "type": "Ready",
            "status": "True",
            "reason": "",
            "message": "Kubernetes default Service CIDR is ready",
            "lastTransitionTime": rfc3339(server.world.now()),
        }
        made = {**found, "status": {"conditions": [*conditions, ready]}}
        await server.system.update(SERVICE_CIDRS, made, subresource="status")
    registry = server.registries[GroupResource("", "services")]
    if isinstance(registry, ServiceRegistry):
        await registry.repair()


async def _kubernetes_service(server: ApiServer) -> None:
    """The service `kubernetes`, which leads pods to this server."""
    config = server.config
    labels = {"component": "apiserver", "provider": "kubernetes"}
    service: Obj = {
        "metadata": {"name": "kubernetes", "labels": labels},
        "spec": {
            "type": "ClusterIP",
            "clusterIP": str(ipaddress.ip_network(config.service_cidr)[1]),
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": config.advertise_port}],
            "sessionAffinity": "None",
        },
    }
    await _create(server, SERVICES, service, "default")
    if ipaddress.ip_address(config.advertise_address).is_loopback:
        return  # no pod could reach it there
    port = {"name": "https", "port": config.advertise_port, "protocol": "TCP"}
    await _keep(
        server,
        ENDPOINTS,
        {
            "metadata": {"name": "kubernetes", "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
            "subsets": [{"addresses": [{"ip": config.advertise_address}], "ports": [port]}],
        },
        "subsets",
    )
    await _keep(
        server,
        ENDPOINT_SLICES,
        {
            "metadata": {"name": "kubernetes", "labels": {"kubernetes.io/service-name": "kubernetes"}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [config.advertise_address], "conditions": {"ready": True}}],
            "ports": [port],
        },
        "endpoints",
        "ports",
    )


async def _keep(server: ApiServer, resource: Resource, obj: Obj, *fields: str) -> None:
    """Creates the object in `default`, or puts its fields right where the server's address has changed."""
    registry = server.registries.get(GroupResource(resource.group, resource.plural))
    if registry is None:
        return
    entry = registry.cache.get("default", obj["metadata"]["name"])
    if entry is None:
        await _create(server, resource, obj, "default")
    elif any(entry.obj.get(field) != obj[field] for field in fields):
        wanted = {**entry.obj, **{field: obj[field] for field in fields}}
        await server.system.update(resource, wanted, "default")
