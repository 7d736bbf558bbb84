"""ResourceSlice: some of the devices that a driver offers. Source: apis/resource validation and strategy.

When taints were added is set by apiserver/registry/devices.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from navarch.api.columns import AGE, NAME
from navarch.api.kind import Column, Kind
from navarch.api.podspec import checks
from navarch.api.podspec.scheduling import validate_node_selector
from navarch.api.resource import rules
from navarch.api.resource.devices import counters, drop_alpha_fields, validate_device
from navarch.api.storage.rules import driver_name
from navarch.machinery import names
from navarch.machinery.errors import FieldErrors
from navarch.machinery.tables import age_of
from navarch.machinery.types import Obj

MAX_DEVICES, MAX_ADVANCED_DEVICES, MAX_COUNTER_SETS = 128, 64, 8
ONE_PLACE = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"


def devices_of(obj: Obj) -> list[Obj]:
    return (obj.get("spec") or {}).get("devices") or []


def prepare_create(obj: Obj) -> None:
    for device in devices_of(obj):
        drop_alpha_fields(device)


def prepare_update(new: Obj, old: Obj) -> None:
    prepare_create(new)


def validate(obj: Obj, errs: FieldErrors) -> None:
    spec = obj.get("spec") or {}
    driver_name(errs, "spec.driver", spec.get("driver", ""))
    _pool(spec.get("pool") or {}, errs)
    _place(spec, errs)
    devices, sets = spec.get("devices"), spec.get("sharedCounters")
    if sets is not None and devices is not None:
        errs.invalid("spec", "", "only one of `sharedCounters` or `devices` is allowed")
    per_device = bool(spec.get("perDeviceNodeSelection"))

    def device(tree: Obj, at: str, errs: FieldErrors) -> None:
        validate_device(tree, at, per_device, errs)

    rules.each_once(errs, "spec.devices", devices or [], _limit(devices or []), device, _name)
    rules.each_once(errs, "spec.sharedCounters", sets or [], MAX_COUNTER_SETS, _counter_set, _name)


def _name(tree: Obj) -> str:
    return tree.get("name", "")


def _limit(devices: list[Obj]) -> int:
    advanced = any(device.get("taints") or device.get("consumesCounters") for device in devices)
    return MAX_ADVANCED_DEVICES if advanced else MAX_DEVICES


def _pool(pool: Obj, errs: FieldErrors) -> None:
    rules.pool_name(errs, "spec.pool.name", pool.get("name", ""))
    if (count := pool.get("resourceSliceCount") or 0) <= 0:
        errs.invalid("spec.pool.resourceSliceCount", count, "must be greater than zero")
    if (generation := pool.get("generation") or 0) < 0:
        errs.invalid("spec.pool.generation", generation, "must be greater than or equal to zero")


def _place(spec: Obj, errs: FieldErrors) -> None:
    """Which nodes the devices are for."""
    given: list[str] = []
    name, selector = spec.get("nodeName"), spec.get("nodeSelector")
    if name:
        given.append("`nodeName`")
        checks.named(errs, "spec.nodeName", name, names.dns1123_subdomain)
    elif name is not None:
        errs.invalid("spec.nodeName", name, "must be either unset or set to a non-empty string")
    if selector is not None:
        given.append("`nodeSelector`")
        validate_node_selector(selector, "spec.nodeSelector", errs)
        if len(terms := selector.get("nodeSelectorTerms") or []) != 1:
            errs.invalid("spec.nodeSelector.nodeSelectorTerms", terms, "must have exactly one node selector term")
    for field in ("allNodes", "perDeviceNodeSelection"):
        value = spec.get(field)
        if value:
            given.append(f"`{field}`")
        elif value is not None:
            errs.invalid(f"spec.{field}", value, "must be either unset or set to true")
    if not given:
        errs.required("spec", ONE_PLACE)
    elif len(given) > 1:
        errs.invalid("spec", f"{{{', '.join(given)}}}", f"{ONE_PLACE}, but multiple fields are set")


def _counter_set(tree: Obj, at: str, errs: FieldErrors) -> None:
    if name := tree.get("name", ""):
        rules.label(errs, f"{at}.name", name)
    else:
        errs.required(f"{at}.name")
    counters(errs, at, tree.get("counters") or {})


def validate_update(new: Obj, old: Obj, errs: FieldErrors) -> None:
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    pool, had = (tree.get("pool") or {} for tree in (spec, before))
    checks.immutable(errs, "spec.pool.name", pool.get("name"), had.get("name"))
    for field in ("driver", "nodeName"):
        checks.immutable(errs, f"spec.{field}", spec.get(field), before.get(field))


def warnings(obj: Obj, old: Obj | None) -> list[str]:
    driver = (obj.get("spec") or {}).get("driver", "")
    if driver == driver.lower():
        return []
    return [f'spec.driver: driver names should be lowercase; "{driver}" contains uppercase characters']


def fields(obj: Obj) -> Mapping[str, str]:
    spec = obj.get("spec") or {}
    return {"spec.nodeName": spec.get("nodeName") or "", "spec.driver": spec.get("driver", "")}


def row(obj: Obj, now: float) -> list[Any]:
    spec = obj.get("spec") or {}
    pool = (spec.get("pool") or {}).get("name", "")
    return [obj["metadata"]["name"], spec.get("nodeName") or "", spec.get("driver", ""), pool, age_of(obj, now)]


KIND = Kind(
    kind="ResourceSlice",
    plural="resourceslices",
    namespaced=False,
    versions=(rules.version("ResourceSlice"),),
    prepare_create=prepare_create,
    prepare_update=prepare_update,
    validate=validate,
    validate_update=validate_update,
    warnings=warnings,
    has_generation=True,
    columns=(
        NAME,
        Column(name="Node", description="The node that has the devices."),
        Column(name="Driver", description="Who offers them."),
        Column(name="Pool", description="The pool that they belong to."),
        AGE,
    ),
    row=row,
    fields=fields,
)
