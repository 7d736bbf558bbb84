"""Expressions of admission policies are checked against the types that they are for."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.hollow import cluster, until

from navarch.controllers.policytypes import POLICIES, Known, declared_type, named_resources, warnings
from navarch.machinery.types import GroupResource, Obj

WIDGET: Obj = {
    "type": "object",
    "x-kubernetes-group-version-kind": [{"group": "example.com", "version": "v1", "kind": "Widget"}],
    "properties": {
        "metadata": {"allOf": [{"$ref": "#/components/schemas/Meta"}]},
        "spec": {
            "type": "object",
            "properties": {
                "size": {"type": "integer"},
                "amount": {"oneOf": [{"type": "string"}, {"type": "number"}]},
                "port": {"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]},
                "inner": {"$ref": "#/components/schemas/Tree"},
                "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            },
        },
    },
}
META: Obj = {"type": "object", "properties": {"name": {"type": "string"}, "generation": {"type": "integer"}}}
TREE: Obj = {
    "type": "object",
    "properties": {
        "leaf": {"type": "boolean"},
        "branches": {"type": "array", "items": {"$ref": "#/components/schemas/Tree"}},
    },
}
SCHEMAS = {"Widget": WIDGET, "Meta": META, "Tree": TREE}


def wrong(expression: str, **spec: Any) -> list[str]:
    known = declared_type(SCHEMAS, "example.com", "v1", "Widget")
    assert known is not None
    title = "example.com/v1, Kind=Widget"
    found = warnings({"validations": [{"expression": expression}], **spec}, [Known(title, known)], None)
    for one in found:
        assert one["fieldRef"] == "spec.validations[0].expression"
        assert one["warning"].startswith(f"{title}: compilation failed: ERROR: <input>:1:")
    return [one["warning"] for one in found]


@pytest.mark.parametrize(
    "expression",
    [
        "object.spec.size > 1",
        "object.metadata.generation == oldObject.metadata.generation",
        "object.spec.inner.branches[0].leaf",
        "object.spec.inner.branches[0].branches[0].whatever == 'x'",
        "object.spec.port == 'http' || object.spec.port == 80 || object.spec.amount == 1",
        "'a' in object.spec.labels && request.operation == 'CREATE'",
        "has(object.spec.size)",
    ],
)
def test_what_suits_the_type_is_not_doubted(expression: str) -> None:
    assert wrong(expression) == []


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("object.spec.size > '1'", "found no matching overload for '_>_' applied to '(int, string)'"),
        ("object.spec.colour == 'red'", "undefined field 'colour'"),
        ("object.spec.labels['a'] > 1", "found no matching overload for '_>_' applied to '(string, int)'"),
        ("variables.big > '1'", "found no matching overload for '_>_' applied to '(int, string)'"),
    ],
)
def test_what_does_not_suit_the_type_is_told(expression: str, message: str) -> None:
    (told,) = wrong(expression, variables=[{"name": "big", "expression": "object.spec.size * 2"}])
    assert message in told


def test_rules_with_wildcards_name_no_type() -> None:
    def rule(groups: list[str], versions: list[str], resources: list[str]) -> Obj:
        return {"apiGroups": groups, "apiVersions": versions, "resources": resources}

    rules = [
        rule(["apps"], ["v1"], ["deployments", "deployments/scale", "*"]),
        rule(["*"], ["v1"], ["pods"]),
        rule([""], ["*"], ["pods"]),
        rule(["b", "a"], ["v2", "v1"], ["x"]),
    ]
    found = list(named_resources({"matchConstraints": {"resourceRules": rules}}))
    pairs = [(group, version, "x") for group in "ab" for version in ("v1", "v2")]
    assert found == [("apps", "v1", "deployments"), *pairs]


def policy(name: str, expression: str, message: str = "") -> Obj:
    rule = {"apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments"], "operations": ["*"]}
    validation = {"expression": expression, **({"messageExpression": message} if message else {})}
    spec = {"matchConstraints": {"resourceRules": [rule]}, "validations": [validation]}
    return {"metadata": {"name": name}, "spec": spec}


async def test_policies_for_deployments_are_checked() -> None:
    async with cluster(1) as (server, _):
        resource = GroupResource(POLICIES.group, POLICIES.plural)

        def checking(name: str) -> Obj | None:
            return ((server.lookup(resource, "", name) or {}).get("status") or {}).get("typeChecking")

        await server.system.create(POLICIES, policy("right", "object.spec.replicas > 1"))
        confused = policy("wrong", "object.spec.replicas > '1'", "'wants 1, got ' + object.spec.replicas")
        await server.system.create(POLICIES, confused)
        await until("both are checked", lambda: None not in (checking("right"), checking("wrong")))
        assert not (checking("right") or {}).get("expressionWarnings")
        first, second = (checking("wrong") or {})["expressionWarnings"]
        assert first["fieldRef"] == "spec.validations[0].expression"
        assert "apps/v1, Kind=Deployment: compilation failed: ERROR: <input>:1:22" in first["warning"]
        assert second["fieldRef"] == "spec.validations[0].messageExpression"
        assert "found no matching overload for '_+_' applied to '(string, int)'" in second["warning"]
