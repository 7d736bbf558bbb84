"""What a write does to the managers of an object, and what server-side apply makes of the object.

`update` is for every other write: who changed a field owns it now, alone. `apply` merges a configuration: its fields
conflict with those that others own and that it changes, and what its manager applied before and does not any more goes,
unless somebody else owns it too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol

from navarch.machinery.apply import fieldset, typed
from navarch.machinery.apply.fieldset import FieldSet, difference, intersection, union, with_named_fields
from navarch.machinery.apply.managers import Managed, Manager, Owned
from navarch.machinery.apply.typed import Change
from navarch.machinery.schema import Schema
from navarch.machinery.trees import alike
from navarch.machinery.types import Obj

NEVER_OWNED = fieldset.union(
    fieldset.of_names("apiVersion", "kind", "metadata"),
    fieldset.of_names(
        *(
            f"metadata.{name}"
            for name in (
                "name",
                "namespace",
                "creationTimestamp",
                "selfLink",
                "uid",
                "clusterName",
                "generation",
                "managedFields",
                "resourceVersion",
            )
        )
    ),
)
"""What the system sets, and what identifies an object: nobody's."""


class Versions(Protocol):
    """The versions that an object of one kind is served in."""

    def schema(self, version: str) -> Schema | None:
        """None: a version that is not served (any more)."""
        ...

    def convert(self, tree: Obj, version: str) -> Obj:
        """The tree (of the version that its apiVersion says) in another."""
        ...


class Conflict(NamedTuple):
    manager: Manager
    path: tuple[str, ...]


class Conflicts(Exception):
    """Others own what an applied configuration changes."""

    def __init__(self, items: list[Conflict]) -> None:
        super().__init__(_message(items))
        self.items = items

    def outside(self, allowed: FieldSet) -> list[Conflict]:
        """Those over fields that are not in `allowed`."""
        return [item for item in self.items if not fieldset.has(allowed, item.path)]


def _message(items: list[Conflict]) -> str:
    if len(items) == 1:
        where = fieldset.path_text(items[0].path)
        return f"Apply failed with 1 conflict: conflict with {items[0].manager.shown()}: {where}"
    lines: list[str] = []
    for key in dict.fromkeys(item.manager for item in items):
        lines.append(f"conflicts with {key.shown()}:")
        lines += [f"- {fieldset.path_text(item.path)}" for item in items if item.manager == key]
    return f"Apply failed with {len(items)} conflicts: " + "\n".join(lines)


def update(managed: Managed, by: Manager, version: str, change_in: Callable[[str], Change | None], now: str) -> Managed:
    """The managers after a write in `version` by `by`. `change_in` says what changed, as a version sees it (None: not
    served, its managers are dropped)."""
    written, removed = change_in(version) or typed.NO_CHANGE
    if not written and not removed and all(owned.version == version and owned.fields for owned in managed.values()):
        return managed
    out: Managed = {}
    for key, owned in managed.items():
        change = change_in(owned.version)
        if change is None:
            continue
        fields = difference(owned.fields, change.removed)
        if key != by:
            fields = difference(fields, change.written)
        if fields is owned.fields:
            out[key] = owned
        elif fields:
            out[key] = owned._replace(fields=fields)
    if written:
        mine = out.get(by)
        fields = union(mine.fields, written) if mine is not None else written
        out[by] = Owned(fields, version, now, mine.entry if mine is not None else None)
    return out


class Applied(NamedTuple):
    """What an apply makes. `tree` is of the version applied, and may share parts with the live and applied trees."""

    tree: Obj
    managed: Managed
    changed: bool


def apply(
    versions: Versions,
    live: Obj,
    config: Obj,
    managed: Managed,
    by: Manager,
    reset: FieldSet,
    force: bool,
    now: str,
) -> Applied:
    """Merges `config` into `live`, both of one version. `reset`: what this endpoint does not write, and nobody gets to
    own through it. Raises Conflicts, and ElementError."""
    version = config["apiVersion"]
    schema = versions.schema(version)
    assert schema is not None
    managed = _reconciled(versions, managed)
    merged: Obj = typed.merge(schema, live, config)
    fields = difference(typed.field_set(schema, config), reset, recursive=True)
    last = managed.get(by)
    others = {key: owned for key, owned in managed.items() if key != by}
    if last is not None and (last.version != version or difference(last.fields, fields)):
        owned = {**others, by: Owned(fields, version, "")}
        if all(one.version == last.version for one in owned.values()):
            merged = pruned(schema, merged, [one.fields for one in owned.values()], last.fields)
        else:
            merged = pruned_between_versions(versions, merged, owned, last)
    changed = merged != live or (typed.is_loose(schema) and not alike(merged, live))
    if changed:
        others = _given_up(versions, live, merged, others, reset, force)
    else:
        others = {key: owned for key, owned in others.items() if versions.schema(owned.version) is not None}
    mine = difference(fields, NEVER_OWNED)
    if mine:
        if last is not None and last.fields == mine:
            mine = last.fields
        kept_time = last.time if last is not None else ""
        entry = last.entry if last is not None and last.version == version else None
        others[by] = Owned(mine, version, now if changed else kept_time, entry)
    return Applied(merged, others, changed)


