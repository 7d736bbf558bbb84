"""What a definition's status must be, and whether a protected group's API is approved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal
from urllib.parse import urlsplit

from navarch.api.apiextensions.names import validate_names
from navarch.machinery.errors import FieldErrors
from navarch.machinery.types import Obj

APPROVED = "api-approved.kubernetes.io"
REVIEW = "see https://github.com/kubernetes/enhancements/pull/1111"
Approval = Literal["approved", "bypassed", "missing", "invalid"]


def validate_status(status: Obj, errs: FieldErrors) -> None:
    validate_names(status.get("acceptedNames") or {}, "status.acceptedNames", errs)


def validate_stored_versions(obj: Obj, errs: FieldErrors) -> None:
    at = "status.storedVersions"
    stored = (obj.get("status") or {}).get("storedVersions") or []
    if not stored:
        errs.invalid(at, stored, "must have at least one stored version")
        return
    known = {v.get("name", "") for v in obj["spec"].get("versions") or ()}
    for version in obj["spec"].get("versions") or ():
        if version.get("storage") and version.get("name", "") not in stored:
            errs.invalid(at, stored, f"must have the storage version {version.get('name', '')}")
    for index, name in enumerate(stored):
        if name not in known:
            message = (
                f"missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions "
                f"until a storage migration ensures no data remains persisted in {name} and removes {name} from "
                "status.storedVersions"
            )
            errs.invalid(f"{at}[{index}]", name, message)


def is_protected(group: str) -> bool:
    """Whether a group's APIs need the community's approval."""
    return any(group == home or group.endswith(f".{home}") for home in ("k8s.io", "kubernetes.io"))


def approval(annotations: Mapping[str, str]) -> tuple[Approval, str]:
    """The state of a protected group's approval, and what is to be said of it."""
    text = annotations.get(APPROVED, "")
    if not text:
        return "missing", f'protected groups must have approval annotation "{APPROVED}", {REVIEW}'
    if text.startswith("unapproved"):
        return "bypassed", f'not approved: "{text}"'
    try:
        url = urlsplit(text)
    except ValueError:
        url = urlsplit("")
    if url.scheme and url.netloc:
        return "approved", f"approved in {text}"
    why = 'with either a URL or a reason starting with "unapproved"'
    return "invalid", f'protected groups must have approval annotation "{APPROVED}" {why}, {REVIEW}'
