"""Which devices a request may have: CEL selectors, taints, attributes that requests have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from navarch.api.podspec.placement import tolerates
from navarch.api.resource.selectors import compiled
from navarch.machinery.cel.values import CelError
from navarch.machinery.quantity import Quantity
from navarch.machinery.types import Obj
from navarch.scheduler.devices.pools import Device

STOPPING = ("NoSchedule", "NoExecute")


class SelectorError(Exception):
    """A selector that cannot be compiled or evaluated; the message is without what it belongs to."""


def is_tolerated(device: Device, tolerations: Sequence[Obj]) -> bool:
    return not any(
        taint.get("effect") in STOPPING and not any(tolerates(toleration, taint) for toleration in tolerations)
        for taint in device.spec.get("taints") or ()
    )


def attribute(device: Device, name: str) -> tuple[str, Any] | None:
    """(type, value) by a fully qualified name; unqualified attributes are the driver's own."""
    attributes = device.spec.get("attributes") or {}
    domain, _, short = name.rpartition("/")
    found = attributes.get(name) or (attributes.get(short) if domain == device.id.driver else None)
    return next(iter(found.items())) if found else None


class _ByDomain(dict[str, Any]):
    """A domain that a device says nothing of is empty, not missing."""

    def __missing__(self, key: str) -> Mapping[str, Any]:
        return {}

    def __contains__(self, key: object) -> bool:
        return True


def selects(expression: str, device: Device) -> bool:
    """Whether a CEL selector chooses a device. Raises SelectorError."""
    found = device.selected.get(expression)
    if found is None:
        found = device.selected[expression] = _evaluated(expression, device)
    return found


def _evaluated(expression: str, device: Device) -> bool:
    from navarch.machinery.cel.library.kubernetes import QuantityValue  # lazily: no start needs it

    try:
        program = compiled(expression)
    except ValueError as error:
        raise SelectorError(f"CEL compile error: {error}") from None
    attributes: dict[str, dict[str, Any]] = {}
    capacity: dict[str, dict[str, Any]] = {}
    for name, value in (device.spec.get("attributes") or {}).items():
        _put(attributes, device.id.driver, name, _value(value))
    for name, value in (device.spec.get("capacity") or {}).items():
        _put(capacity, device.id.driver, name, QuantityValue(Quantity.of(value["value"])))
    bound = {
        "driver": device.id.driver,
        "attributes": _ByDomain(attributes),
        "capacity": _ByDomain(capacity),
        "allowMultipleAllocations": device.is_shared,
    }
    try:
        return program.run({"device": bound}) is True
    except (CelError, ValueError) as error:
        raise SelectorError(f"CEL runtime error: {error}") from None


def _put(target: dict[str, dict[str, Any]], driver: str, name: str, value: Any) -> None:
    domain, slash, short = name.rpartition("/")
    target.setdefault(domain if slash else driver, {})[short] = value


def _value(attribute: Obj) -> Any:
    from navarch.machinery.cel.library.kubernetes import semver

    kind, value = next(iter(attribute.items()))
    return semver(value) if kind == "version" else value
