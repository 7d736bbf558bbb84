"""Small checks that the validation of pod specs is made of. Each adds to `errs` at `path`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from navarch.machinery import names
from navarch.machinery.errors import FieldErrors
from navarch.machinery.types import Obj

MAX_INT32 = 2**31 - 1
MAX_CSI_DRIVER = 63
NOT_NEGATIVE = "must be greater than or equal to 0"


def each(errs: FieldErrors, path: str, value: Any, messages: Iterable[str]) -> None:
    """One Invalid for every message."""
    for message in messages:
        errs.invalid(path, value, message)


def named(errs: FieldErrors, path: str, value: str, rule: Callable[[str], list[str]]) -> None:
    each(errs, path, value, rule(value))


def non_negative(errs: FieldErrors, path: str, tree: Obj, *fields: str) -> None:
    for field in fields:
        value = tree.get(field)
        if value and value < 0:
            errs.invalid(f"{path}.{field}", value, NOT_NEGATIVE)


def in_range(errs: FieldErrors, path: str, value: int | None, low: int, high: int) -> None:
    if value is not None and not low <= value <= high:
        errs.invalid(path, value, f"must be between {low} and {high}, inclusive")


def one_of(errs: FieldErrors, path: str, value: str | None, allowed: Iterable[str]) -> None:
    """A required choice: Required where it is empty, NotSupported where it is unknown."""
    if not value:
        errs.required(path)
    elif value not in allowed:
        errs.not_supported(path, value, allowed)


def choice(errs: FieldErrors, path: str, value: str | None, allowed: Iterable[str]) -> None:
    """A required choice that is unknown where it is an empty text."""
    if value is None:
        errs.required(path)
    elif value not in allowed:
        errs.not_supported(path, value, allowed)


def required(errs: FieldErrors, path: str, tree: Obj, *fields: str) -> None:
    for field in fields:
        if not tree.get(field):
            errs.required(f"{path}.{field}")


def reference(errs: FieldErrors, path: str, tree: Obj, field: str, *needed: str) -> None:
    """A reference that may be absent, to a secret say, and what must be in it."""
    if (found := tree.get(field)) is not None:
        required(errs, f"{path}.{field}", found, *needed)


def csi_driver(errs: FieldErrors, path: str, name: str) -> None:
    if not name:
        errs.required(path)
        return
    if len(name) > MAX_CSI_DRIVER:
        errs.too_long(path, MAX_CSI_DRIVER)
    each(errs, path, name, names.dns1123_subdomain(name.lower()))


def port_number_or_name(errs: FieldErrors, path: str, value: Any) -> None:
    if isinstance(value, str):
        named(errs, path, value, names.port_name)
    else:
        in_range(errs, path, value or 0, 1, 65535)


def no_backsteps(errs: FieldErrors, path: str, value: str) -> None:
    if ".." in value.split("/"):
        errs.invalid(path, value, "must not contain '..'")


def descending_path(errs: FieldErrors, path: str, value: str) -> None:
    """A relative path that does not climb."""
    if value.startswith("/"):
        errs.invalid(path, value, "must be a relative path")
    no_backsteps(errs, path, value)


def non_reserved_path(errs: FieldErrors, path: str, value: str) -> None:
    """A descending path whose first element does not begin with two dots (the volume writer owns those)."""
    descending_path(errs, path, value)
    if value.startswith("..") and not value.startswith("../"):
        errs.invalid(path, value, "must not start with '..'")


def file_mode(errs: FieldErrors, path: str, value: int | None) -> None:
    if value is not None and not 0 <= value <= 0o777:
        errs.invalid(path, value, "must be a number between 0 and 0777 (octal), both inclusive")


def immutable(errs: FieldErrors, path: str, new: Any, old: Any) -> None:
    if new != old:
        errs.invalid(path, new, "field is immutable")


def label_map(errs: FieldErrors, path: str, labels: Obj | None) -> None:
    for key, value in (labels or {}).items():
        named(errs, path, key, names.qualified_name)
        each(errs, path, value, names.label_value(value))


def label_selector(errs: FieldErrors, path: str, selector: Obj | None) -> None:
    """A LabelSelector: keys, values and operators."""
    if not selector:
        return
    label_map(errs, f"{path}.matchLabels", selector.get("matchLabels"))
    for index, term in enumerate(selector.get("matchExpressions") or ()):
        at = f"{path}.matchExpressions[{index}]"
        operator, values = term.get("operator", ""), term.get("values") or ()
        if operator in ("In", "NotIn"):
            if not values:
                errs.required(f"{at}.values", "must be specified when `operator` is 'In' or 'NotIn'")
        elif operator in ("Exists", "DoesNotExist"):
            if values:
                errs.forbidden(f"{at}.values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'")
        else:
            errs.invalid(f"{at}.operator", operator, "not a valid selector operator")
        named(errs, f"{at}.key", term.get("key", ""), names.qualified_name)
        for position, value in enumerate(values):
            each(errs, f"{at}.values[{position}]", value, names.label_value(value))
