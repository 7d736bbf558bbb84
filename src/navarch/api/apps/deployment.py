"""Deployment: pods of a template, replaced a few at a time when the template changes."""

from __future__ import annotations

from typing import Any

from navarch.api.features import without_group
from navarch.api.kind import SCALE, Column, Kind, Version, status_of
from navarch.api.podspec import checks, workload
from navarch.api.podspec.defaults import default_template
from navarch.api.podspec.printing import AGE, NAME, SELECTOR, TEMPLATE_COLUMNS, selector_text, template_cells
from navarch.api.podspec.warnings import workload_warnings
from navarch.machinery.errors import FieldErrors
from navarch.machinery.tables import age_of
from navarch.machinery.types import Obj

ROLLBACK = "deprecated.deployment.rollback.to"
"""The annotation that carries the retired versions' spec.rollbackTo."""
UNLIMITED = 2**31 - 1


def _defaults(obj: Obj, step: Any, history: int, deadline: int) -> None:
    spec = obj.setdefault("spec", {})
    if spec.get("replicas") is None:
        spec["replicas"] = 1
    strategy = spec.setdefault("strategy", {})
    if not strategy.get("type"):
        strategy["type"] = "RollingUpdate"
    if strategy["type"] == "RollingUpdate":
        rolling = strategy["rollingUpdate"] = strategy.get("rollingUpdate") or {}
        for field in ("maxUnavailable", "maxSurge"):
            if rolling.get(field) is None:
                rolling[field] = step
    if spec.get("revisionHistoryLimit") is None:
        spec["revisionHistoryLimit"] = history
    if spec.get("progressDeadlineSeconds") is None:
        spec["progressDeadlineSeconds"] = deadline
    default_template(spec.setdefault("template", {}))


def defaults(obj: Obj) -> None:
    _defaults(obj, "25%", 10, 600)


def extensions_defaults(obj: Obj) -> None:
    _old_labels(obj)
    _defaults(obj, 1, UNLIMITED, UNLIMITED)


def v1beta1_defaults(obj: Obj) -> None:
    _old_labels(obj)
    _defaults(obj, "25%", 2, 600)


def _old_labels(obj: Obj) -> None:
    spec = obj.setdefault("spec", {})
    workload.selector_from_template(spec)
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels")
    if labels and not obj["metadata"].get("labels"):
        obj["metadata"]["labels"] = dict(labels)


def decode(obj: Obj) -> Obj:
    """spec.rollbackTo becomes an annotation."""
    target = obj.get("spec", {}).pop("rollbackTo", None)
    if target is not None:
        annotations = obj["metadata"].get("annotations") or {}
        obj["metadata"]["annotations"] = {**annotations, ROLLBACK: str(target.get("revision", 0))}
    return obj


def encode(obj: Obj) -> Obj:
    annotations = obj["metadata"].get("annotations") or {}
    if not (revision := annotations.get(ROLLBACK, "")).isdigit():
        return obj
    kept = {k: v for k, v in annotations.items() if k != ROLLBACK}
    metadata = {**obj["metadata"], "annotations": kept}
    if not kept:
        del metadata["annotations"]
    return {**obj, "metadata": metadata, "spec": {**obj["spec"], "rollbackTo": {"revision": int(revision)}}}


def prepare_update(new: Obj, old: Obj) -> None:
    """Changes of annotations count as generations, too."""
    if (new["metadata"].get("annotations") or {}) != (old["metadata"].get("annotations") or {}):
        new["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1


def validate(obj: Obj, errs: FieldErrors) -> None:
    spec = obj["spec"]
    checks.non_negative(errs, "spec", spec, "replicas")
    workload.selected_template(spec, "deployment", errs)
    _strategy(spec.get("strategy") or {}, errs)
    checks.non_negative(errs, "spec", spec, "minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds")
    deadline = spec.get("progressDeadlineSeconds")
    if deadline is not None and deadline <= (spec.get("minReadySeconds") or 0):
        errs.invalid("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds")


def _strategy(strategy: Obj, errs: FieldErrors) -> None:
    kind, rolling = strategy.get("type", ""), strategy.get("rollingUpdate")
    at = "spec.strategy.rollingUpdate"
    if kind == "Recreate":
        if rolling is not None:
            errs.forbidden(at, "may not be specified when strategy `type` is 'Recreate'")
    elif kind != "RollingUpdate":
        errs.not_supported("spec.strategy", strategy, ("Recreate", "RollingUpdate"))
    elif rolling is None:
        errs.required(at, "this should be defaulted and never be nil")
    else:
        unavailable, surge = rolling.get("maxUnavailable"), rolling.get("maxSurge")
        workload.int_or_percent(errs, f"{at}.maxUnavailable", unavailable)
        workload.int_or_percent(errs, f"{at}.maxSurge", surge)
        if workload.is_zero(unavailable) and workload.is_zero(surge):
            errs.invalid(f"{at}.maxUnavailable", unavailable, "may not be 0 when `maxSurge` is 0")
        workload.at_most_all(errs, f"{at}.maxUnavailable", unavailable)


def prepare_status_update(new: Obj, old: Obj) -> None:
    """A status brings no labels."""
    new["metadata"].pop("labels", None)
    if "labels" in old["metadata"]:
        new["metadata"]["labels"] = old["metadata"]["labels"]


def validate_status_update(new: Obj, old: Obj, errs: FieldErrors) -> None:
    status = new.get("status") or {}
    checks.non_negative(errs, "status", status, "unavailableReplicas")
    workload.replica_counts(status, errs, "updatedReplicas", "readyReplicas", "availableReplicas")
    workload.collisions(new, old, errs)


def row(obj: Obj, now: float) -> list[Any]:
    spec, status = obj["spec"], obj.get("status") or {}
    return [
        obj["metadata"]["name"],
        f"{status.get('readyReplicas', 0)}/{spec.get('replicas', 0)}",
        status.get("updatedReplicas", 0),
        status.get("availableReplicas", 0),
        age_of(obj, now),
        *template_cells(spec.get("template")),
        selector_text(spec.get("selector")),
    ]


KIND = Kind(
    kind="Deployment",
    plural="deployments",
    short_names=("deploy",),
    categories=("all",),
    versions=(
        Version(group="apps", version="v1", definition="io.k8s.api.apps.v1.Deployment"),
        workload.retired("apps", "v1beta2", "Deployment", "1.9"),
        workload.retired(
            "apps", "v1beta1", "Deployment", "1.9", defaults=v1beta1_defaults, decode=decode, encode=encode
        ),
        workload.retired(
            "extensions", "v1beta1", "Deployment", "1.9", defaults=extensions_defaults, decode=decode, encode=encode
        ),
    ),
    subresources=(SCALE, status_of("Deployment")),
    disable=without_group("spec", "template", "spec"),
    defaults=defaults,
    prepare_update=prepare_update,
    prepare_status_update=prepare_status_update,
    validate=validate,
    validate_update=workload.immutable_selector,
    validate_status_update=validate_status_update,
    warnings=workload_warnings,
    has_generation=True,
    columns=(
        NAME,
        Column(name="Ready", description="How many pods are ready, of how many."),
        Column(name="Up-to-date", description="How many pods have the newest template."),
        Column(name="Available", description="How many pods have been ready for long enough."),
        AGE,
        *TEMPLATE_COLUMNS,
        SELECTOR,
    ),
    row=row,
    extra={"scale": workload.SCALE_PATHS},
)
