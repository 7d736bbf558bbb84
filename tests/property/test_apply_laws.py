"""Laws of field sets and of applying, on random sets and random configurations."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from navarch.api.schemas import schema
from navarch.machinery.apply import fieldset, managers, typed, updater
from navarch.machinery.apply.fieldset import FieldSet, canonical, difference, intersection, paths, union
from navarch.machinery.apply.managers import APPLY, UPDATE, Managed
from navarch.machinery.schema import Schema

ELEMENTS = ["f:a", "f:b", 'k:{"n":1}', 'k:{"n":10}', 'k:{"n":2}', "v:2", 'v:"x"']
paths_of_sets = st.sets(st.lists(st.sampled_from(ELEMENTS), min_size=1, max_size=4).map(tuple), max_size=8)


@given(paths_of_sets, paths_of_sets)
def test_sets_are_sets(a: set[tuple[str, ...]], b: set[tuple[str, ...]]) -> None:
    one, two = fieldset.of_paths(*a), fieldset.of_paths(*b)
    assert set(paths(union(one, two))) == a | b
    assert set(paths(difference(one, two))) == a - b
    assert set(paths(intersection(one, two))) == a & b
    below = {path for path in a if any(path[: len(root)] == root for root in b)}
    assert set(paths(difference(one, two, recursive=True))) == a - below
    assert all(fieldset.has(one, path) == (path in a) for path in a | b)


@given(paths_of_sets, paths_of_sets)
def test_equal_sets_have_equal_texts(a: set[tuple[str, ...]], b: set[tuple[str, ...]]) -> None:
    """Whatever way a set came about, and whatever a client made of its order."""
    one, two = fieldset.of_paths(*sorted(a | b)), union(fieldset.of_paths(*a), fieldset.of_paths(*b))
    assert orjson.dumps(one) == orjson.dumps(two)
    mixed = orjson.loads(orjson.dumps(two, option=orjson.OPT_SORT_KEYS).replace(b'\\"n\\":', b' \\"n\\" : '))
    assert orjson.dumps(canonical(mixed)) == orjson.dumps(one)


POD = "io.k8s.api.core.v1.PodSpec"
names = st.sampled_from(["a", "b", "c"])
texts = st.sampled_from(["1", "2", "3"])
env = st.dictionaries(names, texts, max_size=3).map(lambda found: [{"name": k, "value": v} for k, v in found.items()])
ports = st.sets(st.sampled_from([(80, "TCP"), (80, "UDP"), (443, "TCP")])).map(
    lambda found: [{"containerPort": port, "protocol": protocol} for port, protocol in sorted(found)]
)
fields_of_container = {"image": texts, "args": st.lists(texts, max_size=2), "env": env, "ports": ports}
containers = st.dictionaries(names, st.fixed_dictionaries({}, optional=fields_of_container), max_size=3).map(
    lambda found: [{"name": name, **rest} for name, rest in found.items()]
)
optional: dict[str, st.SearchStrategy[Any]] = {
    "nodeSelector": st.dictionaries(names, texts, max_size=2),
    "hostname": texts,
    "containers": containers,
    "securityContext": st.fixed_dictionaries({}, optional={"runAsUser": st.integers(0, 2)}),
    "tolerations": st.lists(st.fixed_dictionaries({"key": names}), max_size=2),
}
specs = st.fixed_dictionaries({}, optional=optional)


class One:
    """A kind of one version, whose objects have a pod's spec."""

    shape = Schema("object", fields=dict(schema("io.k8s.api.core.v1.Pod").fields))

    def schema(self, version: str) -> Schema | None:
        return self.shape if version == "v1" else None

    def convert(self, tree: Any, version: str) -> Any:
        return tree


ONE = One()
NOTHING: Any = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}}


def config(spec: Any) -> Any:
    return {**NOTHING, "spec": spec}


def apply(live: Any, managed: Managed, name: str, spec: Any, force: bool = True) -> tuple[Any, Managed]:
    by = managers.manager(name, APPLY, "v1", "")
    made = updater.apply(ONE, live, config(spec), managed, by, {}, force, "2026-01-01T00:00:00Z")
    return made.tree, made.managed


def fields(spec: Any) -> FieldSet:
    return typed.field_set(ONE.shape, {"spec": spec})


@settings(max_examples=60, deadline=None)
@given(specs, specs)
def test_what_is_applied_is_so_and_owned(before: Any, spec: Any) -> None:
    live, managed = apply(NOTHING, {}, "other", before)
    live, managed = apply(live, managed, "me", spec)
    mine = managed.get(managers.manager("me", APPLY, "v1", ""))
    assert (mine.fields if mine else {}) == fields(spec)
    merged = typed.merge(ONE.shape, live, config(spec))
    assert typed.compare(ONE.shape, live, merged) == typed.NO_CHANGE


