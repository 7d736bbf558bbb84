"""ServiceCIDR and IPAddress: the service ranges, and who has which address. Source: apis/networking validation."""

from __future__ import annotations

from typing import Any

from navarch.api.columns import AGE, NAME
from navarch.api.kind import Column, Kind, Version, status_of
from navarch.api.meta import keep_metadata
from navarch.api.podspec import checks
from navarch.machinery import names
from navarch.machinery.errors import FieldErrors
from navarch.machinery.tables import age_of
from navarch.machinery.types import Obj


def validate_cidrs(obj: Obj, errs: FieldErrors) -> None:
    ranges: list[str] = (obj.get("spec") or {}).get("cidrs") or []
    if not ranges:
        errs.required("spec.cidrs", "at least one CIDR required")
        return
    if len(ranges) > 2:
        errs.invalid("spec", obj.get("spec"), "may only hold up to 2 values")
        return
    for index, text in enumerate(ranges):
        checks.each(errs, f"spec.cidrs[{index}]", text, names.cidr(text))
    families = [network.version for text in ranges if (network := names.parse_cidr(text)) is not None]
    if len(families) == 2 and families[0] == families[1]:
        errs.invalid(
            "spec",
            obj.get("spec"),
            "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64",
        )


def validate_cidrs_update(new: Obj, old: Obj, errs: FieldErrors) -> None:
    after, before = ((tree.get("spec") or {}).get("cidrs") for tree in (new, old))
    if (after or [])[: len(before or [])] != (before or []):
        errs.invalid("spec.cidrs[0]", (after or [""])[0], "field is immutable")


def cidr_row(obj: Obj, now: float) -> list[Any]:
    return [obj["metadata"]["name"], ",".join((obj.get("spec") or {}).get("cidrs") or ()), age_of(obj, now)]


def validate_address(obj: Obj, errs: FieldErrors) -> None:
    parent = (obj.get("spec") or {}).get("parentRef")
    if parent is None:
        errs.required("spec.parentRef", "")
        return
    checks.required(errs, "spec.parentRef", parent, "resource", "name")


def validate_address_update(new: Obj, old: Obj, errs: FieldErrors) -> None:
    after, before = ((tree.get("spec") or {}).get("parentRef") for tree in (new, old))
    checks.immutable(errs, "spec.parentRef", after, before)


def address_name(name: str) -> list[str]:
    address = names.parse_ip(name)
    return [] if address is not None and str(address) == name else ["must be a valid IP address in canonical form"]


def address_row(obj: Obj, now: float) -> list[Any]:
    """One cell more than there are columns: upstream sends the age as well."""
    parent = (obj.get("spec") or {}).get("parentRef") or {}
    group = f".{parent['group']}" if parent.get("group") else ""
    where = f"{parent['namespace']}/" if parent.get("namespace") else ""
    return [
        obj["metadata"]["name"],
        f"{parent.get('resource', '')}{group}/{where}{parent.get('name', '')}",
        age_of(obj, now),
    ]


KINDS = (
    Kind(
        kind="ServiceCIDR",
        plural="servicecidrs",
        namespaced=False,
        versions=(Version(group="networking.k8s.io", version="v1", definition="io.k8s.api.networking.v1.ServiceCIDR"),),
        subresources=(status_of("ServiceCIDR"),),
        validate=validate_cidrs,
        prepare_status_update=keep_metadata,
        validate_update=validate_cidrs_update,
        columns=(NAME, Column(name="CIDRs", description="The ranges."), AGE),
        row=cidr_row,
    ),
    Kind(
        kind="IPAddress",
        plural="ipaddresses",
        short_names=("ip",),
        namespaced=False,
        versions=(Version(group="networking.k8s.io", version="v1", definition="io.k8s.api.networking.v1.IPAddress"),),
        validate=validate_address,
        validate_update=validate_address_update,
        name_is_valid=address_name,
        columns=(NAME, Column(name="ParentRef", description="Who has the address.")),
        row=address_row,
    ),
)
