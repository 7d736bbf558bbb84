"""Where a service is reached from the API server: straight at its endpoints, whatever a proxy does.

Source: apiserver's util/proxy (ResolveEndpoint, ResolveCluster).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

from navarch.machinery import errors
from navarch.machinery.errors import StatusError
from navarch.machinery.types import GroupResource, Obj

SERVICES = GroupResource("", "services")
SERVICE_NAME = "kubernetes.io/service-name"
Lookup = Callable[[GroupResource, str, str], "Obj | None"]
SlicesOf = Callable[[str, str], Iterable[Obj]]
"""(namespace, service) -> its EndpointSlices."""


def ready_endpoints(slices: Iterable[Obj], port_name: str) -> list[tuple[str, int]]:
    """Addresses and ports of what is ready behind a service's port."""
    return [
        (address, port["port"])
        for piece in slices
        for port in piece.get("ports") or ()
        if (port.get("name") or "") == port_name and port.get("port")
        for endpoint in piece.get("endpoints") or ()
        if (endpoint.get("conditions") or {}).get("ready") is not False
        for address in endpoint.get("addresses") or ()
    ]


class Services:
    """Finds a place behind a service."""

    def __init__(self, lookup: Lookup, slices_of: SlicesOf) -> None:
        self._lookup = lookup
        self._slices_of = slices_of

    def resolve(self, namespace: str, name: str, port: int) -> tuple[str, int]:
        """Host and port of any ready endpoint behind the service's port. Raises StatusError 404 and 503."""
        return random.choice(self.places(namespace, name, port))

    def places(self, namespace: str, name: str, port: int) -> list[tuple[str, int]]:
        """Host and port of each. Raises StatusError 404 and 503."""
        service = self._lookup(SERVICES, namespace, name)
        if service is None:
            raise StatusError(404, "NotFound", f'service "{name}" not found', {"name": name, "kind": "service"})
        spec = service["spec"]
        if spec.get("type") == "ExternalName":
            return [(spec.get("externalName", ""), port)]
        found = next((p for p in spec.get("ports") or () if p["port"] == port), None)
        if found is None:
            raise errors.service_unavailable(f'no service port {port} found for service "{name}"')
        ready = ready_endpoints(self._slices_of(namespace, name), found.get("name") or "")
        if not ready:
            raise errors.service_unavailable(f'no endpoints available for service "{name}"')
        return ready
