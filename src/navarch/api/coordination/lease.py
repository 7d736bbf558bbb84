"""Lease: who holds something, renewed while it lives. Source: apis/coordination validation."""

from __future__ import annotations

from typing import Any

from navarch.api.columns import AGE, NAME
from navarch.api.kind import Column, Kind, Version
from navarch.api.retired import retired
from navarch.machinery.errors import FieldErrors
from navarch.machinery.tables import age_of
from navarch.machinery.types import Obj


def prepare_create(obj: Obj) -> None:
    """Coordinated leader election is off, as upstream has it by default: its fields are dropped."""
    if spec := obj.get("spec"):
        spec.pop("strategy", None)
        spec.pop("preferredHolder", None)


def prepare_update(new: Obj, old: Obj) -> None:
    prepare_create(new)


def validate(obj: Obj, errs: FieldErrors) -> None:
    spec = obj.get("spec") or {}
    if (seconds := spec.get("leaseDurationSeconds")) is not None and seconds <= 0:
        errs.invalid("spec.leaseDurationSeconds", seconds, "must be greater than 0")
    if (transitions := spec.get("leaseTransitions")) is not None and transitions < 0:
        errs.invalid("spec.leaseTransitions", transitions, "must be greater than or equal to 0")


def row(obj: Obj, now: float) -> list[Any]:
    return [obj["metadata"]["name"], (obj.get("spec") or {}).get("holderIdentity") or "", age_of(obj, now)]


KIND = Kind(
    kind="Lease",
    plural="leases",
    qualified_finalizers=False,
    versions=(
        Version(group="coordination.k8s.io", version="v1", definition="io.k8s.api.coordination.v1.Lease"),
        retired("coordination.k8s.io", "v1beta1", "Lease", "1.19", "1.22", "coordination.k8s.io/v1"),
    ),
    prepare_create=prepare_create,
    prepare_update=prepare_update,
    validate=validate,
    allow_create_on_update=True,
    allow_unconditional_update=False,
    columns=(NAME, Column(name="Holder", description="Who holds the lease."), AGE),
    row=row,
)
