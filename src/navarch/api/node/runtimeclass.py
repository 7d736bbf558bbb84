"""RuntimeClass: which handler of the container runtime runs a pod. Source: apis/node validation."""

from __future__ import annotations

from typing import Any

from navarch.api.columns import AGE, NAME
from navarch.api.kind import Column, Kind, Version
from navarch.api.podspec import checks
from navarch.api.podspec.scheduling import validate_tolerations
from navarch.api.resourcenames import resource_amount
from navarch.machinery import names
from navarch.machinery.errors import FieldErrors
from navarch.machinery.tables import age_of
from navarch.machinery.types import Obj


def validate(obj: Obj, errs: FieldErrors) -> None:
    if handler := obj.get("handler"):
        checks.named(errs, "handler", handler, names.dns1123_label)
    else:
        errs.required("handler")
    for name, amount in ((obj.get("overhead") or {}).get("podFixed") or {}).items():
        resource_amount(name, amount, f"overhead.podFixed[{name}]", errs)
    scheduling = obj.get("scheduling") or {}
    checks.label_map(errs, "scheduling.nodeSelector", scheduling.get("nodeSelector"))
    validate_tolerations(scheduling.get("tolerations") or [], "scheduling.tolerations", errs)


def validate_update(new: Obj, old: Obj, errs: FieldErrors) -> None:
    checks.immutable(errs, "handler", new.get("handler"), old.get("handler"))


def row(obj: Obj, now: float) -> list[Any]:
    return [obj["metadata"]["name"], obj.get("handler", ""), age_of(obj, now)]


KIND = Kind(
    kind="RuntimeClass",
    plural="runtimeclasses",
    namespaced=False,
    versions=(
        Version(group="node.k8s.io", version="v1", definition="io.k8s.api.node.v1.RuntimeClass"),
        Version(
            group="node.k8s.io",
            version="v1beta1",
            definition="io.k8s.api.node.v1beta1.RuntimeClass",
            deprecation="node.k8s.io/v1beta1 RuntimeClass is deprecated in v1.22+, unavailable in v1.25+; "
            "use node.k8s.io/v1 RuntimeClass",
        ),
    ),
    validate=validate,
    validate_update=validate_update,
    allow_create_on_update=True,
    allow_unconditional_update=False,
    columns=(NAME, Column(name="Handler", description="The runtime's name for it."), AGE),
    row=row,
)
