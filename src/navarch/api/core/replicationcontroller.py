"""ReplicationController: the ReplicaSet's older form, with a plain map for a selector."""

from __future__ import annotations

from typing import Any

from navarch.api.features import without_group
from navarch.api.kind import SCALE, Kind, Version, status_of
from navarch.api.podspec import checks, workload
from navarch.api.podspec.defaults import default_template
from navarch.api.podspec.printing import AGE, NAME, SELECTOR, TEMPLATE_COLUMNS, labels_cell, template_cells
from navarch.api.podspec.validation import validate_template
from navarch.api.podspec.warnings import workload_warnings
from navarch.machinery.errors import FieldErrors
from navarch.machinery.tables import age_of
from navarch.machinery.types import Obj


def defaults(obj: Obj) -> None:
    spec = obj.setdefault("spec", {})
    template = spec.get("template")
    labels = ((template or {}).get("metadata") or {}).get("labels")
    if labels:
        if not spec.get("selector"):
            spec["selector"] = dict(labels)
        if not obj["metadata"].get("labels"):
            obj["metadata"]["labels"] = dict(labels)
    if spec.get("replicas") is None:
        spec["replicas"] = 1
    if template is not None:
        default_template(template)


def validate(obj: Obj, errs: FieldErrors) -> None:
    spec = obj["spec"]
    checks.non_negative(errs, "spec", spec, "minReadySeconds", "replicas")
    selector: Obj = spec.get("selector") or {}
    if not selector:
        errs.required("spec.selector")
    template = spec.get("template")
    if template is None:
        errs.required("spec.template")
        return
    labels = (template.get("metadata") or {}).get("labels") or {}
    if selector and any(labels.get(key) != value for key, value in selector.items()):
        errs.invalid("spec.template.metadata.labels", labels, "`selector` does not match template `labels`")
    validate_template(template, "spec.template", errs)
    if (policy := (template.get("spec") or {}).get("restartPolicy", "")) != "Always":
        errs.not_supported("spec.template.spec.restartPolicy", policy, ("Always",))
    if (template.get("spec") or {}).get("activeDeadlineSeconds") is not None:
        message = "activeDeadlineSeconds in ReplicationController is not Supported"
        errs.forbidden("spec.template.spec.activeDeadlineSeconds", message)


def row(obj: Obj, now: float) -> list[Any]:
    spec = obj["spec"]
    return [
        obj["metadata"]["name"],
        *workload.pods_cells(obj),
        age_of(obj, now),
        *template_cells(spec.get("template")),
        labels_cell(spec.get("selector")),
    ]


KIND = Kind(
    kind="ReplicationController",
    plural="replicationcontrollers",
    short_names=("rc",),
    categories=("all",),
    versions=(Version(group="", version="v1", definition="io.k8s.api.core.v1.ReplicationController"),),
    subresources=(SCALE, status_of("ReplicationController")),
    disable=without_group("spec", "template", "spec"),
    defaults=defaults,
    validate=validate,
    validate_status_update=workload.pods_status,
    warnings=workload_warnings,
    has_generation=True,
    default_propagation="orphan",
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
