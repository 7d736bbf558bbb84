"""Laws of the patches: what a difference makes of what it was taken from, and what a three-way merge keeps.

The differences are made here, as clients make them (kubectl's three-way strategic merge among them), by code that shares
nothing with what applies them.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from navarch.api import scheme
from navarch.api.schemas import schema
from navarch.apiserver import codec
from navarch.machinery.decode import normalise
from navarch.machinery.errors import StatusError
from navarch.machinery.patch import json_patch, merge, strategic
from navarch.machinery.schema import Schema
from navarch.machinery.types import GroupKind

POD = scheme.by_kind()[GroupKind("", "Pod")][0]
SHAPE = schema("io.k8s.api.core.v1.Pod")

names = st.sampled_from(["a", "b", "c", "d"])
texts = st.sampled_from(["1", "2", "3"])
env = st.dictionaries(names, texts, max_size=3).map(lambda found: [{"name": k, "value": v} for k, v in found.items()])
containers = st.dictionaries(
    names,
    st.fixed_dictionaries({}, optional={"image": texts, "args": st.lists(texts, max_size=2), "env": env}),
    max_size=3,
).map(lambda found: [{"name": name, **rest} for name, rest in found.items()])
pods = st.fixed_dictionaries(
    {},
    optional={
        "metadata": st.fixed_dictionaries(
            {},
            optional={
                "labels": st.dictionaries(names, texts, max_size=3),
                "finalizers": st.lists(names, unique=True, max_size=3),
            },
        ),
        "spec": st.fixed_dictionaries(
            {},
            optional={
                "hostname": texts,
                "nodeSelector": st.dictionaries(names, texts, max_size=2),
                "containers": containers,
                "securityContext": st.fixed_dictionaries({}, optional={"runAsUser": st.integers(0, 2)}),
                "tolerations": st.lists(st.fixed_dictionaries({"key": names}), max_size=2),
            },
        ),
    },
)
json_values = st.recursive(
    st.booleans() | st.integers(-3, 3) | texts,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b/c", "d~e", ""]), inner, max_size=3)
    ),
    max_leaves=8,
)
objects = st.dictionaries(st.sampled_from(["a", "b/c", "d~e", "", "0"]), json_values, max_size=4)


@given(objects, objects)
def test_a_merge_patch_of_a_difference_makes_the_other(one: Any, two: Any) -> None:
    before = copy.deepcopy((one, two))
    patch = merge.diff(one, two)
    assert merge.apply(one, patch) == two
    assert merge.apply(two, patch) == two
    assert (one, two) == before


# -- JSON patch


def pointer(path: list[str]) -> str:
    return "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in path)


def operations(one: Any, two: Any, path: list[str]) -> list[Any]:
    """Makes `two` of `one`; lists are changed element by element, from the end where they get shorter."""
    if same(one, two):
        return []
    if isinstance(one, dict) and isinstance(two, dict):
        made = [{"op": "remove", "path": pointer([*path, k])} for k in one if k not in two]
        for key, value in two.items():
            if key in one:
                made += operations(one[key], value, [*path, key])
            else:
                made.append({"op": "add", "path": pointer([*path, key]), "value": value})
        return made
    if isinstance(one, list) and isinstance(two, list):
        made = [
            step for i, (a, b) in enumerate(zip(one, two, strict=False)) for step in operations(a, b, [*path, str(i)])
        ]
        made += [{"op": "remove", "path": pointer([*path, str(i)])} for i in range(len(one) - 1, len(two) - 1, -1)]
        return made + [{"op": "add", "path": pointer([*path, "-"]), "value": value} for value in two[len(one) :]]
    return [{"op": "test", "path": pointer(path), "value": one}, {"op": "replace", "path": pointer(path), "value": two}]


def same(one: Any, two: Any) -> bool:
    """In JSON true is not 1."""
    if isinstance(one, dict) and isinstance(two, dict):
        return one.keys() == two.keys() and all(same(one[k], two[k]) for k in one)
    if isinstance(one, list) and isinstance(two, list):
        return len(one) == len(two) and all(map(same, one, two))
    return one == two and isinstance(one, bool) == isinstance(two, bool)


@given(objects, objects)
def test_a_json_patch_there_and_back(one: Any, two: Any) -> None:
    before = copy.deepcopy(one)
    there = json_patch.apply(one, operations(one, two, []))
    assert same(there, two) and same(one, before)
    assert same(json_patch.apply(there, operations(two, one, [])), one)


@given(objects, objects, st.data())
def test_a_json_patch_happens_whole_or_not_at_all(one: Any, two: Any, data: st.DataObject) -> None:
    steps = operations(one, two, [])
    at = data.draw(st.integers(0, len(steps)))
    before = copy.deepcopy(one)
    failing = [*steps[:at], {"op": "test", "path": "", "value": "nothing is this"}, *steps[at:]]
    with pytest.raises(StatusError) as refused:
        json_patch.apply(one, failing)
    assert refused.value.code == 422 and same(one, before)


# -- the strategic merge, as kubectl apply has it


def three_way(original: Any, modified: Any, current: Any, shape: Schema) -> Any:
    """The patch for `current`: what `modified` says otherwise, and without what it no longer says."""
    patch: Any = {}
    for key in original.keys() - modified.keys():
        patch[key] = None
    for key, value in modified.items():
        below, strategies, merge_key = _field(shape, key)
        was, now = original.get(key), current.get(key)
        if isinstance(value, dict):
            if now is None:
                patch[key] = value
            elif made := three_way(was or {}, value, now, below):
                patch[key] = made
        elif isinstance(value, list) and "merge" in strategies and now is not None:
            _lists(patch, key, (was or [], value, now), below.items, merge_key)
        elif value != now:
            patch[key] = value
    return patch


def _lists(patch: Any, key: str, lists: tuple[Any, Any, Any], shape: Schema | None, merge_key: str) -> None:
    original, modified, current = lists
    if not merge_key:
        if gone := [each for each in original if each not in modified]:
            patch[f"$deleteFromPrimitiveList/{key}"] = gone
        if new := [each for each in modified if each not in current]:
            patch[key] = new
        if modified:
            patch[f"$setElementOrder/{key}"] = modified
        return
    assert shape
    was, now = ({each[merge_key]: each for each in side} for side in (original, current))
    changes: list[Any] = []
    for each in modified:
        name = each[merge_key]
        if name not in now:
            changes.append(each)  # whole: directives in what is new would stay there
        elif made := three_way(was.get(name, {}), each, now[name], shape):
            changes.append({merge_key: name, **made})
    kept = {each[merge_key] for each in modified}
    changes += [{merge_key: name, "$patch": "delete"} for name in was if name not in kept]
    if changes:
        patch[key] = changes
        if modified:
            patch[f"$setElementOrder/{key}"] = [{merge_key: each[merge_key]} for each in modified]


def _field(shape: Schema, name: str) -> tuple[Schema, tuple[str, ...], str]:
    if shape.type != "object":
        return shape.items or Schema("any"), (), ""
    found = shape.fields[name]
    return found.schema, found.patch_strategy, found.patch_merge_key


def merged(original: Any, modified: Any, current: Any, shape: Schema) -> Any:
    """What must come of it, field by field: what is said now, else what was never said here."""
    made = {k: v for k, v in current.items() if k not in original and k not in modified}
    for key, value in modified.items():
        below, strategies, merge_key = _field(shape, key)
        was, now = original.get(key), current.get(key)
        if isinstance(value, dict):
            made[key] = merged(was or {}, value, now or {}, below)
        elif isinstance(value, list) and "merge" in strategies:
            if not merge_key:
                made[key] = sorted({*value, *(each for each in now or [] if each not in (was or []))})
                continue
            assert below.items
            sides = [{each[merge_key]: each for each in side or []} for side in (was, value, now)]
            names = [*sides[1], *(name for name in sides[2] if name not in sides[0] and name not in sides[1])]
            made[key] = [
                merged(sides[0].get(n, {}), sides[1][n], sides[2].get(n, {}), below.items)
                if n in sides[1]
                else sides[2][n]
                for n in sorted(names)
            ]
        else:
            made[key] = value
    return made


def settled(tree: Any) -> Any:
    """Merged lists in one order, and nothing that is empty."""
    if isinstance(tree, dict):
        found = {k: sorted(value) if k == "finalizers" else settled(value) for k, value in tree.items()}
        return {k: v for k, v in found.items() if v not in ({}, [])}
    if isinstance(tree, list) and tree and isinstance(tree[0], dict) and "name" in tree[0]:
        return sorted((settled(each) for each in tree), key=lambda each: each["name"])
    return [settled(each) for each in tree] if isinstance(tree, list) else tree


@settings(max_examples=150, deadline=None)
@given(pods, pods, pods)
def test_a_three_way_merge_sets_what_is_said_and_keeps_what_others_said(
    original: Any, modified: Any, current: Any
) -> None:
    patch = three_way(original, modified, current, SHAPE)
    before = copy.deepcopy((current, patch))
    found = strategic.apply(current, patch, SHAPE)
    assert (current, patch) == before
    expected = merged(original, modified, current, SHAPE)
    assert settled(found) == settled(expected)


@settings(max_examples=100, deadline=None)
@given(pods, pods)
def test_applying_what_is_there_changes_nothing(original: Any, modified: Any) -> None:
    made = strategic.apply(original, three_way(original, modified, original, SHAPE), SHAPE)
    assert settled(made) == settled(merged(original, modified, original, SHAPE)) == settled(modified)
    again = three_way(modified, modified, made, SHAPE)
    assert strategic.apply(made, again, SHAPE) == made


@settings(max_examples=100, deadline=None)
@given(pods, pods)
def test_what_a_patch_makes_is_in_the_kinds_normal_form(one: Any, two: Any) -> None:
    """The schema's walker finds nothing unknown in it, and leaves the decoded object as it is."""
    whole = {"apiVersion": "v1", "kind": "Pod", **one}
    for made in (merge.apply(whole, two), strategic.apply(whole, two, SHAPE)):
        warnings: list[str] = []
        obj = codec.decode_object(POD, POD.hub, copy.deepcopy(made), "Strict", warnings)
        unknown: list[str] = []
        assert normalise(SHAPE, copy.deepcopy(obj), unknown) == obj
        assert not unknown
