"""The names of a kind: plural, singular, kind, list kind, short names, categories."""

from __future__ import annotations

from navarch.machinery import names
from navarch.machinery.errors import FieldErrors
from navarch.machinery.types import Obj


def validate_names(given: Obj, at: str, errs: FieldErrors) -> None:
    for field in ("plural", "singular"):
        value = given.get(field) or ""
        if value and (wrong := names.dns1035_label(value)):
            errs.invalid(f"{at}.{field}", value, ",".join(wrong))
    for field in ("kind", "listKind"):
        value = given.get(field) or ""
        if value and (wrong := names.dns1035_label(value.lower())):
            message = "may have mixed case, but should otherwise match: " + ",".join(wrong)
            errs.invalid(f"{at}.{field}", value, message)
    _labels(given.get("shortNames") or (), f"{at}.shortNames", errs)
    kind, listed = given.get("kind") or "", given.get("listKind") or ""
    if kind and kind == listed:
        errs.invalid(f"{at}.listKind", listed, "kind and listKind may not be the same")
    _labels(given.get("categories") or (), f"{at}.categories", errs)


def _labels(values: list[str] | tuple[str, ...], at: str, errs: FieldErrors) -> None:
    for index, value in enumerate(values):
        if wrong := names.dns1035_label(value):
            errs.invalid(f"{at}[{index}]", value, ",".join(wrong))
