"""What a schema makes of trees: their field sets, how two of them differ, merging and removing.

Lists are atomic, sets, or maps by keys; structs and maps are granular or atomic; of what has no schema, maps are granular
and lists atomic. Items of a list that share an element (duplicates) are owned together, as if they were one atomic item.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any, NamedTuple

from navarch.machinery.apply.elements import FIELD, item_element
from navarch.machinery.apply.fieldset import LEAF, SELF, FieldSet, is_member, ordered
from navarch.machinery.memo import Memo
from navarch.machinery.scalars import ZEROS
from navarch.machinery.schema import Field, Schema
from navarch.machinery.trees import alike

DEDUCED = Schema("any")
"""Of what no schema describes."""
ABSENT: Any = object()
SPEC = FIELD + "spec"


class Change(NamedTuple):
    """How a tree differs from another. `written`: added or modified."""

    written: FieldSet
    removed: FieldSet


NO_CHANGE = Change({}, {})


def child_of(schema: Schema, name: str) -> Schema:
    """The schema of a struct's field or a map's value."""
    if schema.type == "object":
        field = schema.fields.get(name)
        return field.schema if field is not None else DEDUCED
    return schema.items if schema.type == "map" and schema.items is not None else DEDUCED


def _granular(schema: Schema, value: Any) -> bool:
    return type(value) is dict and schema.map_type == "granular" and schema.type != "scalar" and schema.type != "list"


def _associative(schema: Schema, value: Any) -> bool:
    return schema.type == "list" and schema.list_type != "atomic" and type(value) is list


class _Step(NamedTuple):
    """How a walk goes on to a field of a struct, or to a value of a map."""

    element: str
    granular: Schema | None
    """The value's schema; None where the value is owned whole or not at all."""
    schema: Schema
    unwritten: Any
    """What Go would have written of a field that is not there; ABSENT: nothing."""
    loose: bool
    """Whether a value may have parts of any type, so that true may come for 1."""


@lru_cache(maxsize=8192)
def _steps(schema: Schema) -> dict[str, _Step]:
    """By the names of a struct's fields; empty for all else."""
    fields = schema.fields if schema.type == "object" else {}
    return {
        name: _Step(
            FIELD + name,
            None if _is_leaf(field.schema) else field.schema,
            field.schema,
            _unwritten(field),
            is_loose(field.schema),
        )
        for name, field in fields.items()
    }


def _step(schema: Schema, name: str) -> _Step:
    """The step to what is no declared field."""
    below = child_of(schema, name)
    return _Step(FIELD + name, None if _is_leaf(below) else below, below, ABSENT, is_loose(below))


@lru_cache(maxsize=8192)
def is_loose(schema: Schema) -> bool:
    """Whether anything in a value is of no one type; what managers own aside, which is written here only."""
    seen: set[int] = set()
    waiting = [schema]
    while waiting:
        at = waiting.pop()
        if at.type == "any" or at.preserve_unknown:
            return True
        if id(at) not in seen:
            seen.add(id(at))
            waiting += [field.schema for name, field in at.fields.items() if name != "managedFields"]
            waiting += [at.items] if at.items is not None else []
    return False


def _is_leaf(schema: Schema) -> bool:
    if schema.type == "list":
        return schema.list_type == "atomic"
    return schema.type == "scalar" or schema.map_type == "atomic"


_EMPTY: dict[str, Any] = {}


def _unwritten(field: Field) -> Any:
    if field.presence != "always":
        return ABSENT
    if field.schema.type == "object":
        return _EMPTY
    zero = ZEROS.get(field.schema.scalar) if field.schema.type == "scalar" else None
    return zero() if zero is not None else None


def whole(schema: Schema, value: Any) -> FieldSet:
    """The node of a value that is added or removed whole: every path in it, the value's own included."""
    if not value:
        return LEAF
    if type(value) is dict:
        if schema.map_type != "granular":
            return LEAF
        node: FieldSet = {SELF: LEAF}
        steps = _steps(schema)
        for name in sorted(value):
            element, granular, _, _, _ = steps.get(name) or _step(schema, name)
            node[element] = LEAF if granular is None else whole(granular, value[name])
        return node
    if _associative(schema, value):
        return _whole_list(schema, value)
    return LEAF


def _whole_list(schema: Schema, value: list[Any]) -> FieldSet:
    element_of, items = item_element(schema), schema.items or DEDUCED
    node: FieldSet = {SELF: LEAF}
    for item in value:
        element = element_of(item)
        node[element] = LEAF if element in node else whole(items, item)
    return ordered(node)


