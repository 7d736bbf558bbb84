"""DaemonSet: a pod on every node, or on every node of a kind. Source: apis/apps defaults and validation."""

from __future__ import annotations

from typing import Any

from navarch.api.features import without_group
from navarch.api.kind import Column, Kind, Version, status_of
from navarch.api.podspec import checks, workload
from navarch.api.podspec.defaults import default_template
from navarch.api.podspec.printing import (
    AGE,
    NAME,
    SELECTOR,
    TEMPLATE_COLUMNS,
    labels_cell,
    selector_cell,
    template_cells,
)
from navarch.api.podspec.warnings import workload_warnings
from navarch.machinery.errors import FieldErrors
from navarch.machinery.tables import age_of
from navarch.machinery.types import Obj

GENERATION = "deprecated.daemonset.template.generation"


def defaults(obj: Obj) -> None:
    spec = obj.setdefault("spec", {})
    strategy = spec.setdefault("updateStrategy", {})
    if not strategy.get("type"):
        strategy["type"] = "RollingUpdate"
    if strategy["type"] == "RollingUpdate":
        rolling = strategy["rollingUpdate"] = strategy.get("rollingUpdate") or {}
        if rolling.get("maxUnavailable") is None:
            rolling["maxUnavailable"] = 1
    if (rolling := strategy.get("rollingUpdate")) is not None:
        for field in ("maxUnavailable", "maxSurge"):
            if rolling.get(field) is None:
                rolling[field] = 0
    if spec.get("revisionHistoryLimit") is None:
        spec["revisionHistoryLimit"] = 10
    default_template(spec.setdefault("template", {}))
    annotations = obj["metadata"].get("annotations") or {}
    if GENERATION not in annotations:
        obj["metadata"]["annotations"] = {**annotations, GENERATION: "0"}


def retired_defaults(obj: Obj) -> None:
    workload.selector_from_template(obj.setdefault("spec", {}))
    strategy = obj["spec"].setdefault("updateStrategy", {})
    if not strategy.get("type"):
        strategy["type"] = "OnDelete"
    defaults(obj)


def prepare_create(obj: Obj) -> None:
    _set_template_generation(obj, 1)


def prepare_update(new: Obj, old: Obj) -> None:
    """The template's own generation counts its changes (kept for the retired versions' sake)."""
    before = _template_generation(old)
    changed = new["spec"].get("template") != old["spec"].get("template")
    _set_template_generation(new, before + 1 if changed else before)


def prepare_status_update(new: Obj, old: Obj) -> None:
    _set_template_generation(new, _template_generation(old))


def _template_generation(obj: Obj) -> int:
    text = (obj["metadata"].get("annotations") or {}).get(GENERATION, "0")
    return int(text) if text.isdecimal() else 0


def _set_template_generation(obj: Obj, value: int) -> None:
    obj["metadata"]["annotations"] = {**(obj["metadata"].get("annotations") or {}), GENERATION: str(value)}


def validate(obj: Obj, errs: FieldErrors) -> None:
    spec = obj["spec"]
    workload.selected_template(spec, "daemonset", errs)
    checks.non_negative(errs, "spec", spec, "minReadySeconds", "revisionHistoryLimit")
    strategy, rolling = spec["updateStrategy"].get("type", ""), spec["updateStrategy"].get("rollingUpdate")
    at = "spec.updateStrategy"
    if strategy == "OnDelete":
        return
    if strategy != "RollingUpdate":
        errs.not_supported(at, {"Type": strategy, "RollingUpdate": rolling}, ("OnDelete", "RollingUpdate"))
        return
    if rolling is None:
        errs.required(f"{at}.rollingUpdate", "")
        return
    unavailable, surge = rolling.get("maxUnavailable"), rolling.get("maxSurge")
    for field, value in (("maxUnavailable", unavailable), ("maxSurge", surge)):
        workload.int_or_percent(errs, f"{at}.rollingUpdate.{field}", value)
        workload.at_most_all(errs, f"{at}.rollingUpdate.{field}", value)
    if workload.is_zero(unavailable) and workload.is_zero(surge):
        errs.required(f"{at}.rollingUpdate.maxUnavailable", "cannot be 0 when maxSurge is 0")
    elif not workload.is_zero(unavailable) and not workload.is_zero(surge):
        errs.invalid(f"{at}.rollingUpdate.maxSurge", surge, "may not be set when maxUnavailable is non-zero")


def validate_status_update(new: Obj, old: Obj, errs: FieldErrors) -> None:
    fields = (
        "currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady", "observedGeneration",
        "updatedNumberScheduled", "numberAvailable", "numberUnavailable",
    )  # fmt: skip
    checks.non_negative(errs, "status", new.get("status") or {}, *fields)
    workload.collisions(new, old, errs)


def row(obj: Obj, now: float) -> list[Any]:
    spec, status = obj["spec"], obj.get("status") or {}
    counts = (
        "desiredNumberScheduled",
        "currentNumberScheduled",
        "numberReady",
        "updatedNumberScheduled",
        "numberAvailable",
    )
    return [
        obj["metadata"]["name"],
        *(status.get(name, 0) for name in counts),
        labels_cell(((spec.get("template") or {}).get("spec") or {}).get("nodeSelector")),
        age_of(obj, now),
        *template_cells(spec.get("template")),
        selector_cell(spec.get("selector")),
    ]


KIND = Kind(
    kind="DaemonSet",
    plural="daemonsets",
    short_names=("ds",),
    categories=("all",),
    versions=(
        Version(group="apps", version="v1", definition="io.k8s.api.apps.v1.DaemonSet"),
        workload.retired("apps", "v1beta2", "DaemonSet", "1.9"),
        workload.retired("extensions", "v1beta1", "DaemonSet", "1.8", defaults=retired_defaults),
    ),
    subresources=(status_of("DaemonSet"),),
    disable=without_group("spec", "template", "spec"),
    defaults=defaults,
    prepare_create=prepare_create,
    prepare_update=prepare_update,
    prepare_status_update=prepare_status_update,
    validate=validate,
    validate_update=workload.immutable_selector,
    validate_status_update=validate_status_update,
    warnings=workload_warnings,
    has_generation=True,
    columns=(
        NAME,
        Column(name="Desired", type="integer", description="How many nodes should run the pod."),
        Column(name="Current", type="integer", description="How many nodes run at least one, and should."),
        Column(name="Ready", type="integer", description="How many of them are ready."),
        Column(name="Up-to-date", type="integer", description="How many have the newest template."),
        Column(name="Available", type="integer", description="How many have been ready for long enough."),
        Column(name="Node Selector", description="Which nodes run the pod."),
        AGE,
        *TEMPLATE_COLUMNS,
        SELECTOR,
    ),
    row=row,
)
