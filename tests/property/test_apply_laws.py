"""Laws of field sets and of applying, on random sets and random configurations."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from navarch.api.schemas import schema
from navarch.machinery.apply import managers, updater
from navarch.machinery.apply.fieldsets import difference, intersection, paths, union
from navarch.machinery.apply.managers import APPLY, Managed

leaf: st.SearchStrategy[dict[str, Any]] = st.just({})
trees = st.recursive(
    leaf,
    lambda inner: st.dictionaries(st.sampled_from([".", "f:a", "f:b", 'k:{"n":1}', "v:2"]), inner, max_size=3),
    max_leaves=8,
).map(lambda tree: _members(tree, True))


def _members(tree: dict[str, Any], root: bool = False) -> dict[str, Any]:
    """`.` stands for membership only; the root is no member."""
    made = {k: _members(v) for k, v in tree.items() if k != "."}
    return {".": {}, **made} if "." in tree and made and not root else made


def members(fields: dict[str, Any]) -> set[tuple[str, ...]]:
    return set(paths(fields))


@given(trees, trees)
def test_sets_are_sets(a: dict[str, Any], b: dict[str, Any]) -> None:
    assert members(union(a, b)) == members(a) | members(b)
    assert members(difference(a, b)) == members(a) - members(b)
    assert members(intersection(a, b)) == members(a) & members(b)


MAP = "io.k8s.api.core.v1.ConfigMap"
configs = st.dictionaries(st.sampled_from("abcd"), st.sampled_from("123"), max_size=4)
steps = st.lists(st.tuples(st.sampled_from(["one", "two", "three"]), configs), max_size=8)


def at(obj: Any, version: str) -> Any:
    return schema(MAP), obj


def apply(live: Any, managed: Managed, name: str, data: Any) -> tuple[Any, Managed]:
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": data}
    me = managers.identity(name, APPLY, "v1")
    made, managed = updater.applied(live, config, managed, me, "v1", at, {}, "2026-01-01T00:00:00Z", True)
    return made or live, managed


@settings(max_examples=150)
@given(steps)
def test_an_object_holds_what_its_appliers_last_said(history: list[tuple[str, dict[str, str]]]) -> None:
    live: Any = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}}
    managed: Managed = {}
    said: dict[str, dict[str, str]] = {}
    for name, data in history:
        live, managed = apply(live, managed, name, data)
        for other in said.values():
            for key in [k for k, v in other.items() if data.get(k, v) != v]:
                del other[key]  # forced: ownership moved
        said[name] = dict(data)
        wanted = {k: v for claims in said.values() for k, v in claims.items()}
        assert (live.get("data") or {}) == wanted
        again, owners = apply(live, managed, name, data)
        assert again == live and owners == managed
