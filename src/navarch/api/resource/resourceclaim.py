"""ResourceClaim: devices asked for, and those that it was given. Source: apis/resource validation and strategy.

Who may ask for admin access, bind and report is judged by apiserver/registry/devices.py.
"""

from __future__ import annotations

from typing import Any

from navarch.api.columns import AGE, NAME
from navarch.api.conditions import validate_conditions
from navarch.api.kind import Column, Kind, status_of
from navarch.api.meta import keep_metadata
from navarch.api.podspec import checks
from navarch.api.podspec.scheduling import validate_node_selector
from navarch.api.resource import rules
from navarch.api.resource.claimspec import (
    MAX_REQUESTS,
    RequestNames,
    default_claim,
    default_tolerations,
    request_names,
    validate_claim,
    validate_reference,
)
from navarch.api.storage.rules import driver_name
from navarch.machinery import names
from navarch.machinery.errors import FieldErrors
from navarch.machinery.tables import age_of
from navarch.machinery.types import Obj

MAX_RESERVATIONS, MAX_RESULTS, MAX_CONDITIONS, MAX_ADDRESSES = 256, 32, 8, 16
MAX_INTERFACE, MAX_HARDWARE = 256, 128


def defaults(obj: Obj) -> None:
    default_claim(obj.get("spec") or {})
    for result in results_of(obj):
        default_tolerations(result)


def validate_create(obj: Obj, errs: FieldErrors) -> None:
    validate_claim(obj.get("spec") or {}, "spec", errs)


def validate_update(new: Obj, old: Obj, errs: FieldErrors) -> None:
    checks.immutable(errs, "spec", new.get("spec"), old.get("spec"))


# -- the status


def _status(obj: Obj) -> Obj:
    return obj.get("status") or {}


def results_of(obj: Obj) -> list[Obj]:
    """The devices that a claim was given."""
    return ((_status(obj).get("allocation") or {}).get("devices") or {}).get("results") or []


def prepare_status_update(new: Obj, old: Obj) -> None:
    """What is told of devices goes with them."""
    keep_metadata(new, old)
    status = _status(new)
    gone = {rules.device_key(r) for r in results_of(old)} - {rules.device_key(r) for r in results_of(new)}
    if kept := [d for d in status.get("devices") or () if rules.device_key(d) not in gone]:
        status["devices"] = kept
    else:
        status.pop("devices", None)


def validate_status_update(new: Obj, old: Obj, errs: FieldErrors) -> None:
    status, before = _status(new), _status(old)
    reserved, allocation = status.get("reservedFor") or [], status.get("allocation")
    rules.each_once(errs, "status.reservedFor", reserved, MAX_RESERVATIONS, _consumer, _uid)
    allocated = {rules.device_key(result) for result in results_of(new)}

    def device(tree: Obj, at: str, errs: FieldErrors) -> None:
        _device(tree, allocated, at, errs)

    rules.each_once(errs, "status.devices", status.get("devices") or [], -1, device, rules.device_key)
    if reserved and allocation is None:
        errs.forbidden("status.reservedFor", "may not be specified when `allocated` is not set")
    elif "deletionTimestamp" in new["metadata"] and any(r not in (before.get("reservedFor") or ()) for r in reserved):
        message = "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set"
        errs.forbidden("status.reservedFor", message)
    if allocation is None:
        return
    if before.get("allocation") is not None:
        checks.immutable(errs, "status.allocation", allocation, before["allocation"])
    else:
        _allocation(allocation, request_names(new.get("spec") or {}), errs)


def _uid(reference: Obj) -> str:
    return reference.get("uid", "")


def _consumer(reference: Obj, at: str, errs: FieldErrors) -> None:
    checks.required(errs, at, reference, "resource", "name", "uid")


