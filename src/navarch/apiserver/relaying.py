"""Carrying requests on to others: to nodes, pods and services. What is shared by tunnels, logs and proxies."""

from __future__ import annotations

import ipaddress
import os
import socket
import ssl
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from navarch.apiserver.request import Request, Response, StreamWriter, Tunnel
from navarch.http.client import Answer, Pool, Stream, relay
from navarch.http.streaming import pour
from navarch.machinery import errors
from navarch.machinery.errors import StatusError
from navarch.machinery.types import Obj

HOP_BY_HOP = frozenset(
    (
        "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding",
        "upgrade", "content-length", "host",
    )
)  # fmt: skip
NOT_FORWARDED = HOP_BY_HOP | {"authorization", "accept-encoding"}
UPGRADE_HEADERS = ("upgrade", "connection")
POOLS = 256
"""Servers that connections are kept to; the one unused for longest is let go."""
ADDRESS_TYPES = ("InternalIP", "Hostname", "InternalDNS", "ExternalIP", "ExternalDNS")
KUBELET_PORT = 10250
HOLLOW_RUNTIME = "hollow://"
"""The container runtime of nodes that are simulated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KubeletAccess:
    """How the API server proves itself to nodes, and whose certificates it believes (PEM files)."""

    certificate: Path
    key: Path
    ca: Path


class Pools:
    """Connections to other servers, by address."""

    def __init__(self, kubelets: KubeletAccess | None) -> None:
        self._kubelets = kubelets
        self._pools: OrderedDict[tuple[str, int, str], Pool] = OrderedDict()
        self._contexts: dict[str, ssl.SSLContext] = {}

    def get(self, host: str, port: int, trust: str) -> Pool:
        """`trust`: "kubelet" (mutual TLS), "any" (TLS, unverified: pods have no known authority) or "" (plain)."""
        key = (host, port, trust)
        pool = self._pools.get(key)
        if pool is None:
            if len(self._pools) >= POOLS:
                self._pools.popitem(last=False)[1].close()
            pool = self._pools[key] = Pool(host, port, self._context(trust) if trust else None)
        self._pools.move_to_end(key)
        return pool

    def close(self) -> None:
        for pool in self._pools.values():
            pool.close()
        self._pools.clear()

    def _context(self, trust: str) -> ssl.SSLContext:
        context = self._contexts.get(trust)
        if context is None:
            access = self._kubelets
            if trust == "kubelet" and access is not None:
                context = ssl.create_default_context(cafile=str(access.ca))
                context.load_cert_chain(str(access.certificate), str(access.key))
                context.check_hostname = False  # by address; the authority vouches for the node
            else:
                context = ssl.create_default_context()
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            self._contexts[trust] = context
        return context


def node_address(node: Obj) -> tuple[str, int]:
    """Where a node's kubelet listens. Raises 400, and 503 for a hollow node: whatever has its address, it is another."""
    status = node.get("status") or {}
    if (status.get("nodeInfo") or {}).get("containerRuntimeVersion", "").startswith(HOLLOW_RUNTIME):
        raise errors.service_unavailable(
            f"node {node['metadata']['name']} is hollow: it has no kubelet that could be asked"
        )
    port = ((status.get("daemonEndpoints") or {}).get("kubeletEndpoint") or {}).get("Port") or KUBELET_PORT
    listed: list[Obj] = status.get("addresses") or []
    addresses = {a["type"]: a["address"] for a in reversed(listed)}
    for kind in ADDRESS_TYPES:
        if kind in addresses:
            return addresses[kind], port
    raise errors.bad_request(f"no preferred addresses found; known addresses: {list(addresses.values())}")


def forwarded_headers(request: Request) -> dict[str, str]:
    """The request's headers without those of this hop and its credentials."""
    kept = {name: value for name, value in request.headers.items() if name not in NOT_FORWARDED}
    address = request.connection.peer_address[0]
    before = kept.get("x-forwarded-for")
    kept["x-forwarded-for"] = f"{before}, {address}" if before else address
    return kept


def wants_upgrade(request: Request) -> bool:
    return "upgrade" in request.headers.get("connection", "").lower() and bool(request.headers.get("upgrade"))


async def upgraded(
    pool: Pool, request: Request, target: str, headers: Mapping[str, str | Sequence[str]] | None = None
) -> Response:
    """Asks for the same upgrade there, with `headers` in place of the request's: a tunnel of raw bytes, or the refusal as
    it came."""
    headers = {**(forwarded_headers(request) if headers is None else headers)}
    headers |= {name: request.headers[name] for name in UPGRADE_HEADERS if name in request.headers}
    try:
        answer, tunnel = await pool.upgrade(request.method, target, headers, request.body)
    except ConnectionError as error:
        raise unreachable(pool, error) from None
    if tunnel is None:
        return _refusal(answer)
    kept = [(name, value) for name, value in answer.headers.items() if name not in ("content-length", "date")]

    async def carry(near: Tunnel) -> None:
        await relay(near, tunnel)

    return Response(101, headers=kept, upgrade=carry)


def _refusal(answer: Answer) -> Response:
    return Response(answer.status, answer.body, answer.headers.get("content-type", "text/plain; charset=utf-8"))


def unreachable(pool: Pool, error: Exception) -> StatusError:
    """The 500 of a tunnel that leads nowhere."""
    return StatusError(500, "", f"error dialing backend: {dial_error(pool, error)}")


def dial_error(pool: Pool, error: Exception) -> str:
    """Why there is no connection, as upstream's clients word it."""
    cause = error.__cause__
    host = f"[{pool.host}]" if ":" in pool.host else pool.host
    if isinstance(cause, socket.gaierror):
        return f"dial tcp: lookup {pool.host}: no such host"
    if isinstance(cause, OSError) and cause.errno and not isinstance(cause, ssl.SSLError):
        return f"dial tcp {host}:{pool.port}: connect: {os.strerror(cause.errno).lower()}"
    return f"dial tcp {host}:{pool.port}: {error}"


def check_proxyable(address: str) -> None:
    """Raises 400 for what a proxy must not lead to: the API server's own machine, and what is no address of one host."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        raise errors.bad_request("address not allowed") from None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    found = mapped or found
    limited = found == ipaddress.ip_address("255.255.255.255")
    if found.is_loopback or found.is_link_local or found.is_multicast or found.is_unspecified or limited:
        raise errors.bad_request("address not allowed")


def streamed(status: int, source: Stream, content_type: str, headers: Sequence[tuple[str, str]] = ()) -> Response:
    """An answer passed on as it comes, no faster than the client takes it."""

    def begin(writer: StreamWriter) -> Callable[[], None]:
        return pour(source.chunks(), writer, source.close)

    return Response(status, content_type=content_type, headers=headers, stream=begin)


def kubelet_failure(status: int, body: bytes, name: str) -> StatusError:
    """A node's refusal in the API's words (upstream's GenericHttpResponseChecker, NewGenericServerResponse)."""
    text = body.decode(errors="replace").strip()
    if status == 500:
        return errors.internal(text)
    if status == 400:
        return errors.bad_request(text)
    if status == 404:
        return StatusError(
            404, "NotFound", f"the server could not find the requested resource ({text})" if text else "", {}
        )
    details: Mapping[str, str] = {"name": name, "kind": "pods"}
    reasons = {401: "Unauthorized", 403: "Forbidden", 503: "ServiceUnavailable", 504: "Timeout"}
    return StatusError(status, reasons.get(status, ""), text, dict(details))
