"""The garbage collector's state machine: what each change of an object makes it look at."""

from __future__ import annotations

from typing import Any

from navarch.client.interface import Resource
from navarch.controllers.gc.graph import Graph

THINGS = Resource("x", "v1", "things")


def thing(name: str, *owners: str, **meta: Any) -> dict[str, Any]:
    references = [
        {"uid": o, "name": o, "kind": "Thing", "apiVersion": "x/v1", "blockOwnerDeletion": True} for o in owners
    ]
    return {"metadata": {"name": name, "namespace": "n", "uid": name, "ownerReferences": references, **meta}}


def work(graph: Graph, old: Any, new: Any) -> list[tuple[str, str]]:
    return [(w.what, w.item.uid) for w in graph.step(THINGS, old, new)]


def test_dependents_are_checked_when_their_owner_goes() -> None:
    graph = Graph()
    assert work(graph, None, thing("owner")) == []
    assert work(graph, None, thing("child", "owner")) == []
    assert work(graph, thing("owner"), None) == [("check", "child")]
    assert graph.is_absent("owner")


def test_a_child_of_an_unknown_owner_is_checked() -> None:
    assert work(Graph(), None, thing("child", "nobody")) == [("check", "child")]


def test_foreground_deletion_waits_for_the_dependents() -> None:
    graph = Graph()
    owner, child = thing("owner"), thing("child", "owner")
    dying = thing("owner", deletionTimestamp="now", finalizers=["foregroundDeletion"])
    work(graph, None, owner)
    work(graph, None, child)
    assert work(graph, owner, dying) == [("check", "child"), ("check", "owner")]
    assert work(graph, child, None) == [("check", "owner")]
    assert graph.dependents("owner") == []


def test_orphaning_is_asked_for_once() -> None:
    graph = Graph()
    dying = thing("owner", deletionTimestamp="now", finalizers=["orphan"])
    assert work(graph, thing("owner"), dying) == [("orphan", "owner")]
    assert work(graph, dying, {**dying, "spec": {}}) == []


def test_a_changed_owner_reference_moves_the_dependent() -> None:
    graph = Graph()
    for name in ("a", "b"):
        work(graph, None, thing(name))
    work(graph, None, thing("child", "a"))
    assert work(graph, thing("child", "a"), thing("child", "b")) == []
    assert work(graph, thing("a"), None) == []
    assert work(graph, thing("b"), None) == [("check", "child")]


def test_a_name_that_is_used_again_is_another_object() -> None:
    graph = Graph()
    work(graph, None, thing("owner"))
    work(graph, None, thing("child", "owner"))
    again = {"metadata": {"name": "owner", "namespace": "n", "uid": "owner-2"}}
    assert work(graph, thing("owner"), again) == [("check", "child")]
