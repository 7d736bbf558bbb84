"""What admission notes for the audit log, whichever plugin it is."""

from __future__ import annotations

import inspect
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from tests.support.apiserver import api_server
from tests.support.requests import Connection, send
from tests.support.webhook import patch, webhook

from navarch.apiserver.audit.log import LogFile
from navarch.apiserver.audit.policy import parse
from navarch.apiserver.request import Request, User
from navarch.apiserver.server import ApiServer, ApiServerConfig

Obj = dict[str, Any]
CONFIG = ApiServerConfig(fixed_tokens={"t": User("admin", groups=("system:masters",))})
ADMISSION = "/apis/admissionregistration.k8s.io/v1"
MAPS = "/api/v1/namespaces/default/configmaps"
RULES = [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["CREATE"]}]


async def notes(server: ApiServer, url: str, body: Obj) -> dict[str, str]:
    request = Request("POST", url, "", {"authorization": "Bearer t"}, orjson.dumps(body), Connection())
    answer = server.handle(request)
    if inspect.isawaitable(answer):
        await answer
    return request.annotations


async def make(server: ApiServer, what: str, body: Obj) -> None:
    status, answer = await send(server, "POST", f"{ADMISSION}/{what}", body, token="t")
    assert status == 201, answer


async def test_of_webhooks(tmp_path: Path) -> None:
    def answer(path: str, request: Obj) -> Obj:
        noted = {"auditAnnotations": {"why": "because"}}
        return patch({"op": "add", "path": "/data", "value": {"a": "b"}}) | noted if path == "/one" else noted

    async with webhook(tmp_path, answer) as hook, api_server(config=CONFIG) as server:
        base = {"sideEffects": "None", "admissionReviewVersions": ["v1"], "rules": RULES, "failurePolicy": "Ignore"}
        hooks = [
            {**base, "name": "one.example.com", "clientConfig": hook.client("/one")},
            {**base, "name": "two.example.com", "clientConfig": {"url": "https://127.0.0.1:1/"}},
        ]
        await make(server, "mutatingwebhookconfigurations", {"metadata": {"name": "c"}, "webhooks": hooks})
        found = await notes(server, MAPS, {"metadata": {"name": "a"}})
        assert found["one.example.com/why"] == "because"
        mutation = "mutation.webhook.admission.k8s.io/round_0_index_"
        assert orjson.loads(found[f"{mutation}0"]) == {
            "configuration": "c",
            "webhook": "one.example.com",
            "mutated": True,
        }
        assert orjson.loads(found[f"{mutation}1"])["mutated"] is False
        assert found[f"failed-open.{mutation}1"] == "two.example.com"


@pytest.mark.parametrize("level", ["Metadata", "Request"])
async def test_patches_are_logged_where_bodies_are(tmp_path: Path, level: str) -> None:
    operation = {"op": "add", "path": "/data", "value": {"a": "b"}}
    log = LogFile(path=tmp_path / "audit.log")
    policy = parse(f"{{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{{level: {level}}}]}}".encode())
    config = replace(CONFIG, audit=(policy, log))
    async with webhook(tmp_path, lambda *_: patch(operation)) as hook, api_server(config=config) as server:
        base = {"sideEffects": "None", "admissionReviewVersions": ["v1"], "rules": RULES}
        hooks = [{**base, "name": "one.example.com", "clientConfig": hook.client("/one")}]
        await make(server, "mutatingwebhookconfigurations", {"metadata": {"name": "c"}, "webhooks": hooks})
        assert (await send(server, "POST", MAPS, {"metadata": {"name": "a"}}, token="t"))[0] == 201
    noted = orjson.loads(log.path.read_bytes().splitlines()[-1])["annotations"]
    assert "mutation.webhook.admission.k8s.io/round_0_index_0" in noted
    found = noted.get("patch.webhook.admission.k8s.io/round_0_index_0", "null")
    said = {"configuration": "c", "webhook": "one.example.com", "patch": [operation], "patchType": "JSONPatch"}
    assert orjson.loads(found) == (said if level == "Request" else None)


async def test_of_policies() -> None:
    async with api_server(config=CONFIG) as server:
        spec = {
            "matchConstraints": {"resourceRules": RULES},
            "validations": [{"expression": "true"}, {"expression": "false", "message": "no"}],
            "auditAnnotations": [
                {"key": "name", "valueExpression": "'it is ' + object.metadata.name"},
                {"key": "none", "valueExpression": "null"},
            ],
        }
        await make(server, "validatingadmissionpolicies", {"metadata": {"name": "p"}, "spec": spec})
        binding = {"policyName": "p", "validationActions": ["Audit"]}
        await make(server, "validatingadmissionpolicybindings", {"metadata": {"name": "b"}, "spec": binding})
        found = await notes(server, MAPS, {"metadata": {"name": "a"}})
        assert found["p/name"] == "it is a" and "p/none" not in found
        assert orjson.loads(found["validation.policy.admission.k8s.io/validation_failure"]) == [
            {"message": "no", "policy": "p", "binding": "b", "expressionIndex": 1, "validationActions": ["Audit"]}
        ]


async def test_of_pod_security() -> None:
    async with api_server(config=CONFIG) as server:
        labels = {"pod-security.kubernetes.io/audit": "baseline"}
        namespace = {"metadata": {"name": "n", "labels": labels}}
        await send(server, "POST", "/api/v1/namespaces", namespace, token="t")
        account = {"metadata": {"name": "default"}}
        await send(server, "POST", "/api/v1/namespaces/n/serviceaccounts", account, token="t")
        spec = {"containers": [{"name": "c", "image": "i"}], "hostNetwork": True}
        found = await notes(server, "/api/v1/namespaces/n/pods", {"metadata": {"name": "p"}, "spec": spec})
        assert found["pod-security.kubernetes.io/enforce-policy"] == "privileged:latest"
        said = 'would violate PodSecurity "baseline:latest": host namespaces (hostNetwork=true)'
        assert found["pod-security.kubernetes.io/audit-violations"] == said
