"""ValidatingAdmissionPolicy and MutatingAdmissionPolicy at work, through the real API server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.support.apiserver import api_server
from tests.support.requests import exchange, send

from navarch.apiserver.request import User
from navarch.apiserver.server import ApiServer, ApiServerConfig

Obj = dict[str, Any]
CONFIG = ApiServerConfig(fixed_tokens={"t": User("admin", groups=("system:masters",))})
ADMISSION = "/apis/admissionregistration.k8s.io/v1"
MAPS = "/api/v1/namespaces/default/configmaps"
RULE = {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["CREATE", "UPDATE"]}


class Rig:
    def __init__(self, server: ApiServer) -> None:
        self.server = server

    async def ask(self, method: str, url: str, body: Any = None) -> tuple[int, Any]:
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        return await send(self.server, method, url, body, token="t", headers={"content-type": kind})

    async def policy(self, kind: str, spec: Obj, binding: Obj | None = None, name: str = "p") -> None:
        spec = {"matchConstraints": {"resourceRules": [RULE]}, **spec}
        bound: Obj = {"policyName": name, **(binding or {})}
        if kind == "validating":
            bound.setdefault("validationActions", ["Deny"])
        else:
            spec.setdefault("reinvocationPolicy", "Never")
        for what, body in (("policies", spec), ("policybindings", bound)):
            tree = {"metadata": {"name": name}, "spec": body}
            status, answer = await self.ask("POST", f"{ADMISSION}/{kind}admission{what}", tree)
            assert status == 201, answer["message"]

    async def make(self, name: str = "a", **data: str) -> tuple[int, Any]:
        return await self.ask("POST", MAPS, {"metadata": {"name": name}, "data": data})


@asynccontextmanager
async def rig() -> AsyncIterator[Rig]:
    async with api_server(config=CONFIG) as server:
        yield Rig(server)


def check(expression: str, **more: Any) -> Obj:
    return {"validations": [{"expression": expression, **more}]}


async def test_a_denial_says_which_policy_and_why() -> None:
    async with rig() as r:
        await r.policy("validating", check("'k' in object.data"))
        assert (await r.make(k="v"))[0] == 201
        status, answer = await r.make("b", other="v")
        text = "ValidatingAdmissionPolicy 'p' with binding 'p' denied request: failed expression: 'k' in object.data"
        assert (status, answer["reason"]) == (422, "Invalid")
        assert answer["message"] == f'configmaps "b" is forbidden: {text}'
        assert answer["details"]["causes"] == [{"message": text}]


@pytest.mark.parametrize(
    "more, code, said",
    [
        ({"message": "no k"}, 422, "no k"),
        ({"messageExpression": "'found ' + string(size(object.data))", "message": "x"}, 422, "found 1"),
        ({"messageExpression": "string(object.data.none)", "message": "fallback"}, 422, "fallback"),
        ({"messageExpression": "'two\\nlines'", "message": "fallback"}, 422, "fallback"),
        ({"reason": "Forbidden"}, 403, "failed expression"),
        ({"reason": "RequestEntityTooLarge"}, 413, "failed expression"),
    ],
)
async def test_messages_and_reasons(more: Obj, code: int, said: str) -> None:
    async with rig() as r:
        await r.policy("validating", check("'k' in object.data", **more))
        status, answer = await r.make(other="v")
        assert status == code and f"denied request: {said}" in answer["message"]


async def test_without_a_binding_nothing_is_refused_and_deleted_policies_let_go() -> None:
    async with rig() as r:
        await r.policy("validating", check("false"))
        assert (await r.make())[0] == 422
        await r.ask("DELETE", f"{ADMISSION}/validatingadmissionpolicybindings/p")
        assert (await r.make())[0] == 201


async def test_warnings_and_audit_do_not_refuse() -> None:
    async with rig() as r:
        await r.policy("validating", check("false", message="hm"), {"validationActions": ["Warn", "Audit"]})
        answer = await exchange(r.server, "POST", MAPS, {"metadata": {"name": "a"}}, token="t")
        assert answer.status == 201
        text = "Validation failed for ValidatingAdmissionPolicy 'p' with binding 'p': hm"
        assert ("Warning", f'299 - "{text}"') in list(answer.headers)


@pytest.mark.parametrize(
    "expression, code",
    [
        ("oldObject == null", 201),
        ("request.operation == 'CREATE' && request.resource.resource == 'configmaps'", 201),
        ("request.userInfo.username == 'admin' && 'system:masters' in request.userInfo.groups", 201),
        ("namespaceObject.metadata.name == 'default' && namespaceObject.status.phase == 'Active'", 201),
        ("authorizer.group('apps').resource('deployments').namespace('x').check('create').allowed()", 201),
        ("authorizer.serviceAccount('default', 'nobody').requestResource.check('create').allowed()", 0),
        ("authorizer.serviceAccount('default', 'nobody').group('').resource('pods').check('create').allowed()", 422),
        ("variables.size == 1 && variables.twice == 2", 201),
        ("variables.broken == 1 || true", 201),
    ],
)
async def test_what_expressions_may_look_at(expression: str, code: int) -> None:
    variables = [
        {"name": "size", "expression": "size(object.data)"},
        {"name": "twice", "expression": "variables.size * 2"},
        {"name": "broken", "expression": "object.nothing"},
    ]
    async with rig() as r:
        if not code:  # no such function: refused when it is written
            body = {
                "metadata": {"name": "p"},
                "spec": {"matchConstraints": {"resourceRules": [RULE]}, **check(expression)},
            }
            assert (await r.ask("POST", f"{ADMISSION}/validatingadmissionpolicies", body))[0] == 422
            return
        await r.policy("validating", {"variables": variables, **check(expression)})
        assert (await r.make(k="v"))[0] == code


async def test_errors_follow_the_failure_policy() -> None:
    async with rig() as r:
        await r.policy(
            "validating", {"variables": [{"name": "v", "expression": "object.nothing"}], **check("variables.v == 1")}
        )
        status, answer = await r.make()
        said = 'resulted in error: composited variable "v" fails to evaluate: no such key: nothing'
        assert status == 422 and answer["message"].endswith(f"expression 'variables.v == 1' {said}")
    async with rig() as r:
        await r.policy("validating", {"failurePolicy": "Ignore", **check("object.nothing == 1")})
        assert (await r.make())[0] == 201


async def test_what_costs_too_much_is_refused() -> None:
    loops = "object.data.k.split('').all(a, object.data.k.split('').all(b, object.data.k.split('').all(c, a != 'y')))"
    async with rig() as r:
        await r.policy("validating", check(loops))
        status, answer = await r.make(k="x" * 300)
        assert status == 422 and "operation cancelled: actual cost limit exceeded" in answer["message"]


async def test_match_conditions_narrow_a_policy() -> None:
    async with rig() as r:
        condition = {"name": "named", "expression": "object.metadata.name.startsWith('x')"}
        await r.policy("validating", {"matchConditions": [condition], **check("false")})
        assert (await r.make("a"))[0] == 201
        assert (await r.make("x"))[0] == 422


async def test_resource_names_and_exclusions() -> None:
    async with rig() as r:
        constraints = {
            "resourceRules": [{**RULE, "resourceNames": ["a", "b"]}],
            "excludeResourceRules": [{**RULE, "resourceNames": ["b"]}],
        }
        await r.policy("validating", {"matchConstraints": constraints, **check("false")})
        assert [(await r.make(name))[0] for name in "abc"] == [422, 201, 201]


async def test_a_binding_narrows_by_namespace() -> None:
    async with rig() as r:
        selector = {"matchLabels": {"kubernetes.io/metadata.name": "other"}}
        await r.policy("validating", check("false"), {"matchResources": {"namespaceSelector": selector}})
        await r.ask("POST", "/api/v1/namespaces", {"metadata": {"name": "other"}})
        assert (await r.make())[0] == 201
        assert (await r.ask("POST", "/api/v1/namespaces/other/configmaps", {"metadata": {"name": "a"}}))[0] == 422


PARAMS = {"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}}


async def test_parameters_by_name_and_by_selector() -> None:
    secrets = "/api/v1/namespaces/default/secrets"
    rule = {**RULE, "resources": ["secrets"]}
    spec = {"matchConstraints": {"resourceRules": [rule]}, **PARAMS, **check("object.metadata.name != params.data.bad")}
    async with rig() as r:
        await r.policy("validating", spec, {"paramRef": {"name": "one", "parameterNotFoundAction": "Deny"}})
        status, answer = await r.ask("POST", secrets, {"metadata": {"name": "x"}})
        assert status == 422
        assert "failed to configure binding: no params found for policy binding with `Deny`" in answer["message"]
        await r.make("one", bad="x")
        assert (await r.ask("POST", secrets, {"metadata": {"name": "x"}}))[0] == 422
        assert (await r.ask("POST", secrets, {"metadata": {"name": "y"}}))[0] == 201
    async with rig() as r:
        reference = {"selector": {"matchLabels": {"p": "1"}}, "parameterNotFoundAction": "Allow"}
        await r.policy("validating", spec, {"paramRef": reference})
        assert (await r.ask("POST", secrets, {"metadata": {"name": "w"}}))[0] == 201
        for name, bad in (("one", "x"), ("two", "y")):
            await r.ask("POST", MAPS, {"metadata": {"name": name, "labels": {"p": "1"}}, "data": {"bad": bad}})
        answers = [(await r.ask("POST", secrets, {"metadata": {"name": n}}))[0] for n in "xyz"]
        assert answers == [422, 422, 201]


async def test_parameters_of_an_unknown_kind_are_a_failure() -> None:
    async with rig() as r:
        spec = {"paramKind": {"apiVersion": "none.example/v1", "kind": "None"}, **check("true")}
        await r.policy("validating", spec, {"paramRef": {"name": "x", "parameterNotFoundAction": "Allow"}})
        status, answer = await r.make()
        assert status == 422
        assert answer["message"].endswith(
            "ValidatingAdmissionPolicy 'p' denied request: failed to configure policy: failed to find resource referenced "
            "by paramKind: 'none.example/v1, Kind=None'"
        )


async def test_policies_do_not_judge_policies() -> None:
    async with rig() as r:
        everything = {"apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"], "operations": ["*"]}
        await r.policy("validating", {"matchConstraints": {"resourceRules": [everything]}, **check("false")})
        assert (await r.ask("DELETE", f"{ADMISSION}/validatingadmissionpolicies/p"))[0] == 200
        assert (await r.make())[0] == 201


# -- mutating


def apply(expression: str) -> Obj:
    return {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}


def json_patch(expression: str) -> Obj:
    return {"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}


@pytest.mark.parametrize(
    "mutation",
    [
        apply("Object{metadata: Object.metadata{labels: {'added': object.metadata.name}}}"),
        json_patch("[JSONPatch{op: 'add', path: '/metadata/labels', value: {'added': object.metadata.name}}]"),
        json_patch(
            "[JSONPatch{op: 'add', path: '/metadata/labels', value: {}}, "
            "JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('added'), value: object.metadata.name}]"
        ),
    ],
)
async def test_mutations(mutation: Obj) -> None:
    async with rig() as r:
        await r.policy("mutating", {"mutations": [mutation]})
        status, made = await r.make("a", k="v")
        assert status == 201
        assert made["metadata"]["labels"] == {"added": "a"} and made["data"] == {"k": "v"}


async def test_lists_are_merged_by_their_keys_and_defaulted() -> None:
    pods = {**RULE, "resources": ["pods"]}
    container = "Object.spec.initContainers{name: 'side', image: 'i', restartPolicy: 'Always'}"
    async with rig() as r:
        await r.ask("POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "default"}})
        spec = {
            "matchConstraints": {"resourceRules": [pods]},
            "mutations": [apply(f"Object{{spec: Object.spec{{initContainers: [{container}]}}}}")],
        }
        await r.policy("mutating", spec)
        pod = {
            "metadata": {"name": "p"},
            "spec": {
                "containers": [{"name": "c", "image": "i"}],
                "initContainers": [{"name": "mine", "image": "j"}],
            },
        }
        status, made = await r.ask("POST", "/api/v1/namespaces/default/pods", pod)
        assert status == 201, made
        assert sorted(c["name"] for c in made["spec"]["initContainers"]) == ["mine", "side"]
        side = next(c for c in made["spec"]["initContainers"] if c["name"] == "side")
        assert side["terminationMessagePolicy"] == "File" and side["volumeMounts"][0]["name"].startswith(
            "kube-api-access"
        )


async def test_a_failed_test_leaves_the_object_and_other_failures_refuse() -> None:
    async with rig() as r:
        failing = "[JSONPatch{op: 'test', path: '/data/k', value: 'w'}, JSONPatch{op: 'remove', path: '/data'}]"
        await r.policy("mutating", {"mutations": [json_patch(failing)]})
        assert (await r.make("a", k="v"))[1]["data"] == {"k": "v"}
    async with rig() as r:
        await r.policy("mutating", {"mutations": [json_patch("[JSONPatch{op: 'remove', path: '/none'}]")]})
        status, answer = await r.make("a", k="v")
        assert status == 403 and answer["reason"] == "Invalid"
        assert answer["message"].startswith("policy 'p' with binding 'p' denied request: JSON Patch: ")


async def test_atomic_parts_are_not_replaced() -> None:
    services = {**RULE, "resources": ["services"]}
    async with rig() as r:
        spec = {
            "matchConstraints": {"resourceRules": [services]},
            "mutations": [apply("Object{spec: Object.spec{selector: {'a': 'b'}}}")],
        }
        await r.policy("mutating", spec)
        service = {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}}
        status, answer = await r.ask("POST", "/api/v1/namespaces/default/services", service)
        assert status == 403
        assert "may not mutate atomic arrays, maps or structs: .spec.selector" in answer["message"]


async def test_policies_see_what_those_before_them_did_and_run_again_if_they_ask_for_it() -> None:
    counting = "[JSONPatch{op: 'add', path: '/data/seen', value: string(size(object.data))}]"
    adding = "'b' in object.data ? [] : [JSONPatch{op: 'add', path: '/data/b', value: 'x'}]"
    for again, seen in (("Never", "1"), ("IfNeeded", "3")):
        async with rig() as r:
            spec = {"mutations": [json_patch(counting)], "reinvocationPolicy": again}
            await r.policy("mutating", spec, name="p1")
            await r.policy("mutating", {"mutations": [json_patch(adding)]}, name="p2")
            assert (await r.make("a", k="v"))[1]["data"] == {"k": "v", "b": "x", "seen": seen}


@pytest.mark.parametrize(
    "mutation, code, said",
    [
        (
            apply("Object{metadata: Object.spec{labels: {'a': 'b'}}}"),
            403,
            'type mismatch: unexpected type name "Object.spec", expected "Object.metadata"',
        ),
        (
            json_patch("[JSONPatch{op: 'add', path: '/unknown', value: 'x'}]"),
            500,
            'Internal error occurred: strict decoding error: unknown field "unknown"',
        ),
        (
            json_patch("[JSONPatch{op: 'add', path: '/data/k', value: 1}]"),
            500,
            "Internal error occurred: json: cannot unmarshal number into Go struct field ConfigMap.data of type string",
        ),
    ],
)
async def test_mutations_that_make_no_object(mutation: Obj, code: int, said: str) -> None:
    async with rig() as r:
        await r.policy("mutating", {"mutations": [mutation]})
        status, answer = await r.make("a", k="v")
        assert status == code and said in answer["message"]
