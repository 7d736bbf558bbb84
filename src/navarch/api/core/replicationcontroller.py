"""ReplicationController: the ReplicaSet's older form, with a plain map for a selector."""

from __future__ import annotations

from typing import Any

from navarch.api.kind import SCALE, Column, Kind, Version, status_of
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


def validate_status_update(new: Obj, old: Obj, errs: FieldErrors) -> None:
    counts = ("fullyLabeledReplicas", "readyReplicas", "availableReplicas")
    workload.replica_counts(new.get("status") or {}, errs, *counts)


def row(obj: Obj, now: float) -> list[Any]:
    spec, status = obj["spec"], obj.get("status") or {}
    return [
        obj["metadata"]["name"],
        spec.get("replicas", 0),
        status.get("replicas", 0),
        status.get("readyReplicas", 0),
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
    defaults=defaults,
    validate=validate,
    validate_status_update=validate_status_update,
    warnings=workload_warnings,
    has_generation=True,
    default_propagation="orphan",
    columns=(
        NAME,
        Column(name="Desired", type="integer", description="How many pods there should be."),
        Column(name="Current", type="integer", description="How many pods there are."),
        Column(name="Ready", type="integer", description="How many of them are ready."),
        AGE,
        *TEMPLATE_COLUMNS,
        SELECTOR,
    ),
    row=row,
    fields=lambda obj: {"status.replicas": str((obj.get("status") or {}).get("replicas", 0))},
    extra={"scale": workload.SCALE_PATHS},
)
