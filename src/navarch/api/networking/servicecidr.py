"""ServiceCIDR and IPAddress: the service ranges, and who has which address. Source: apis/networking validation."""

from __future__ import annotations

from typing import Any

from navarch.api.columns import AGE, NAME
from navarch.api.kind import Column, Kind, Version, status_of
from navarch.api.meta import keep_metadata
from navarch.api.podspec import checks
from navarch.machinery import names
from navarch.machinery.errors import FieldErrors
from navarch.machinery.tables import NONE, age_of
from navarch.machinery.types import Obj


def validate_cidrs(obj: Obj, errs: FieldErrors) -> None:
    ranges: list[str] = (obj.get("spec") or {}).get("cidrs") or []
    if not ranges:
        errs.required("spec.cidrs", "at least one CIDR required")
        return
    if len(ranges) > 2:
        errs.invalid("spec.cidrs", obj.get("spec"), "may only hold up to 2 values")
        return
    for index, text in enumerate(ranges):
        checks.each(errs, f"spec.cidrs[{index}]", text, names.cidr(text))
    families = [network.version for text in ranges if (network := names.parse_cidr(text)) is not None]
    if len(families) == 2 and families[0] == families[1]:
        errs.invalid(
            "spec.cidrs",
            ranges,
            "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64",
        )


def validate_cidrs_update(new: Obj, old: Obj, errs: FieldErrors) -> None:
    """A second range may come, of the other family; only then are they judged as new ones are."""
    after, before = ((tree.get("spec") or {}).get("cidrs") or [] for tree in (new, old))
    if len(after) != len(before) and (len(after), len(before)) != (2, 1):
        errs.invalid("spec.cidrs", after or None, "field is immutable")
        return
    if len(after) != len(before):
        validate_cidrs(new, errs)
    for index, (now, then) in enumerate(zip(after, before, strict=False)):
        checks.immutable(errs, f"spec.cidrs[{index}]", now, then)


def cidr_row(obj: Obj, now: float) -> list[Any]:
    return [obj["metadata"]["name"], ",".join((obj.get("spec") or {}).get("cidrs") or ()), age_of(obj, now)]


def validate_address(obj: Obj, errs: FieldErrors) -> None:
    parent = (obj.get("spec") or {}).get("parentRef")
    if parent is None:
        errs.required("spec.parentRef", "")
        return
    at = "spec.parentRef"
    if group := parent.get("group"):
        checks.named(errs, f"{at}.group", group, names.dns1123_subdomain)
    checks.required(errs, at, parent, "resource", "name")
    for field in ("resource", "name", "namespace"):
        if value := parent.get(field):
            checks.named(errs, f"{at}.{field}", value, names.path_segment)


def validate_address_update(new: Obj, old: Obj, errs: FieldErrors) -> None:
    after, before = ((tree.get("spec") or {}).get("parentRef") for tree in (new, old))
    checks.immutable(errs, "spec.parentRef", after, before)


def address_row(obj: Obj, now: float) -> list[Any]:
    """Upstream gives a third cell, the age, that no column is declared for."""
    parent, shown = (obj.get("spec") or {}).get("parentRef"), NONE
    if parent is not None:
        group = f".{parent['group']}" if parent.get("group") else ""
        where = f"/{parent['namespace']}" if parent.get("namespace") else ""
        shown = f"{parent.get('resource', '')}{group}".lower() + f"{where}/{parent.get('name', '')}"
    return [obj["metadata"]["name"], shown, age_of(obj, now)]


KINDS = (
    Kind(
        kind="ServiceCIDR",
        plural="servicecidrs",
        namespaced=False,
        versions=(Version(group="networking.k8s.io", version="v1", definition="io.k8s.api.networking.v1.ServiceCIDR"),),
        subresources=(status_of("ServiceCIDR"),),
        validate=validate_cidrs,
        validate_update=validate_cidrs_update,
        validates_what_changes=True,
        prepare_status_update=keep_metadata,
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
        name_is_valid=names.ip,
        columns=(NAME, Column(name="ParentRef", description="Who has the address.")),
        row=address_row,
    ),
)
