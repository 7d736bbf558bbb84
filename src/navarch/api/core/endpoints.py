"""Endpoints: the addresses behind a service, all in one object. Source: core validation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from navarch.api.addresswarnings import ip_warnings
from navarch.api.columns import AGE, NAME, first_few
from navarch.api.core.service_validation import PROTOCOLS, reachable_ip
from navarch.api.kind import Column, Kind, Version
from navarch.api.podspec import checks
from navarch.machinery import names
from navarch.machinery.errors import FieldErrors
from navarch.machinery.tables import age_of
from navarch.machinery.types import Obj

DEPRECATION = "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"

MANAGED_BY, CONTROLLER = "endpoints.kubernetes.io/managed-by", "endpoint-controller"


def defaults(obj: Obj) -> None:
    for subset in obj.get("subsets") or ():
        for port in subset.get("ports") or ():
            if not port.get("protocol"):
                port["protocol"] = "TCP"


def validate(obj: Obj, errs: FieldErrors) -> None:
    for index, subset in enumerate(obj.get("subsets") or ()):
        at = f"subsets[{index}]"
        if not subset.get("addresses") and not subset.get("notReadyAddresses"):
            errs.required(at, "must specify `addresses` or `notReadyAddresses`")
        for field in ("addresses", "notReadyAddresses"):
            for position, address in enumerate(subset.get(field) or ()):
                _address(address, f"{at}.{field}[{position}]", errs)
        _ports(subset.get("ports") or (), f"{at}.ports", errs)


def _address(address: Obj, path: str, errs: FieldErrors) -> None:
    ip = address.get("ip", "")
    checks.named(errs, f"{path}.ip", ip, names.legacy_ip)
    if hostname := address.get("hostname"):
        checks.named(errs, f"{path}.hostname", hostname, names.dns1123_label)
    if (node := address.get("nodeName")) is not None:
        checks.named(errs, f"{path}.nodeName", node, names.dns1123_subdomain)
    reachable_ip(ip, f"{path}.ip", errs)


def _ports(ports: Sequence[Obj], path: str, errs: FieldErrors) -> None:
    for index, port in enumerate(ports):
        at = f"{path}[{index}]"
        if name := port.get("name"):
            checks.named(errs, f"{at}.name", name, names.dns1123_label)
        elif len(ports) > 1:
            errs.required(f"{at}.name")
        number = port.get("port", 0)
        checks.each(errs, f"{at}.port", number, names.port_num(number))
        checks.one_of(errs, f"{at}.protocol", port.get("protocol"), PROTOCOLS)
        if (protocol := port.get("appProtocol")) is not None:
            checks.named(errs, f"{at}.appProtocol", protocol, names.qualified_name)


def warnings(obj: Obj, old: Obj | None) -> list[str]:
    """Not of what the controller wrote."""
    if (obj["metadata"].get("labels") or {}).get(MANAGED_BY) == CONTROLLER:
        return []
    found: list[str] = []
    for index, subset in enumerate(obj.get("subsets") or ()):
        for field in ("addresses", "notReadyAddresses"):
            for position, address in enumerate(subset.get(field) or ()):
                found += ip_warnings(f"subsets[{index}].{field}[{position}].ip", address.get("ip", ""))
    return found


def _cell(subsets: Sequence[Obj]) -> str:
    found: list[str] = []
    for subset in subsets:
        addresses = [a.get("ip", "") for a in subset.get("addresses") or ()]
        ports = subset.get("ports") or ()
        if not ports:
            found.extend(addresses)
        for port in ports:
            number = port.get("port", 0)
            found.extend(f"[{ip}]:{number}" if ":" in ip else f"{ip}:{number}" for ip in addresses)
    return first_few(found) if found or not subsets else ""


def row(obj: Obj, now: float) -> list[Any]:
    return [obj["metadata"]["name"], _cell(obj.get("subsets") or ()), age_of(obj, now)]


KIND = Kind(
    kind="Endpoints",
    plural="endpoints",
    short_names=("ep",),
    versions=(Version(group="", version="v1", definition="io.k8s.api.core.v1.Endpoints", deprecation=DEPRECATION),),
    defaults=defaults,
    validate=validate,
    warnings=warnings,
    allow_create_on_update=True,
    columns=(NAME, Column(name="Endpoints", description="Addresses and ports of what is ready."), AGE),
    row=row,
)
