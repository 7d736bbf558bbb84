"""ReplicaSet: so many pods of one template."""

from __future__ import annotations

from typing import Any

from navarch.api.features import without_group
from navarch.api.kind import SCALE, Kind, Version, status_of
from navarch.api.podspec import checks, workload
from navarch.api.podspec.defaults import default_template
from navarch.api.podspec.printing import AGE, NAME, SELECTOR, TEMPLATE_COLUMNS, selector_cell, template_cells
from navarch.api.podspec.warnings import workload_warnings
from navarch.machinery.errors import FieldErrors
from navarch.machinery.tables import age_of
from navarch.machinery.types import Obj


def defaults(obj: Obj) -> None:
    spec = obj.setdefault("spec", {})
    if spec.get("replicas") is None:
        spec["replicas"] = 1
    default_template(spec.setdefault("template", {}))


def retired_defaults(obj: Obj) -> None:
    workload.selector_from_template(obj.setdefault("spec", {}))
    defaults(obj)
    if not obj["metadata"].get("labels") and (labels := obj["spec"]["template"].get("metadata", {}).get("labels")):
        obj["metadata"]["labels"] = dict(labels)


def validate(obj: Obj, errs: FieldErrors) -> None:
    checks.non_negative(errs, "spec", obj["spec"], "replicas", "minReadySeconds")
    workload.selected_template(obj["spec"], "deployment", errs)


def row(obj: Obj, now: float) -> list[Any]:
    spec = obj["spec"]
    return [
        obj["metadata"]["name"],
        *workload.pods_cells(obj),
        age_of(obj, now),
        *template_cells(spec.get("template")),
        selector_cell(spec.get("selector")),
    ]


KIND = Kind(
    kind="ReplicaSet",
    plural="replicasets",
    short_names=("rs",),
    categories=("all",),
    versions=(
        Version(group="apps", version="v1", definition="io.k8s.api.apps.v1.ReplicaSet"),
        workload.retired("apps", "v1beta2", "ReplicaSet", "1.9"),
        workload.retired("extensions", "v1beta1", "ReplicaSet", "1.9", defaults=retired_defaults),
    ),
    subresources=(SCALE, status_of("ReplicaSet")),
    disable=without_group("spec", "template", "spec"),
    defaults=defaults,
    validate=validate,
    validate_update=workload.immutable_selector,
    validate_status_update=workload.pods_status,
    warnings=workload_warnings,
    has_generation=True,
    columns=(
        NAME,
        *workload.PODS_COLUMNS,
        AGE,
        *TEMPLATE_COLUMNS,
        SELECTOR,
    ),
    row=row,
    fields=workload.pods_fields,
    extra={"scale": workload.SCALE_PATHS},
)
