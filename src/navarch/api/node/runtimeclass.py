"""RuntimeClass: which handler of the container runtime runs a pod. Source: apis/node validation."""

from __future__ import annotations

from typing import Any

from navarch.api.columns import AGE, NAME
from navarch.api.kind import Column, Kind, Version
from navarch.api.nodelabels import DEPRECATED
from navarch.api.podspec import checks
from navarch.api.podspec.quantities import validate_resources
from navarch.api.podspec.scheduling import validate_tolerations
from navarch.api.retired import retired
from navarch.machinery import names
from navarch.machinery.errors import FieldErrors
from navarch.machinery.tables import age_of
from navarch.machinery.types import Obj


def validate(obj: Obj, errs: FieldErrors) -> None:
    if not (handler := obj.get("handler", "")):
        errs.required("handler")
    else:
        checks.named(errs, "handler", handler, names.dns1123_label)
    validate_resources({"limits": (obj.get("overhead") or {}).get("podFixed")}, "overhead", (), errs)
    scheduling = obj.get("scheduling") or {}
    checks.label_map(errs, "scheduling.nodeSelector", scheduling.get("nodeSelector"))
    tolerations = scheduling.get("tolerations") or []
    validate_tolerations(tolerations, "scheduling.tolerations", errs)
    seen: set[tuple[str, ...]] = set()
    for index, toleration in enumerate(tolerations):
        key = tuple(toleration.get(field) or "" for field in ("key", "operator", "value", "effect"))
        if key in seen:
            errs.duplicate(f"scheduling.tolerations[{index}]", toleration)
        seen.add(key)


def validate_update(new: Obj, old: Obj, errs: FieldErrors) -> None:
    checks.immutable(errs, "handler", new.get("handler"), old.get("handler"))


def warnings(obj: Obj, old: Obj | None) -> list[str]:
    selector = (obj.get("scheduling") or {}).get("nodeSelector") or ()
    return [f"scheduling.nodeSelector: {DEPRECATED[key]}" for key in selector if key in DEPRECATED]


def row(obj: Obj, now: float) -> list[Any]:
    return [obj["metadata"]["name"], obj.get("handler", ""), age_of(obj, now)]


KIND = Kind(
    kind="RuntimeClass",
    plural="runtimeclasses",
    qualified_finalizers=False,
    namespaced=False,
    versions=(
        Version(group="node.k8s.io", version="v1", definition="io.k8s.api.node.v1.RuntimeClass"),
        retired("node.k8s.io", "v1beta1", "RuntimeClass", "1.22", "1.25", "node.k8s.io/v1"),
    ),
    validate=validate,
    validate_update=validate_update,
    warnings=warnings,
    allow_create_on_update=True,
    allow_unconditional_update=False,
    columns=(NAME, Column(name="Handler", description="The runtime's name for it."), AGE),
    row=row,
)
