"""EndpointSlice: some of the addresses behind a service. Source: apis/discovery validation and strategy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from navarch.api.columns import AGE, NAME, first_few
from navarch.api.core.service_validation import PROTOCOLS, reachable_ip
from navarch.api.kind import Column, Kind, Version
from navarch.api.podspec import checks
from navarch.api.retired import retired
from navarch.machinery import names
from navarch.machinery.errors import FieldErrors
from navarch.machinery.tables import age_of
from navarch.machinery.types import Obj

ZONE, HOSTNAME = "topology.kubernetes.io/zone", "kubernetes.io/hostname"
ADDRESS_TYPES = ("FQDN", "IPv4", "IPv6")
MAX_ENDPOINTS, MAX_ADDRESSES, MAX_PORTS, MAX_HINTS = 1000, 100, 20000, 8


def defaults(obj: Obj) -> None:
    for port in obj.get("ports") or ():
        if port.get("name") is None:
            port["name"] = ""
        if port.get("protocol") is None:
            port["protocol"] = "TCP"


def decode(obj: Obj) -> Obj:
    """The retired version has zone and node's name in a map of topology labels."""
    for endpoint in obj.get("endpoints") or ():
        topology: dict[str, str] = endpoint.pop("topology", None) or {}
        if (zone := topology.pop(ZONE, None)) is not None:
            endpoint["zone"] = zone
        if topology.get(HOSTNAME) == endpoint.get("nodeName"):
            topology.pop(HOSTNAME, None)
        if topology:
            endpoint["deprecatedTopology"] = topology
    return obj


def encode(obj: Obj) -> Obj:
    return {**obj, "endpoints": [_old_endpoint(endpoint) for endpoint in obj.get("endpoints") or ()]}


def _old_endpoint(endpoint: Obj) -> Obj:
    shown = {k: v for k, v in endpoint.items() if k not in ("deprecatedTopology", "zone")}
    topology: dict[str, str] = dict(endpoint.get("deprecatedTopology") or {})
    if (zone := endpoint.get("zone")) is not None:
        topology[ZONE] = zone
    if (node := endpoint.get("nodeName")) is not None and not topology.get(HOSTNAME):
        topology[HOSTNAME] = node
    return {**shown, "topology": topology} if topology else shown


def _drop_topology(obj: Obj) -> None:
    for endpoint in obj.get("endpoints") or ():
        endpoint.pop("deprecatedTopology", None)


def prepare_create(obj: Obj) -> None:
    obj["metadata"]["generation"] = 1
    _drop_topology(obj)


