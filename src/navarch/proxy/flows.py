"""UDP flows that the kernel remembers: those that lead to endpoints which no longer serve are forgotten.

A TCP connection ends with its server. A UDP client that keeps its port (resolvers, loggers) belongs to one flow for ever,
and every packet renews it: without this its packets went to a dead pod's address. As upstream's kube-proxy does
(pkg/proxy/conntrack), only flows to fronts with serving endpoints are looked at, whatever the traffic policies say.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from navarch.proxy.services import Endpoint, Front, Port

Serving = Mapping[Front, frozenset[Endpoint]]
"""UDP front -> the endpoints that flows may lead to."""

NETLINK_NETFILTER = 12
GET, DELETE = 0x101, 0x102  # NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_...
REQUEST, ACK, DUMP = 0x1, 0x4, 0x300
ERROR, DONE = 0x2, 0x3
TUPLE_ORIGINAL, TUPLE_REPLY, ID, ZONE = 1, 2, 12, 18
IP, PROTOCOL = 1, 2
IP_SOURCE, IP_DESTINATION = 1, 2
NUMBER, SOURCE_PORT, DESTINATION_PORT = 1, 2, 3
NO_SUCH_FLOW = 2  # ENOENT: it ended by itself meanwhile
RECEIVE_BYTES = 1 << 16


class Flow(NamedTuple):
    """One UDP flow: where its client sends to, who answers, and the attributes that name it to the kernel."""

    address: str
    port: int
    answers: Endpoint
    name: bytes = b""


def serving(ports: Iterable[Port]) -> Serving:
    """The UDP fronts that have endpoints. Of two ports with one front the first wins."""
    found: dict[Front, frozenset[Endpoint]] = {}
    for port in ports:
        if port.front.protocol == "udp" and (endpoints := port.serving or port.endpoints):
            found.setdefault(port.front, frozenset(endpoints))
    return found


def worth_looking(old: Serving, new: Serving) -> Serving:
    """The fronts to which flows may have gone stale: an endpoint is gone, or the first has come."""
    return {f: endpoints for f, endpoints in new.items() if f not in old or not old[f] <= endpoints}


def stale(flows: Iterable[Flow], fronts: Serving, node_ip: str) -> Iterator[Flow]:
    """The flows to these fronts whose answers come from none of their endpoints.

    What was not translated is a node port's only where it went to the node itself: others may serve that port too."""
    for flow in flows:
        endpoints = fronts.get(Front(flow.address, "udp", flow.port))
        if endpoints is None and (flow.answers != (flow.address, flow.port) or flow.address == node_ip):
            endpoints = fronts.get(Front("", "udp", flow.port))
        if endpoints and flow.answers not in endpoints:
            yield flow


def forget(fronts: Serving, node_ip: str) -> int:
    """Makes the kernel forget the stale flows to these fronts; how many there were. Raises OSError."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as channel:
        channel.bind((0, 0))
        found = list(stale(_flows(channel), fronts, node_ip))
        for flow in found:
            _ask(channel, DELETE, REQUEST | ACK, flow.name)
            for kind, payload in _answers(channel):
                error = -struct.unpack_from("=i", payload)[0] if kind == ERROR else 0
                if error not in (0, NO_SUCH_FLOW):
                    raise OSError(error, os.strerror(error))
    return len(found)


def _flows(channel: socket.socket) -> Iterator[Flow]:
    _ask(channel, GET, REQUEST | DUMP, b"")
    for kind, payload in _answers(channel):
        if kind == ERROR:
            error = -struct.unpack_from("=i", payload)[0]
            raise OSError(error, os.strerror(error))
        if flow := parse(payload[4:]):  # after nfgenmsg
            yield flow


def _ask(channel: socket.socket, kind: int, flags: int, body: bytes) -> None:
    payload = struct.pack("=BBH", socket.AF_INET, 0, 0) + body
    channel.send(struct.pack("=IHHII", 16 + len(payload), kind, flags, 1, 0) + payload)


def _answers(channel: socket.socket) -> Iterator[tuple[int, bytes]]:
    """Kind and content of each message, until the answer is complete."""
    while True:
        data = channel.recv(RECEIVE_BYTES)
        while data:
            length, kind, _, _, _ = struct.unpack_from("=IHHII", data)
            if kind == DONE:
                return
            yield kind, data[16:length]
            if kind == ERROR:
                return
            data = data[(length + 3) & ~3 :]


def parse(attributes: bytes) -> Flow | None:
    """A flow as ctnetlink tells it; None where it is not UDP over IPv4."""
    found = dict(_attributes(attributes))
    original, reply = found.get(TUPLE_ORIGINAL, b""), found.get(TUPLE_REPLY, b"")
    destination, source = _end(original, IP_DESTINATION, DESTINATION_PORT), _end(reply, IP_SOURCE, SOURCE_PORT)
    if not destination or not source:
        return None
    name = b"".join(_attribute(kind, found[kind]) for kind in (TUPLE_ORIGINAL, ID, ZONE) if kind in found)
    return Flow(destination.address, destination.port, source, name)


def _end(side: bytes, address: int, port: int) -> Endpoint | None:
    parts = dict(_attributes(side))
    addresses, protocol = dict(_attributes(parts.get(IP, b""))), dict(_attributes(parts.get(PROTOCOL, b"")))
    if protocol.get(NUMBER) != bytes([socket.IPPROTO_UDP]) or len(addresses.get(address, b"")) != 4:
        return None
    return Endpoint(socket.inet_ntoa(addresses[address]), int.from_bytes(protocol[port], "big"))


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        if length < 4:
            return
        yield kind & 0x3FFF, data[4:length]
        data = data[(length + 3) & ~3 :]


def _attribute(kind: int, content: bytes) -> bytes:
    nested = 0x8000 if kind == TUPLE_ORIGINAL else 0
    return struct.pack("=HH", 4 + len(content), kind | nested) + content + b"\0" * (-len(content) % 4)
