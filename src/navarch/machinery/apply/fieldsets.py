"""Sets of fields, in the very form in which managedFields shows them (FieldsV1).

A set is a tree of path elements: `f:NAME` a field, `k:{...}` a list's item by its keys, `v:VALUE` an item of a set, `i:N` an
index. A node without children is a member; one with children is a member where it has the element `.`. Sets are immutable:
operations share what they do not change. The empty set is `{}`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

FieldSet = dict[str, Any]
MEMBER = "."
LEAF: FieldSet = {}


def is_member(node: FieldSet) -> bool:
    return not node or MEMBER in node


def union(a: FieldSet, b: FieldSet) -> FieldSet:
    """Everything in either. (Of roots; an empty root is the empty set.)"""
    if not a or not b or a is b:
        return a or b
    made = dict(a)
    for key, theirs in b.items():
        ours = made.get(key)
        made[key] = theirs if ours is None else _join(ours, theirs)
    return made


def _join(a: FieldSet, b: FieldSet) -> FieldSet:
    if not a:
        return b if is_member(b) else {MEMBER: LEAF, **b}
    if not b:
        return a if MEMBER in a else {MEMBER: LEAF, **a}
    return union(a, b)


def difference(a: FieldSet, b: FieldSet) -> FieldSet:
    """Members of `a` that are no members of `b`; what is below a member of `b` stays."""
    if not a or not b:
        return a
    made: FieldSet = {}
    for key, ours in a.items():
        if key == MEMBER:
            continue
        theirs = b.get(key)
        left = ours if theirs is None else _without(ours, theirs)
        if left is not None:
            made[key] = left
    return made


def _without(a: FieldSet, b: FieldSet) -> FieldSet | None:
    """A node less another; None where nothing is left."""
    member = is_member(a) and not is_member(b)
    children = difference(a, b)
    return _node(member, children)


def _node(member: bool, children: FieldSet) -> FieldSet | None:
    if MEMBER in children:
        children = {k: v for k, v in children.items() if k != MEMBER}
    if not children:
        return LEAF if member else None
    return {MEMBER: LEAF, **children} if member else children


def difference_below(a: FieldSet, b: FieldSet) -> FieldSet:
    """Members of `a` that are neither members of `b` nor below one."""
    if not a or not b:
        return a
    made: FieldSet = {}
    for key, ours in a.items():
        theirs = b.get(key)
        if theirs is None:
            made[key] = ours
        elif not is_member(theirs):
            left = _node(is_member(ours), difference_below(ours, theirs)) if ours else LEAF
            if left is not None:
                made[key] = left
    return made


def intersection(a: FieldSet, b: FieldSet) -> FieldSet:
    made: FieldSet = {}
    for key, ours in a.items():
        theirs = b.get(key)
        if key == MEMBER or theirs is None:
            continue
        both = _node(is_member(ours) and is_member(theirs), intersection(ours, theirs))
        if both is not None:
            made[key] = both
    return made


def paths(fields: FieldSet, prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every member's path."""
    for key, node in sorted(fields.items()):
        if key == MEMBER:
            continue
        path = (*prefix, key)
        if is_member(node):
            yield path
        yield from paths(node, path)


def show(path: tuple[str, ...]) -> str:
    """A path as messages have it: `.spec.containers[name="web"].image`."""
    return "".join(_shown(element) for element in path)


def _shown(element: str) -> str:
    kind, _, rest = element.partition(":")
    if kind == "f":
        return f".{rest}"
    if kind == "k":
        return (
            "[" + ",".join(f"{name}={orjson.dumps(value).decode()}" for name, value in orjson.loads(rest).items()) + "]"
        )
    return f"[={rest}]" if kind == "v" else f"[{rest}]"


def normalised(tree: Any) -> FieldSet:
    """A FieldsV1 as a client sent it. Raises ValueError."""
    if not isinstance(tree, dict):
        raise ValueError("fieldsV1 is not an object")
    made: FieldSet = {}
    for key, node in tree.items():
        if key != MEMBER and key[:2] not in ("f:", "k:", "v:", "i:"):
            raise ValueError(f"unrecognized path element: {key!r}")
        made[key] = normalised(node)
    return made
