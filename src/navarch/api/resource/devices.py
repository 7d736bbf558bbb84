"""A device of a slice: its attributes, capacity and counters. Source: apis/resource validation."""

from __future__ import annotations

import re
from collections.abc import Mapping

from navarch.api.podspec import checks
from navarch.api.podspec.scheduling import validate_node_selector
from navarch.api.resource import rules
from navarch.machinery import names
from navarch.machinery.errors import FieldErrors
from navarch.machinery.quantity import Quantity
from navarch.machinery.types import Obj

MAX_NAMES, MAX_VALUES, MAX_VALUE_BYTES = 32, 48, 64
MAX_TAINTS, MAX_CONSUMPTIONS, MAX_COUNTERS, MAX_OPTIONS = 16, 2, 32, 10
SCALARS, LISTS = ("bool", "int", "string", "version"), ("bools", "ints", "strings", "versions")
WHERE = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec"
_NUMBER, _PRE, _BUILD = r"(0|[1-9]\d*)", r"(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)", "[0-9a-zA-Z-]+"
_is_version = re.compile(
    rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(-{_PRE}(\.{_PRE})*)?(\+{_BUILD}(\.{_BUILD})*)?", re.ASCII
).fullmatch


def drop_alpha_fields(device: Obj) -> None:
    """What release 1.36 has behind gates that are shut."""
    device.pop("nodeAllocatableResourceMappings", None)
    for attribute in (device.get("attributes") or {}).values():
        for field in LISTS:
            attribute.pop(field, None)


def validate_device(device: Obj, at: str, per_device: bool, errs: FieldErrors) -> None:
    rules.label(errs, f"{at}.name", device.get("name", ""))
    attributes: dict[str, Obj] = device.get("attributes") or {}
    capacity: dict[str, Obj] = device.get("capacity") or {}
    if (count := len(attributes) + len(capacity)) > MAX_NAMES:
        errs.invalid(at, count, f"the total number of attributes and capacities must not exceed {MAX_NAMES}")
    if (count := sum(map(_values, attributes.values()))) > MAX_VALUES:
        errs.invalid(at, count, f"the total number of attribute values must not exceed {MAX_VALUES}")
    rules.each_entry(errs, f"{at}.attributes", attributes, -1, rules.qualified, _attribute)
    check = _shared_capacity if device.get("allowMultipleAllocations") else _capacity
    rules.each_entry(errs, f"{at}.capacity", capacity, -1, rules.qualified, check)
    rules.each(errs, f"{at}.taints", device.get("taints") or [], MAX_TAINTS, rules.taint)
    consumed = device.get("consumesCounters") or []
    rules.each_once(errs, f"{at}.consumesCounters", consumed, MAX_CONSUMPTIONS, _consumption, _counter_set)
    if per_device:
        _placed(device, at, errs)
    elif any(device.get(field) is not None for field in ("nodeName", "nodeSelector", "allNodes")):
        message = (
            "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in "
            "the ResourceSlice spec"
        )
        errs.invalid(at, None, message)
    rules.binding_conditions(device, at, errs)


def _values(attribute: Obj) -> int:
    return max(1, sum(len(attribute.get(field) or ()) for field in LISTS))


def _placed(device: Obj, at: str, errs: FieldErrors) -> None:
    given: list[str] = []
    name, selector, everywhere = device.get("nodeName"), device.get("nodeSelector"), device.get("allNodes")
    if name:
        given.append("`nodeName`")
        checks.named(errs, f"{at}.nodeName", name, names.dns1123_subdomain)
    elif name is not None:
        errs.invalid(f"{at}.nodeName", name, "must not be empty")
    if selector is not None:
        given.append("`nodeSelector`")
        validate_node_selector(selector, f"{at}.nodeSelector", errs)
    if everywhere:
        given.append("`allNodes`")
    elif everywhere is not None:
        errs.invalid(f"{at}.allNodes", everywhere, "must be either unset or set to true")
    if not given:
        errs.required(at, WHERE)
    elif len(given) > 1:
        errs.invalid(at, f"{{{', '.join(given)}}}", WHERE)


# -- attributes and capacity


