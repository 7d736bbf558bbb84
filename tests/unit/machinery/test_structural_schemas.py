"""Structural schemas by table: what is pruned, set and refused, and what rules say."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from navarch.machinery.errors import FieldErrors
from navarch.machinery.structural.formats import FORMATS
from navarch.machinery.structural.nodes import Node
from navarch.machinery.structural.paths import PathError, field_path, find, json_path
from navarch.machinery.structural.rules import BUDGET, compile_rules, run_rules
from navarch.machinery.structural.values import NOTHING, validate
from navarch.machinery.structural.walks import default, prune

Obj = dict[str, Any]
TEXT: Obj = {"type": "string"}


def obj(**properties: Obj) -> Obj:
    return {"type": "object", "properties": properties}


@pytest.mark.parametrize(
    "schema, value, left, unknown",
    [
        (obj(a=TEXT), {"a": "x", "b": 1}, {"a": "x"}, ["b"]),
        (obj(a=obj(b=TEXT)), {"a": {"b": "x", "c": {"d": 1}}}, {"a": {"b": "x"}}, ["a.c"]),
        (obj(a={"type": "array", "items": obj(b=TEXT)}), {"a": [{"c": 1}, {"b": "x"}]}, {"a": [{}, {"b": "x"}]}, ["a[0].c"]),
        ({"type": "object", "additionalProperties": obj(b=TEXT)}, {"k": {"b": "x", "c": 1}}, {"k": {"b": "x"}}, ["k.c"]),
        (
            {**obj(a=obj(b=TEXT)), "x-kubernetes-preserve-unknown-fields": True},
            {"a": {"b": "x", "c": 1}, "d": {"e": None}},
            {"a": {"b": "x"}, "d": {"e": None}},
            ["a.c"],
        ),
        (obj(a=TEXT, b={**TEXT, "nullable": True}), {"a": None, "b": None}, {"b": None}, []),
    ],
)  # fmt: skip
def test_pruning(schema: Obj, value: Obj, left: Obj, unknown: list[str]) -> None:
    found: list[str] = []
    prune(value, Node(schema), found)
    assert (value, found) == (left, unknown)


@pytest.mark.parametrize(
    "schema, value, made",
    [
        (obj(a={**TEXT, "default": "x"}), {}, {"a": "x"}),
        (obj(a={**TEXT, "default": "x"}), {"a": None}, {"a": "x"}),
        (obj(a={**TEXT, "default": "x", "nullable": True}), {"a": None}, {"a": None}),
        (obj(a={**obj(b={**TEXT, "default": "y"}), "default": {}}), {}, {"a": {"b": "y"}}),
        (obj(a=obj(b={**TEXT, "default": "y"})), {}, {}),
        (
            obj(a={"type": "array", "items": obj(b={**TEXT, "default": "y"})}),
            {"a": [{}, {"b": "z"}]},
            {"a": [{"b": "y"}, {"b": "z"}]},
        ),
    ],
)
def test_defaults(schema: Obj, value: Obj, made: Obj) -> None:
    default(value, Node(schema))
    assert value == made


def test_defaults_are_copied() -> None:
    node = Node(obj(a={"type": "object", "default": {"b": [1]}}))
    first: Obj = {}
    second: Obj = {}
    default(first, node)
    first["a"]["b"].append(2)
    default(second, node)
    assert second == {"a": {"b": [1]}}


def judged(schema: Obj, value: Any, old: Any = NOTHING) -> list[str]:
    errs = FieldErrors()
    validate(value, Node(schema), errs, old=old)
    return [f"{e.field} {e.reason}" for e in errs.items]


@pytest.mark.parametrize(
    "schema, value, found",
    [
        ({"type": "integer"}, 2.0, []),
        ({"type": "integer"}, True, ["a FieldValueTypeInvalid"]),
        ({"type": "integer"}, 1e20, ["a FieldValueTypeInvalid", "<nil> FieldValueInvalid"]),
        ({"type": "number"}, 3, []),
        ({"type": "string", "format": "date-time"}, "2020-01-01 00:00:00Z", ["a FieldValueTypeInvalid"]),
        ({"type": "string", "format": "date-time"}, "2020-01-01t00:00:00.5+05:30", []),
        ({"type": "string", "format": "byte"}, "", ["a FieldValueTypeInvalid"]),
        ({"type": "string", "maxLength": 2}, "äöü", ["a FieldValueTooLong"]),
        ({"type": "string", "pattern": "b+"}, "abbc", []),
        ({"type": "string", "pattern": "^(a+)+$"}, "a" * 40 + "!", ["a FieldValueInvalid"]),
        ({"type": "array", "items": TEXT, "maxItems": 1}, ["a", "b"], ["a FieldValueTooMany"]),
        ({"x-kubernetes-int-or-string": True}, "5%", []),
        ({"x-kubernetes-int-or-string": True}, 1.5, ["a FieldValueTypeInvalid"]),
        ({"type": "number", "multipleOf": 0.1}, 0.3, []),
        ({"type": "string", "format": "ipv4"}, "::1", ["a FieldValueTypeInvalid"]),
        ({"enum": ["a", 1, True], "x-kubernetes-preserve-unknown-fields": True}, True, []),
        ({"enum": [1], "x-kubernetes-preserve-unknown-fields": True}, True, ["a FieldValueNotSupported"]),
        ({"type": "object", "required": ["x"]}, {}, ["a.x FieldValueRequired"]),
        ({**TEXT, "nullable": True}, None, []),
        (TEXT, None, ["a FieldValueTypeInvalid"]),
    ],
)
def test_values(schema: Obj, value: Any, found: list[str]) -> None:
    assert judged(obj(a=schema), {"a": value}) == found


@pytest.mark.parametrize(
    "schema, value, said",
    [
        ({**TEXT, "format": "cidr"}, 1.5, 'Invalid value: "float64": a in body must be of type cidr: "float64"'),
        ({**TEXT, "format": "date-time"}, 4, 'Invalid value: "int64": a in body must be of type date-time: "int64"'),
        ({**TEXT, "format": "date"}, {}, 'Invalid value: "": a in body must be of type date: ""'),
        ({"type": "number", "maximum": 5}, 1e10, "Invalid value: 1e+10: a in body should be less than or equal to 5"),
        ({"type": "number", "multipleOf": 2}, 3.0, "Invalid value: 3: a in body should be a multiple of 2"),
        ({"type": "integer", "minimum": 2.5}, 3, 'Invalid value: "": Minimum boundary value must be of type integer (default format) in a'),
        ({"type": "object", "additionalProperties": False}, {"q": 1}, 'Invalid value: "q": a.q in body is a forbidden property'),
        ({**TEXT, "format": "hostname"}, "a.b", 'Invalid value: "a.b": a in body must be of type hostname: "a.b"'),
    ],
)  # fmt: skip
def test_what_is_said_of_values_is_upstreams(schema: Obj, value: Any, said: str) -> None:
    errs = FieldErrors()
    validate({"a": value}, Node(obj(a=schema)), errs)
    assert [e.body for e in errs.items] == [said]


# a real API server takes those on the left and refuses those on the right
@pytest.mark.parametrize(
    "schema, cheap, dear",
    [
        (obj(a={"type": "integer"}), "self == oldSelf", ""),
        (TEXT, "type(self) == string", "'x' + string(self) == 'a'"),
        (TEXT, "['a', 'b'].exists(x, self.startsWith(x))", "self.split(',').map(x, x + 'a').join(',') == self"),
        ({"type": "array", "items": {"type": "boolean"}}, "lists.range(4).all(i, i < self.size())", "self.all(x, self.all(y, x == y))"),
        ({"type": "array", "maxItems": 9, "items": {"x-kubernetes-int-or-string": True}}, "self[0] < self[1]", "self.min() < self.max()"),
    ],
)  # fmt: skip
def test_rules_are_estimated_as_upstream_does(schema: Obj, cheap: str, dear: str) -> None:
    for text, within in ((cheap, True), (dear, False)):
        compiled = compile_rules(Node(with_rules(schema, text or "true")))
        assert compiled is not None and compiled.own[0].program is not None
        assert (compiled.own[0].program.estimate <= 10_000_000) is (within or not text)


def test_literals_are_of_one_type_but_where_they_are_formatted() -> None:
    for text, error in (("'%s-%d'.format([self, 3]) == 'a'", ""), ("[self, 3].size() > 1", "expected type 'string'")):
        compiled = compile_rules(Node(with_rules(TEXT, text)))
        assert compiled is not None
        assert error in compiled.own[0].error and bool(compiled.own[0].error) is bool(error)


def test_what_was_wrong_before_may_stay() -> None:
    schema = obj(a={**TEXT, "maxLength": 1}, b={**TEXT, "maxLength": 1})
    old = {"a": "xx", "b": "y"}
    assert judged(schema, {"a": "xx", "b": "z"}, old) == []
    assert judged(schema, {"a": "xxx", "b": "y"}, old) == ["a FieldValueTooLong"]
    keyed = {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"]}
    many = obj(l={**keyed, "items": obj(k=TEXT, v={**TEXT, "maxLength": 1})})
    before = {"l": [{"k": "1", "v": "xx"}]}
    assert judged(many, {"l": [{"k": "0", "v": "y"}, {"k": "1", "v": "xx"}]}, before) == []


def ruled(schema: Obj, value: Any, old: Any = NOTHING, budget: int = BUDGET) -> tuple[list[str], list[str]]:
    errs, warnings = FieldErrors(), list[str]()
    compiled = compile_rules(Node(schema))
    assert compiled is not None
    run_rules(compiled, value, old, errs, warnings, budget)
    return [str(e) for e in errs.items], warnings


def with_rules(schema: Obj, *rules: Obj | str) -> Obj:
    told = [rule if isinstance(rule, dict) else {"rule": rule} for rule in rules]
    return {**schema, "x-kubernetes-validations": told}


COUNT = obj(x={"type": "integer"})


@pytest.mark.parametrize(
    "rule, value, said",
    [
        ({"rule": "self.x > 1", "message": "too few"}, {"x": 1}, "<nil>: Invalid value: too few"),
        ({"rule": "self.x > 1", "fieldPath": ".x"}, {"x": 1}, "x: Invalid value: failed rule: self.x > 1"),
        ({"rule": "self.x > 1", "reason": "FieldValueForbidden"}, {"x": 1}, "<nil>: Forbidden: failed rule: self.x > 1"),
        ({"rule": "self.x > 1", "messageExpression": "'no ' + string(self.x)"}, {"x": 1}, "<nil>: Invalid value: no 1"),
        ({"rule": "self.x > 1", "messageExpression": "'a\\nb'"}, {"x": 1}, "<nil>: Invalid value: failed rule: self.x > 1"),
        ({"rule": "1 / self.x > 0"}, {"x": 0}, '<nil>: Invalid value: "object": division by zero evaluating rule: 1 / self.x > 0'),
    ],
)  # fmt: skip
def test_failed_rules(rule: Obj, value: Obj, said: str) -> None:
    assert ruled(with_rules(COUNT, rule), value) == ([said], [])


def test_transition_rules_need_an_old_value() -> None:
    schema = with_rules(COUNT, "self.x >= oldSelf.x")
    assert ruled(schema, {"x": 1}) == ([], [])
    assert ruled(schema, {"x": 1}, {"x": 2})[0]
    optional = with_rules(COUNT, {"rule": "oldSelf.hasValue() || self.x == 0", "optionalOldSelf": True})
    assert ruled(optional, {"x": 1})[0] and not ruled(optional, {"x": 1}, {"x": 5})[0]


def test_rules_on_what_has_not_changed_only_warn() -> None:
    schema = with_rules(COUNT, "self.x > 1")
    errs, warnings = ruled(schema, {"x": 1}, {"x": 1})
    assert not errs and warnings == ["<nil>: Invalid value: failed rule: self.x > 1"]
    assert ruled(schema, {"x": 0}, {"x": 1})[0]


def test_sets_and_maps_are_compared_as_such() -> None:
    sets = obj(s=with_rules({"type": "array", "x-kubernetes-list-type": "set", "items": TEXT}, "self == oldSelf"))
    assert ruled(sets, {"s": ["a", "b"]}, {"s": ["b", "a"]}) == ([], [])
    assert ruled(sets, {"s": ["a", "b"]}, {"s": ["b", "c"]})[0]
    keyed = {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"]}
    maps = obj(m=with_rules({**keyed, "items": obj(k=TEXT)}, "(self + [self[0]]).size() == 2"))
    assert ruled(maps, {"m": [{"k": "a"}, {"k": "b"}]}) == ([], [])


def test_rules_stop_when_they_cost_too_much() -> None:
    schema = with_rules({"type": "array", "items": {"type": "integer"}}, "self.all(x, self.all(y, x + y >= 0))", "true")
    errs, _ = ruled(schema, list(range(2000)))
    assert len(errs) == 1 and "cost exceeds limit" in errs[0]
    errs, _ = ruled(with_rules(COUNT, "self.x > 0", "self.x > 0"), {"x": 1}, budget=4)
    assert errs == ['<nil>: Invalid value: "object": validation failed due to running out of cost budget, no further validation rules will be run']  # fmt: skip


@pytest.mark.parametrize(
    "path, found",
    [
        (".a.b", [1]),
        (".a['b']", [1]),
        (".l[1].n", ["y"]),
        (".l[-1].n", ["z"]),
        (".l[*].n", ["x", "y", "z"]),
        (".l[0:2].n", ["x", "y"]),
        ('.l[?(@.n=="y")].v', [2]),
        (".l[?(@.v>1)].n", ["y", "z"]),
        (".nothing", []),
        (".metadata.annotations.a\\.b/c", ["d"]),
    ],
)
def test_json_paths(path: str, found: list[Any]) -> None:
    tree = {
        "a": {"b": 1},
        "l": [{"n": "x", "v": 1}, {"n": "y", "v": 2}, {"n": "z", "v": 3}],
        "metadata": {"annotations": {"a.b/c": "d"}},
    }
    steps = json_path(path)
    assert steps is not None and find(steps, copy.deepcopy(tree)) == found


@pytest.mark.parametrize(
    "path, why",
    [
        ("a", "expected [ or . but got: a"),
        (".", "unexpected end of JSON path"),
        (".q", "does not refer to a valid field"),
        (".m[a]", "expected single quoted string but got a"),
        (".m['a'", "unexpected end of JSON path"),
        (".m['\\q']", "invalid string literal: invalid escape char \\q"),
    ],
)
def test_bad_field_paths(path: str, why: str) -> None:
    with pytest.raises(PathError) as caught:
        field_path(path, Node(obj(m={"type": "object", "additionalProperties": TEXT})))
    assert str(caught.value) == why


@pytest.mark.parametrize(
    "name, good, bad",
    [
        ("date", "2026-02-28", "2026-02-30"),
        ("datetime", "2026-02-28T10:00:00.5+01:00", "2026-02-28"),
        ("duration", "1h30m", "1x"),
        ("uuid", "123E4567-e89b-12d3-a456-426614174000", "123"),
        ("uuid4", "123e4567-e89b-42d3-a456-426614174000", "123e4567-e89b-12d3-a456-426614174000"),
        ("cidr", "10.0.0.0/8", "10.0.0.0"),
        ("byte", "aGk=", "a"),
        ("hostname", "a-b.example.com", "-a"),
        ("uri", "https://example.com/x", "example com"),
        ("email", "a@b.c", "a.b"),
        ("mac", "01:23:45:67:89:ab", "01:23"),
        ("isbn10", "0321751043", "0321751044"),
        ("creditcard", "4111-1111-1111-1111", "4111-1111-1111-1112"),
        ("hexcolor", "#ff00aa", "#ff00a"),
    ],
)
def test_formats(name: str, good: str, bad: str) -> None:
    assert FORMATS[name](good) and not FORMATS[name](bad)
