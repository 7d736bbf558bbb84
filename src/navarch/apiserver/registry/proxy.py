"""The proxies of pods, services and nodes: any request, carried to what the name means.

Source: apimachinery util/proxy, and the ResourceLocation functions of pods, services and nodes."""

from __future__ import annotations

import random
import re
from typing import NamedTuple
from urllib.parse import quote

from navarch.apiserver.relaying import (
    HOP_BY_HOP,
    Pools,
    check_proxyable,
    dial_error,
    forwarded_headers,
    node_address,
    streamed,
    upgraded,
    wants_upgrade,
)
from navarch.apiserver.request import Request, RequestInfo, Response
from navarch.apiserver.services import Lookup, SlicesOf, ready_endpoints
from navarch.machinery import errors
from navarch.machinery.types import GroupResource

PODS, SERVICES, NODES = (GroupResource("", name) for name in ("pods", "services", "nodes"))
REWRITTEN = 4 * 1024 * 1024
"""Bytes of an HTML page whose links are rewritten; longer ones pass as they are."""
_LINK = re.compile(
    rb"""(\s(?:href|src|action|cite|data|formaction|longdesc|poster|background)\s*=\s*["']?)(/[^"'\s>]*)""", re.I
)


class Named(NamedTuple):
    """`[scheme:]name[:port]`, as it stands in the path."""

    scheme: str
    name: str
    port: str


class Goal(NamedTuple):
    host: str
    port: int
    trust: str


def parse_name(text: str, what: GroupResource) -> Named:
    """Raises 400."""
    parts = text.split(":")
    match parts:
        case [name]:
            return Named("", name, "")
        case [name, port]:
            return Named("", name, port)
        case ["http" | "https" | "" as scheme, name, port]:
            return Named(scheme, name, port)
        case _:
            raise errors.bad_request(f'invalid {what.resource[:-1]} request "{text}"')


class Proxies:
    def __init__(self, lookup: Lookup, slices_of: SlicesOf, pools: Pools) -> None:
        self._lookup = lookup
        self._slices_of = slices_of
        self._pools = pools

    async def handle(self, request: Request, target: RequestInfo) -> Response:
        """Raises StatusError."""
        resource = GroupResource("", target.resource)
        marker = f"/{target.resource}/"
        prefix_end = request.path.find("/proxy", request.path.find(marker) + len(marker))
        prefix, rest = request.path[: prefix_end + 6], request.path[prefix_end + 6 :]
        goal = self._goal(resource, target)
        if not rest and request.method in ("GET", "HEAD") and not wants_upgrade(request):
            query = f"?{request.raw_query}" if request.raw_query else ""
            return Response(301, b"", "text/html; charset=utf-8", [("Location", f"{prefix}/{query}")])
        path = (rest or "/") + (f"?{request.raw_query}" if request.raw_query else "")
        pool = self._pools.get(*goal)
        if wants_upgrade(request):
            return await upgraded(pool, request, path)
        headers = forwarded_headers(request)
        headers |= {
            "x-forwarded-uri": prefix + rest,
            "x-forwarded-host": request.headers.get("host", ""),
            "x-forwarded-proto": "https",
        }
        try:
            stream = await pool.stream(request.method, path, headers, request.body)
        except ConnectionError as error:
            raise errors.service_unavailable(f"error trying to reach service: {dial_error(pool, error)}") from None
        kind = stream.headers.get("content-type", "")
        kept = [(n, v) for n, v in stream.headers.items() if n not in HOP_BY_HOP and n not in ("content-type", "date")]
        kept = [(n, _moved(v, prefix, goal)) if n == "location" else (n, v) for n, v in kept]
        if kind.startswith("text/html") and "content-encoding" not in stream.headers:
            try:
                body = await stream.read_all()
            except ConnectionError as error:
                raise errors.service_unavailable(f"error trying to reach service: {error}") from None
            finally:
                stream.close()
            return Response(stream.status, rewrite(body, prefix), kind, kept)
        return streamed(stream.status, stream, kind or "application/octet-stream", kept)

    def _goal(self, resource: GroupResource, target: RequestInfo) -> Goal:
        named = parse_name(target.name, resource)
        match target.resource:
            case "pods":
                return self._pod(named, target.namespace)
            case "services":
                return self._service(named, target.namespace, target.name)
            case _:
                return self._node(named)

    def _pod(self, named: Named, namespace: str) -> Goal:
        pod = self._lookup(PODS, namespace, named.name)
        if pod is None:
            raise errors.not_found(PODS, named.name)
        address = (pod.get("status") or {}).get("podIP", "")
        check_proxyable(address)
        port = named.port
        declared = [p for c in pod["spec"]["containers"] for p in c.get("ports") or ()]
        if not port:
            port = str(declared[0]["containerPort"]) if declared else "80"
        elif not port.isdigit():
            port = str(next((p["containerPort"] for p in declared if p.get("name") == port), ""))
        if not port.isdigit() or not 0 < int(port) < 65536:
            raise errors.service_unavailable(f'no such port "{named.port}" of pod "{named.name}"')
        return Goal(address, int(port), "any" if named.scheme == "https" else "")

    def _service(self, named: Named, namespace: str, target: str) -> Goal:
        service = self._lookup(SERVICES, namespace, named.name)
        if service is None:
            raise errors.not_found(SERVICES, named.name)
        wanted = named.port
        ports = service["spec"].get("ports") or []
        if wanted.isdigit():
            found = next((p for p in ports if p["port"] == int(wanted)), None)
            if found is None:
                raise errors.service_unavailable(f'no service port {wanted} found for service "{named.name}"')
            wanted = found.get("name", "")
        slices = list(self._slices_of(namespace, named.name))
        if not slices:
            raise errors.not_found(SERVICES, named.name)
        goals = ready_endpoints(slices, wanted)
        if not goals:
            asked = target if any(piece.get("endpoints") for piece in slices) else named.name
            raise errors.service_unavailable(f'no endpoints available for service "{asked}"')
        return Goal(*random.choice(goals), "any" if named.scheme == "https" else "")

    def _node(self, named: Named) -> Goal:
        node = self._lookup(NODES, "", named.name)
        if node is None:
            raise errors.not_found(NODES, named.name)
        host, port = node_address(node)
        check_proxyable(host)
        if not named.port or named.port == str(port):
            return Goal(host, port, "kubelet")
        if not named.port.isdigit():
            raise errors.bad_request(f'invalid node request "{named.name}:{named.port}"')
        return Goal(host, int(named.port), "any" if named.scheme == "https" else "")


def _moved(location: str, prefix: str, goal: Goal) -> str:
    """A redirect that stays on the server leads through the proxy again."""
    for own in (f"http://{goal.host}:{goal.port}", f"https://{goal.host}:{goal.port}", f"http://{goal.host}"):
        if location == own or location.startswith(f"{own}/"):
            location = location[len(own) :] or "/"
    return prefix + location if location.startswith("/") and not location.startswith("//") else location


def rewrite(page: bytes, prefix: str) -> bytes:
    """Links of an HTML page that begin at the server's root lead through the proxy."""
    if len(page) > REWRITTEN:
        return page
    head = quote(prefix, safe="/%:").encode()

    def link(match: re.Match[bytes]) -> bytes:
        there = match.group(2)
        return match.group(1) + (there if there.startswith((b"//", head)) else head + there)

    return _LINK.sub(link, page)
