"""metadata.managedFields: who owns what. A list of entries as the wire has them, each with a canonical field set."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import orjson

from navarch.machinery.apply.elements import ElementError
from navarch.machinery.apply.fieldset import FieldSet, canonical, union
from navarch.machinery.types import Obj

APPLY, UPDATE = "Apply", "Update"
MAX_UPDATERS = 10
ANCIENT = "ancient-changes"
BEFORE_FIRST_APPLY = "before-first-apply"


class Manager(NamedTuple):
    """What tells managers apart. Of appliers the version is no part: each has one entry, whatever it applies."""

    name: str
    operation: str
    version: str
    subresource: str

    def text(self) -> str:
        """As upstream writes it, which is what orders managers of one second."""
        parts: Obj = {}
        for key, value in zip(("manager", "operation", "apiVersion", "subresource"), self, strict=True):
            if value:
                parts[key] = value
        return orjson.dumps(parts).decode()

    def shown(self) -> str:
        """As conflicts name it."""
        quoted = orjson.dumps(self.name).decode()
        if self.subresource:
            quoted += f' with subresource "{self.subresource}"'
        return f"{quoted} using {self.version}" if self.operation == UPDATE else quoted


class Owned(NamedTuple):
    """What a manager owns."""

    fields: FieldSet
    version: str
    """The apiVersion that the fields are of."""
    time: str
    """RFC 3339; empty: unknown."""
    entry: Obj | None = None
    """The entry that says so, where there is one already."""


Managed: TypeAlias = "dict[Manager, Owned]"


def manager(name: str, operation: str, version: str, subresource: str) -> Manager:
    return Manager(name or "unknown", operation, "" if operation == APPLY else version, subresource)


def decode(entries: list[Obj]) -> Managed:
    """The managers in stored entries, whose sets are canonical."""
    found: Managed = {}
    for entry in entries:
        version, operation = entry.get("apiVersion", ""), entry.get("operation", "")
        key = Manager(
            entry.get("manager", ""), operation, "" if operation == APPLY else version, entry.get("subresource", "")
        )
        found[key] = Owned(entry.get("fieldsV1") or {}, version, entry.get("time") or "", entry)
    return found


def canonical_entries(entries: Any) -> list[Obj] | None:
    """A client's entries with canonical sets; None where they are not valid, or none."""
    if not isinstance(entries, list) or not entries:
        return None
    found: list[Obj] = []
    for entry in entries:
        valid = (
            isinstance(entry, dict)
            and entry.get("operation") in (APPLY, UPDATE)
            and entry.get("apiVersion")
            and entry.get("fieldsType") == "FieldsV1"
        )
        if not valid:
            return None
        try:
            found.append({**entry, "fieldsV1": canonical(entry.get("fieldsV1"))})
        except ElementError:
            return None
    return found


def encode(managed: Managed) -> list[Obj]:
    """The entries, in upstream's order. Those that did not change are shared."""
    return sorted((_entry(key, owned) for key, owned in managed.items() if owned.fields), key=entry_order)


def _entry(key: Manager, owned: Owned) -> Obj:
    known = owned.entry
    if known is not None and known.get("fieldsV1") is owned.fields and (known.get("time") or "") == owned.time:
        return known
    entry: Obj = {}
    if key.name:
        entry["manager"] = key.name
    entry["operation"] = key.operation
    entry["apiVersion"] = owned.version
    if owned.time:
        entry["time"] = owned.time
    entry["fieldsType"] = "FieldsV1"
    entry["fieldsV1"] = owned.fields
    if key.subresource:
        entry["subresource"] = key.subresource
    return entry


def entry_order(entry: Obj) -> tuple[str, ...]:
    """All times are of one form (UTC, in seconds), so that their texts order them."""
    return (
        entry["operation"],
        entry.get("time") or "",
        entry.get("manager", ""),
        entry["apiVersion"],
        entry.get("subresource", ""),
    )


def capped(managed: Managed) -> Managed:
    """With the oldest updaters of a version merged into one, until no more than MAX_UPDATERS are left."""
    updaters = [key for key in managed if key.operation == UPDATE]
    excess = len(updaters) - MAX_UPDATERS
    if excess <= 0:
        return managed
    updaters.sort(key=lambda key: (managed[key].time, key.text()))
    managed = dict(managed)
    first: dict[str, Manager] = {}
    for key in updaters:
        if excess <= 0:
            break
        owned = managed[key]
        earlier = first.setdefault(owned.version, key)
        if earlier is key:
            continue
        bucket = Manager(ANCIENT, UPDATE, owned.version, "")
        if bucket not in managed:
            managed[bucket] = managed.pop(earlier)
        merged = union(owned.fields, managed[bucket].fields)
        managed.pop(key)
        managed[bucket] = Owned(merged, owned.version, owned.time)
        excess -= 1
    return managed