def field_set(schema: Schema, value: Any) -> FieldSet:
    """What an applier of `value` owns: leaves, items of lists, values of maps; structs only when they are empty."""
    if type(value) is not dict:
        return {}
    node: FieldSet = {}
    declared = schema.fields if schema.type == "object" else {}
    for name, child in value.items():
        field = declared.get(name)
        below = field.schema if field is not None else child_of(schema, name)
        owned = _owned(below, child, field is None or child is None or child == {})
        if owned is not None:
            node[FIELD + name] = owned
    return ordered(node)


def _owned(schema: Schema, value: Any, member: bool) -> FieldSet | None:
    """The node of a value (None: nothing in it is owned); `member`: its own path is."""
    if _granular(schema, value):
        node = field_set(schema, value)
    elif _associative(schema, value):
        node = _owned_items(schema, value)
    else:
        return LEAF
    if not node:
        return LEAF if member else None
    return {SELF: LEAF, **node} if member else node


def _owned_items(schema: Schema, value: list[Any]) -> FieldSet:
    element_of, items = item_element(schema), schema.items or DEDUCED
    node: FieldSet = {}
    for item in value:
        element = element_of(item)
        node[element] = LEAF if element in node else _owned(items, item, True)
    return ordered(node)


def compare(schema: Schema, old: Any, new: Any) -> Change:
    """How `new` differs from `old`. Raises ElementError for items that nothing addresses."""
    if old == new and (not is_loose(schema) or alike(old, new)):
        return NO_CHANGE
    written, removed = _compare(schema, old, new)
    return Change(written or {}, removed or {})


def _compare(schema: Schema, old: Any, new: Any) -> tuple[FieldSet | None, FieldSet | None]:
    """Nodes of what is written and removed in two values that are not equal; None: nothing."""
    scalar = schema.type == "scalar"
    if scalar or (not old and not new):
        return LEAF, None
    if _granular(schema, old if old is not None else new) and _granular(schema, new if new is not None else old):
        return _compare_maps(schema, old or {}, new or {})
    if _associative(schema, old if old is not None else new) and _associative(schema, new if new is not None else old):
        return _compare_lists(schema, old or [], new or [])
    return _compare_forms(schema, old, new) if schema.type == "any" else (LEAF, None)


def _compare_forms(schema: Schema, old: Any, new: Any) -> tuple[FieldSet | None, FieldSet | None]:
    """Of what no schema describes, an object may become something else, and the other way round."""
    written = whole(schema, new) if _granular(schema, new) else LEAF
    removed = whole(schema, old) if _granular(schema, old) else LEAF
    return written, {element: node for element, node in removed.items() if element != SELF} or None


def _compare_maps(schema: Schema, old: dict[str, Any], new: dict[str, Any]) -> tuple[FieldSet | None, FieldSet | None]:
    written: FieldSet = {}
    removed: FieldSet = {}
    steps = _steps(schema)
    for name, value in new.items():
        element, granular, below, unwritten, loose = steps.get(name) or _step(schema, name)
        was = old.get(name, unwritten)
        if was is ABSENT:
            written[element] = LEAF if granular is None else whole(granular, value)
        elif was is not value and (was != value or (loose and not alike(was, value))):
            is_new_spec = not was and element == SPEC
            nodes = _compare_new_spec(below, value) if is_new_spec else _compare(below, was, value)
            _put(element, nodes, written, removed)
    for name, was in old.items():
        if name not in new:
            element, _, below, unwritten, _ = steps.get(name) or _step(schema, name)
            if unwritten is ABSENT:
                removed[element] = whole(below, was)
            elif was != unwritten:
                _put(element, _compare(below, was, unwritten), written, removed)
    return ordered(written) or None, ordered(removed) or None


@lru_cache(maxsize=64)
def _specs_of(schema: Schema) -> Memo[tuple[FieldSet | None, FieldSet | None]]:
    return Memo(256)


def _compare_new_spec(schema: Schema, spec: Any) -> tuple[FieldSet | None, FieldSet | None]:
    """As `_compare` of nothing with it. Many new objects have one and the same spec."""
    memo = _specs_of(schema)
    key = memo.key(spec)
    found = memo.get(key)
    if found is None:
        found = _compare(schema, None, spec)
        memo.put(key, found)
    return found


def _put(element: str, nodes: tuple[FieldSet | None, FieldSet | None], written: FieldSet, removed: FieldSet) -> None:
    if nodes[0] is not None:
        written[element] = nodes[0]
    if nodes[1] is not None:
        removed[element] = nodes[1]


