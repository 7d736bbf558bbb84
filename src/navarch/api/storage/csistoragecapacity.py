"""CSIStorageCapacity: how much a class can still give where. Source: apis/storage validation."""

from __future__ import annotations

from navarch.api.columns import NAME_AND_CREATION, creation_row
from navarch.api.kind import Kind
from navarch.api.nodelabels import selector_warnings
from navarch.api.podspec import checks
from navarch.api.resourcenames import non_negative
from navarch.api.storage.rules import beta, version
from navarch.machinery import names
from navarch.machinery.errors import FieldErrors
from navarch.machinery.types import Obj


def validate(obj: Obj, errs: FieldErrors) -> None:
    checks.label_selector(errs, "nodeTopology", obj.get("nodeTopology"))
    checks.named(errs, "storageClassName", obj.get("storageClassName", ""), names.dns1123_subdomain)
    if (amount := obj.get("capacity")) is not None:
        non_negative(amount, "capacity", errs)


def validate_update(new: Obj, old: Obj, errs: FieldErrors) -> None:
    for field in ("nodeTopology", "storageClassName"):
        checks.immutable(errs, field, new.get(field), old.get(field))


def warnings(obj: Obj, old: Obj | None) -> list[str]:
    return selector_warnings(obj.get("nodeTopology"), "nodeTopology")


KIND = Kind(
    kind="CSIStorageCapacity",
    plural="csistoragecapacities",
    versions=(version("CSIStorageCapacity"), beta("CSIStorageCapacity", "1.24", "1.27")),
    validate=validate,
    validate_update=validate_update,
    warnings=warnings,
    allow_unconditional_update=False,
    columns=NAME_AND_CREATION,
    row=creation_row,
)
