"""The DNS server's edge: UDP and TCP, the zone kept from watches, and everything else asked upstream."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import struct
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from navarch.client import resources
from navarch.client.informer import InformerFactory
from navarch.client.interface import Client
from navarch.dns import wire
from navarch.dns.answers import answer
from navarch.dns.records import Zone
from navarch.machinery.clock import World
from navarch.machinery.types import Obj

log = logging.getLogger(__name__)

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
PACKED_LIMIT = 10_000
"""Packed answers kept; all are dropped when the zone changes."""
UPSTREAM_TIMEOUT = 2.0
UPSTREAM_LIMIT = 256
"""Questions under way upstream at once; more are answered SERVFAIL."""
TCP_LIMIT = 128
TCP_IDLE_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsConfig:
    address: str
    port: int
    domain: str
    clients: tuple[str, ...]
    """Networks that are answered; others are ignored (no open resolver)."""
    upstreams: tuple[tuple[str, int], ...]


def upstreams_of(resolv_conf: Path) -> tuple[tuple[str, int], ...]:
    """The name servers of a resolv.conf; none where it cannot be read."""
    try:
        lines = resolv_conf.read_text().splitlines()
    except OSError:
        return ()
    servers = [words[1] for line in lines if len(words := line.split()) >= 2 and words[0] == "nameserver"]
    return tuple((server, 53) for server in servers[:3])


class DnsServer:
    """`start()` returns when the zone is complete and the sockets listen."""

    def __init__(self, config: DnsConfig, client: Client, world: World) -> None:
        self._config = config
        self._zone = Zone(config.domain)
        self._informers = InformerFactory(client, world)
        self._services = self._informers[resources.SERVICES]
        self._slices = self._informers[resources.ENDPOINT_SLICES]
        self._clients = [ipaddress.ip_network(network) for network in config.clients]
        self._allowed: dict[str, bool] = {}
        self._packed: OrderedDict[tuple[bytes, int], list[bytes]] = OrderedDict()
        self._rotation = 0
        self._upstream = Upstream(config.upstreams)
        self._transport: asyncio.DatagramTransport | None = None
        self._tcp: asyncio.Server | None = None
        self._tcp_open = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = config.port

    async def start(self) -> None:
        self._slices.add_index("service", _service_of_slice)
        self._informers.start()
        await self._informers.wait_synced()
        self._services.add_handler(self._service_changed)
        self._slices.add_handler(self._slice_changed)
        loop = asyncio.get_running_loop()
        address = (self._config.address, self._config.port)
        self._transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self), local_addr=address)
        self.port = self._transport.get_extra_info("sockname")[1]
        self._tcp = await asyncio.start_server(self._stream, self._config.address, self.port)

    async def stop(self) -> None:
        if self._transport:
            self._transport.close()
        if self._tcp:
            self._tcp.close()
        for task in self._tasks:
            task.cancel()
        await self._informers.stop()

    # -- the zone

    def _service_changed(self, old: Obj | None, new: Obj | None) -> None:
        meta = (new or old or {})["metadata"]
        self._refresh(meta["namespace"], meta["name"])

    def _slice_changed(self, old: Obj | None, new: Obj | None) -> None:
        for name in {name for piece in (old, new) if piece for name in _service_of_slice(piece)}:
            namespace, _, service = name.partition("/")
            self._refresh(namespace, service)

    def _refresh(self, namespace: str, name: str) -> None:
        service = self._services.get(namespace, name)
        if self._zone.set_service(namespace, name, service, self._slices.by_index("service", f"{namespace}/{name}")):
            self._packed.clear()

    # -- questions

    def allows(self, address: str) -> bool:
        known = self._allowed.get(address)
        if known is None:
            if len(self._allowed) > 4096:
                self._allowed.clear()
            parsed = ipaddress.ip_address(address)
            known = self._allowed[address] = any(parsed in network for network in self._clients)
        return known

    def local(self, message: bytes, limit: int) -> tuple[bytes | None, wire.Question | None]:
        """(answer, None) from the cache or the zone; (None, question) where upstream must be asked."""
        key = (message[2:], limit)
        packed = self._packed.get(key)
        if packed:
            self._rotation += 1
            return message[:2] + packed[self._rotation % len(packed)], None
        try:
            question = wire.parse_question(message)
        except wire.FormatError as error:
            return (wire.pack_error(error.id, wire.FORMERR) if error.id is not None else b""), None
        bound = min(question.size, limit)
        answers = [answer(self._zone, question, turn, bound) for turn in range(4)]
        if answers[0] is None:
            return None, question
        if len(self._packed) >= PACKED_LIMIT:
            self._packed.popitem(last=False)
        self._packed[key] = [a[2:] for a in answers if a]
        return answers[0], None

    def datagram(self, message: bytes, peer: tuple[str, int]) -> None:
        if not self.allows(peer[0]):
            return
        found, question = self.local(message, wire.MAX_EDNS)
        if question is None:
            if found and self._transport:
                self._transport.sendto(found, peer)
            return
        if len(self._tasks) >= UPSTREAM_LIMIT:
            self._reply(wire.pack_answer(question, wire.SERVFAIL, authoritative=False), peer)
            return
        task = asyncio.get_running_loop().create_task(self._forward(message, question, peer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _forward(self, message: bytes, question: wire.Question, peer: tuple[str, int]) -> None:
        found = await self._upstream.ask(message)
        self._reply(found or wire.pack_answer(question, wire.SERVFAIL, authoritative=False), peer)

    def _reply(self, message: bytes, peer: tuple[str, int]) -> None:
        if self._transport and not self._transport.is_closing():
            self._transport.sendto(message, peer)

    async def _stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A TCP connection: length-prefixed messages, one after the other."""
        peer = writer.get_extra_info("peername")
        self._tcp_open += 1
        try:
            while self._tcp_open <= TCP_LIMIT and self.allows(peer[0]):
                async with asyncio.timeout(TCP_IDLE_SECONDS):
                    (length,) = struct.unpack("!H", await reader.readexactly(2))
                    message = await reader.readexactly(length)
                    found, question = self.local(message, 65535)
                    if question is not None:
                        found = await self._upstream.ask_stream(message)
                        found = found or wire.pack_answer(question, wire.SERVFAIL, authoritative=False)
                    if not found:
                        return
                    writer.write(struct.pack("!H", len(found)) + found)
                    await writer.drain()
        except (asyncio.IncompleteReadError, TimeoutError, ConnectionError):
            pass
        finally:
            self._tcp_open -= 1
            writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: DnsServer) -> None:
        self._server = server

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._server.datagram(data, addr)


