"""PodGroup: pods that are scheduled together. Source: registry/scheduling/podgroup."""

from __future__ import annotations

from typing import Any

from navarch.api import features
from navarch.api.columns import AGE, NAME
from navarch.api.conditions import validate_conditions
from navarch.api.features import Features
from navarch.api.kind import Column, Kind, Version, status_of
from navarch.api.meta import keep_metadata
from navarch.api.scheduling import groups
from navarch.machinery import names
from navarch.machinery.errors import FieldErrors
from navarch.machinery.tables import age_of
from navarch.machinery.types import Obj

SCHEDULED, TARGET = "PodGroupScheduled", "DisruptionTarget"
PROTECTION = "scheduling.k8s.io/podgroup-protection"
"""The finalizer of groups: they stay until no pod is of them any more."""
IMMUTABLE = (
    "podGroupTemplateRef",
    "schedulingPolicy",
    "schedulingConstraints",
    "resourceClaims",
    "disruptionMode",
    "priorityClassName",
    "priority",
)


def defaults(obj: Obj) -> None:
    spec = obj.get("spec")
    if spec is not None:
        obj["spec"] = {"podGroupTemplateRef": spec.pop("podGroupTemplateRef", None), **spec}
        if spec.get("disruptionMode") is None:
            obj["spec"]["disruptionMode"] = "Pod"


def disable(new: Obj, old: Obj | None, on: Features) -> None:
    groups.drop_disabled(new.get("spec") or {}, (old or {}).get("spec") or {}, on)


def prepare_status_update(new: Obj, old: Obj) -> None:
    keep_metadata(new, old)
    if not (old.get("spec") or {}).get("resourceClaims"):
        (new.get("status") or {}).pop("resourceClaimStatuses", None)


def validate(obj: Obj, errs: FieldErrors) -> None:
    spec = obj.get("spec") or {}
    if (reference := spec.get("podGroupTemplateRef")) is not None:
        _reference(reference, errs)
    groups.validate_policy(spec, "spec", errs)
    groups.validate_rest(spec, "spec", errs)


def _reference(reference: Obj, errs: FieldErrors) -> None:
    at = "spec.podGroupTemplateRef"
    if (workload := reference.get("workload")) is None:
        errs.invalid(at, "", "must specify one of: `workload`")
        return
    groups.name(errs, f"{at}.workload.workloadName", workload.get("workloadName"), names.dns1123_subdomain)
    template = workload.get("podGroupTemplateName")
    groups.name(errs, f"{at}.workload.podGroupTemplateName", template, names.dns1123_label)


def validate_update(new: Obj, old: Obj, errs: FieldErrors) -> None:
    groups.immutable(new, old, errs, *IMMUTABLE)


def validate_status_update(new: Obj, old: Obj, errs: FieldErrors) -> None:
    validate_conditions((new.get("status") or {}).get("conditions") or [], "status.conditions", errs)


def row(obj: Obj, now: float) -> list[Any]:
    spec = obj.get("spec") or {}
    policy = "Gang" if (spec.get("schedulingPolicy") or {}).get("gang") is not None else "Basic"
    workload = ((spec.get("podGroupTemplateRef") or {}).get("workload") or {}).get("workloadName", "<none>")
    return [obj["metadata"]["name"], policy, workload, _status(obj), age_of(obj, now)]


def _status(obj: Obj) -> str:
    conditions = {c["type"]: c for c in (obj.get("status") or {}).get("conditions") or ()}
    if target := conditions.get(TARGET):
        return str(target.get("reason", ""))
    scheduled = conditions.get(SCHEDULED)
    if scheduled is None:
        return "Pending"
    return "Scheduled" if scheduled.get("status") == "True" else "Unschedulable"


KIND = Kind(
    kind="PodGroup",
    plural="podgroups",
    versions=(
        Version(group=groups.GROUP, version=groups.VERSION, definition="io.k8s.api.scheduling.v1alpha2.PodGroup"),
    ),
    feature=features.WORKLOADS,
    subresources=(status_of("PodGroup"),),
    defaults=defaults,
    disable=disable,
    prepare_status_update=prepare_status_update,
    validate=validate,
    validate_update=validate_update,
    validate_status_update=validate_status_update,
    columns=(
        NAME,
        Column(name="Policy", description="How the group's pods are scheduled."),
        Column(name="Workload", description="The Workload that the group was made of."),
        Column(name="Status", description="Whether the group is scheduled."),
        AGE,
    ),
    row=row,
)
