"""Webhooks and policies about custom resources: other versions, pruning, defaults, parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from tests.support.custom import DEFINITIONS, GROUP, SPEC, WIDGETS, Rig, definition, rig, version, widget
from tests.support.webhook import Webhook, patch, webhook

from navarch.http.messages import Response

Obj = dict[str, Any]
ADMISSION = "/apis/admissionregistration.k8s.io/v1"
OLD: Obj = {"type": "object", "properties": {"width": {"type": "integer"}}}


def rule(number: str = "v1", *operations: str, resource: str = "widgets") -> Obj:
    return {
        "apiGroups": [GROUP],
        "apiVersions": [number],
        "resources": [resource],
        "operations": list(operations) or ["*"],
    }


async def hooked(r: Rig, hook: Webhook, kind: str, rules: Obj, **more: Any) -> None:
    made = {
        "name": "h.example.com",
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "rules": [rules],
        "clientConfig": hook.client("/admit"),
        **more,
    }
    await r.good("POST", f"{ADMISSION}/{kind}webhookconfigurations", {"metadata": {"name": "h"}, "webhooks": [made]})


async def test_what_a_webhook_adds_is_pruned_and_defaulted(tmp_path: Path) -> None:
    operations = (
        {"op": "add", "path": "/spec/colour", "value": "red"},
        {"op": "add", "path": "/spec/unknown", "value": 1},
        {"op": "remove", "path": "/spec/size"},
    )
    async with rig() as r, webhook(tmp_path, lambda path, request: patch(*operations)) as hook:
        await r.define(definition())
        await hooked(r, hook, "mutating", rule())
        made = await r.good("POST", WIDGETS, widget("a", {"size": 5}))
        assert made["spec"] == {"size": 3, "colour": "red"}
        assert hook.requests[0]["kind"] == {"group": GROUP, "version": "v1", "kind": "Widget"}


@pytest.mark.parametrize("policy, asked", [("Equivalent", True), ("Exact", False)])
async def test_equivalent_versions(tmp_path: Path, policy: str, asked: bool) -> None:
    async with rig() as r, webhook(tmp_path, lambda path, request: {"allowed": False}) as hook:
        await r.define(definition(version(), version("v2", storage=False)))
        await hooked(r, hook, "validating", rule("v1", "CREATE"), matchPolicy=policy)
        status, _ = await r.ask("POST", WIDGETS.replace("/v1/", "/v2/"), widget("a", api="v2"))
        assert (status == 400) is asked
        if asked:
            (told,) = hook.requests
            assert (told["kind"]["version"], told["requestKind"]["version"]) == ("v1", "v2")
            assert told["object"]["apiVersion"] == f"{GROUP}/v1"


async def test_versions_that_a_webhook_converts(tmp_path: Path) -> None:
    """A rule for the old version sees what the conversion webhook makes of the new one, and changes that."""

    def answer(path: str, request: Obj) -> Any:
        if path == "/admit":
            return patch({"op": "add", "path": "/spec/width", "value": request["object"]["spec"]["width"] + 1})
        objects = []
        for obj in request["objects"]:
            spec = obj.get("spec") or {}
            wanted = request["desiredAPIVersion"]
            old = wanted.endswith("/v1")
            size = spec.get("width", spec.get("size"))
            objects.append({**obj, "apiVersion": wanted, "spec": {"width" if old else "size": size}})
        response = {"uid": request["uid"], "convertedObjects": objects, "result": {"status": "Success"}}
        review = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview", "response": response}
        return Response(200, orjson.dumps(review), "application/json")

    async with rig() as r, webhook(tmp_path, answer) as hook:
        crd = definition(version("v1", OLD), version("v2", SPEC, storage=False))
        client = {"clientConfig": hook.client("/convert"), "conversionReviewVersions": ["v1"]}
        crd["spec"]["conversion"] = {"strategy": "Webhook", "webhook": client}
        await r.define(crd)
        await hooked(r, hook, "mutating", rule("v1", "CREATE"))
        made = await r.good("POST", WIDGETS.replace("/v1/", "/v2/"), widget("a", {"size": 7}, api="v2"))
        assert made["apiVersion"] == f"{GROUP}/v2" and made["spec"]["size"] == 8
        assert (await r.good("GET", f"{WIDGETS}/a"))["spec"] == {"width": 8}


async def bound(r: Rig, kind: str, spec: Obj, binding: Obj | None = None) -> None:
    given: Obj = {"policyName": "p", **(binding or {})}
    if kind == "validating":
        given["validationActions"] = ["Deny"]
    else:
        spec = {"reinvocationPolicy": "Never", **spec}
    for what, body in (("policies", spec), ("policybindings", given)):
        await r.good("POST", f"{ADMISSION}/{kind}admission{what}", {"metadata": {"name": "p"}, "spec": body})


async def test_policies_judge_and_change_custom_objects() -> None:
    async with rig() as r:
        await r.define(definition())
        constraints = {"resourceRules": [rule("v1", "CREATE")]}
        parts = "Object.spec.parts{name: 'b', count: 2}"
        change = {
            "patchType": "ApplyConfiguration",
            "applyConfiguration": {"expression": f"Object{{spec: Object.spec{{parts: [{parts}]}}}}"},
        }
        await bound(r, "mutating", {"matchConstraints": constraints, "mutations": [change]})
        small = [{"expression": "object.spec.size < 5 && size(object.spec.parts) == 2"}]
        await bound(r, "validating", {"matchConstraints": constraints, "validations": small})
        made = await r.good("POST", WIDGETS, widget("a", {"parts": [{"name": "a"}]}))
        assert {part["name"] for part in made["spec"]["parts"]} == {"a", "b"}
        assert (await r.ask("POST", WIDGETS, widget("b", {"size": 9})))[0] == 422


async def test_custom_objects_as_parameters_while_their_kind_is_served() -> None:
    maps = "/api/v1/namespaces/default/configmaps"
    async with rig() as r:
        await r.define(definition())
        await r.good("POST", WIDGETS, widget("limits", {"size": 2}))
        rules = [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["CREATE"]}]
        spec = {
            "paramKind": {"apiVersion": f"{GROUP}/v1", "kind": "Widget"},
            "matchConstraints": {"resourceRules": rules},
            "validations": [{"expression": "size(object.data) <= params.spec.size"}],
        }
        await bound(r, "validating", spec, {"paramRef": {"name": "limits", "parameterNotFoundAction": "Deny"}})
        await r.good("POST", maps, {"metadata": {"name": "a"}, "data": {"1": "", "2": ""}})
        status, _ = await r.ask("POST", maps, {"metadata": {"name": "b"}, "data": {"1": "", "2": "", "3": ""}})
        assert status == 422
        await r.good("PATCH", f"{WIDGETS}/limits", {"spec": {"size": 3}})
        await r.good("POST", maps, {"metadata": {"name": "b"}, "data": {"1": "", "2": "", "3": ""}})
        await r.good("DELETE", f"{DEFINITIONS}/widgets.{GROUP}")
        await r.gone(WIDGETS)
        status, answer = await r.ask("POST", maps, {"metadata": {"name": "c"}})
        assert status == 422 and "failed to find resource referenced by paramKind" in answer["message"]


async def test_definitions_can_be_denied(tmp_path: Path) -> None:
    async with rig() as r, webhook(tmp_path, lambda path, request: {"allowed": False}) as hook:
        rules = {**rule("*", resource="customresourcedefinitions"), "apiGroups": ["apiextensions.k8s.io"]}
        await hooked(r, hook, "validating", rules)
        status, answer = await r.ask("POST", DEFINITIONS, definition())
        assert status == 400 and "denied the request" in answer["message"]
