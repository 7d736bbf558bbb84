"""A UDP client that keeps its port follows its Service when the endpoints change."""

from __future__ import annotations

import socket
from typing import Any

from tests.support.harness import NODE_ADDRESS, Cluster, wait_for

PORT = 7000


def endpoint_slice(port: int) -> dict[str, Any]:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "echo", "labels": {"kubernetes.io/service-name": "echo"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [NODE_ADDRESS]}],
        "ports": [{"name": "", "port": port, "protocol": "UDP"}],
    }


def listener(port: int) -> socket.socket:
    found = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    found.bind((NODE_ADDRESS, port))
    found.setblocking(False)
    return found


def test_a_flow_follows_its_service(cluster: Cluster) -> None:
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "echo"}}
    cluster.apply({**service, "spec": {"ports": [{"port": PORT, "protocol": "UDP"}]}}, endpoint_slice(7001))
    address = cluster.get("service", "echo")["spec"]["clusterIP"]
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def arrives(at: socket.socket) -> bool:
        client.sendto(b"hello", (address, PORT))
        return at.recv(16) == b"hello"

    with client, listener(7001) as first, listener(7002) as second:
        wait_for("the first endpoint hears it", lambda: arrives(first))
        cluster.apply(endpoint_slice(7002))
        wait_for("the second endpoint hears it", lambda: arrives(second), timeout=20)
    cluster.kubectl("delete", "service/echo", "endpointslice/echo")
