"""Whether the proxy is well, and which nodes have endpoints: what load balancers and monitors ask a node's proxy.

Served as upstream's kube-proxy does (pkg/proxy/healthcheck): `/healthz` and `/livez` on one port of the node, `/healthz`, `/proxyMode` and
`/metrics` on another of the loopback address, and one port for each Service with a health check node port.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson

from navarch.http.messages import Request, Response
from navarch.http.server import Limits, Server, serve
from navarch.machinery.clock import World
from navarch.machinery.metrics import Counter, Histogram, Metrics, add_process
from navarch.machinery.trees import get
from navarch.machinery.types import Key, Obj

log = logging.getLogger(__name__)

LATE_SECONDS = 60.0
"""A change that is not in the kernel after this time: the proxy is not well (twice upstream's sync period)."""
TO_BE_DELETED = "ToBeDeletedByClusterAutoscaler"
NO_SNIFF = ("X-Content-Type-Options", "nosniff")
LIMITS = Limits(connections=100, body_bytes=1024)
BUCKETS = [0.001 * 2**i for i in range(15)]


class HealthCheck(NamedTuple):
    """A Service's health check node port, and how many ready endpoints it has on this node."""

    port: int
    local: int


def health_check(service: Obj, slices: Iterable[Obj], node: str) -> HealthCheck | None:
    """None: nobody asks for this Service."""
    spec = service["spec"]
    port = spec.get("healthCheckNodePort")
    if not port or spec.get("type") != "LoadBalancer" or spec.get("externalTrafficPolicy") != "Local":
        return None
    endpoints = [e for piece in slices if piece.get("addressType") == "IPv4" for e in piece.get("endpoints") or []]
    ready = [e for e in endpoints if get(e, "conditions", "ready", default=True) and e.get("nodeName") == node]
    return HealthCheck(port, len({address for e in ready for address in e["addresses"]}))


class Health:
    """Since when a change waits to get into the kernel, if any does; and what was done."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._pending: float | None = None
        self._updated = world.now()
        self.metrics = Metrics()
        add_process(self.metrics)
        name, words = "kubeproxy_sync_proxy_rules", "of proxy rules"
        self._seconds = self.metrics.add(
            Histogram(f"{name}_duration_seconds", f"SyncProxyRules latency {words}.", BUCKETS)
        )
        self._failures = self.metrics.add(Counter(f"{name}_nftables_sync_failures_total", f"Failed syncs {words}."))

    def queued(self) -> None:
        if self._pending is None:
            self._pending = self._world.now()

    def updated(self, seconds: float) -> None:
        """The rules are as they should be; setting them took that long."""
        self._pending, self._updated = None, self._world.now()
        self._seconds.observe(seconds)

    def failed(self) -> None:
        self._failures.add()

    def healthy(self) -> bool:
        return self._pending is None or self._world.now() - self._pending < LATE_SECONDS

    def tell(self, eligible: bool | None = None) -> Response:
        """The answer of /livez; of /healthz, where it matters whether the node takes traffic at all."""
        now = self._world.now()
        well = self.healthy() and eligible is not False
        said: dict[str, Any] = {"lastUpdated": _time(now if well else self._updated), "currentTime": _time(now)}
        if eligible is not None:
            said["nodeEligible"] = eligible
        return Response(200 if well else 503, orjson.dumps(said), headers=[NO_SNIFF])


def eligible(node: Obj | None) -> bool:
    """Whether load balancers may send to the node: not while it is being deleted."""
    if node is None or node["metadata"].get("deletionTimestamp"):
        return False
    return all(taint.get("key") != TO_BE_DELETED for taint in get(node, "spec", "taints", default=[]))


class HealthServers:
    """The listening side. Ports that cannot be had are logged and tried again at the next change."""

    def __init__(self, health: Health, node: Callable[[], Obj | None]) -> None:
        self._health, self._node = health, node
        self._own: list[Server] = []
        self._services: dict[Key, tuple[int, Server]] = {}
        self._checks: Mapping[Key, HealthCheck] = {}

    async def start(self, health_port: int, metrics_port: int) -> None:
        """The proxy's own two; a port of 0 is left out."""
        for handler, host, port in (
            (self._healthz, "0.0.0.0", health_port),
            (self._status, "127.0.0.1", metrics_port),
        ):
            if port and (server := await _listen(handler, host, port)):
                self._own.append(server)

    async def sync(self, checks: Mapping[Key, HealthCheck]) -> None:
        self._checks = checks
        for key, (port, server) in list(self._services.items()):
            if key not in checks or checks[key].port != port:
                del self._services[key]
                await server.close(0)
        for key, check in checks.items():
            if key not in self._services:
                server = await _listen(lambda request, key=key: self._service(key), "0.0.0.0", check.port)
                if server:
                    self._services[key] = (check.port, server)

    async def stop(self) -> None:
        for server in [*self._own, *(server for _, server in self._services.values())]:
            await server.close(0)

    def _service(self, key: Key) -> Response:
        local, well = self._checks[key].local if key in self._checks else 0, self._health.healthy()
        service = {"namespace": key.namespace, "name": key.name}
        said = {"service": service, "localEndpoints": local, "serviceProxyHealthy": well}
        headers = [NO_SNIFF, ("X-Load-Balancing-Endpoint-Weight", str(local))]
        return Response(200 if local and well else 503, orjson.dumps(said), headers=headers)

    def _healthz(self, request: Request) -> Response:
        if request.path == "/healthz":
            return self._health.tell(eligible(self._node()))
        return self._health.tell() if request.path == "/livez" else _not_found()

    def _status(self, request: Request) -> Response:
        match request.path:
            case "/healthz":
                return _text("ok")
            case "/proxyMode":
                return _text("nftables")
            case "/metrics":
                return Response(body=self._health.metrics.text().encode(), content_type="text/plain; version=0.0.4")
            case _:
                return _not_found()


async def _listen(handler: Callable[[Request], Response], host: str, port: int) -> Server | None:
    try:
        return await serve(handler, host, port, limits=LIMITS)
    except OSError as error:
        log.warning("health is not told on port %d: %s", port, error)
        return None


def _text(body: str) -> Response:
    return Response(body=body.encode(), content_type="text/plain; charset=utf-8", headers=[NO_SNIFF])


def _not_found() -> Response:
    return Response(404, b"404 page not found\n", "text/plain; charset=utf-8", headers=[NO_SNIFF])


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
