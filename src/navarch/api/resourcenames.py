"""Names and amounts of resources: what nodes have, quotas bound and ranges limit. Source: core's helper package."""

from __future__ import annotations

from navarch.api.podspec import checks
from navarch.api.podspec.quantities import container_resource_name
from navarch.machinery import names
from navarch.machinery.errors import FieldErrors
from navarch.machinery.quantity import Quantity

COUNTED = frozenset(
    (
        "pods",
        "resourcequotas",
        "services",
        "replicationcontrollers",
        "secrets",
        "configmaps",
        "persistentvolumeclaims",
        "services.nodeports",
        "services.loadbalancers",
    )
)
"""Resources that are numbers of objects."""
MEASURED = frozenset(("cpu", "memory", "ephemeral-storage", "storage"))
STANDARD = (
    COUNTED
    | MEASURED
    | frozenset(f"{side}.{name}" for side in ("requests", "limits") for name in ("cpu", "memory", "ephemeral-storage"))
    | {"requests.storage"}
)
"""Resources that need no domain."""
QUOTA = STANDARD - {"storage"}
"""What a ResourceQuota may bound without a domain."""


def is_native(name: str) -> bool:
    return "/" not in name or "kubernetes.io/" in name


def is_extended(name: str) -> bool:
    """Whether it is a resource of a device or the like: counted in whole units."""
    if is_native(name) or name.startswith("requests."):
        return False
    return not names.qualified_name(f"requests.{name}")


def is_hugepages(name: str) -> bool:
    return name.startswith("hugepages-")


def non_negative(text: str, path: str, errs: FieldErrors) -> Quantity:
    value = Quantity.of(text)
    if value.sign < 0:
        errs.invalid(path, str(value), checks.NOT_NEGATIVE)
    return value


def resource_amount(name: str, text: str, path: str, errs: FieldErrors) -> None:
    """An amount of a resource: not negative, and whole where the resource is counted."""
    value = non_negative(text, path, errs)
    if value.milli() % 1000 and (name in COUNTED or is_extended(name)):
        errs.invalid(path, str(value), "must be an integer")


def _resource_name(name: str, path: str, errs: FieldErrors) -> None:
    if wrong := names.qualified_name(name):
        checks.each(errs, path, name, wrong)
    elif "/" not in name and name not in STANDARD and not _quota_hugepages(name):
        errs.invalid(path, name, "must be a standard resource type or fully qualified")


def _quota_hugepages(name: str) -> bool:
    return is_hugepages(name) or name.startswith("requests.hugepages-")


def is_standard_quota(name: str) -> bool:
    return name in QUOTA or _quota_hugepages(name)


def validate_quota_resource(name: str, path: str, errs: FieldErrors) -> None:
    """A resource that a quota bounds."""
    _resource_name(name, path, errs)
    if "/" not in name and not is_standard_quota(name):
        errs.invalid(path, name, "must be a standard resource for quota")


def validate_limit_resource(kind: str, name: str, path: str, errs: FieldErrors) -> None:
    """A resource that a LimitRange bounds for pods, containers or claims."""
    if kind in ("Pod", "Container"):
        container_resource_name(name, path, errs)
    else:
        _resource_name(name, path, errs)