class Upstream:
    """The name servers that everything outside the cluster is asked of, in turn until one answers."""

    def __init__(self, servers: Sequence[tuple[str, int]]) -> None:
        self._servers = servers

    async def ask(self, message: bytes) -> bytes | None:
        """The answer over UDP, or None."""
        loop = asyncio.get_running_loop()
        for server in self._servers:
            answered: asyncio.Future[bytes] = loop.create_future()
            try:
                transport, _ = await loop.create_datagram_endpoint(
                    lambda answered=answered: _Answer(message[:2], answered), remote_addr=server
                )
            except OSError:
                continue
            try:
                transport.sendto(message)
                return await asyncio.wait_for(answered, UPSTREAM_TIMEOUT)
            except (TimeoutError, OSError):
                continue
            finally:
                transport.close()
        return None

    async def ask_stream(self, message: bytes) -> bytes | None:
        """The answer over TCP, or None."""
        for host, port in self._servers:
            try:
                async with asyncio.timeout(UPSTREAM_TIMEOUT):
                    reader, writer = await asyncio.open_connection(host, port)
                    try:
                        writer.write(struct.pack("!H", len(message)) + message)
                        (length,) = struct.unpack("!H", await reader.readexactly(2))
                        return await reader.readexactly(length)
                    finally:
                        writer.close()
            except (OSError, TimeoutError, asyncio.IncompleteReadError):
                continue
        return None


class _Answer(asyncio.DatagramProtocol):
    def __init__(self, message_id: bytes, answered: asyncio.Future[bytes]) -> None:
        self._id = message_id
        self._answered = answered

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if data[:2] == self._id and not self._answered.done():
            self._answered.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self._answered.done():
            self._answered.set_exception(exc)


def _service_of_slice(piece: Obj) -> list[str]:
    meta = piece["metadata"]
    name = (meta.get("labels") or {}).get(SERVICE_NAME_LABEL)
    return [f"{meta['namespace']}/{name}"] if name else []