def _reconciled(versions: Versions, managed: Managed) -> Managed:
    out: Managed = {}
    for key, owned in managed.items():
        schema = versions.schema(owned.version)
        fields = owned.fields if schema is None else fieldset.reconciled(owned.fields, schema)
        out[key] = owned if fields is owned.fields else owned._replace(fields=fields)
    return out


def changes(versions: Versions, old: Obj, new: Obj, reset: FieldSet) -> Callable[[str], Change | None]:
    """How `new` differs from `old` (of one version), as each version sees it; compared once per version."""
    known: dict[str, Change | None] = {}

    def change_in(version: str) -> Change | None:
        if version not in known:
            schema = versions.schema(version)
            if schema is None:
                known[version] = None
            else:
                before, after = versions.convert(old, version), versions.convert(new, version)
                known[version] = typed.compare(schema, without(before, reset), without(after, reset))
        return known[version]

    return change_in


def without(tree: Obj, fields: FieldSet) -> Obj:
    """A shallow copy without what nobody owns, and without the top-level or metadata fields in `fields`."""
    out: Obj = {"metadata": {}}
    for name, value in tree.items():
        node = fields.get("f:" + name)
        if name in ("apiVersion", "kind") or (node is not None and fieldset.is_member(node)):
            continue
        if name == "metadata":
            value = {k: v for k, v in value.items() if k not in _SYSTEM} if value else {}
        if node and isinstance(value, dict):
            value = {k: v for k, v in value.items() if "f:" + k not in node}
        out[name] = value
    return out


_SYSTEM = frozenset(element[2:] for element in NEVER_OWNED["f:metadata"])


def _given_up(versions: Versions, live: Obj, merged: Obj, others: Managed, reset: FieldSet, force: bool) -> Managed:
    """The other managers after the change. Raises Conflicts where it takes something from one and is not forced."""
    change_in = changes(versions, live, merged, reset)
    conflicts: list[Conflict] = []
    out: Managed = {}
    for key, owned in sorted(others.items(), key=lambda item: item[0].text()):
        change = change_in(owned.version)
        if change is None:
            continue
        taken = intersection(owned.fields, change.written)
        conflicts += [Conflict(key, path) for path in fieldset.paths(taken)]
        fields = difference(difference(owned.fields, taken), change.removed)
        if fields is owned.fields:
            out[key] = owned
        elif fields:
            out[key] = owned._replace(fields=fields)
    if conflicts and not force:
        raise Conflicts(conflicts)
    return out


def pruned(schema: Schema, merged: Obj, owned: Iterable[FieldSet], last: FieldSet) -> Obj:
    """`merged` without what was owned at the last apply (`last`) and nobody owns now. A struct that nobody owns anything
    in goes whole."""
    gone = with_named_fields(last, schema)
    for fields in owned:
        gone = difference(gone, with_named_fields(fields, schema))
    return typed.remove(schema, merged, gone)


def pruned_between_versions(versions: Versions, merged: Obj, managed: Managed, last: Owned) -> Obj:
    """The same where owners speak several versions: by structured-merge-diff's steps, each in its version. First all of
    `last` goes, then comes back what somebody owns, then what went along with it and was not of `last`."""
    schema = versions.schema(last.version)
    if schema is None:
        return merged
    version = merged["apiVersion"]
    tree = versions.convert(merged, last.version)
    left: Obj = typed.remove(schema, tree, with_named_fields(last.fields, schema))
    left["apiVersion"], left["kind"] = last.version, tree["kind"]
    left = versions.convert(_with_owned(versions, tree, left, managed, last.version), last.version)
    before = with_named_fields(typed.field_set(schema, tree), schema)
    after = with_named_fields(typed.field_set(schema, left), schema)
    dangling = intersection(difference(before, after), with_named_fields(last.fields, schema))
    return versions.convert(typed.remove(schema, tree, dangling), version)


def _with_owned(versions: Versions, merged: Obj, pruned: Obj, managed: Managed, first: str) -> Obj:
    """`pruned` with everything of `merged` that somebody owns, in any version."""
    by_version: dict[str, FieldSet] = {first: {}}
    for owned in managed.values():
        by_version[owned.version] = union(by_version.get(owned.version, {}), owned.fields)
    for version, fields in by_version.items():
        schema = versions.schema(version)
        if schema is None or not fields:
            continue
        merged, pruned = versions.convert(merged, version), versions.convert(pruned, version)
        before = with_named_fields(typed.field_set(schema, merged), schema)
        kept = union(
            with_named_fields(typed.field_set(schema, pruned), schema),
            with_named_fields(fields, schema),
        )
        pruned = typed.remove(schema, merged, difference(before, kept))
    return pruned
