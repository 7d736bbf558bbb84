"""NetworkPolicy: who may talk to pods, and whom they may talk to. Source: apis/networking validation."""

from __future__ import annotations

from typing import Any

from navarch.api.addresswarnings import cidr_warnings
from navarch.api.columns import AGE, NAME
from navarch.api.kind import Column, Kind, Version
from navarch.api.podspec import checks
from navarch.api.podspec.printing import selector_cell
from navarch.api.retired import retired
from navarch.machinery import names
from navarch.machinery.errors import FieldErrors
from navarch.machinery.tables import age_of
from navarch.machinery.types import Obj

TYPES = ("Egress", "Ingress")


def defaults(obj: Obj) -> None:
    spec = obj.setdefault("spec", {})
    for rule in (*(spec.get("ingress") or ()), *(spec.get("egress") or ())):
        for port in rule.get("ports") or ():
            if port.get("protocol") is None:
                port["protocol"] = "TCP"
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]


def validate(obj: Obj, errs: FieldErrors) -> None:
    spec = obj["spec"]
    checks.label_selector(errs, "spec.podSelector", spec.get("podSelector") or {})
    for direction, peers in (("ingress", "from"), ("egress", "to")):
        for index, rule in enumerate(spec.get(direction) or ()):
            at = f"spec.{direction}[{index}]"
            for position, port in enumerate(rule.get("ports") or ()):
                _port(port, f"{at}.ports[{position}]", errs)
            for position, peer in enumerate(rule.get(peers) or ()):
                _peer(peer, f"{at}.{peers}[{position}]", errs)
    kinds = spec.get("policyTypes") or []
    if len(kinds) > 2:
        errs.invalid("spec.policyTypes", kinds, "may not specify more than two policyTypes")
        return
    for index, kind in enumerate(kinds):
        if kind not in TYPES:
            errs.not_supported(f"spec.policyTypes[{index}]", kind, TYPES)


def _port(port: Obj, at: str, errs: FieldErrors) -> None:
    if (protocol := port.get("protocol")) is not None and protocol not in ("TCP", "UDP", "SCTP"):
        errs.not_supported(f"{at}.protocol", protocol, ("SCTP", "TCP", "UDP"))
    number, end = port.get("port"), port.get("endPort")
    if number is None:
        if end is not None:
            errs.invalid(f"{at}.endPort", end, "may not be specified when `port` is not specified")
        return
    if isinstance(number, str):
        if end is not None:
            errs.invalid(f"{at}.endPort", end, "may not be specified when `port` is non-numeric")
        checks.named(errs, f"{at}.port", number, names.port_name)
        return
    checks.each(errs, f"{at}.port", number, names.port_num(number))
    if end is not None:
        if end < number:
            errs.invalid(f"{at}.endPort", number, "must be greater than or equal to `port`")
        checks.each(errs, f"{at}.endPort", end, names.port_num(end))


def _peer(peer: Obj, at: str, errs: FieldErrors) -> None:
    count = sum(peer.get(field) is not None for field in ("podSelector", "namespaceSelector", "ipBlock"))
    for field in ("podSelector", "namespaceSelector"):
        if peer.get(field) is not None:
            checks.label_selector(errs, f"{at}.{field}", peer[field])
    block = peer.get("ipBlock")
    if block is not None:
        _block(block, f"{at}.ipBlock", errs)
    if count == 0:
        errs.required(at, "must specify a peer")
    elif count > 1 and block is not None:
        errs.forbidden(at, "may not specify both ipBlock and another peer")


def _block(block: Obj, at: str, errs: FieldErrors) -> None:
    text = block.get("cidr", "")
    if not text:
        errs.required(f"{at}.cidr", "")
        return
    if wrong := names.legacy_cidr(text):
        checks.each(errs, f"{at}.cidr", text, wrong)
        return
    whole = names.parse_cidr(text)
    for index, exception in enumerate(block.get("except") or ()):
        where = f"{at}.except[{index}]"
        checks.each(errs, where, exception, names.legacy_cidr(exception))
        part = names.parse_cidr(exception)
        if whole is None or part is None:
            continue
        same = whole.version == part.version
        if not same or part.network_address not in whole or part.prefixlen <= whole.prefixlen:
            errs.invalid(where, exception, "must be a strict subset of `cidr`")


def warnings(obj: Obj, old: Obj | None) -> list[str]:
    """Of networks that are not in canonical form."""
    found: list[str] = []
    for direction, peers in (("ingress", "from"), ("egress", "to")):
        for index, rule in enumerate(obj["spec"].get(direction) or ()):
            for position, peer in enumerate(rule.get(peers) or ()):
                at, block = f"spec.{direction}[{index}].{peers}[{position}].ipBlock", peer.get("ipBlock") or {}
                exceptions = enumerate(block.get("except") or ())
                for path, text in ((".cidr", block.get("cidr", "")), *((f".except[{i}]", t) for i, t in exceptions)):
                    found += cidr_warnings(at + path, text)
    return found


def row(obj: Obj, now: float) -> list[Any]:
    return [obj["metadata"]["name"], selector_cell(obj["spec"].get("podSelector")), age_of(obj, now)]


KIND = Kind(
    kind="NetworkPolicy",
    plural="networkpolicies",
    short_names=("netpol",),
    versions=(
        Version(group="networking.k8s.io", version="v1", definition="io.k8s.api.networking.v1.NetworkPolicy"),
        retired("extensions", "v1beta1", "NetworkPolicy", "1.9", "1.16", "networking.k8s.io/v1"),
    ),
    defaults=defaults,
    validate=validate,
    warnings=warnings,
    has_generation=True,
    columns=(NAME, Column(name="Pod-Selector", description="The pods that it is about."), AGE),
    row=row,
)
