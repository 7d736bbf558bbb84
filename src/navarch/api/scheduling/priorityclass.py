"""PriorityClass: a name for a pod priority. Source: apis/scheduling validation."""

from __future__ import annotations

from typing import Any

from navarch.api.columns import AGE, NAME
from navarch.api.kind import Column, Kind, Version
from navarch.api.podspec import checks
from navarch.api.retired import retired
from navarch.machinery.errors import FieldErrors
from navarch.machinery.tables import age_of
from navarch.machinery.types import Obj

SYSTEM_PREFIX = "system-"
SYSTEM = {"system-cluster-critical": 2000000000, "system-node-critical": 2000001000}
HIGHEST = 1000000000
"""The highest value of a class that is not the system's."""


def defaults(obj: Obj) -> None:
    if obj.get("preemptionPolicy") is None:
        obj["preemptionPolicy"] = "PreemptLowerPriority"


def prepare_create(obj: Obj) -> None:
    obj["metadata"]["generation"] = 1


def validate(obj: Obj, errs: FieldErrors) -> None:
    name, value = obj["metadata"].get("name", ""), obj.get("value", 0)
    if name.startswith(SYSTEM_PREFIX):
        if why := _not_system(name, value, bool(obj.get("globalDefault"))):
            message = (
                f"priority class names with '{SYSTEM_PREFIX}' prefix are reserved for system use only. error: {why}"
            )
            errs.forbidden("metadata.name", message)
    elif value > HIGHEST:
        errs.forbidden("value", f"maximum allowed value of a user defined priority is {HIGHEST}")
    policy = obj.get("preemptionPolicy")
    if policy is not None:
        checks.one_of(errs, "preemptionPolicy", policy, ("Never", "PreemptLowerPriority"))


def _not_system(name: str, value: int, default: bool) -> str:
    if name not in SYSTEM:
        return f"{name} is not a known system priority class"
    if value != SYSTEM[name]:
        return f"value of {name} PriorityClass must be {SYSTEM[name]}"
    return f"globalDefault of {name} PriorityClass must be false" if default else ""


def validate_update(new: Obj, old: Obj, errs: FieldErrors) -> None:
    if new.get("value", 0) != old.get("value", 0):
        errs.forbidden("value", "may not be changed in an update.")
    checks.immutable(errs, "preemptionPolicy", new.get("preemptionPolicy"), old.get("preemptionPolicy"))


def row(obj: Obj, now: float) -> list[Any]:
    return [
        obj["metadata"]["name"],
        obj.get("value", 0),
        bool(obj.get("globalDefault")),
        age_of(obj, now),
        obj.get("preemptionPolicy", ""),
    ]


KIND = Kind(
    kind="PriorityClass",
    plural="priorityclasses",
    short_names=("pc",),
    namespaced=False,
    versions=(
        Version(group="scheduling.k8s.io", version="v1", definition="io.k8s.api.scheduling.v1.PriorityClass"),
        retired("scheduling.k8s.io", "v1beta1", "PriorityClass", "1.14", "1.22", "scheduling.k8s.io/v1"),
    ),
    defaults=defaults,
    prepare_create=prepare_create,
    validate=validate,
    validate_update=validate_update,
    validates_what_changes=True,
    columns=(
        NAME,
        Column(name="Value", type="integer", description="The priority of the class's pods."),
        Column(name="Global-Default", type="boolean", description="Whether pods without a class get this one."),
        AGE,
        Column(name="PreemptionPolicy", description="Whether the class's pods evict others."),
    ),
    row=row,
)
