"""Which UDP flows are forgotten when endpoints go."""

from __future__ import annotations

import socket
import struct
from typing import Any

from navarch.proxy import flows
from navarch.proxy.flows import Flow
from navarch.proxy.services import Endpoint, Front, Place, Port, service_ports

NODE = "192.0.2.10"
A, B = Endpoint("10.244.0.5", 53), Endpoint("10.244.0.6", 53)
SERVICE, NODE_PORT = Front("10.96.0.20", "udp", 53), Front("", "udp", 30053)
FRONTS = {SERVICE: frozenset({A}), NODE_PORT: frozenset({A})}


def forgotten(*found: Flow) -> list[Flow]:
    return list(flows.stale(found, FRONTS, NODE))


def test_a_flow_to_an_endpoint_that_serves_stays() -> None:
    assert forgotten(Flow("10.96.0.20", 53, A), Flow(NODE, 30053, A)) == []


def test_a_flow_to_an_endpoint_that_is_gone_is_forgotten() -> None:
    gone = [Flow("10.96.0.20", 53, B), Flow(NODE, 30053, B), Flow("192.0.2.77", 30053, B)]
    assert forgotten(*gone) == gone


def test_a_flow_that_came_before_any_endpoint_is_forgotten() -> None:
    untranslated = Flow(NODE, 30053, Endpoint(NODE, 30053))
    assert forgotten(untranslated) == [untranslated]


def test_other_flows_are_none_of_ours() -> None:
    outside = Flow("198.51.100.1", 30053, Endpoint("198.51.100.1", 30053))  # a server elsewhere with our node port
    assert forgotten(outside, Flow("10.96.0.20", 54, B), Flow("10.96.0.21", 53, B)) == []


def test_flows_are_looked_at_where_an_endpoint_went_or_the_first_came() -> None:
    one, both = {SERVICE: frozenset({A})}, {SERVICE: frozenset({A, B})}
    assert flows.worth_looking(both, one) == one
    assert flows.worth_looking({}, one) == one
    assert flows.worth_looking(one, both) == {}  # what there was still serves
    assert flows.worth_looking(one, {}) == {}  # nobody else to go to


def udp_ports(*endpoints: dict[str, Any], **spec: Any) -> list[Port]:
    service = {
        "metadata": {"name": "dns", "namespace": "default"},
        "spec": {"clusterIP": "10.96.0.20", "ports": [{"port": 53, "protocol": "UDP"}], **spec},
    }
    piece = {"metadata": {}, "addressType": "IPv4", "ports": [{"port": 53, "name": ""}], "endpoints": list(endpoints)}
    return service_ports(service, [piece], Place("a"))


def endpoint(address: str, node: str = "a", **conditions: bool) -> dict[str, Any]:
    return {"addresses": [address], "nodeName": node, "conditions": {"ready": True, **conditions}}


def test_flows_may_go_on_to_whoever_serves_whatever_the_policies_say() -> None:
    dying = endpoint("10.244.0.6", ready=False, serving=True, terminating=True)
    assert flows.serving(udp_ports(endpoint("10.244.0.5"), dying)) == {SERVICE: {A, B}}
    away = endpoint("10.244.0.6", "b")
    assert flows.serving(udp_ports(endpoint("10.244.0.5"), away, internalTrafficPolicy="Local")) == {SERVICE: {A, B}}


def test_only_udp_has_flows_to_forget() -> None:
    assert flows.serving([Port(Front("10.96.0.20", "tcp", 53), (A,))]) == {}
    assert flows.serving([Port(NODE_PORT, (A,))]) == {NODE_PORT: {A}}  # a host port


def attribute(kind: int, content: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(content), kind) + content + b"\0" * (-len(content) % 4)


def side(source: Endpoint, destination: Endpoint, protocol: int) -> bytes:
    addresses = attribute(1, socket.inet_aton(source.address)) + attribute(2, socket.inet_aton(destination.address))
    ports = attribute(2, source.port.to_bytes(2, "big")) + attribute(3, destination.port.to_bytes(2, "big"))
    return attribute(1 | 0x8000, addresses) + attribute(2 | 0x8000, attribute(1, bytes([protocol])) + ports)


def told(protocol: int) -> bytes:
    client, front = Endpoint("10.244.0.9", 4000), Endpoint("10.96.0.20", 53)
    both = attribute(1 | 0x8000, side(client, front, protocol)) + attribute(2 | 0x8000, side(B, client, protocol))
    return both + attribute(7, b"\0\0\0\x1e") + attribute(12, b"\1\2\3\4")


def test_the_kernels_words_are_read() -> None:
    flow = flows.parse(told(socket.IPPROTO_UDP))
    assert flow and flow[:3] == ("10.96.0.20", 53, B)
    assert attribute(12, b"\1\2\3\4") in flow.name  # the very flow, not a later one with the same ports
    assert flows.parse(told(socket.IPPROTO_TCP)) is None
    assert flows.parse(b"") is None