@settings(max_examples=60, deadline=None)
@given(specs, specs)
def test_applying_again_changes_nothing(before: Any, spec: Any) -> None:
    live, managed = apply(*apply(NOTHING, {}, "other", before), "me", spec)
    again, owners = apply(live, managed, "me", spec, force=False)
    assert (again, owners) == (live, managed)


@settings(max_examples=60, deadline=None)
@given(specs, specs)
def test_what_its_only_owner_leaves_out_is_gone(before: Any, spec: Any) -> None:
    live, managed = apply(*apply(NOTHING, {}, "me", before), "me", spec)
    fresh, _ = apply(NOTHING, {}, "me", spec)
    assert _bare(live.get("spec", {})) == _bare(fresh.get("spec", {}))
    assert set(managed) <= {managers.manager("me", APPLY, "v1", "")}


def _bare(tree: Any) -> Any:
    """Without empty containers, which Go would not encode, and with lists by keys in one order."""
    if isinstance(tree, dict):
        kept = {k: _bare(v) for k, v in tree.items()}
        return {k: v for k, v in kept.items() if v not in ({}, [])}
    if isinstance(tree, list):
        return sorted(map(_bare, tree), key=repr)
    return tree


@settings(max_examples=60, deadline=None)
@given(specs, specs)
def test_appliers_of_disjoint_fields_never_conflict(one: Any, two: Any) -> None:
    live, managed = apply(NOTHING, {}, "one", one)
    overlap = intersection(fields(one), fields(two))
    if not overlap:
        live, managed = apply(live, managed, "two", two, force=False)
        assert typed.compare(ONE.shape, live, typed.merge(ONE.shape, live, config(one))) == typed.NO_CHANGE
        return
    try:
        apply(live, managed, "two", two, force=False)
    except updater.Conflicts as conflicts:
        assert all(fieldset.has(overlap, item.path) for item in conflicts.items)


@settings(max_examples=60, deadline=None)
@given(specs)
def test_what_two_apply_alike_stays_until_both_leave_it(spec: Any) -> None:
    assume(fields(spec))  # who applies nothing anew is forgotten
    live, managed = apply(*apply(NOTHING, {}, "one", spec), "two", spec, force=False)
    assert {key.name: owned.fields for key, owned in managed.items()} == (
        {"one": fields(spec), "two": fields(spec)} if fields(spec) else {}
    )
    left, managed = apply(live, managed, "one", {})
    assert _bare(left.get("spec", {})) == _bare(live.get("spec", {}))
    assert {key.name: owned.fields for key, owned in managed.items()} == {"one": fields({}), "two": fields(spec)}
    gone, managed = apply(left, managed, "two", {})
    assert not _bare(gone.get("spec", {}))
    assert all(owned.fields == fields({}) for owned in managed.values())


@settings(max_examples=60, deadline=None)
@given(specs, specs)
def test_force_takes_what_conflicts_and_nothing_else(before: Any, spec: Any) -> None:
    live, managed = apply(NOTHING, {}, "one", before)
    try:
        apply(live, managed, "two", spec, force=False)
        taken: list[Any] = []
    except updater.Conflicts as conflicts:
        taken = [item.path for item in conflicts.items]
    _, after = apply(live, managed, "two", spec)
    owned = {key.name: owned.fields for key, owned in after.items()}
    assert owned.get("two", {}) == fields(spec)
    for path in paths(fields(before)):
        lost = any(tuple(path[: len(each)]) == tuple(each) for each in taken)
        assert fieldset.has(owned.get("one", {}), path) is not lost


@settings(max_examples=60, deadline=None)
@given(specs, specs, specs)
def test_an_update_owns_what_it_changed_and_nobody_else_does(before: Any, spec: Any, later: Any) -> None:
    live, managed = apply(NOTHING, {}, "me", before)
    new = typed.merge(ONE.shape, live, config(spec))
    by = managers.manager("kubectl", UPDATE, "v1", "")
    after = updater.update(managed, by, "v1", updater.changes(ONE, live, new, {}), "2026-01-01T00:00:00Z")
    written = typed.compare(ONE.shape, live, new).written
    assert (after[by].fields if by in after else {}) == written
    for key, owned in after.items():
        assert key == by or not intersection(owned.fields, written)
    # everything that was ever set has an owner, and applies go on from there
    apply(new, after, "me", later)


@settings(max_examples=80, deadline=None)
@given(specs, specs, specs)
def test_removal_is_the_same_by_the_short_way_and_by_the_long(one: Any, two: Any, last: Any) -> None:
    live, managed = apply(NOTHING, {}, "one", one)
    live, managed = apply(live, managed, "me", last)
    merged = typed.merge(ONE.shape, live, config(two))
    by = managers.manager("me", APPLY, "v1", "")
    if by not in managed:
        return
    was = managed[by]
    owned = {**managed, by: was._replace(fields=fields(two))}
    short = updater.pruned(ONE.shape, merged, [each.fields for each in owned.values()], was.fields)
    long = updater.pruned_between_versions(ONE, merged, owned, was)
    assert _bare(short) == _bare(long)
