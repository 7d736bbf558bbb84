"""Objects by their schema: the fields they have, how two differ, and one merged into the other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, cast

import orjson

from navarch.machinery.apply.fieldsets import LEAF, MEMBER, FieldSet, is_member
from navarch.machinery.schema import Schema

ANY = Schema("any")
ZERO: Mapping[str, Any] = {
    "string": "", "int32": 0, "int64": 0, "bool": False, "double": 0.0, "bytes": "", "quantity": "0",
}  # fmt: skip


class TypedError(Exception):
    """An object is not what its schema says; the message names the field."""


class Comparison(NamedTuple):
    added: FieldSet
    modified: FieldSet
    removed: FieldSet


class _Absent:
    """No value at all, which is not the same as null."""


ABSENT: Any = _Absent()


def zero(schema: Schema) -> dict[str, Any]:
    """The object that a new one is compared with: fields that Go always writes have their zero value."""
    made: dict[str, Any] = {}
    for name, field in schema.fields.items():
        if field.presence != "always":
            continue
        if field.schema.type == "object":
            made[name] = zero(field.schema)
        elif field.schema.type == "scalar":
            made[name] = ZERO.get(field.schema.scalar)
        else:
            made[name] = None
    return made


def child(schema: Schema, name: str) -> Schema:
    """The schema of a field or entry; `any` where there is none."""
    if schema.type == "object":
        field = schema.fields.get(name)
        return field.schema if field is not None else ANY
    return schema.items or ANY if schema.type in ("map", "list") else ANY


def granular(schema: Schema, value: Any) -> bool:
    """Whether a value's parts are owned one by one."""
    if isinstance(value, dict):
        if schema.type in ("object", "map"):
            return schema.map_type == "granular"
        return schema.type == "any"
    if isinstance(value, list):
        return schema.type == "list" and schema.list_type != "atomic"
    return False


def element(schema: Schema, item: Any) -> str:
    """The path element of a list's item. Raises TypedError."""
    if schema.list_type == "set":
        return "v:" + _json(item)
    if not isinstance(item, dict):
        raise TypedError("associative list with keys may not have non-map elements")
    items = schema.items
    keys: dict[str, Any] = {}
    for key in sorted(schema.list_map_keys):
        value = item.get(key)
        if value is None and items is not None and key in items.fields:
            value = items.fields[key].default
        keys[key] = value
    if all(value is None for value in keys.values()):
        raise TypedError(
            f"associative list with keys has an element that omits key field {schema.list_map_keys[0]!r} (and doesn't have default value)"
        )
    return "k:" + _json(keys)


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()


# -- the fields of one object


def field_set(schema: Schema, value: Mapping[str, Any]) -> FieldSet:
    """What an applied configuration claims. Raises TypedError."""
    made: FieldSet = {}
    for name, part in value.items():
        if schema.type == "object" and name not in schema.fields and not schema.preserve_unknown:
            raise TypedError(f".{name}: field not declared in schema")
        inner = child(schema, name)
        try:
            node = _claimed(inner, part)
        except TypedError as error:
            raise TypedError(f".{name}{error}") from None
        if part is None or part == {} or (schema.type != "object" and node):
            node = _with_member(node)
        if node is not None:
            made[f"f:{name}"] = node
    return made


def _with_member(node: FieldSet | None) -> FieldSet:
    return LEAF if not node else node if MEMBER in node else {MEMBER: LEAF, **node}


def _claimed(schema: Schema, value: Any) -> FieldSet | None:
    """A value's node; None where it claims nothing (an empty list of items)."""
    if not granular(schema, value):
        return LEAF
    if isinstance(value, dict):
        return field_set(schema, value) or None
    made: FieldSet = {}
    for item in value:
        try:
            key = element(schema, item)
        except TypedError as error:
            raise TypedError(f": {error}") from None
        if key in made:
            raise TypedError(f": duplicate entries for key {_shown_key(key)}")
        node = _claimed(schema.items or ANY, item)
        made[key] = _with_member(node)
    return made or None


def _shown_key(key: str) -> str:
    from navarch.machinery.apply.fieldsets import show

    return show((key,))


# -- two objects compared


def compare(schema: Schema, old: Mapping[str, Any], new: Mapping[str, Any]) -> Comparison:
    """What has been added, changed and removed from `old` to `new`."""
    if old == new:
        return Comparison({}, {}, {})
    added, modified, removed = _compare_maps(schema, old, new)
    return Comparison(added, modified, removed)


Nodes = tuple["FieldSet | None", "FieldSet | None", "FieldSet | None"]


def _compare_maps(
    schema: Schema, old: Mapping[str, Any], new: Mapping[str, Any]
) -> tuple[FieldSet, FieldSet, FieldSet]:
    found: tuple[FieldSet, FieldSet, FieldSet] = ({}, {}, {})
    for name, value in new.items():
        before = old.get(name, ABSENT)
        if before is ABSENT and schema.type == "object":
            before = _unwritten(schema, name)
        if before is not value and before != value:
            _put(found, f"f:{name}", _compare(child(schema, name), before, value))
    for name, value in old.items():
        if name not in new:
            _put(found, f"f:{name}", (None, None, whole(child(schema, name), value)))
    return found


