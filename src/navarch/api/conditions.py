"""metav1.Condition: what every entry of a list of conditions must be. Source: apimachinery's apis/meta/v1/validation."""

from __future__ import annotations

import re
from collections.abc import Sequence

from navarch.api.podspec import checks
from navarch.machinery import names
from navarch.machinery.errors import FieldErrors
from navarch.machinery.types import Obj

STATUSES = ("False", "True", "Unknown")
MAX_REASON, MAX_MESSAGE = 1024, 32 * 1024
_REASON = "[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?"
_is_reason = re.compile(_REASON, re.ASCII).fullmatch


def validate_conditions(conditions: Sequence[Obj], path: str, errs: FieldErrors) -> None:
    seen: set[str] = set()
    for index, condition in enumerate(conditions):
        kind = condition.get("type", "")
        if kind in seen:
            errs.duplicate(f"{path}[{index}].type", kind)
        seen.add(kind)
        _condition(condition, f"{path}[{index}]", errs)


def _condition(condition: Obj, at: str, errs: FieldErrors) -> None:
    checks.named(errs, f"{at}.type", condition.get("type", ""), names.qualified_name)
    if (status := condition.get("status", "")) not in STATUSES:
        errs.not_supported(f"{at}.status", status, STATUSES)
    if (generation := condition.get("observedGeneration") or 0) < 0:
        errs.invalid(f"{at}.observedGeneration", generation, "must be greater than or equal to zero")
    if not condition.get("lastTransitionTime"):
        errs.required(f"{at}.lastTransitionTime")
    if not (reason := condition.get("reason", "")):
        errs.required(f"{at}.reason")
    elif not _is_reason(reason):
        message = (
            "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric "
            "characters or '_,:', and must end with an alphanumeric character or '_'"
        )
        examples = ("my_name", "MY_NAME", "MyName", "ReasonA,ReasonB", "ReasonA:ReasonB")
        errs.invalid(f"{at}.reason", reason, names.regex_error(message, _REASON, *examples))
    if names.longer_than(reason, MAX_REASON):
        errs.too_long(f"{at}.reason", MAX_REASON)
    if names.longer_than(condition.get("message", ""), MAX_MESSAGE):
        errs.too_long(f"{at}.message", MAX_MESSAGE)
