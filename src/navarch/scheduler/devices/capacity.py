"""Shares of devices that several claims may have. Source: structured's consumable_capacity.go; KEP-5075."""

from __future__ import annotations

from collections.abc import Mapping

from navarch.machinery.quantity import NANO, Quantity
from navarch.machinery.types import Obj

Amounts = Mapping[str, Quantity]
ZERO = Quantity(0)


def consumed(requests: Mapping[str, str], capacity: Mapping[str, Obj]) -> dict[str, Quantity]:
    """What a request takes of a device's capacity, rounded up to what the device gives out."""
    return {name: _rounded(requests.get(name), one) for name, one in capacity.items()}


def is_enough(requests: Mapping[str, str], capacity: Mapping[str, Obj], used: Amounts) -> bool:
    """Whether a device can give what is requested beside what is in use of it."""
    if any(name not in capacity for name in requests):
        return False
    for name, amount in consumed(requests, capacity).items():
        one = capacity[name]
        if _violates(amount, one.get("requestPolicy")) or amount + used.get(name, ZERO) > Quantity.of(one["value"]):
            return False
    return True


def _rounded(requested: str | None, capacity: Obj) -> Quantity:
    policy = capacity.get("requestPolicy") or {}
    if requested is None:
        return Quantity.of(policy["default"] if policy.get("default") is not None else capacity["value"])
    amount = Quantity.of(requested)
    bounds = policy.get("validRange") or {}
    if bounds.get("min") is not None:
        return _stepped(amount, bounds)
    larger = [value for each in policy.get("validValues") or () if (value := Quantity.of(each)) >= amount]
    return larger[0] if larger else amount


def _stepped(amount: Quantity, bounds: Obj) -> Quantity:
    low = Quantity.of(bounds["min"])
    if amount < low:
        return low
    if bounds.get("step") is None:
        return amount
    step = Quantity.of(bounds["step"]).value()
    steps = -(-(amount.value() - low.value()) // step)
    return Quantity((low.value() + steps * step) * NANO, "BinarySI")


def _violates(amount: Quantity, policy: Obj | None) -> bool:
    if not policy or (policy.get("default") is not None and amount == Quantity.of(policy["default"])):
        return False
    bounds = policy.get("validRange")
    if bounds is None:
        options = policy.get("validValues") or ()
        return bool(options) and not any(amount == Quantity.of(option) for option in options)
    if bounds.get("max") is not None and amount > Quantity.of(bounds["max"]):
        return True
    if bounds.get("step") is None:
        return False
    low = Quantity.of(bounds["min"]).value() if bounds.get("min") is not None else 0
    return (amount.value() - low) % Quantity.of(bounds["step"]).value() != 0