def _unwritten(schema: Schema, name: str) -> Any:
    """What Go would have written of a field that is not there."""
    field = schema.fields.get(name)
    if field is None or field.presence != "always" or field.schema.type == "scalar":
        return ABSENT
    return zero(field.schema) if field.schema.type == "object" else None


def _put(found: tuple[FieldSet, FieldSet, FieldSet], key: str, nodes: Nodes) -> None:
    for target, node in zip(found, nodes, strict=True):
        if node is not None:
            target[key] = node


def whole(schema: Schema, value: Any) -> FieldSet:
    """The node of a value that is new, or gone, as a whole."""
    if not value or not granular(schema, value):
        return LEAF
    if isinstance(value, dict):
        return {MEMBER: LEAF, **{f"f:{name}": whole(child(schema, name), part) for name, part in value.items()}}
    items = schema.items or ANY
    made: FieldSet = {MEMBER: LEAF}
    for item in value:
        key = element(schema, item)
        made[key] = LEAF if key in made else whole(items, item)
    return made


def _compare(schema: Schema, old: Any, new: Any) -> Nodes:
    if old is ABSENT:
        return whole(schema, new), None, None
    if new is None and isinstance(old, dict | list):
        new = cast(Any, type(old)())
    kind: Any = type(new)
    if kind not in (dict, list) or not (old is None or type(old) is kind) or not (old or new):
        return None, LEAF, None
    if not granular(schema, new):
        return None, LEAF, None
    before: Any = old or kind()
    after: Any = new
    parts = _compare_maps(schema, before, after) if kind is dict else _compare_lists(schema, before, after)
    return parts[0] or None, parts[1] or None, parts[2] or None


def _compare_lists(schema: Schema, old: list[Any], new: list[Any]) -> tuple[FieldSet, FieldSet, FieldSet]:
    found: tuple[FieldSet, FieldSet, FieldSet] = ({}, {}, {})
    before, after = _by_element(schema, old), _by_element(schema, new)
    items = schema.items or ANY
    for key, values in after.items():
        earlier = before.get(key)
        if earlier == values:
            continue
        if earlier is None:
            _put(found, key, (whole(items, values[0]) if len(values) == 1 else LEAF, None, None))
        elif len(earlier) == len(values) == 1:
            _put(found, key, _compare(items, earlier[0], values[0]))
        else:
            _put(found, key, (None, LEAF, None))
    for key, values in before.items():
        if key not in after:
            _put(found, key, (None, None, whole(items, values[0]) if len(values) == 1 else LEAF))
    return found


def _by_element(schema: Schema, values: Iterable[Any]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for value in values:
        found.setdefault(element(schema, value), []).append(value)
    return found


# -- merging


def merge(schema: Schema, live: Any, applied: Any) -> Any:
    """`applied` laid over `live`. Neither is changed."""
    if isinstance(applied, dict) and isinstance(live, dict) and granular(schema, applied):
        made = dict(live)
        for name, value in applied.items():
            made[name] = merge(child(schema, name), live[name], value) if name in live else value
        return made
    if isinstance(applied, list) and isinstance(live, list) and granular(schema, applied):
        return _merge_lists(schema, live, applied)
    return applied


def _merge_lists(schema: Schema, live: list[Any], applied: list[Any]) -> list[Any]:
    """Items that both have in the order in which they are applied; the others where they stood."""
    ours = [(element(schema, item), item) for item in live]
    theirs = {element(schema, item): item for item in applied}
    known = dict(ours)
    items = schema.items or ANY
    merged = {key: merge(items, known[key], item) if key in known else item for key, item in theirs.items()}
    order = list(theirs)
    made: list[Any] = []
    position = 0
    for key, item in ours:
        if key not in theirs:
            made.append(item)
            continue
        if key not in order[position:]:
            continue
        upto = order.index(key, position)
        made.extend(merged[k] for k in order[position : upto + 1])
        position = upto + 1
    made.extend(merged[key] for key in order[position:])
    return made


# -- taking away


def without(schema: Schema, value: Any, fields: FieldSet) -> Any:
    """The value without the members of `fields`; containers that lose all their parts stay, empty."""
    if not fields or not granular(schema, value):
        return value
    if isinstance(value, dict):
        made: dict[str, Any] = {}
        for name, part in value.items():
            node = fields.get(f"f:{name}")
            if node is None:
                made[name] = part
            elif not is_member(node):
                made[name] = without(child(schema, name), part, node)
        return made
    kept: list[Any] = []
    items = schema.items or ANY
    for item in value:
        node = fields.get(element(schema, item))
        if node is None:
            kept.append(item)
        elif not is_member(node):
            kept.append(without(items, item, node))
    return kept


def named_members(fields: FieldSet) -> FieldSet:
    """The set with every named field on the way to a member a member too."""
    made: FieldSet = {}
    for key, node in fields.items():
        if key == MEMBER:
            made[key] = node
            continue
        inner = named_members(node)
        made[key] = {MEMBER: LEAF, **inner} if inner and key.startswith("f:") and MEMBER not in inner else inner
    return made
