"""An APIService for every group and version that the server serves itself. Source: controlplane's aggregator.go."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

from navarch.apiserver.discovery import GROUP_PRIORITIES
from navarch.client.resources import API_SERVICES
from navarch.machinery.errors import StatusError
from navarch.machinery.types import GroupResource, GroupVersion, Obj

if TYPE_CHECKING:
    from navarch.apiserver.server import ApiServer

MANAGED = "kube-aggregator.kubernetes.io/automanaged"
VERSION_PRIORITIES: Mapping[tuple[str, str], int] = {
    ("", "v1"): 1,
    ("autoscaling", "v2"): 30,
    ("flowcontrol.apiserver.k8s.io", "v1"): 21,
    ("metrics.k8s.io", "v1beta1"): 100,
    ("resource.k8s.io", "v1"): 21,
}
CURRENT = 15
"""The priority of other current versions."""


def wanted(served: GroupVersion) -> Obj | None:
    """The APIService of a version; None for what has no place among them."""
    group, version = served
    minimum, priority = GROUP_PRIORITIES.get(group), VERSION_PRIORITIES.get((group, version))
    if minimum is None or ("beta" in version and (group, version) not in VERSION_PRIORITIES) or "alpha" in version:
        return None
    spec: Obj = {"version": version, "groupPriorityMinimum": minimum, "versionPriority": priority or CURRENT}
    if group:
        spec["group"] = group
    return {"metadata": {"name": f"{version}.{group}", "labels": {MANAGED: "onstart"}}, "spec": spec}


async def ensure(server: ApiServer) -> None:
    """Creates what is missing. All at once: the writes share the store's commits."""
    served = {version.gv for kind in server.kinds for version in kind.versions}
    services = [service for gv in sorted(served) if (service := wanted(gv)) is not None]
    await asyncio.gather(*(_create(server, service) for service in services))


async def _create(server: ApiServer, service: Obj) -> None:
    registry = server.registries[GroupResource(API_SERVICES.group, API_SERVICES.plural)]
    if registry.cache.get("", service["metadata"]["name"]) is not None:
        return
    try:
        await server.system.create(API_SERVICES, service, "")
    except StatusError as error:
        if error.reason != "AlreadyExists":  # another server was first
            raise
