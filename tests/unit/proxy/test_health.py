"""What the proxy tells load balancers and monitors."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import orjson
import pytest

from navarch.machinery.clock import RealWorld
from navarch.machinery.types import Key
from navarch.proxy.health import LATE_SECONDS, Health, HealthCheck, HealthServers, eligible, health_check


class Clock(RealWorld):
    """A clock that stands until it is set."""

    time = 1_000_000.0

    def now(self) -> float:
        return self.time


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


async def ask(port: int, path: str = "/") -> tuple[int, bytes, bytes]:
    """Status, headers and body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return int(head.split()[1]), head, body


def service(**spec: Any) -> dict[str, Any]:
    base = {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": 31000}
    return {"metadata": {"name": "web", "namespace": "shop"}, "spec": {**base, **spec}}


def endpoint(address: str, node: str, **conditions: bool) -> dict[str, Any]:
    return {"addresses": [address], "nodeName": node, "conditions": {"ready": True, **conditions}}


def test_ready_endpoints_of_the_node_count() -> None:
    dying = endpoint("10.244.0.7", "a", ready=False, serving=True, terminating=True)
    found = [endpoint("10.244.0.5", "a"), endpoint("10.244.0.6", "b"), dying]
    piece = {"addressType": "IPv4", "endpoints": found}
    twice = {"addressType": "IPv4", "endpoints": found[:1]}  # another slice, for another port
    assert health_check(service(), [piece, twice], "a") == HealthCheck(31000, 1)
    assert health_check(service(), [], "a") == HealthCheck(31000, 0)


@pytest.mark.parametrize(
    "spec", [{"type": "NodePort"}, {"externalTrafficPolicy": "Cluster"}, {"healthCheckNodePort": 0}]
)
def test_nobody_asks_for_other_services(spec: dict[str, Any]) -> None:
    assert health_check(service(**spec), [], "a") is None


async def test_a_services_port_says_whether_the_node_has_endpoints() -> None:
    servers, port, other = HealthServers(Health(Clock()), lambda: None), free_port(), free_port()
    key = Key("shop", "web")
    await servers.sync({key: HealthCheck(port, 2)})
    status, head, body = await ask(port)
    assert status == 200 and b"x-load-balancing-endpoint-weight: 2" in head.lower()
    said = {"service": {"namespace": "shop", "name": "web"}, "localEndpoints": 2, "serviceProxyHealthy": True}
    assert orjson.loads(body) == said
    await servers.sync({key: HealthCheck(port, 0)})
    assert (await ask(port))[0] == 503
    await servers.sync({key: HealthCheck(other, 1)})
    assert (await ask(other))[0] == 200
    with pytest.raises(ConnectionError):
        await ask(port)
    await servers.sync({})
    with pytest.raises(ConnectionError):
        await ask(other)


async def test_a_port_that_is_taken_harms_nothing_else() -> None:
    servers, free = HealthServers(Health(Clock()), lambda: None), free_port()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        checks = {Key("a", "taken"): HealthCheck(taken.getsockname()[1], 1), Key("a", "free"): HealthCheck(free, 1)}
        await servers.sync(checks)
        assert (await ask(free))[0] == 200
    await servers.stop()


async def test_the_proxy_is_not_well_when_changes_wait_too_long_or_the_node_goes() -> None:
    clock, port, metrics = Clock(), free_port(), free_port()
    health = Health(clock)
    node: dict[str, Any] = {"metadata": {}, "spec": {}}
    servers = HealthServers(health, lambda: node)
    await servers.start(port, metrics)
    assert [(await ask(port, path))[0] for path in ("/healthz", "/livez", "/else")] == [200, 200, 404]
    health.queued()
    clock.time += LATE_SECONDS
    assert [(await ask(port, path))[0] for path in ("/healthz", "/livez")] == [503, 503]
    health.updated(0.01)
    node["spec"]["taints"] = [{"key": "ToBeDeletedByClusterAutoscaler"}]
    assert [(await ask(port, path))[0] for path in ("/healthz", "/livez")] == [503, 200]
    assert (await ask(metrics, "/proxyMode"))[2] == b"nftables"
    assert b"kubeproxy_sync_proxy_rules_duration_seconds_count 1" in (await ask(metrics, "/metrics"))[2]
    await servers.stop()


def test_a_node_that_is_gone_is_not_eligible() -> None:
    assert not eligible(None)
    assert not eligible({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}})
    assert eligible({"metadata": {}, "spec": {"taints": [{"key": "other"}]}})
