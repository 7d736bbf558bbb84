"""From Services and EndpointSlices to what the proxy forwards: pure functions.

A `Port` is one address, protocol and port that traffic is taken from, and the endpoints it goes to, already chosen by the
rules for readiness, traffic policy and topology (KEP-1669, KEP-2086, KEP-2433, KEP-4444): ready endpoints, or, where a Local policy has none ready on
the node, those that still serve while they terminate.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from navarch.machinery.trees import get
from navarch.machinery.types import Obj

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
OTHERS = ("service.kubernetes.io/service-proxy-name", "service.kubernetes.io/headless")
"""Labels of Services and EndpointSlices that are another proxy's, or nobody's to forward."""
LOOPBACK = "127.0.0.1"
ZONE_LABEL = "topology.kubernetes.io/zone"


class Endpoint(NamedTuple):
    address: str
    port: int


class Front(NamedTuple):
    """Where traffic arrives. An empty address is any of the node's own (a node port)."""

    address: str
    protocol: str
    port: int


class Port(NamedTuple):
    front: Front
    endpoints: tuple[Endpoint, ...]
    affinity_seconds: int = 0
    """Session affinity by client address; 0 for none."""
    masquerade: bool = False
    """Replies must come back through this node: set where traffic from outside may go to another node."""
    serving: tuple[Endpoint, ...] = ()
    """UDP: whom flows that exist may go on to, policies or not; empty: the endpoints."""


class _Candidate(NamedTuple):
    endpoint: Endpoint
    ready: bool
    serving: bool
    local: bool
    for_nodes: frozenset[str] = frozenset()
    for_zones: frozenset[str] = frozenset()
    """Whom the endpoint is meant for; empty: anyone."""


class Place(NamedTuple):
    """Where a proxy is."""

    node: str
    zone: str = ""


def is_ours(obj: Obj) -> bool:
    """Whether this proxy forwards for the Service, or to the slice's endpoints, at all."""
    return not any(label in (obj["metadata"].get("labels") or {}) for label in OTHERS)


def service_ports(service: Obj, slices: Iterable[Obj], place: Place) -> list[Port]:
    """Everything that one Service has the node at `place` forward."""
    spec = service["spec"]
    if spec.get("type") == "ExternalName" or spec.get("clusterIP") in (None, "", "None"):
        return []
    chosen = [s for s in slices if s.get("addressType") == "IPv4" and is_ours(s)]
    ports: list[Port] = []
    for port in spec.get("ports") or []:
        candidates = _candidates(chosen, port.get("name", ""), place.node)
        ports.extend(_fronts(service, port, candidates, place))
    return ports


def _fronts(service: Obj, port: Obj, candidates: Sequence[_Candidate], place: Place) -> Iterable[Port]:
    spec = service["spec"]
    protocol = port.get("protocol", "TCP").lower()
    affinity = 0
    if spec.get("sessionAffinity") == "ClientIP":
        affinity = get(spec, "sessionAffinityConfig", "clientIP", "timeoutSeconds", default=10800)
    internal_local = spec.get("internalTrafficPolicy") == "Local"
    external_local = spec.get("externalTrafficPolicy") == "Local"
    inside = _usable(candidates, internal_local, place)
    outside = _usable(candidates, external_local, place)
    serving = tuple(sorted({c.endpoint for c in candidates if c.serving})) if protocol == "udp" else ()
    for address in spec.get("clusterIPs") or [spec["clusterIP"]]:
        if _is_ipv4(address):
            yield Port(Front(address, protocol, port["port"]), inside, affinity, serving=serving)
    external = list(spec.get("externalIPs") or [])
    external += [i["ip"] for i in get(service, "status", "loadBalancer", "ingress", default=[]) if i.get("ip")]
    for address in external:
        if _is_ipv4(address):
            yield Port(Front(address, protocol, port["port"]), outside, affinity, not external_local, serving)
    if node_port := port.get("nodePort"):
        yield Port(Front("", protocol, node_port), outside, affinity, not external_local, serving)


def _usable(candidates: Sequence[_Candidate], local_only: bool, place: Place) -> tuple[Endpoint, ...]:
    pool = [c for c in candidates if c.local] if local_only else candidates
    usable = [c for c in pool if c.ready]
    usable = (usable if local_only else _near(usable, place)) or [c for c in pool if c.serving]
    return tuple(sorted({c.endpoint for c in usable}))


def _near(ready: Sequence[_Candidate], place: Place) -> Sequence[_Candidate]:
    """Those meant for this node, else for its zone; all, where an endpoint has no hint or none is for here."""
    for here, hints in ((place.node, [c.for_nodes for c in ready]), (place.zone, [c.for_zones for c in ready])):
        if here and all(hints) and any(here in hint for hint in hints):
            return [c for c, hint in zip(ready, hints, strict=True) if here in hint]
    return ready


def _candidates(slices: Iterable[Obj], port_name: str, node: str) -> list[_Candidate]:
    found: list[_Candidate] = []
    for piece in slices:
        number = next((p.get("port") for p in piece.get("ports") or [] if (p.get("name") or "") == port_name), None)
        if not number:
            continue
        for endpoint in piece.get("endpoints") or []:
            conditions = endpoint.get("conditions") or {}
            ready = conditions.get("ready", True) is not False
            serving = conditions.get("serving", ready) is not False
            local = endpoint.get("nodeName") == node
            hints = endpoint.get("hints") or {}
            nodes, zones = (frozenset(h["name"] for h in hints.get(f) or ()) for f in ("forNodes", "forZones"))
            found.extend(
                _Candidate(Endpoint(a, number), ready, serving, local, nodes, zones) for a in endpoint["addresses"]
            )
    return found


def host_ports(pods: Iterable[Obj]) -> list[Port]:
    """The hostPorts of the node's running pods (pods on the host's network have no need).

    Without an address they are on all of the node's, loopback included: a node port is not."""
    found: list[Port] = []
    for pod in pods:
        address = get(pod, "status", "podIP", default="")
        if pod["spec"].get("hostNetwork") or not _is_ipv4(address) or _is_over(pod):
            continue
        for container in [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]:
            found.extend(_host_ports(container, address))
    return found


def _host_ports(container: Mapping[str, object], address: str) -> Iterable[Port]:
    ports = container.get("ports")
    for port in ports if isinstance(ports, list) else []:
        if port.get("hostPort"):
            host = port.get("hostIP") or ""
            endpoints = (Endpoint(address, port["containerPort"]),)
            for each in ("", LOOPBACK) if host in ("", "0.0.0.0") else (host,):
                yield Port(Front(each, port.get("protocol", "TCP").lower(), port["hostPort"]), endpoints)


def _is_over(pod: Obj) -> bool:
    return get(pod, "status", "phase") in ("Succeeded", "Failed")


def _is_ipv4(address: str) -> bool:
    try:
        ipaddress.IPv4Address(address)
    except ValueError:
        return False
    return True