def _allocation(allocation: Obj, known: RequestNames, errs: FieldErrors) -> None:
    devices, at = allocation.get("devices") or {}, "status.allocation"

    def result(tree: Obj, where: str, errs: FieldErrors) -> None:
        validate_reference(tree.get("request", ""), f"{where}.request", known, errs)
        _identity(tree, where, errs)
        rules.binding_conditions(tree, where, errs)
        if (share := tree.get("shareID")) is not None:
            rules.share_id(errs, f"{where}.shareID", share)

    def reference(name: str, where: str, errs: FieldErrors) -> None:
        validate_reference(name, where, known, errs)

    def config(tree: Obj, where: str, errs: FieldErrors) -> None:
        checks.one_of(errs, f"{where}.source", tree.get("source"), ("FromClaim", "FromClass"))
        named = tree.get("requests") or []
        rules.each_once(errs, f"{where}.requests", named, MAX_REQUESTS, reference, rules.itself)
        rules.configuration(tree, where, errs)

    rules.each(errs, f"{at}.devices.results", devices.get("results") or [], MAX_RESULTS, result)
    rules.each(errs, f"{at}.devices.config", devices.get("config") or [], 2 * rules.MAX_CONFIG, config)
    if (selector := allocation.get("nodeSelector")) is not None:
        validate_node_selector(selector, f"{at}.nodeSelector", errs)


def _identity(tree: Obj, at: str, errs: FieldErrors) -> None:
    driver_name(errs, f"{at}.driver", tree.get("driver", ""))
    rules.pool_name(errs, f"{at}.pool", tree.get("pool", ""))
    rules.label(errs, f"{at}.device", tree.get("device", ""))


def _device(tree: Obj, allocated: set[tuple[str, str, str, str]], at: str, errs: FieldErrors) -> None:
    _identity(tree, at, errs)
    if (share := tree.get("shareID")) is not None:
        rules.share_id(errs, f"{at}.shareID", share)
    if (key := rules.device_key(tree)) not in allocated:
        errs.invalid(at, "/".join(part for part in key if part), "must be an allocated device in the claim")
    conditions = tree.get("conditions") or []
    if len(conditions) > MAX_CONDITIONS:
        errs.too_many(f"{at}.conditions", len(conditions), MAX_CONDITIONS)
    validate_conditions(conditions, f"{at}.conditions", errs)
    if (data := tree.get("data")) is not None:
        rules.raw_object(data, f"{at}.data", errs)
    if (network := tree.get("networkData")) is not None:
        _network(network, f"{at}.networkData", errs)


def _network(network: Obj, at: str, errs: FieldErrors) -> None:
    for field, limit in (("interfaceName", MAX_INTERFACE), ("hardwareAddress", MAX_HARDWARE)):
        if names.longer_than(network.get(field, ""), limit):
            errs.too_long(f"{at}.{field}", limit)
    rules.each_once(errs, f"{at}.ips", network.get("ips") or [], MAX_ADDRESSES, _address, rules.itself)


def _address(text: str, path: str, errs: FieldErrors) -> None:
    """An address with the length of its network's prefix."""
    host, _, length = text.partition("/")
    address = names.parse_ip(host)
    if address is None or names.parse_cidr(text) is None:
        errs.invalid(path, text, "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)")
    elif text != (canonical := f"{address}/{int(length)}"):
        errs.invalid(path, text, f'must be in canonical form ("{canonical}")')


# -- printing


def state(obj: Obj) -> str:
    deleted, status = "deletionTimestamp" in obj["metadata"], _status(obj)
    states = ["deleted"] if deleted else []
    if status.get("allocation") is None:
        states += [] if deleted else ["pending"]
    else:
        states += ["allocated", "reserved"] if status.get("reservedFor") else ["allocated"]
    return ",".join(states)


def row(obj: Obj, now: float) -> list[Any]:
    return [obj["metadata"]["name"], state(obj), age_of(obj, now)]


KIND = Kind(
    kind="ResourceClaim",
    plural="resourceclaims",
    versions=(rules.version("ResourceClaim", validate_create=validate_create),),
    subresources=(status_of("ResourceClaim"),),
    defaults=defaults,
    prepare_status_update=prepare_status_update,
    validate_update=validate_update,
    validate_status_update=validate_status_update,
    columns=(NAME, Column(name="State", description="Whether it has its devices, and whether they are used."), AGE),
    row=row,
)
