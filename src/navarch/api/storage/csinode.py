"""CSINode: the storage drivers of a node. Source: apis/storage validation."""

from __future__ import annotations

from typing import Any

from navarch.api.columns import AGE, NAME
from navarch.api.kind import Column, Kind
from navarch.api.podspec import checks
from navarch.api.storage.rules import beta, driver_name, version
from navarch.machinery import names
from navarch.machinery.errors import FieldErrors
from navarch.machinery.tables import age_of
from navarch.machinery.types import Obj

MAX_NODE_ID = 256


def _drivers(obj: Obj) -> list[Obj]:
    return (obj.get("spec") or {}).get("drivers") or []


def validate(obj: Obj, errs: FieldErrors) -> None:
    seen: set[str] = set()
    for index, driver in enumerate(_drivers(obj)):
        at, name = f"spec.drivers[{index}]", driver.get("name", "")
        driver_name(errs, f"{at}.name", name)
        _driver(driver, at, errs)
        if name in seen:
            errs.duplicate(f"{at}.name", name)
        seen.add(name)
        keys: set[str] = set()
        for key in driver.get("topologyKeys") or ():
            if not key:
                errs.required(at)
            if key in keys:
                errs.duplicate(at, key)
            keys.add(key)
            checks.named(errs, at, key, names.qualified_name)


def _driver(driver: Obj, at: str, errs: FieldErrors) -> None:
    if not (node := driver.get("nodeID", "")):
        errs.required(f"{at}.nodeID")
    elif names.longer_than(node, MAX_NODE_ID):
        errs.invalid(f"{at}.nodeID", node, f"must be {MAX_NODE_ID} characters or less")
    checks.non_negative(errs, f"{at}.allocatable", driver.get("allocatable") or {}, "count")


def validate_update(new: Obj, old: Obj, errs: FieldErrors) -> None:
    """A driver that stays stays the same, but for what it can take."""
    after = {driver.get("name"): driver for driver in _drivers(new)}
    for driver in _drivers(old):
        kept = after.get(driver.get("name"))
        if kept is not None:
            now, then = ({k: v for k, v in d.items() if k != "allocatable"} for d in (kept, driver))
            checks.immutable(errs, "spec.drivers", now, then)


def row(obj: Obj, now: float) -> list[Any]:
    return [obj["metadata"]["name"], len(_drivers(obj)), age_of(obj, now)]


KIND = Kind(
    kind="CSINode",
    plural="csinodes",
    namespaced=False,
    versions=(version("CSINode"), beta("CSINode", "1.17", "1.22")),
    validate=validate,
    validate_update=validate_update,
    allow_unconditional_update=False,
    columns=(NAME, Column(name="Drivers", type="integer", description="How many drivers the node has."), AGE),
    row=row,
)
