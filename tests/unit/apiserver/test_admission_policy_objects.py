"""Admission policies as objects: their expressions are judged when they are written, and so is who writes them."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.apiserver import api_server

from navarch.apiserver.inprocess import InProcessClient
from navarch.apiserver.request import User
from navarch.client.interface import Resource
from navarch.machinery.errors import StatusError

GROUP, RBAC = "admissionregistration.k8s.io", "rbac.authorization.k8s.io"
POLICIES = Resource(GROUP, "v1", "validatingadmissionpolicies", namespaced=False)
MUTATING = Resource(GROUP, "v1", "mutatingadmissionpolicies", namespaced=False)
BINDINGS = Resource(GROUP, "v1", "validatingadmissionpolicybindings", namespaced=False)
ROLES = Resource(RBAC, "v1", "clusterroles", namespaced=False)
ROLE_BINDINGS = Resource(RBAC, "v1", "clusterrolebindings", namespaced=False)
RULE = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}


def policy(name: str = "p", **spec: Any) -> dict[str, Any]:
    whole = {"matchConstraints": {"resourceRules": [RULE]}, "validations": [{"expression": "true"}], **spec}
    return {"metadata": {"name": name}, "spec": whole}


@pytest.mark.parametrize(
    ("spec", "field", "message"),
    [
        ({"validations": [{"expression": "object.x +"}]}, "spec.validations[0].expression", "Syntax error"),
        ({"validations": [{"expression": "1"}]}, "spec.validations[0].expression", "must evaluate to bool but got int"),
        ({"validations": [{"expression": "params.x == 1"}]}, "spec.validations[0].expression", "undeclared reference"),
        (
            {"validations": [{"expression": "request.userInfo.nme == ''"}]},
            "spec.validations[0].expression",
            "undefined field 'nme'",
        ),
        (
            {"validations": [{"expression": "variables.a", "messageExpression": "'a' + variables.a"}],
             "variables": [{"name": "a", "expression": "true"}]},
            "spec.validations[0].messageExpression",
            "no matching overload",
        ),
        (
            {"validations": [{"expression": "variables.b"}], "variables": [{"name": "a", "expression": "1"}]},
            "spec.validations[0].expression",
            "undefined field 'b'",
        ),
        ({"variables": [{"name": "for", "expression": "1"}]}, "spec.variables[0].name", "valid CEL identifier"),
        ({"matchConditions": [{"name": "c", "expression": "variables.a"}]}, "spec.matchConditions[0].expression", ""),
        (
            {"auditAnnotations": [{"key": "k", "valueExpression": "1"}]},
            "spec.auditAnnotations[0].valueExpression",
            "must evaluate to one of",
        ),
    ],
)  # fmt: skip
async def test_expressions_that_do_not_hold_are_refused(spec: dict[str, Any], field: str, message: str) -> None:
    async with api_server() as server:
        with pytest.raises(StatusError) as refused:
            await server.system.create(POLICIES, policy(**spec))
        (cause,) = refused.value.details["causes"]
        assert (cause["field"], message in cause["message"]) == (field, True), cause


async def test_variables_build_on_each_other() -> None:
    async with api_server() as server:
        variables = [
            {"name": "names", "expression": "['a', 'b']"},
            {"name": "first", "expression": "variables.names[0]"},
        ]
        validations = [{"expression": "variables.first.startsWith('a')", "messageExpression": "variables.first"}]
        made = await server.system.create(POLICIES, policy(variables=variables, validations=validations))
        assert made["spec"]["failurePolicy"] == "Fail"
        assert made["spec"]["matchConstraints"]["matchPolicy"] == "Equivalent"


@pytest.mark.parametrize(
    ("mutation", "problem"),
    [
        ({"patchType": "JSONPatch", "jsonPatch": {"expression": "[JSONPatch{op: 'add', path: '/a', value: 1}]"}}, ""),
        (
            {"patchType": "JSONPatch", "jsonPatch": {"expression": "[{'op': 'add'}]"}},
            "must evaluate to list(JSONPatch)",
        ),
        ({"patchType": "JSONPatch", "jsonPatch": {"expression": "[JSONPatch{ops: 'add'}]"}}, "undefined field 'ops'"),
        (
            {
                "patchType": "ApplyConfiguration",
                "applyConfiguration": {"expression": "Object{spec: Object.spec{replicas: 3}}"},
            },
            "",
        ),
        ({"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": "{}"}}, "must evaluate to Object"),
        ({"patchType": "ApplyConfiguration", "jsonPatch": {"expression": "[]"}}, "must be specified when patchType"),
    ],
)
async def test_mutations_give_patches(mutation: dict[str, Any], problem: str) -> None:
    async with api_server() as server:
        wanted = policy(mutations=[mutation], reinvocationPolicy="Never")
        del wanted["spec"]["validations"]
        if not problem:
            assert (await server.system.create(MUTATING, wanted))["metadata"]["generation"] == 1
            return
        with pytest.raises(StatusError) as refused:
            await server.system.create(MUTATING, wanted)
        assert problem in refused.value.message


async def test_who_may_not_read_parameters_makes_no_policy_of_them() -> None:
    async with api_server() as server:
        rules = [{"apiGroups": [GROUP], "resources": ["*"], "verbs": ["*"]}]
        await server.system.create(ROLES, {"metadata": {"name": "r"}, "rules": rules})
        await server.system.create(
            ROLE_BINDINGS,
            {
                "metadata": {"name": "r"},
                "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": "r"},
                "subjects": [{"apiGroup": RBAC, "kind": "User", "name": "u"}],
            },
        )
        client = InProcessClient(server, User("u"))
        kind = {"apiVersion": "v1", "kind": "Secret"}
        with pytest.raises(StatusError) as refused:
            await client.create(POLICIES, policy(paramKind=kind))
        (cause,) = refused.value.details["causes"]
        assert (cause["reason"], cause["field"]) == ("FieldValueForbidden", "spec.paramKind")
        await server.system.create(POLICIES, policy(paramKind=kind))
        binding: dict[str, Any] = {
            "metadata": {"name": "b"},
            "spec": {
                "policyName": "p",
                "validationActions": ["Deny"],
                "paramRef": {"name": "s", "namespace": "n", "parameterNotFoundAction": "Deny"},
            },
        }
        with pytest.raises(StatusError, match='does not have "get" permission on the object referenced by paramRef'):
            await client.create(BINDINGS, binding)
        del binding["spec"]["paramRef"]
        await client.create(BINDINGS, binding)