def _attribute(attribute: Obj, at: str, errs: FieldErrors) -> None:
    given = [field for field in (*SCALARS, *LISTS) if attribute.get(field) is not None]
    for field in given:
        values = attribute[field] if field in LISTS else [attribute[field]]
        if field in LISTS and not values:
            errs.invalid(f"{at}.{field}", values, "must not be empty if specified")
        if not field.startswith(("string", "version")):
            continue
        for index, value in enumerate(values):
            where = f"{at}.{field}[{index}]" if field in LISTS else f"{at}.{field}"
            if field.startswith("version") and not _is_version(value):
                errs.invalid(where, value, "must be a string compatible with semver.org spec 2.0.0")
            if names.longer_than(value, MAX_VALUE_BYTES):
                errs.too_long(where, MAX_VALUE_BYTES)
    if len(given) != 1:
        errs.invalid(at, attribute if given else "", "exactly one value must be specified")


def _capacity(capacity: Obj, at: str, errs: FieldErrors) -> None:
    if capacity.get("requestPolicy") is not None:
        errs.forbidden(f"{at}.requestPolicy", "allowMultipleAllocations must be true")


def _shared_capacity(capacity: Obj, at: str, errs: FieldErrors) -> None:
    policy = capacity.get("requestPolicy")
    if policy is None:
        return
    where, whole, default = f"{at}.requestPolicy", Quantity.of(capacity.get("value", "0")), policy.get("default")
    options, bounds = policy.get("validValues") or [], policy.get("validRange")
    if options and bounds is not None:
        message = 'exactly one policy can be specified, cannot specify "validValues" and "validRange" at the same time'
        errs.forbidden(where, message)
    elif options:
        if default is None:
            errs.required(f"{where}.default", "required when validValues is defined")
        else:
            _options([Quantity.of(o) for o in options], Quantity.of(default), whole, f"{where}.validValues", errs)
    elif bounds is not None:
        if default is None:
            errs.required(f"{where}.default", "required when validRange is defined")
        else:
            given = {field: Quantity.of(value) for field, value in bounds.items() if value is not None}
            _range(given, Quantity.of(default), whole, f"{where}.validRange", errs)


def _options(options: list[Quantity], default: Quantity, whole: Quantity, at: str, errs: FieldErrors) -> None:
    for index in range(len(options) - 1):
        if options[index + 1] < options[index]:
            errs.invalid(f"{at}[{index + 1}]", str(options[index + 1]), "values must be sorted in ascending order")

    def option(value: Quantity, where: str, errs: FieldErrors) -> None:
        if whole < value:
            errs.invalid(where, str(value), f"option is larger than capacity value: {whole}")

    rules.each_once(errs, at, options, MAX_OPTIONS, option, lambda value: str(value.value()))
    if default not in options:
        errs.invalid(at, str(default), "default value is not valid according to the requestPolicy")


def _range(bounds: Mapping[str, Quantity], default: Quantity, whole: Quantity, at: str, errs: FieldErrors) -> None:
    low, high, step = bounds.get("min"), bounds.get("max"), bounds.get("step")
    if low is None:
        errs.required(f"{at}.min", "required when validRange is defined")
        return
    if whole < low:
        errs.invalid(f"{at}.min", str(low), f"min is larger than capacity value: {whole}")
    if default < low:
        errs.invalid(f"{at}.min", str(default), f"default is less than min: {low}")
    if high is not None:
        if high < low:
            errs.invalid(f"{at}.max", str(low), f"min is larger than max: {high}")
        if whole < high:
            errs.invalid(f"{at}.max", str(high), f"max is larger than capacity value: {whole}")
        if high < default:
            errs.invalid(f"{at}.max", str(default), f"default is more than max: {high}")
    if step is None:
        return
    if whole < low + step:
        errs.invalid(f"{at}.step", str(step), f"one step {low + step} is larger than capacity value: {whole}")
    for value in (default, high):
        if value is not None and (step.value() == 0 or (value.value() - low.value()) % step.value()):
            errs.invalid(f"{at}.step", str(value), f"value is not a multiple of a given step ({step}) from ({low})")


# -- counters


def _any_counter(counter: Obj, at: str, errs: FieldErrors) -> None:
    """Any quantity will do."""


def counters(errs: FieldErrors, at: str, found: dict[str, Obj]) -> None:
    if not found:
        errs.required(f"{at}.counters")
    else:
        rules.each_entry(errs, f"{at}.counters", found, MAX_COUNTERS, rules.label, _any_counter)


def _counter_set(consumption: Obj) -> str:
    return consumption.get("counterSet", "")


def _consumption(consumption: Obj, at: str, errs: FieldErrors) -> None:
    if name := consumption.get("counterSet", ""):
        rules.label(errs, f"{at}.counterSet", name)
    else:
        errs.required(f"{at}.counterSet")
    counters(errs, at, consumption.get("counters") or {})
