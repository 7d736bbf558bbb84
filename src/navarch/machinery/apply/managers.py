"""metadata.managedFields: who manages which fields, read and written as the API shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from navarch.machinery.apply.fieldsets import FieldSet, normalised, union
from navarch.machinery.clock import parse_time
from navarch.machinery.types import Obj

MAX_UPDATERS = 10
"""More managers of updates than this: the oldest become one."""
ANCIENT = "ancient-changes"
APPLY, UPDATE = "Apply", "Update"


class Manager(NamedTuple):
    """What tells managers apart. An applier is the same in every version."""

    name: str
    operation: str
    version: str
    subresource: str


@dataclass(frozen=True, slots=True)
class Owned:
    version: str
    fields: FieldSet
    time: str = ""


Managed = dict[Manager, Owned]


def identity(name: str, operation: str, version: str, subresource: str = "") -> Manager:
    return Manager(name, operation, version if operation == UPDATE else "", subresource)


def decode(entries: Sequence[Obj] | None) -> Managed:
    """Raises ValueError for what is no list of managers."""
    managed: Managed = {}
    for entry in entries or ():
        operation, version = entry.get("operation", ""), entry.get("apiVersion", "")
        if operation not in (APPLY, UPDATE) or not version:
            raise ValueError(f"invalid operation or version of a manager: {operation!r}, {version!r}")
        if entry.get("fieldsType", "FieldsV1") != "FieldsV1":
            raise ValueError(f"unsupported fieldsType: {entry['fieldsType']!r}")
        key = identity(entry.get("manager", ""), operation, version, entry.get("subresource", ""))
        fields = entry.get("fieldsV1") or {}
        owned = Owned(version, fields, entry.get("time") or "")
        managed[key] = replace(owned, fields=union(managed[key].fields, fields)) if key in managed else owned
    return managed


def checked(entries: Any) -> Managed:
    """The managers that a client sent. Raises ValueError."""
    managed = decode(entries)
    return {key: replace(owned, fields=normalised(owned.fields)) for key, owned in managed.items()}


def encode(managed: Mapping[Manager, Owned]) -> list[Obj]:
    """In the API's order: appliers first, then by time, name, version and subresource."""
    return [_entry(key, owned) for key, owned in sorted(managed.items(), key=_order)]


def _order(item: tuple[Manager, Owned]) -> tuple[Any, ...]:
    key, owned = item
    return key.operation, owned.time, key.name, owned.version, key.subresource


def _entry(key: Manager, owned: Owned) -> Obj:
    entry: Obj = {"manager": key.name, "operation": key.operation, "apiVersion": owned.version}
    if owned.time:
        entry["time"] = owned.time
    entry |= {"fieldsType": "FieldsV1", "fieldsV1": owned.fields}
    if key.subresource:
        entry["subresource"] = key.subresource
    return entry


def capped(managed: Managed) -> Managed:
    """At most MAX_UPDATERS managers of updates: the oldest of each version are put together."""
    updaters = [key for key in managed if key.operation == UPDATE]
    excess = len(updaters) - MAX_UPDATERS
    if excess <= 0:
        return managed
    updaters.sort(key=lambda key: (parse_time(managed[key].time) if managed[key].time else 0.0, key))
    made = dict(managed)
    first: dict[str, Manager] = {}
    for key in updaters:
        if excess <= 0:
            break
        owned = managed[key]
        if owned.version not in first:
            first[owned.version] = key
            continue
        bucket = identity(ANCIENT, UPDATE, owned.version)
        if bucket not in made:
            made[bucket] = made.pop(first[owned.version])
        fields = union(owned.fields, made[bucket].fields)
        del made[key]
        made[bucket] = Owned(owned.version, fields, owned.time)
        excess -= 1
    return made


# -- conflicts


def describe(key: Manager, owned: Owned) -> str:
    """A manager in a conflict's words."""
    text = f'"{key.name}"'
    if key.subresource:
        text += f' with subresource "{key.subresource}"'
    if key.operation != UPDATE:
        return text
    text += f" using {owned.version}"
    return f"{text} at {owned.time}" if owned.time else text