def prepare_update(new: Obj, old: Obj) -> None:
    """The generation counts changes of labels too; topology of retired versions stays until the endpoints change."""
    changed = new["metadata"].get("labels") != old["metadata"].get("labels") or any(
        new.get(field) != old.get(field) for field in ("addressType", "endpoints", "ports")
    )
    if changed:
        new["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1
    if new.get("endpoints") != old.get("endpoints"):
        _drop_topology(new)


def validate(obj: Obj, errs: FieldErrors) -> None:
    _type_and_ports(obj, errs)
    _endpoints(obj, errs)


def _type_and_ports(obj: Obj, errs: FieldErrors) -> None:
    kind = obj.get("addressType", "")
    checks.one_of(errs, "addressType", kind, ADDRESS_TYPES)
    _ports(obj.get("ports") or (), errs)


def _endpoints(obj: Obj, errs: FieldErrors) -> None:
    kind, endpoints = obj.get("addressType", ""), obj.get("endpoints") or ()
    if len(endpoints) > MAX_ENDPOINTS:
        errs.too_many("endpoints", len(endpoints), MAX_ENDPOINTS)
        return
    for index, endpoint in enumerate(endpoints):
        _endpoint(endpoint, kind, f"endpoints[{index}]", errs)


def _ports(ports: Sequence[Obj], errs: FieldErrors) -> None:
    if len(ports) > MAX_PORTS:
        errs.too_many("ports", len(ports), MAX_PORTS)
        return
    seen: set[str] = set()
    for index, port in enumerate(ports):
        at, name = f"ports[{index}]", port.get("name") or ""
        if name:
            checks.named(errs, f"{at}.name", name, names.dns1123_label)
        if name in seen:
            errs.duplicate(f"{at}.name", name)
        seen.add(name)
        protocol = port.get("protocol")
        if protocol is None:
            errs.required(f"{at}.protocol")
        elif protocol not in PROTOCOLS:
            errs.not_supported(f"{at}.protocol", protocol, PROTOCOLS)
        if (application := port.get("appProtocol")) is not None:
            checks.named(errs, f"{at}.appProtocol", application, names.qualified_name)


def _endpoint(endpoint: Obj, kind: str, at: str, errs: FieldErrors) -> None:
    addresses = endpoint.get("addresses") or ()
    if not addresses:
        errs.required(f"{at}.addresses", "must contain at least 1 address")
    elif len(addresses) > MAX_ADDRESSES:
        errs.too_many(f"{at}.addresses", len(addresses), MAX_ADDRESSES)
    for index, address in enumerate(addresses):
        _address(address, kind, f"{at}.addresses", f"{at}.addresses[{index}]", errs)
    if (node := endpoint.get("nodeName")) is not None:
        checks.named(errs, f"{at}.nodeName", node, names.dns1123_subdomain)
    if (hostname := endpoint.get("hostname")) is not None:
        checks.named(errs, f"{at}.hostname", hostname, names.dns1123_label)
    if hints := endpoint.get("hints"):
        _hints(hints.get("forZones") or (), f"{at}.hints.forZones", names.label_value, errs)
        _hints(hints.get("forNodes") or (), f"{at}.hints.forNodes", names.dns1123_subdomain, errs)


def _address(address: str, kind: str, listed: str, at: str, errs: FieldErrors) -> None:
    if kind == "FQDN":
        fully_qualified(address, at, errs)
    elif kind in ("IPv4", "IPv6"):
        if wrong := names.legacy_ip(address) if kind == "IPv4" else names.ip(address):
            checks.each(errs, at, address, wrong)
            return
        if (":" in address) != (kind == "IPv6"):
            errs.invalid(listed, address, f"must be an {kind} address")
        reachable_ip(address, at, errs)


def fully_qualified(name: str, path: str, errs: FieldErrors) -> None:
    """A domain name of two labels or more; a dot at its end is taken."""
    if not name:
        errs.required(path)
        return
    name = name.removesuffix(".")
    if wrong := names.dns1123_subdomain(name):
        errs.invalid(path, name, ",".join(wrong))
    elif "." not in name:
        errs.invalid(path, name, "should be a domain with at least two segments separated by dots")
    else:
        for label in name.split("."):
            if wrong := names.dns1123_label(label):
                errs.invalid(path, label, ",".join(wrong))


def _hints(hints: Sequence[Obj], path: str, rule: Callable[[str], list[str]], errs: FieldErrors) -> None:
    if len(hints) > MAX_HINTS:
        errs.too_many(path, len(hints), MAX_HINTS)
        return
    seen: set[str] = set()
    for index, hint in enumerate(hints):
        name = hint.get("name", "")
        if name in seen:
            errs.duplicate(f"{path}[{index}].name", name)
        seen.add(name)
        checks.named(errs, f"{path}[{index}].name", name, rule)


def validate_update(new: Obj, old: Obj, errs: FieldErrors) -> None:
    """Endpoints that were let through once stay."""
    _type_and_ports(new, errs)
    if new.get("endpoints") != old.get("endpoints"):
        _endpoints(new, errs)
    checks.immutable(errs, "addressType", new.get("addressType"), old.get("addressType"))


def _port_cell(port: Obj) -> str:
    number = port.get("port")
    return str(number) if number is not None else (port.get("name") or "")


def row(obj: Obj, now: float) -> list[Any]:
    return [
        obj["metadata"]["name"],
        obj.get("addressType", ""),
        first_few([_port_cell(port) for port in obj.get("ports") or ()], empty="<unset>"),
        first_few([a for e in obj.get("endpoints") or () for a in e.get("addresses") or ()], empty="<unset>"),
        age_of(obj, now),
    ]


def warnings(obj: Obj, old: Obj | None) -> list[str]:
    return ["spec.addressType: FQDN endpoints are deprecated"] if obj.get("addressType") == "FQDN" else []


KIND = Kind(
    kind="EndpointSlice",
    plural="endpointslices",
    versions=(
        Version(group="discovery.k8s.io", version="v1", definition="io.k8s.api.discovery.v1.EndpointSlice"),
        retired(
            "discovery.k8s.io",
            "v1beta1",
            "EndpointSlice",
            "1.21",
            "1.25",
            "discovery.k8s.io/v1",
            decode=decode,
            encode=encode,
        ),
    ),
    defaults=defaults,
    prepare_create=prepare_create,
    prepare_update=prepare_update,
    validate=validate,
    validate_update=validate_update,
    validates_what_changes=True,
    warnings=warnings,
    columns=(
        NAME,
        Column(name="AddressType", description="What kind of addresses the slice holds."),
        Column(name="Ports", description="Ports of every endpoint."),
        Column(name="Endpoints", description="Addresses of the endpoints."),
        AGE,
    ),
    row=row,
)
