"""Sets of field paths, in the very form that managedFields keeps them (FieldsV1).

A set is a tree of dicts by path element (`elements`). A node `{}` is a member with nothing below it; a node with `.` is
a member and has more below; any other node is only the way to what is below. The root `{}` is the empty set. Nodes are
in canonical order, shared freely and never changed: every operation answers its first argument itself where nothing
changes, which callers may test by identity.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

from navarch.machinery.apply.elements import FIELD, KEYS, ElementError, canonical_element, rank, shown
from navarch.machinery.schema import Schema

FieldSet: TypeAlias = "dict[str, Any]"
LEAF: FieldSet = {}
SELF = "."


def is_member(node: FieldSet) -> bool:
    return not node or SELF in node


def ordered(node: FieldSet) -> FieldSet:
    """The node with its elements in canonical order."""
    if len(node) < 2:
        return node
    keys = list(node)
    wanted = sorted(keys)
    if wanted[-1][0] not in "f.":
        wanted.sort(key=rank)
    return node if keys == wanted else {key: node[key] for key in wanted}


def union(a: FieldSet, b: FieldSet) -> FieldSet:
    if not a:
        return b
    out: FieldSet | None = None
    grown = False
    for key, theirs in b.items():
        mine = a.get(key)
        if mine is None:
            joined, grown = theirs, True
        elif mine is theirs or mine == theirs:
            continue
        else:
            joined = _joined(mine, theirs)
            if joined is mine:
                continue
        if out is None:
            out = dict(a)
        out[key] = joined
    if out is None:
        return a
    return ordered(out) if grown else out


def _joined(mine: FieldSet, theirs: FieldSet) -> FieldSet:
    if not mine:
        return _with_self(theirs)
    if not theirs:
        return _with_self(mine)
    return union(mine, theirs)


def _with_self(node: FieldSet) -> FieldSet:
    return node if is_member(node) else {SELF: LEAF, **node}


def difference(a: FieldSet, b: FieldSet, recursive: bool = False) -> FieldSet:
    """What is in `a` and not in `b`; `recursive` takes along all that is below a member of `b`."""
    out: FieldSet | None = None
    if len(a) < len(b):
        pairs = [(key, b[key]) for key in a if key in b]
    else:
        pairs = [(key, theirs) for key, theirs in b.items() if key in a]
    for key, theirs in pairs:
        mine = a[key]
        left = _without(mine, theirs, recursive)
        if left is mine:
            continue
        if out is None:
            out = dict(a)
        if left is None:
            del out[key]
        else:
            out[key] = left
    return a if out is None else out


def _without(mine: FieldSet, theirs: FieldSet, recursive: bool) -> FieldSet | None:
    if not mine or (recursive and is_member(theirs)):
        return None if is_member(theirs) else mine
    if not theirs:
        return {key: node for key, node in mine.items() if key != SELF} if SELF in mine else mine
    left = difference(mine, theirs, recursive)
    if len(left) < 2:
        return None if not left else LEAF if SELF in left else left
    return left


def intersection(a: FieldSet, b: FieldSet) -> FieldSet:
    out: FieldSet = {}
    for key, mine in a.items():
        theirs = b.get(key)
        if theirs is None:
            continue
        if mine is theirs or (not mine and is_member(theirs)):
            out[key] = mine
        elif not theirs:
            if is_member(mine):
                out[key] = LEAF
        elif mine and (common := intersection(mine, theirs)):
            out[key] = LEAF if len(common) == 1 and SELF in common else common
    return out


def has(fields: FieldSet, path: Sequence[str]) -> bool:
    node: FieldSet | None = fields
    for element in path:
        node = node.get(element) if node else None
        if node is None:
            return False
    return node is not None and bool(path) and is_member(node)


def of_paths(*paths: Sequence[str]) -> FieldSet:
    """The set of these paths, each a sequence of elements."""
    fields: FieldSet = {}
    for path in paths:
        node: FieldSet = LEAF
        for element in reversed(path):
            node = {element: node}
        fields = union(fields, node)
    return fields


def of_names(*paths: str) -> FieldSet:
    """The set of these paths of field names, joined by dots."""
    return of_paths(*([FIELD + name for name in path.split(".")] for path in paths))


def paths(fields: FieldSet, prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """All members: those of a level before what is below them."""
    for element, node in fields.items():
        if element != SELF and is_member(node):
            yield (*prefix, element)
    for element, node in fields.items():
        if element != SELF and node:
            yield from paths(node, (*prefix, element))


def path_text(path: Sequence[str]) -> str:
    """A path as messages print it: `.spec.containers[name="a"].image`."""
    return "".join(map(shown, path))


def canonical(tree: Any) -> FieldSet:
    """The set that a client's fieldsV1 stands for. Raises ElementError for what is none."""
    found = _canonical(tree)
    return {key: node for key, node in found.items() if key != SELF} if SELF in found else found


def _canonical(tree: Any) -> FieldSet:
    if tree is None:
        return LEAF
    if not isinstance(tree, dict):
        raise ElementError("expected an object")
    out: FieldSet = {}
    for text, below in tree.items():
        if text == SELF:
            out[SELF] = LEAF
            continue
        element = canonical_element(text)
        if element is not None:
            node = _canonical(below)
            out[element] = _joined(out[element], node) if element in out else node
    return LEAF if len(out) == 1 and SELF in out else ordered(out)


def with_named_fields(fields: FieldSet, schema: Schema | None) -> FieldSet:
    """The set with every struct field on the way to a member made a member itself: a set of `a.b.c` then owns `a`, if
    that is a field of the schema and not merely a key of a map."""
    out: FieldSet = {}
    for element, node in fields.items():
        below, named = _step(schema, element)
        if node:
            node = with_named_fields(node, below)
            out[element] = _with_self(node) if named else node
        else:
            out[element] = node
    return out


def _step(schema: Schema | None, element: str) -> tuple[Schema | None, bool]:
    """The schema below an element, and whether the element is a declared field."""
    if schema is None:
        return None, False
    kind = element[:2]
    if kind == FIELD:
        if schema.type == "object" and (field := schema.fields.get(element[2:])):
            return field.schema, True
        return (schema.items if schema.type == "map" else None), False
    if kind == KEYS and schema.type == "list":
        return schema.items, False
    return None, False


def reconciled(fields: FieldSet, schema: Schema | None) -> FieldSet:
    """The set as it reads after the schema has made some list or map atomic: its owner owns it whole."""
    out: FieldSet | None = None
    for element, node in fields.items():
        if element == SELF or not node:
            continue
        below, _ = _step(schema, element)
        if below is None:
            continue
        new = LEAF if _is_atomic(below) else reconciled(node, below)
        if new is not node:
            if out is None:
                out = dict(fields)
            out[element] = new
    return fields if out is None else out


def _is_atomic(schema: Schema) -> bool:
    if schema.type == "list":
        return schema.list_type == "atomic"
    return schema.type in ("object", "map") and schema.map_type == "atomic"
