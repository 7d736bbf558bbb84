"""Workload: which groups of pods something is made of. Source: registry/scheduling/workload."""

from __future__ import annotations

from navarch.api import features
from navarch.api.features import Features
from navarch.api.kind import Kind, Version
from navarch.api.scheduling import groups
from navarch.machinery import names
from navarch.machinery.errors import FieldErrors
from navarch.machinery.types import Obj

MAX_TEMPLATES = 8


def _templates(obj: Obj | None) -> list[Obj]:
    return ((obj or {}).get("spec") or {}).get("podGroupTemplates") or []


def defaults(obj: Obj) -> None:
    """A template shows its constraints though it has none."""
    for template in _templates(obj):
        if "schedulingConstraints" not in template:
            rest = {key: template.pop(key) for key in list(template) if key not in ("name", "schedulingPolicy")}
            template |= {"schedulingConstraints": None, **rest}


def disable(new: Obj, old: Obj | None, on: Features) -> None:
    before = _templates(old)
    for index, template in enumerate(_templates(new)):
        groups.drop_disabled(template, before[index] if index < len(before) else {}, on)
    defaults(new)


def validate(obj: Obj, errs: FieldErrors) -> None:
    if (reference := (obj.get("spec") or {}).get("controllerRef")) is not None:
        if group := reference.get("apiGroup"):
            for message in names.dns1123_subdomain(group):
                errs.invalid("spec.controllerRef.apiGroup", group, message)
        for field in ("kind", "name"):
            groups.name(errs, f"spec.controllerRef.{field}", reference.get(field), names.path_segment)
    at, templates = "spec.podGroupTemplates", _templates(obj)
    if not templates:
        errs.required(at)
    elif len(templates) > MAX_TEMPLATES:
        errs.too_many(at, len(templates), MAX_TEMPLATES)
        return
    seen: set[str] = set()
    for index, template in enumerate(templates):
        if (name := template.get("name") or "") in seen:
            errs.duplicate(f"{at}[{index}]", template)
        seen.add(name)
    for index, template in enumerate(templates):
        groups.name(errs, f"{at}[{index}].name", template.get("name"), names.dns1123_label)
        groups.validate_policy(template, f"{at}[{index}]", errs)
        groups.validate_rest(template, f"{at}[{index}]", errs)


def validate_update(new: Obj, old: Obj, errs: FieldErrors) -> None:
    groups.immutable(new, old, errs, "controllerRef", "podGroupTemplates")


KIND = Kind(
    kind="Workload",
    plural="workloads",
    versions=(
        Version(group=groups.GROUP, version=groups.VERSION, definition="io.k8s.api.scheduling.v1alpha2.Workload"),
    ),
    feature=features.WORKLOADS,
    defaults=defaults,
    disable=disable,
    validate=validate,
    validate_update=validate_update,
)
