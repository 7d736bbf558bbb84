"""What flow schemas and priority levels share. Source: apis/flowcontrol validation."""

from __future__ import annotations

from typing import Any

from navarch.api.kind import Version
from navarch.api.retired import retired
from navarch.machinery.errors import FieldErrors
from navarch.machinery.types import Obj

GROUP = "flowcontrol.apiserver.k8s.io"


def versions(kind: str, hooks: dict[str, dict[str, Any]] | None = None) -> tuple[Version, ...]:
    """All versions of a kind; `hooks` are further fields of the retired ones, by version."""
    hooks = hooks or {}
    return (
        Version(group=GROUP, version="v1", definition=f"io.k8s.api.flowcontrol.v1.{kind}"),
        retired(GROUP, "v1beta3", kind, "1.29", "1.32", f"{GROUP}/v1", **hooks.get("v1beta3", {})),
        retired(GROUP, "v1beta2", kind, "1.26", "1.29", f"{GROUP}/v1beta3", **hooks.get("v1beta2", {})),
        retired(GROUP, "v1beta1", kind, "1.23", "1.26", f"{GROUP}/v1beta3", **hooks.get("v1beta1", {})),
    )


def validate_conditions(obj: Obj, errs: FieldErrors) -> None:
    seen: set[str] = set()
    for index, condition in enumerate((obj.get("status") or {}).get("conditions") or ()):
        at, kind = f"status.conditions[{index}].type", condition.get("type", "")
        if kind in seen:
            errs.duplicate(at, kind)
        seen.add(kind)
        if not kind:
            errs.required(at)


def validate_status_update(new: Obj, old: Obj, errs: FieldErrors) -> None:
    validate_conditions(new, errs)
