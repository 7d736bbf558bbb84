"""PodTemplate: a pod's description that others may copy."""

from __future__ import annotations

from typing import Any

from navarch.api.features import without_group
from navarch.api.kind import Column, Kind, Version
from navarch.api.podspec.defaults import default_template
from navarch.api.podspec.printing import NAME, labels_cell, template_cells
from navarch.api.podspec.validation import validate_template
from navarch.api.podspec.warnings import template_warnings
from navarch.machinery.errors import FieldErrors
from navarch.machinery.types import Obj


def defaults(obj: Obj) -> None:
    default_template(obj.setdefault("template", {}))


def validate(obj: Obj, errs: FieldErrors) -> None:
    validate_template(obj.get("template") or {}, "template", errs)


def warnings(obj: Obj, old: Obj | None) -> list[str]:
    template: Obj = obj.get("template") or {}
    return [] if old is not None and old.get("template") == template else template_warnings(template, "template.")


def row(obj: Obj, now: float) -> list[Any]:
    template = obj.get("template") or {}
    return [
        obj["metadata"]["name"],
        *template_cells(template),
        labels_cell((template.get("metadata") or {}).get("labels")),
    ]


KIND = Kind(
    kind="PodTemplate",
    plural="podtemplates",
    versions=(Version(group="", version="v1", definition="io.k8s.api.core.v1.PodTemplate"),),
    disable=without_group("template", "spec"),
    defaults=defaults,
    validate=validate,
    warnings=warnings,
    has_generation=True,
    columns=(
        NAME,
        Column(name="Containers", description="Names of the template's containers."),
        Column(name="Images", description="Images of the template's containers."),
        Column(name="Pod Labels", description="Labels that the template gives."),
    ),
    row=row,
)
