"""ResourceClaimTemplate: claims that pods get made for them. Source: apis/resource validation."""

from __future__ import annotations

from typing import Any

from navarch.api.columns import AGE, NAME
from navarch.api.kind import Kind
from navarch.api.podspec import checks
from navarch.api.podspec.claims import validate_template_metadata
from navarch.api.resource import rules
from navarch.api.resource.claimspec import default_claim, validate_claim
from navarch.machinery.errors import FieldErrors
from navarch.machinery.tables import age_of
from navarch.machinery.types import Obj


def defaults(obj: Obj) -> None:
    default_claim((obj.get("spec") or {}).get("spec") or {})


def validate(obj: Obj, errs: FieldErrors) -> None:
    spec = obj.get("spec") or {}
    validate_template_metadata(spec, "spec", errs)
    validate_claim(spec.get("spec") or {}, "spec.spec", errs)


def validate_update(new: Obj, old: Obj, errs: FieldErrors) -> None:
    checks.immutable(errs, "spec", new.get("spec"), old.get("spec"))


def row(obj: Obj, now: float) -> list[Any]:
    return [obj["metadata"]["name"], age_of(obj, now)]


KIND = Kind(
    kind="ResourceClaimTemplate",
    plural="resourceclaimtemplates",
    versions=(rules.version("ResourceClaimTemplate"),),
    defaults=defaults,
    validate=validate,
    validate_update=validate_update,
    columns=(NAME, AGE),
    row=row,
)
