"""What claims, classes and slices of devices share. Source: apis/resource validation."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import orjson

from navarch.api.kind import Validate, Version, nothing
from navarch.api.podspec import checks
from navarch.api.storage.rules import driver_name
from navarch.machinery import names
from navarch.machinery.errors import FieldErrors
from navarch.machinery.types import Obj

GROUP = "resource.k8s.io"
MAX_ID = 32
MAX_KEY = 63 + 1 + MAX_ID
MAX_CONFIG, MAX_SELECTORS = 32, 32
MAX_PARAMETERS = 10 * 1024
MAX_BINDING_CONDITIONS = 4
EFFECTS = ("NoExecute", "NoSchedule", "None")
TOLERATION_OPERATORS = ("Equal", "Exists")
Check = Callable[[Any, str, FieldErrors], None]


def version(kind: str, validate_create: Validate = nothing) -> Version:
    definition = f"io.k8s.api.resource.v1.{kind}"
    return Version(group=GROUP, version="v1", definition=definition, validate_create=validate_create)


# -- collections


def each(errs: FieldErrors, path: str, items: Sequence[Any], limit: int, check: Check) -> bool:
    """Judges every item, unless there are too many (False then); a negative limit is none."""
    if 0 <= limit < len(items):
        errs.too_many(path, len(items), limit)
        return False
    for index, item in enumerate(items):
        check(item, f"{path}[{index}]", errs)
    return True


def each_once(
    errs: FieldErrors, path: str, items: Sequence[Any], limit: int, check: Check, key: Callable[[Any], Hashable]
) -> None:
    """The same, of items that differ in their key."""
    if not each(errs, path, items, limit, check):
        return
    seen: set[Hashable] = set()
    for index, item in enumerate(items):
        if (found := key(item)) in seen:
            errs.duplicate(f"{path}[{index}]", found)
        seen.add(found)


def each_entry(
    errs: FieldErrors,
    path: str,
    entries: Mapping[str, Any],
    limit: int,
    check_key: Callable[[FieldErrors, str, str], None],
    check: Check,
) -> None:
    if 0 <= limit < len(entries):
        errs.too_many(path, len(entries), limit)
        return
    for key, item in entries.items():
        check_key(errs, path, key)
        check(item, f"{path}[{_shortened(key)}]", errs)


def _shortened(key: str) -> str:
    return key if len(key) <= MAX_KEY else f"{key[: (MAX_KEY - 2) // 2]}...{key[-((MAX_KEY - 3) // 2) :]}"


def itself(item: Any) -> Hashable:
    return item


# -- names


def label(errs: FieldErrors, path: str, name: str) -> None:
    checks.named(errs, path, name, names.dns1123_label)


def pool_name(errs: FieldErrors, path: str, name: str) -> None:
    if not name:
        errs.required(path)
        return
    if names.longer_than(name, names.SUBDOMAIN_LENGTH):
        errs.too_long(path, names.SUBDOMAIN_LENGTH)
    for part in name.split("/"):
        checks.named(errs, path, part, names.dns1123_subdomain)


def qualified(errs: FieldErrors, path: str, name: str) -> None:
    """The name of an attribute or capacity: an identifier, with an optional domain before it."""
    domain, slash, found = name.partition("/")
    if not slash:
        _identifier(errs, path, name)
    elif "/" not in found:
        if domain:
            driver_name(errs, path, domain)
        else:
            errs.invalid(path, "", "the domain must not be empty")
        if found:
            _identifier(errs, path, found)
        else:
            errs.invalid(path, "", "the name must not be empty")


def fully_qualified(errs: FieldErrors, path: str, name: str) -> None:
    qualified(errs, path, name)
    if "/" not in name:
        errs.invalid(path, name, "a fully qualified name must be a domain and a name separated by a slash")


def _identifier(errs: FieldErrors, path: str, name: str) -> None:
    if names.longer_than(name, MAX_ID):
        errs.too_long(path, MAX_ID)
    checks.named(errs, path, name, names.c_identifier)


def share_id(errs: FieldErrors, path: str, text: str) -> None:
    try:
        canonical = str(uuid.UUID(text))
    except ValueError:
        errs.invalid(path, text, "error validating uid: invalid UUID format")
        return
    if text != canonical:
        message = (
            "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase "
            "hexadecimal characters"
        )
        errs.invalid(path, text, message)


# -- parts


def configuration(config: Obj, at: str, errs: FieldErrors) -> None:
    """Opaque parameters for a driver."""
    opaque = config.get("opaque")
    if opaque is None:
        errs.required(f"{at}.opaque")
        return
    driver_name(errs, f"{at}.opaque.driver", opaque.get("driver", ""))
    raw_object(opaque.get("parameters"), f"{at}.opaque.parameters", errs)


def raw_object(tree: Any, at: str, errs: FieldErrors) -> None:
    """A tree that nobody but a driver reads."""
    if tree is None:
        errs.required(at)
    elif len(orjson.dumps(tree)) > MAX_PARAMETERS:
        errs.too_long(at, MAX_PARAMETERS)
    elif not isinstance(tree, dict):
        errs.invalid(at, "<value omitted>", "must be a valid JSON object")


def taint(tree: Obj, at: str, errs: FieldErrors) -> None:
    checks.named(errs, f"{at}.key", tree.get("key", ""), names.qualified_name)
    if value := tree.get("value"):
        checks.named(errs, f"{at}.value", value, names.label_value)
    checks.one_of(errs, f"{at}.effect", tree.get("effect"), EFFECTS)


def toleration(tree: Obj, at: str, errs: FieldErrors) -> None:
    operator, value = tree.get("operator", ""), tree.get("value", "")
    if key := tree.get("key"):
        checks.named(errs, f"{at}.key", key, names.qualified_name)
    if operator == "Exists" and value:
        errs.invalid(f"{at}.value", value, "must be empty for operator `Exists`")
    if operator == "Equal":
        checks.named(errs, f"{at}.value", value, names.label_value)
    checks.one_of(errs, f"{at}.operator", operator, TOLERATION_OPERATORS)
    if (effect := tree.get("effect")) and effect not in EFFECTS:
        errs.not_supported(f"{at}.effect", effect, EFFECTS)


def binding_conditions(tree: Obj, at: str, errs: FieldErrors) -> None:
    """Conditions that a device waits for before pods are bound, and those that end the waiting."""
    wanted: list[str] = tree.get("bindingConditions") or []
    failures: list[str] = tree.get("bindingFailureConditions") or []
    for field, listed in (("bindingConditions", wanted), ("bindingFailureConditions", failures)):
        each(errs, f"{at}.{field}", listed, MAX_BINDING_CONDITIONS, _condition_type)
    for field, listed in (("bindingConditions", wanted), ("bindingFailureConditions", failures)):
        for index, kind in enumerate(listed):
            if kind in listed[:index]:
                errs.duplicate(f"{at}.{field}[{index}]", kind)
            if listed is failures and kind in wanted:
                message = "bindingFailureConditions must not overlap with bindingConditions"
                errs.invalid(f"{at}.{field}[{index}]", kind, message)
    if failures and not wanted:
        message = "bindingConditions are required to use bindingFailureConditions"
        errs.invalid(f"{at}.bindingConditions", wanted, message)
    if wanted and not failures:
        message = "bindingFailureConditions are required to use bindingConditions"
        errs.invalid(f"{at}.bindingFailureConditions", failures, message)


def _condition_type(kind: str, path: str, errs: FieldErrors) -> None:
    checks.named(errs, path, kind, names.qualified_name)


# -- deduplicated identity


def device_key(tree: Obj) -> tuple[str, str, str, str]:
    """Which device, or which share of one, a result or status is about."""
    return tree.get("driver", ""), tree.get("pool", ""), tree.get("device", ""), tree.get("shareID") or ""
