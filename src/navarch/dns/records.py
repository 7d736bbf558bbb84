"""From Services and EndpointSlices to DNS records: pure functions (the Kubernetes DNS specification, version 1.1.0)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import NamedTuple

from navarch.dns import wire
from navarch.dns.wire import Record
from navarch.machinery.types import Obj

TTL = 30
"""Seconds, as upstream's default configuration has it."""


class Zone:
    """The cluster's names: record sets by owner name, and which names exist only as parents of others."""

    def __init__(self, domain: str) -> None:
        self.domain = domain
        self._by_service: dict[tuple[str, str], tuple[Record, ...]] = {}
        self._records: dict[str, list[Record]] = {}
        self._parents: dict[str, int] = {}
        self.serial = 1
        self._add((Record(f"dns-version.{domain}", wire.TXT, TTL, wire.pack_txt("1.1.0")),))

    def set_service(self, namespace: str, name: str, service: Obj | None, slices: Iterable[Obj]) -> bool:
        """Brings the records of one service up to date; False where nothing changed."""
        key = (namespace, name)
        old = self._by_service.get(key, ())
        new = tuple(service_records(service, slices, self.domain)) if service else ()
        if old == new:
            return False
        self._remove(old)
        self._add(new)
        if new:
            self._by_service[key] = new
        else:
            self._by_service.pop(key, None)
        self.serial += 1
        return True

    def look_up(self, name: str) -> list[Record] | None:
        """The records of a name; [] where it exists without any, None where it does not exist."""
        found = self._records.get(name)
        if found is not None:
            return found
        if name in self._parents or name == self.domain:
            return []
        pod = self._pod(name)
        return [pod] if pod else None

    def holds(self, name: str) -> bool:
        """Whether the name is ours to answer: in the cluster domain, or the reverse of an address that we know."""
        return name == self.domain or name.endswith(f".{self.domain}") or name in self._records

    def soa(self) -> Record:
        return Record(self.domain, wire.SOA, TTL, wire.pack_soa(self.domain, self.serial, TTL))

    def _pod(self, name: str) -> Record | None:
        """`10-244-0-7.namespace.pod.DOMAIN` answers the address in it."""
        suffix = f".pod.{self.domain}"
        if not name.endswith(suffix):
            return None
        dashed, _, namespace = name[: -len(suffix)].partition(".")
        if not namespace or "." in namespace:
            return None
        try:
            address = ipaddress.IPv4Address(dashed.replace("-", "."))
        except ValueError:
            return None
        return Record(name, wire.A, TTL, address.packed)

    def _add(self, records: Iterable[Record]) -> None:
        for record in records:
            self._records.setdefault(record.name, []).append(record)
            for parent in _parents(record.name, self.domain):
                self._parents[parent] = self._parents.get(parent, 0) + 1

    def _remove(self, records: Iterable[Record]) -> None:
        for record in records:
            left = self._records[record.name]
            left.remove(record)
            if not left:
                del self._records[record.name]
            for parent in _parents(record.name, self.domain):
                self._parents[parent] -= 1
                if not self._parents[parent]:
                    del self._parents[parent]


def _parents(name: str, domain: str) -> Iterable[str]:
    if name.endswith(f".{domain}"):
        while (name := name.partition(".")[2]) != domain:
            yield name


class _Endpoint(NamedTuple):
    address: str
    host: str
    """Its name below the service: its hostname, or its address with dashes."""
    named: bool
    ports: tuple[tuple[str, str, int], ...]
    """(name, protocol, number)"""


def service_records(service: Obj, slices: Iterable[Obj], domain: str) -> Iterable[Record]:
    """Every record of one service, its reverse records included."""
    meta, spec = service["metadata"], service["spec"]
    owner = f"{meta['name']}.{meta['namespace']}.svc.{domain}"
    if spec.get("type") == "ExternalName":
        if target := spec.get("externalName", "").rstrip(".").lower():
            yield Record(owner, wire.CNAME, TTL, wire.pack_name(target))
        return
    if spec.get("clusterIP") == "None":
        yield from _headless(owner, _endpoints(slices, bool(spec.get("publishNotReadyAddresses"))))
        return
    for address in spec.get("clusterIPs") or ([spec["clusterIP"]] if spec.get("clusterIP") else []):
        yield _address(owner, address)
        yield Record(ipaddress.ip_address(address).reverse_pointer, wire.PTR, TTL, wire.pack_name(owner))
    for port in spec.get("ports") or []:
        if port.get("name"):
            service_name = f"_{port['name']}._{port.get('protocol', 'TCP').lower()}.{owner}"
            yield Record(service_name, wire.SRV, TTL, wire.pack_srv(port["port"], owner))


def _headless(owner: str, endpoints: list[_Endpoint]) -> Iterable[Record]:
    seen: set[Record] = set()
    for endpoint in endpoints:
        host = f"{endpoint.host}.{owner}"
        records = [_address(owner, endpoint.address), _address(host, endpoint.address)]
        for name, protocol, number in endpoint.ports:
            if name:
                service_name = f"_{name}._{protocol}.{owner}"
                records.append(Record(service_name, wire.SRV, TTL, wire.pack_srv(number, host)))
        if endpoint.named:
            reverse = ipaddress.ip_address(endpoint.address).reverse_pointer
            records.append(Record(reverse, wire.PTR, TTL, wire.pack_name(host)))
        for record in records:
            if record not in seen:
                seen.add(record)
                yield record


def _endpoints(slices: Iterable[Obj], also_unready: bool) -> list[_Endpoint]:
    found: list[_Endpoint] = []
    for piece in slices:
        if piece.get("addressType") == "FQDN":
            continue
        ports = tuple(
            (port.get("name") or "", port.get("protocol", "TCP").lower(), port["port"])
            for port in piece.get("ports") or []
            if port.get("port")
        )
        for endpoint in piece.get("endpoints") or []:
            if not also_unready and (endpoint.get("conditions") or {}).get("ready", True) is False:
                continue
            name = (endpoint.get("hostname") or "").lower()
            for address in endpoint["addresses"]:
                dashed = address.replace(".", "-").replace(":", "-")
                found.append(_Endpoint(address, name or dashed, bool(name), ports))
    return found


def _address(owner: str, address: str) -> Record:
    kind = wire.AAAA if ":" in address else wire.A
    return Record(owner, kind, TTL, wire.pack_a(address))
