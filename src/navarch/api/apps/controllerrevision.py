"""ControllerRevision: a numbered, unchangeable piece of a workload's history. Source: apis/apps validation."""

from __future__ import annotations

from typing import Any

from navarch.api.columns import AGE, NAME
from navarch.api.kind import Column, Kind, Version
from navarch.api.podspec import checks
from navarch.machinery.errors import FieldErrors
from navarch.machinery.tables import NONE, age_of
from navarch.machinery.types import Obj


def validate_create(obj: Obj, errs: FieldErrors) -> None:
    if obj.get("data") is None:
        errs.required("data", "data is mandatory")
    elif not isinstance(obj["data"], dict):
        errs.required("data", "data must be a valid JSON object")


def validate(obj: Obj, errs: FieldErrors) -> None:
    if (revision := obj.get("revision", 0)) < 0:
        errs.invalid("revision", revision, checks.NOT_NEGATIVE)


def validate_update(new: Obj, old: Obj, errs: FieldErrors) -> None:
    checks.immutable(errs, "data", new.get("data"), old.get("data"))


def row(obj: Obj, now: float) -> list[Any]:
    owner = next((o for o in obj["metadata"].get("ownerReferences") or () if o.get("controller")), None)
    controller = NONE
    if owner is not None:
        group = owner["apiVersion"].rpartition("/")[0]
        controller = f"{owner['kind'].lower()}{'.' + group if group else ''}/{owner['name']}"
    return [obj["metadata"]["name"], controller, obj.get("revision", 0), age_of(obj, now)]


KIND = Kind(
    kind="ControllerRevision",
    plural="controllerrevisions",
    versions=tuple(
        Version(
            group="apps",
            version=version,
            definition=f"io.k8s.api.apps.{version}.ControllerRevision",
            validate_create=validate_create,
            deprecation=(
                ""
                if version == "v1"
                else f"apps/{version} ControllerRevision is deprecated in v1.{9 if version == 'v1beta2' else 8}+, "
                "unavailable in v1.16+; use apps/v1 ControllerRevision"
            ),
        )
        for version in ("v1", "v1beta2", "v1beta1")
    ),
    validate=validate,
    validate_update=validate_update,
    columns=(
        NAME,
        Column(name="Controller", description="The object whose history this is."),
        Column(name="Revision", description="Its number in the order of revisions."),
        AGE,
    ),
    row=row,
)