def _compare_lists(schema: Schema, old: list[Any], new: list[Any]) -> tuple[FieldSet | None, FieldSet | None]:
    before, after = _by_element(schema, old), _by_element(schema, new)
    items = schema.items or DEDUCED
    written: FieldSet = {}
    removed: FieldSet = {}
    for element in before | after:
        was, now = before.get(element, _NONE), after.get(element, _NONE)
        if was == now and (not is_loose(items) or alike(was, now)):
            continue
        if len(was) > 1 and len(now) > 1:
            written[element] = LEAF
        elif len(was) > 1:
            removed[element] = LEAF
            if now:
                written[element] = whole(items, now[0])
        elif len(now) > 1:
            written[element] = LEAF
            if was:
                removed[element] = whole(items, was[0])
        elif not was:
            written[element] = whole(items, now[0])
        elif not now:
            removed[element] = whole(items, was[0])
        else:
            _put(element, _compare(items, was[0], now[0]), written, removed)
    return ordered(written) or None, ordered(removed) or None


_NONE: list[Any] = []


def _by_element(schema: Schema, items: Iterable[Any]) -> dict[str, list[Any]]:
    """The items of a list by their elements: one each, but for duplicates."""
    element_of = item_element(schema)
    found: dict[str, list[Any]] = {}
    for item in items:
        found.setdefault(element_of(item), []).append(item)
    return found


def merge(schema: Schema, live: Any, config: Any) -> Any:
    """The live tree with an applied one merged into it. The result shares parts of both."""
    if config is ABSENT or live is ABSENT:
        return live if config is ABSENT else config
    if not config and not live:
        return config
    if _granular(schema, config if config is not None else live):
        if config is None:
            return live
        if type(live) is not dict:
            return config
        out = dict(live)
        for name, value in config.items():
            out[name] = merge(child_of(schema, name), live.get(name, ABSENT), value)
        return out
    if _associative(schema, config if config is not None else live):
        if config is None:
            return live
        return _merge_lists(schema, live if type(live) is list else [], config)
    return config


def _merge_lists(schema: Schema, live: list[Any], config: list[Any]) -> list[Any]:
    """Items in the order of `config`, those of `live` alone where they stood among the shared ones."""
    element_of, items = item_element(schema), schema.items or DEDUCED
    theirs = {element_of(item): item for item in config}
    order = [element_of(item) for item in live]
    mine = _by_element(schema, live)

    def merged(element: str) -> Any:
        found = mine.get(element, ())
        return merge(items, found[0] if len(found) == 1 else ABSENT, theirs[element])

    out: list[Any] = []
    done: set[str] = set()
    wanted = list(theirs)
    shared = [element for element in wanted if element in mine]
    left = right = turn = 0
    while left < len(order) or right < len(wanted):
        if left < len(order) and right < len(wanted):
            element = order[left]
            if element == wanted[right]:
                done.add(element)
                out.append(merged(element))
                left, right, turn = left + 1, right + 1, turn + 1
                continue
            if element in theirs and turn < len(shared) and shared[turn] != element:
                left += 1
                continue
        if left < len(order):
            element = order[left]
            if element not in theirs:
                out.append(live[left])
                left += 1
                continue
            if element in done:
                left += 1
        if right < len(wanted):
            element = wanted[right]
            done.add(element)
            out.append(merged(element))
            right += 1
            if turn < len(shared) and shared[turn] == element:
                turn += 1
    return out


def remove(schema: Schema, value: Any, fields: FieldSet) -> Any:
    """The value without the members of `fields`; what they leave empty stays, empty. Shares what stays."""
    if not value:
        return value
    if type(value) is dict and schema.type != "scalar":
        return _remove_from_map(schema, value, fields) if schema.map_type == "granular" else {}
    if type(value) is list and schema.type != "scalar":
        return _remove_from_list(schema, value, fields) if _associative(schema, value) else []
    return value


def _remove_from_map(schema: Schema, value: dict[str, Any], fields: FieldSet) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name, child in value.items():
        node = fields.get(FIELD + name)
        if node is None:
            out[name] = child
        elif not is_member(node):
            out[name] = remove(child_of(schema, name), child, node)
    return out


def _remove_from_list(schema: Schema, value: list[Any], fields: FieldSet) -> list[Any]:
    element_of, items = item_element(schema), schema.items or DEDUCED
    out: list[Any] = []
    for item in value:
        node = fields.get(element_of(item))
        if node is None:
            out.append(item)
        elif not is_member(node):
            out.append(remove(items, item, node))
    return out
