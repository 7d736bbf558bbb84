"""Validation of resource requests, limits and claims."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from navarch.api.podspec import checks
from navarch.api.podspec.resources import aggregate, amounts
from navarch.machinery import names
from navarch.machinery.errors import FieldErrors
from navarch.machinery.quantity import Quantity
from navarch.machinery.types import Obj

COMPUTE = ("cpu", "memory")
STANDARD = frozenset(("cpu", "memory", "ephemeral-storage"))
STANDARD_ANYWHERE = STANDARD | {"storage", "pods", "services", "secrets", "configmaps", "persistentvolumeclaims"}


def is_native(name: str) -> bool:
    return "/" not in name or "kubernetes.io/" in name


def is_overcommitable(name: str) -> bool:
    return is_native(name) and not name.startswith("hugepages-")


def container_resource_name(name: str, path: str, errs: FieldErrors) -> None:
    if name in STANDARD:
        return
    if messages := names.qualified_name(name):
        checks.each(errs, path, name, messages)
    elif "/" not in name:
        if name.startswith("hugepages-"):
            return
        if name not in STANDARD_ANYWHERE:
            errs.invalid(path, name, "must be a standard resource type or fully qualified")
        errs.invalid(path, name, "must be a standard resource for containers")
    elif not is_native(name) and (name.startswith("requests.") or names.qualified_name(f"requests.{name}")):
        errs.invalid(path, name, "doesn't follow extended resource name standard")


def _amount(name: str, text: str, path: str, errs: FieldErrors) -> Quantity:
    value = Quantity.of(text)
    if value.sign < 0:
        errs.invalid(path, str(value), checks.NOT_NEGATIVE)
    if not is_native(name) and value.milli() % 1000:
        errs.invalid(path, str(value), "must be an integer")
    return value


def _pod_resource_name(name: str, path: str, errs: FieldErrors) -> None:
    if messages := names.qualified_name(name):
        checks.each(errs, path, name, messages)
    elif "/" not in name and name not in STANDARD_ANYWHERE and not name.startswith("hugepages-"):
        errs.invalid(path, name, "must be a standard resource type or fully qualified")
    elif name not in COMPUTE and not name.startswith("hugepages-"):
        errs.not_supported(path, name, (*COMPUTE, "hugepages-"))


def validate_pod_resources(
    spec: Obj, resources: Obj, path: str, claims: Collection[str | None], errs: FieldErrors
) -> None:
    """What a pod asks for as a whole (KEP-2837), beside what its containers do."""
    if (spec.get("os") or {}).get("name") == "windows":
        errs.forbidden(path, "may not be set for a windows pod")
        return
    if resources.get("claims") is not None:
        errs.forbidden(f"{path}.claims", "claims may not be set for Resources at pod-level")
    validate_resources(resources, path, claims, errs, _pod_resource_name)
    given = {side: amounts(resources.get(side)) for side in ("requests", "limits")}
    for side in given:
        for name, value in sorted(aggregate(spec, side).items()):
            limit = given[side].get(name)
            if limit is not None and value > limit and (side == "requests" or name.startswith("hugepages-")):
                why = f"must be greater than or equal to aggregate container {side} of {value}"
                errs.invalid(f"{path}.{side}[{name}]", str(limit), why)
    for index, container in enumerate(spec.get("containers") or ()):
        for name, value in amounts((container.get("resources") or {}).get("limits")).items():
            limit = given["limits"].get(name)
            if limit is not None and value > limit:
                at = f"{path}.containers[{index}][{name}].limits"
                errs.invalid(at, str(value), f"must be less than or equal to pod limits of {limit}")


def validate_resources(
    resources: Obj,
    path: str,
    claims: Collection[str | None],
    errs: FieldErrors,
    check_name: Callable[[str, str, FieldErrors], None] = container_resource_name,
) -> None:
    limits: dict[str, Quantity] = {}
    listed: Obj = resources.get("limits") or {}
    wanted: Obj = resources.get("requests") or {}
    for name, text in listed.items():
        at = f"{path}.limits[{name}]"
        check_name(name, at, errs)
        limits[name] = _amount(name, text, at, errs)
        _huge_page(name, limits[name], at, errs)
    for name, text in wanted.items():
        at = f"{path}.requests[{name}]"
        check_name(name, at, errs)
        value = _amount(name, text, at, errs)
        _huge_page(name, value, at, errs)
        limit = limits.get(name)
        if limit is None:
            if not is_overcommitable(name):
                errs.required(f"{path}.limits", "Limit must be set for non overcommitable resources")
        elif value != limit and not is_overcommitable(name):
            errs.invalid(f"{path}.requests", str(value), f"must be equal to {name} limit of {limit}")
        elif limit < value:
            errs.invalid(f"{path}.requests", str(value), f"must be less than or equal to {name} limit of {limit}")
    both = {**listed, **wanted}
    if not any(name in both for name in COMPUTE) and any(name.startswith("hugepages-") for name in both):
        errs.forbidden(path, "HugePages require cpu or memory")
    if used := resources.get("claims"):
        _claims(used, f"{path}.claims", claims, errs)


def _huge_page(name: str, value: Quantity, path: str, errs: FieldErrors) -> None:
    if not name.startswith("hugepages-"):
        return
    try:
        size = Quantity.parse(name.removeprefix("hugepages-")).value()
    except ValueError:
        return
    if size and value.value() % size:
        errs.invalid(path, str(value), f"must be a multiple of the page size {name.removeprefix('hugepages-')}")


def _claims(used: Sequence[Obj], path: str, known: Collection[str | None], errs: FieldErrors) -> None:
    seen: set[str] = set()
    for index, claim in enumerate(used):
        at, name, request = f"{path}[{index}]", claim.get("name", ""), claim.get("request", "")
        if not name:
            errs.required(at)
            continue
        if request:
            checks.named(errs, f"{at}.request", request, names.dns1123_label)
        key = f"{name}/{request}" if request else name
        clash = key in seen or name in seen or (not request and any(k.startswith(f"{name}/") for k in seen))
        if clash:
            errs.duplicate(at, key)
        seen.add(key)
        if name not in known:
            errs.not_found(at, name)
