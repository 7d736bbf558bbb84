"""The two operations on ownership: an update takes what it changes, an apply claims what it names.

Objects come in the version of each manager through `At`; times are RFC 3339 text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from navarch.machinery.apply import typed
from navarch.machinery.apply.fieldsets import FieldSet, difference, difference_below, intersection, paths, show, union
from navarch.machinery.apply.managers import APPLY, Managed, Manager, Owned, capped, describe
from navarch.machinery.apply.typed import Comparison, TypedError
from navarch.machinery.schema import Schema
from navarch.machinery.types import Obj

STRIPPED: FieldSet = {
    "f:apiVersion": {},
    "f:kind": {},
    "f:metadata": {
        ".": {},
        **{
            f"f:{name}": {}
            for name in (
                "name", "namespace", "creationTimestamp", "selfLink", "uid", "clusterName", "generation",
                "managedFields", "resourceVersion",
            )
        },
    },
}  # fmt: skip
"""Fields that nobody owns."""
At = Callable[[Obj, str], "tuple[Schema, Obj] | None"]
"""(object, apiVersion) -> its schema and form in that version; None where the version is served no more."""


class ConflictError(Exception):
    """Others own what was applied."""

    def __init__(self, conflicts: Sequence[tuple[Manager, Owned, tuple[str, ...]]]) -> None:
        self.conflicts = conflicts
        super().__init__(self._message())

    def _message(self) -> str:
        if len(self.conflicts) == 1:
            key, owned, path = self.conflicts[0]
            return f"conflict with {describe(key, owned)}: {show(path)}"
        grouped: dict[str, list[str]] = {}
        for key, owned, path in self.conflicts:
            grouped.setdefault(describe(key, owned), []).append(show(path))
        lines: list[str] = []
        for who in sorted(grouped):
            lines += [f"conflicts with {who}:", *(f"- {path}" for path in grouped[who])]
        return "\n".join(lines)

    def causes(self) -> list[Obj]:
        return [
            {"reason": "FieldManagerConflict", "message": f"conflict with {describe(key, owned)}", "field": show(path)}
            for key, owned, path in self.conflicts
        ]


def updated(
    old: Obj, new: Obj, managed: Managed, me: Manager, version: str, at: At, reset: FieldSet, now: str
) -> Managed:
    """Ownership after a create, update or patch by `me` in `version`. `reset`: fields that this operation cannot set."""
    changes = _changes(old, new, {version, *(owned.version for owned in managed.values())}, at)
    mine = changes.get(version)
    if mine is None or mine == Comparison({}, {}, {}):
        return managed
    if reset:
        mine = Comparison(*(difference_below(part, reset) for part in mine))
        changes[version] = mine
    taken = difference(union(mine.modified, mine.added), STRIPPED)
    made = _lose(managed, changes, None, frozenset())
    if taken:
        before = made.get(me)
        fields = union(taken, before.fields) if before is not None else taken
        made[me] = Owned(version, fields, now)
    return capped(made)


def _changes(old: Obj, new: Obj, versions: set[str], at: At) -> dict[str, Comparison | None]:
    found: dict[str, Comparison | None] = {}
    for version in versions:
        before, after = at(old, version), at(new, version)
        found[version] = typed.compare(after[0], before[1], after[1]) if before and after else None
    return found


def _lose(
    managed: Managed, changes: Mapping[str, Comparison | None], me: Manager | None, kept: frozenset[Manager]
) -> Managed:
    """What managers (but `me`) still own when the changes are somebody else's."""
    made: Managed = {}
    for key, owned in managed.items():
        change = changes.get(owned.version)
        if key == me or key in kept:
            made[key] = owned
            continue
        if change is None:
            continue
        fields = owned.fields
        for part in (change.modified, change.added, change.removed):
            if part:
                fields = difference(fields, part)
        if fields:
            made[key] = owned if fields is owned.fields else replace(owned, fields=fields)
    return made


def applied(
    live: Obj, config: Obj, managed: Managed, me: Manager, version: str, at: At, reset: FieldSet, now: str, force: bool
) -> tuple[Obj | None, Managed]:
    """(the object in `version`, or None where nothing changes; ownership). Raises ConflictError, TypedError."""
    found = at(live, version)
    if found is None:
        raise TypedError(f"version {version} is not served")
    schema, base = found
    claimed = difference(typed.field_set(schema, config), STRIPPED)
    if reset:
        claimed = difference_below(claimed, reset)
    merged = typed.merge(schema, base, config)
    last = managed.get(me)
    made = {**managed, me: Owned(version, claimed, now)}
    if last is not None and last.fields:
        merged = _pruned(schema, merged, made, last, version)
    change = typed.compare(schema, base, merged)
    if reset:
        change = Comparison(*(difference_below(part, reset) for part in change))
    changes: dict[str, Comparison | None] = {}
    for owned in managed.values():
        if owned.version not in changes:
            changes[owned.version] = change if owned.version == version else _converted(base, merged, owned.version, at)
    _refuse_conflicts(managed, changes, me, force)
    made = _lose(made, changes, me, frozenset())
    if not claimed:
        made.pop(me, None)
    unchanged = base == merged
    if unchanged and last is not None and last.fields == claimed and last.version == version:
        made[me] = last
    return (None if unchanged else merged), made


def _converted(base: Obj, merged: Obj, version: str, at: At) -> Comparison | None:
    before, after = at(base, version), at(merged, version)
    return typed.compare(after[0], before[1], after[1]) if before and after else None


def _refuse_conflicts(managed: Managed, changes: Mapping[str, Comparison | None], me: Manager, force: bool) -> None:
    if force:
        return
    conflicts: list[tuple[Manager, Owned, tuple[str, ...]]] = []
    for key, owned in sorted(managed.items()):
        change = changes.get(owned.version)
        if key == me or change is None:
            continue
        both = intersection(owned.fields, union(change.modified, change.added))
        conflicts.extend((key, owned, path) for path in paths(both))
    if conflicts:
        raise ConflictError(conflicts)


def _pruned(schema: Schema, merged: Obj, managed: Managed, last: Owned, version: str) -> Obj:
    """Takes away what `me` applied last time, does not apply now, and nobody else owns."""
    held: FieldSet = {}
    for owned in managed.values():
        if owned.version == version:
            held = union(held, owned.fields)
    everything = typed.named_members(_fields(schema, merged))
    removed = typed.without(schema, merged, typed.named_members(last.fields))
    left = union(typed.named_members(_fields(schema, removed)), typed.named_members(held))
    gone = intersection(difference(everything, left), typed.named_members(last.fields))
    return typed.without(schema, merged, gone)


def _fields(schema: Schema, value: Mapping[str, Any]) -> FieldSet:
    """All fields of a live object, whatever its schema has to say about them."""
    return {f"f:{name}": typed.whole(typed.child(schema, name), part) for name, part in value.items()}


def is_applier(key: Manager) -> bool:
    return key.operation == APPLY
