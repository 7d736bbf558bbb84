"""Webhooks that users configure: real HTTPS servers asked by the real API server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support.apiserver import api_server
from tests.support.requests import exchange, send
from tests.support.webhook import Webhook, patch, webhook

from navarch.apiserver.request import User
from navarch.apiserver.server import ApiServer, ApiServerConfig
from navarch.http.messages import Response

Obj = dict[str, Any]
ADMIN = User("admin", uid="7", groups=("system:masters",), extra=(("team", ("a", "b")),))
CONFIG = ApiServerConfig(fixed_tokens={"t": ADMIN})
ADMISSION = "/apis/admissionregistration.k8s.io/v1"
MAPS = "/api/v1/namespaces/default/configmaps"


def rule(*resources: str, group: str = "", version: str = "v1", operations: tuple[str, ...] = ("*",)) -> Obj:
    return {
        "apiGroups": [group],
        "apiVersions": [version],
        "resources": list(resources),
        "operations": list(operations),
    }


class Rig:
    def __init__(self, server: ApiServer, hook: Webhook) -> None:
        self.server, self.hook = server, hook
        self.configurations = 0

    async def ask(self, method: str, url: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        return await send(self.server, method, url, body, token="t", headers={"content-type": kind, **headers})

    async def hooks(self, kind: str, *hooks: Obj) -> str:
        """Makes a configuration of webhooks, completed."""
        self.configurations += 1
        name = f"c{self.configurations}"
        made = [self._completed(hook, index) for index, hook in enumerate(hooks)]
        body = {"metadata": {"name": name}, "webhooks": made}
        status, answer = await self.ask("POST", f"{ADMISSION}/{kind}webhookconfigurations", body)
        assert status == 201, answer["message"]
        return name

    def _completed(self, hook: Obj, index: int) -> Obj:
        rules = hook.get("rules") or [rule("configmaps", operations=("CREATE", "UPDATE"))]
        base = {"sideEffects": "None", "admissionReviewVersions": ["v1"], "name": f"hook{index}.example.com"}
        return {**base, **hook, "rules": rules, "clientConfig": self.hook.client(hook.get("clientConfig", "/"))}


@asynccontextmanager
async def rig(directory: Path, answer: Callable[[str, Obj], Any]) -> AsyncIterator[Rig]:
    async with webhook(directory, answer) as hook, api_server(config=CONFIG) as server:
        yield Rig(server, hook)


def allow(path: str, request: Obj) -> Obj:
    return {"allowed": True}


async def test_what_a_webhook_is_told(tmp_path: Path) -> None:
    async with rig(tmp_path, allow) as r:
        await r.hooks("validating", {})
        status, _ = await r.ask("POST", f"{MAPS}?fieldManager=me", {"metadata": {"name": "a"}, "data": {"k": "v"}})
        assert status == 201
        (told,) = r.hook.requests
        assert told["kind"] == told["requestKind"] == {"group": "", "version": "v1", "kind": "ConfigMap"}
        assert told["resource"] == {"group": "", "version": "v1", "resource": "configmaps"}
        assert (told["name"], told["namespace"], told["operation"]) == ("a", "default", "CREATE")
        assert told["userInfo"] == {
            "username": "admin",
            "uid": "7",
            "groups": ["system:masters", "system:authenticated"],
            "extra": {"team": ["a", "b"]},
        }
        assert told["options"] == {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1", "fieldManager": "me"}
        assert told["dryRun"] is False and told["oldObject"] is None
        made = told["object"]
        assert (made["kind"], made["apiVersion"], made["data"]) == ("ConfigMap", "v1", {"k": "v"})
        assert made["metadata"]["uid"] and made["metadata"]["managedFields"][0]["manager"] == "me"
        await r.ask("PATCH", f"{MAPS}/a", {"data": {"k": "w"}})
        told = r.hook.requests[-1]
        assert (told["operation"], told["options"]["kind"]) == ("UPDATE", "UpdateOptions")
        assert (told["oldObject"]["data"], told["object"]["data"]) == ({"k": "v"}, {"k": "w"})


async def test_deletes_are_told_one_by_one(tmp_path: Path) -> None:
    async with rig(tmp_path, allow) as r:
        for name in ("a", "b"):
            await r.ask("POST", MAPS, {"metadata": {"name": name}})
        await r.hooks("validating", {"rules": [rule("configmaps", operations=("DELETE",))]})
        await r.ask("DELETE", f"{MAPS}/a", {"gracePeriodSeconds": 3})
        (told,) = r.hook.requests
        assert told["object"] is None and told["oldObject"]["metadata"]["name"] == "a"
        assert told["options"]["gracePeriodSeconds"] == 3
        await r.ask("DELETE", MAPS)
        assert [told["oldObject"]["metadata"]["name"] for told in r.hook.requests[1:]] == ["b"]


@pytest.mark.parametrize(
    "answered, code, said",
    [
        ({"allowed": False}, 400, "without explanation"),
        ({"allowed": False, "status": {"message": "no", "code": 418, "reason": "Tea"}}, 418, ": no"),
        ({"allowed": False, "status": {"reason": "Forbidden", "code": 200}}, 400, ": Forbidden"),
    ],
)
async def test_refusals_carry_the_webhooks_status(tmp_path: Path, answered: Obj, code: int, said: str) -> None:
    async with rig(tmp_path, lambda path, request: answered) as r:
        await r.hooks("validating", {})
        status, answer = await r.ask("POST", MAPS, {"metadata": {"name": "a"}})
        assert status == code
        denied = 'admission webhook "hook0.example.com" denied the request'
        assert answer["message"] == denied + (said if said.startswith(":") else f" {said}")
        assert (await r.ask("GET", f"{MAPS}/a"))[0] == 404


@pytest.mark.parametrize(
    "answered, said",
    [
        (Response(500, b"broken", "text/plain"), "failed to call webhook: an error on the server"),
        ({"uid": "other", "allowed": True}, 'received invalid webhook response: expected response.uid="'),
        ({"allowed": True, "patch": "W10="}, "validating webhook may not return response.patch"),
    ],
)
async def test_failures_follow_the_failure_policy(tmp_path: Path, answered: Any, said: str) -> None:
    async with rig(tmp_path, lambda path, request: answered) as r:
        name = await r.hooks("validating", {})
        status, answer = await r.ask("POST", MAPS, {"metadata": {"name": "a"}})
        assert (status, answer["reason"]) == (500, "InternalError")
        assert f'failed calling webhook "hook0.example.com": {said}' in answer["message"] or said in answer["message"]
        change = [{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Ignore"}]
        url = f"{ADMISSION}/validatingwebhookconfigurations/{name}"
        patched = await r.ask("PATCH", url, change, **{"content-type": "application/json-patch+json"})
        assert patched[0] == 200
        assert (await r.ask("POST", MAPS, {"metadata": {"name": "a"}}))[0] == 201


async def test_patches_change_the_object_in_turn_and_nobody_owns_what_they_add(tmp_path: Path) -> None:
    def answer(path: str, request: Obj) -> Obj:
        data = request["object"].get("data") or {}
        if path == "/one":
            return patch({"op": "add", "path": "/data/one", "value": str(len(data))})
        return patch({"op": "add", "path": "/data/two", "value": ",".join(sorted(data))})

    async with rig(tmp_path, answer) as r:
        await r.hooks("mutating", {"clientConfig": "/one"}, {"clientConfig": "/two"})
        status, made = await r.ask("POST", MAPS, {"metadata": {"name": "a"}, "data": {"k": "v"}})
        assert status == 201 and made["data"] == {"k": "v", "one": "1", "two": "k,one"}
        (entry,) = made["metadata"]["managedFields"]
        assert entry["fieldsV1"]["f:data"] == {".": {}, "f:k": {}}


async def test_defaults_follow_a_patch(tmp_path: Path) -> None:
    service = {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}}
    added = {"op": "add", "path": "/spec/ports/-", "value": {"port": 81, "name": "b"}}
    named = {"op": "add", "path": "/spec/ports/0/name", "value": "a"}
    async with rig(tmp_path, lambda path, request: patch(named, added)) as r:
        await r.hooks("mutating", {"rules": [rule("services")]})
        status, made = await r.ask("POST", "/api/v1/namespaces/default/services", service)
        assert status == 201
        assert made["spec"]["ports"][1] == {"name": "b", "protocol": "TCP", "port": 81, "targetPort": 81}


async def test_who_asked_for_it_is_asked_again_after_a_later_change(tmp_path: Path) -> None:
    def answer(path: str, request: Obj) -> Obj:
        data = request["object"].get("data") or {}
        if path == "/first":
            return patch({"op": "add", "path": "/data/first", "value": ",".join(sorted(set(data) - {"first"}))})
        return patch({"op": "add", "path": "/data/second", "value": "x"}) if "second" not in data else {"allowed": True}

    async with rig(tmp_path, answer) as r:
        hooks = [{"clientConfig": "/first", "reinvocationPolicy": "IfNeeded"}, {"clientConfig": "/second"}]
        await r.hooks("mutating", *hooks)
        _, made = await r.ask("POST", MAPS, {"metadata": {"name": "a"}, "data": {"k": "v"}})
        assert made["data"] == {"k": "v", "first": "k,second", "second": "x"}
        assert [url.partition("?")[0] for url in r.hook.urls] == ["/first", "/second", "/first"]


@pytest.mark.parametrize(
    "operations, code, said",
    [
        ([{"op": "remove", "path": "/nowhere"}], 500, "Internal error occurred"),
        ([{"op": "replace", "path": "/data", "value": 3}], 500, "Internal error occurred"),
        ([{"op": "add", "path": "/metadata/labels", "value": {"-": "x"}}], 422, "metadata.labels"),
        ([], 201, ""),
    ],
)
async def test_patches_that_do_not_fit(tmp_path: Path, operations: list[Obj], code: int, said: str) -> None:
    async with rig(tmp_path, lambda path, request: patch(*operations)) as r:
        await r.hooks("mutating", {})
        status, answer = await r.ask("POST", MAPS, {"metadata": {"name": "a"}, "data": {"k": "v"}})
        assert status == code
        assert said in answer.get("message", "")


async def test_managed_fields_made_invalid_are_put_back(tmp_path: Path) -> None:
    bad = {"op": "replace", "path": "/metadata/managedFields", "value": [{"manager": "x", "operation": "Nothing"}]}
    async with rig(tmp_path, lambda path, request: patch(bad)) as r:
        await r.hooks("mutating", {})
        answer = await exchange(
            r.server, "POST", f"{MAPS}?fieldManager=me", {"metadata": {"name": "a"}, "data": {"k": "v"}}, token="t"
        )
        assert answer.status == 201
        assert any(
            "managedFields was in an invalid state after admission" in v for n, v in answer.headers if n == "Warning"
        )
        made = (await r.ask("GET", f"{MAPS}/a"))[1]
        assert [entry["manager"] for entry in made["metadata"]["managedFields"]] == ["me"]


async def test_warnings_reach_the_client(tmp_path: Path) -> None:
    async with rig(tmp_path, lambda path, request: {"allowed": True, "warnings": ["careful"]}) as r:
        await r.hooks("validating", {})
        answer = await exchange(r.server, "POST", MAPS, {"metadata": {"name": "a"}}, token="t")
        assert ("Warning", '299 - "careful"') in list(answer.headers)


@pytest.mark.parametrize("effects, code", [("None", 201), ("NoneOnDryRun", 201)])
async def test_dry_runs_are_told_as_such(tmp_path: Path, effects: str, code: int) -> None:
    async with rig(tmp_path, allow) as r:
        await r.hooks("validating", {"sideEffects": effects})
        assert (await r.ask("POST", f"{MAPS}?dryRun=All", {"metadata": {"name": "a"}}))[0] == code
        (told,) = r.hook.requests
        assert told["dryRun"] is True and told["options"]["dryRun"] == ["All"]


async def test_webhooks_with_side_effects_refuse_dry_runs(tmp_path: Path) -> None:
    async with rig(tmp_path, allow) as r:
        base = {"name": "h.example.com", "clientConfig": r.hook.client(), "rules": [rule("configmaps")]}
        body = {"metadata": {"name": "old"}, "webhooks": [base]}  # the retired version takes webhooks with side effects
        url = "/apis/admissionregistration.k8s.io/v1beta1/validatingwebhookconfigurations"
        assert (await r.ask("POST", url, body))[0] == 201
        status, answer = await r.ask("POST", f"{MAPS}?dryRun=All", {"metadata": {"name": "a"}})
        assert (status, answer["message"]) == (400, 'admission webhook "h.example.com" does not support dry run')
        assert (await r.ask("POST", MAPS, {"metadata": {"name": "a"}}))[0] == 201
        assert r.hook.requests[0]["operation"] == "CREATE"


MATCHING: list[tuple[str, Obj, bool]] = [
    ("other resource", {"rules": [rule("secrets")]}, False),
    ("any resource", {"rules": [rule("*")]}, True),
    ("only subresources", {"rules": [rule("*/status")]}, False),
    ("any with subresources", {"rules": [rule("*/*")]}, True),
    ("other group", {"rules": [rule("configmaps", group="apps")]}, False),
    ("other operation", {"rules": [rule("configmaps", operations=("DELETE",))]}, False),
    ("cluster scope", {"rules": [{**rule("*"), "scope": "Cluster"}]}, False),
    ("namespaced scope", {"rules": [{**rule("*"), "scope": "Namespaced"}]}, True),
    ("namespace selected", {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}}}, True),
    ("namespace not selected", {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "x"}}}, False),
    ("object selected", {"objectSelector": {"matchLabels": {"app": "a"}}}, True),
    ("object not selected", {"objectSelector": {"matchLabels": {"app": "b"}}}, False),
    ("condition holds", {"matchConditions": [{"name": "c", "expression": "object.metadata.name == 'a'"}]}, True),
    ("condition fails", {"matchConditions": [{"name": "c", "expression": "request.operation == 'DELETE'"}]}, False),
    (
        "condition about rights",
        {
            "matchConditions": [
                {"name": "c", "expression": "authorizer.group('').resource('configmaps').check('get').allowed()"},
                {"name": "d", "expression": "authorizer.requestResource.check('create').allowed()"},
            ]
        },
        True,
    ),
]


@pytest.mark.parametrize("hook, matches", [m[1:] for m in MATCHING], ids=[m[0] for m in MATCHING])
async def test_who_is_asked(tmp_path: Path, hook: Obj, matches: bool) -> None:
    async with rig(tmp_path, allow) as r:
        await r.hooks("validating", hook)
        await r.ask("POST", MAPS, {"metadata": {"name": "a", "labels": {"app": "a"}}})
        assert bool(r.hook.requests) is matches


async def test_conditions_that_fail_follow_the_failure_policy(tmp_path: Path) -> None:
    condition = {"name": "c", "expression": "object.data.missing == 'x'"}
    async with rig(tmp_path, allow) as r:
        name = await r.hooks("validating", {"matchConditions": [condition]})
        status, answer = await r.ask("POST", MAPS, {"metadata": {"name": "a"}})
        assert status == 403
        assert "expression 'object.data.missing == 'x'' resulted in error: no such key: data" in answer["message"]
        await r.ask("DELETE", f"{ADMISSION}/validatingwebhookconfigurations/{name}")
        await r.hooks("validating", {"matchConditions": [condition], "failurePolicy": "Ignore"})
        assert (await r.ask("POST", MAPS, {"metadata": {"name": "a"}}))[0] == 201
        assert not r.hook.requests


async def test_equivalent_versions_are_converted_and_exact_ones_are_not(tmp_path: Path) -> None:
    hpa = {
        "metadata": {"name": "h"},
        "spec": {"maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"}},
    }
    rules = [rule("horizontalpodautoscalers", group="autoscaling", version="v1")]
    async with rig(tmp_path, lambda p, q: patch({"op": "replace", "path": "/spec/maxReplicas", "value": 5})) as r:
        await r.hooks("mutating", {"rules": rules})
        await r.hooks("validating", {"rules": rules, "matchPolicy": "Exact"})
        status, made = await r.ask("POST", "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers", hpa)
        assert status == 201 and made["spec"]["maxReplicas"] == 5 and made["apiVersion"] == "autoscaling/v2"
        (told,) = r.hook.requests
        assert told["kind"]["version"] == "v1" and told["requestKind"]["version"] == "v2"
        assert told["object"]["apiVersion"] == "autoscaling/v1"


async def test_configurations_themselves_are_nobodys_business(tmp_path: Path) -> None:
    async with rig(tmp_path, lambda path, request: {"allowed": False}) as r:
        name = await r.hooks("validating", {"rules": [rule("*", group="*", version="*")]})
        assert (await r.ask("DELETE", f"{ADMISSION}/validatingwebhookconfigurations/{name}"))[0] == 200
        assert (await r.ask("POST", MAPS, {"metadata": {"name": "a"}}))[0] == 201


async def test_subresources_show_their_own_kinds(tmp_path: Path) -> None:
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    template = {"metadata": {"labels": {"a": "b"}}, "spec": pod["spec"]}
    deployment = {
        "metadata": {"name": "d"},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template, "replicas": 1},
    }
    async with rig(tmp_path, lambda path, request: {"allowed": request["operation"] != "CONNECT"}) as r:
        await r.ask("POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "default"}})
        assert (await r.ask("POST", "/api/v1/namespaces/default/pods", pod))[0] == 201
        assert (await r.ask("POST", "/apis/apps/v1/namespaces/default/deployments", deployment))[0] == 201
        await r.hooks("validating", {"rules": [rule("*/*", group="*", version="*")]})
        base = "/api/v1/namespaces/default/pods/p"
        await r.ask("POST", f"{base}/binding", {"metadata": {"name": "p"}, "target": {"name": "n"}})
        await r.ask("POST", f"{base}/eviction?dryRun=All", {"metadata": {"name": "p"}})
        await r.ask(
            "PATCH", f"{base}/ephemeralcontainers", {"spec": {"ephemeralContainers": [{"name": "e", "image": "i"}]}}
        )
        await r.ask("PATCH", "/apis/apps/v1/namespaces/default/deployments/d/scale", {"spec": {"replicas": 2}})
        status, answer = await r.ask("POST", f"{base}/exec?command=ls&command=-l&stdout=1&container=c")
        assert status == 400 and answer["message"].endswith("denied the request without explanation")
        told = {
            (t["resource"]["resource"], t["subResource"]): t
            for t in r.hook.requests
            if t["resource"]["group"] != "flowcontrol.apiserver.k8s.io"
        }
        kinds = {part: t["kind"]["kind"] for (_, part), t in told.items()}
        assert kinds == {
            "binding": "Binding",
            "eviction": "Eviction",
            "ephemeralcontainers": "Pod",
            "scale": "Scale",
            "exec": "PodExecOptions",
        }
        assert told["pods", "exec"]["object"] == {
            "kind": "PodExecOptions",
            "apiVersion": "v1",
            "stdout": True,
            "container": "c",
            "command": ["ls", "-l"],
        }
        scale = told["deployments", "scale"]
        assert (scale["oldObject"]["spec"], scale["object"]["spec"]) == ({"replicas": 1}, {"replicas": 2})


async def test_old_webhooks_speak_v1beta1(tmp_path: Path) -> None:
    async with rig(tmp_path, lambda path, request: {"uid": "", "allowed": True}) as r:
        await r.hooks("validating", {"admissionReviewVersions": ["v2", "v1beta1", "v1"]})
        assert (await r.ask("POST", MAPS, {"metadata": {"name": "a"}}))[0] == 201


async def test_what_webhooks_do_is_counted(tmp_path: Path) -> None:
    answers: list[Any] = [{"allowed": True}, {"allowed": False}, Response(500, b"", "text/plain")]
    async with rig(tmp_path, lambda path, request: answers[len(r.hook.requests) - 1]) as r:
        await r.hooks("validating", {})
        for _ in answers:
            await r.ask("POST", MAPS, {"metadata": {"generateName": "a"}})
        start, labels = "apiserver_admission_webhook", 'name="hook0.example.com",type="validating",operation="CREATE"'
        lines = set(r.server.metrics.text().splitlines())
        assert {
            f'{start}_request_total{{{labels},code="200",rejected="false"}} 1',
            f'{start}_request_total{{{labels},code="400",rejected="true"}} 1',
            f'{start}_rejection_count{{{labels},error_type="no_error",rejection_code="400"}} 1',
            f'{start}_rejection_count{{{labels},error_type="calling_webhook_error",rejection_code="500"}} 1',
            f'{start}_admission_duration_seconds_count{{{labels},rejected="true"}} 2',
        } <= lines


async def test_tunnels_lead_where_webhooks_say(tmp_path: Path) -> None:
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    moved = {"op": "replace", "path": "/container", "value": "elsewhere"}
    async with rig(tmp_path, lambda path, request: patch(moved)) as r:
        await r.ask("POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "default"}})
        assert (await r.ask("POST", "/api/v1/namespaces/default/pods", pod))[0] == 201
        await r.hooks("mutating", {"rules": [rule("pods/exec", operations=("CONNECT",))]})
        status, answer = await r.ask("POST", "/api/v1/namespaces/default/pods/p/exec?command=ls&container=c")
        assert (status, answer["message"]) == (400, "container elsewhere is not valid for pod p")
