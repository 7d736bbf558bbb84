"""Kinds by table (kinds.yaml): what is good, what is bad and why, how it prints, and its protobuf form."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from navarch.api import scheme, wire
from navarch.api.kind import Kind
from navarch.apiserver import codec
from navarch.machinery.errors import FieldErrors
from navarch.machinery.types import GroupKind

UID = "6f0c2b8a-0000-4000-8000-000000000000"
CASES: list[dict[str, Any]] = yaml.safe_load((Path(__file__).parent / "kinds.yaml").read_text())


def kind_of(case: dict[str, Any]) -> Kind:
    group, _, name = case["kind"].rpartition("/")
    return scheme.by_kind()[GroupKind(group, name)][0]


def decoded(kind: Kind, tree: dict[str, Any]) -> dict[str, Any]:
    """The object as the registry has it before validation."""
    whole = {"apiVersion": str(kind.hub.gv), "kind": kind.kind, **copy.deepcopy(tree)}
    warned: list[str] = []
    obj = codec.decode_object(kind, kind.hub, whole, "Strict", warned)
    obj["metadata"] = {"uid": UID, "creationTimestamp": "2026-01-01T00:00:00Z", **obj["metadata"]}
    status = obj.get("status")
    kind.prepare_create(obj)
    if kind.has_subresource("status") and status is not None:
        obj["status"] = status
    kind.normalise(obj)
    assert not warned
    return obj


def judged(kind: Kind, tree: dict[str, Any]) -> list[str]:
    errs = FieldErrors()
    obj = decoded(kind, tree)
    kind.validate(obj, errs)
    kind.hub.validate_create(obj, errs)
    return [f"{error.field} {error.reason}" for error in errs.items]


def changed(tree: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    made = copy.deepcopy(tree)
    steps: list[str | int] = [int(s) if s.isdecimal() else s for s in re.findall(r"[^.\[\]]+", path)]
    at: Any = made
    for step in steps[:-1]:
        at = at[step]
    last = steps[-1]
    if isinstance(last, int) and last == len(at):
        at.append(value)
    else:
        at[last] = value
    return made


def refused(kind: Kind, tree: dict[str, Any], path: str, value: Any, status: bool) -> list[str]:
    """What is wrong with a change of a stored object (`status`: of its status)."""
    errs, old = FieldErrors(), decoded(kind, tree)
    new = codec.decode_object(kind, kind.hub, changed(old, path, value), "Strict", [])
    if status:
        kind.validate_status_update(new, old, errs)
    else:
        kind.prepare_update(new, old)
        kind.validate(new, errs)
        kind.validate_update(new, old, errs)
        kind.hub.validate_update(new, old, errs)
    return [f"{error.field} {error.reason}" for error in errs.items]


UPDATES = [
    pytest.param(case, path, value, expected, path.startswith("status"), id=f"{case['kind']}:{path}:{index}")
    for case in CASES
    for index, (path, value, expected) in enumerate(case.get("updates", ()))
]
BAD = [
    pytest.param(case, path, value, expected, id=f"{case['kind']}:{path}:{index}")
    for case in CASES
    for index, (path, value, expected) in enumerate(case["bad"])
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["kind"])
def test_a_good_object_is_taken(case: dict[str, Any]) -> None:
    assert judged(kind_of(case), case["good"]) == []


@pytest.mark.parametrize(("case", "path", "value", "expected"), BAD)
def test_a_bad_one_is_refused_for_the_right_field(case: dict[str, Any], path: str, value: Any, expected: str) -> None:
    assert ", ".join(judged(kind_of(case), changed(case["good"], path, value))) == expected


@pytest.mark.parametrize(("case", "path", "value", "expected", "status"), UPDATES)
def test_a_bad_change_is_refused(case: dict[str, Any], path: str, value: Any, expected: str, status: bool) -> None:
    assert ", ".join(refused(kind_of(case), case["good"], path, value, status)) == expected


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["kind"])
def test_it_prints_as_upstream_prints_it(case: dict[str, Any]) -> None:
    kind = kind_of(case)
    assert kind.row is not None
    cells, tail = kind.row(decoded(kind, case["good"]), 0.0), case.get("tail", [])
    assert cells[: len(case["row"])] == case["row"]
    assert cells[len(cells) - len(tail) :] == tail
    assert len(case["row"]) + len(tail) in (len(cells), len(cells) - 1)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["kind"])
def test_protobuf_loses_nothing(case: dict[str, Any]) -> None:
    kind = kind_of(case)
    obj = decoded(kind, case["good"])
    for version in kind.versions:
        shown = codec.from_hub(kind, version, obj)
        tree = wire.decode(version.definition, wire.encode(version.definition, shown))
        whole = {"apiVersion": shown["apiVersion"], "kind": kind.kind, **tree}
        assert codec.from_hub(kind, version, codec.decode_object(kind, version, whole, "Ignore", [])) == shown
