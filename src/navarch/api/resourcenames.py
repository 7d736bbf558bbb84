"""Names and amounts of resources: what nodes have, quotas bound and ranges limit. Source: core's helper package."""

from __future__ import annotations

from navarch.api.podspec import checks
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
QUOTA = (
    COUNTED
    | MEASURED
    | frozenset(f"{side}.{name}" for side in ("requests", "limits") for name in ("cpu", "memory", "ephemeral-storage"))
    | {"requests.storage"}
)
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


def _is_quota_name(name: str) -> bool:
    if name.startswith("count/"):
        return True
    bare = name.removeprefix("requests.")
    classed = ".storageclass.storage.k8s.io/" in name
    return name in QUOTA or is_hugepages(bare) or classed or is_extended(bare)


def validate_quota_resource(name: str, path: str, errs: FieldErrors) -> None:
    """A resource that a quota bounds."""
    checks.named(errs, path, name, names.qualified_name)
    if "/" not in name and not _is_quota_name(name):
        errs.invalid(path, name, "must be a standard resource for quota")


LIMITED = {
    "Container": ("cpu", "memory", "ephemeral-storage"),
    "Pod": ("cpu", "memory", "ephemeral-storage"),
    "PersistentVolumeClaim": ("storage",),
}


def validate_limit_resource(kind: str, name: str, path: str, errs: FieldErrors) -> None:
    """A resource that a LimitRange bounds for pods, containers or claims."""
    checks.named(errs, path, name, names.qualified_name)
    if "/" in name:
        return
    known = name in LIMITED.get(kind, ("cpu", "memory", "ephemeral-storage", "storage")) or is_hugepages(name)
    if kind in LIMITED and not known:
        errs.invalid(path, name, "must be a standard limit type or fully qualified")
