"""Reviews: who somebody is, and what they may do."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.apiserver import api_server

from navarch.apiserver.request import User
from navarch.apiserver.server import ApiServerConfig
from navarch.client.resources import SERVICE_ACCOUNTS
from navarch.machinery.errors import StatusError

AUTHORIZATION = "/apis/authorization.k8s.io/v1"
AUTHENTICATION = "/apis/authentication.k8s.io/v1"
NAT = User("nat", "7", ("staff", "system:authenticated"), (("example.com/team", ("a", "b")),))
READ_PODS = {"verb": "get", "resource": "pods", "namespace": "default"}


async def ask(client: Any, path: str, spec: dict[str, Any] | None = None, **more: Any) -> Any:
    body = {"metadata": {}, **more} if spec is None else {"spec": spec, **more}
    return await client.raw("POST", path, None, body)


async def test_a_subject_access_review_answers_for_anybody():
    async with api_server() as server:
        path = f"{AUTHORIZATION}/subjectaccessreviews"
        found = await ask(server.system, path, {"user": "nat", "resourceAttributes": READ_PODS})
        assert found["status"] == {"allowed": False} and found["kind"] == "SubjectAccessReview"
        found = await ask(server.system, path, {"groups": ["system:masters"], "resourceAttributes": READ_PODS})
        assert found["status"] == {"allowed": True}
        version = {"verb": "get", "path": "/version"}
        found = await ask(
            server.system, path, {"groups": ["system:authenticated"], "nonResourceAttributes": version, "user": "x"}
        )
        assert found["status"] == {
            "allowed": True,
            "reason": 'RBAC: allowed by ClusterRoleBinding "system:discovery" of ClusterRole "system:discovery" to Group '
            '"system:authenticated"',
        }


async def test_a_review_that_asks_nothing_or_too_much_is_invalid():
    async with api_server() as server:
        path = f"{AUTHORIZATION}/subjectaccessreviews"
        with pytest.raises(StatusError) as caught:
            await ask(server.system, path, {})
        assert caught.value.code == 422
        causes = {(c["field"], c["message"]) for c in caught.value.details["causes"]}
        assert ("spec.user", 'Invalid value: "": at least one of user or group must be specified') in causes
        assert any(field == "spec.resourceAttributes" for field, _ in causes)
        with pytest.raises(StatusError) as caught:
            await ask(server.system, path, {"user": "x", "resourceAttributes": READ_PODS}, metadata={"name": "n"})
        assert "must be empty" in caught.value.message


async def test_a_self_review_is_about_who_asks():
    async with api_server() as server:
        path = f"{AUTHORIZATION}/selfsubjectaccessreviews"
        nat = server.client(NAT)
        assert (await ask(nat, path, {"resourceAttributes": READ_PODS}))["status"] == {"allowed": False}
        assert (await ask(server.system, path, {"resourceAttributes": READ_PODS}))["status"]["allowed"]
        create = {"verb": "create", "group": "authorization.k8s.io", "resource": "selfsubjectrulesreviews"}
        assert (await ask(nat, path, {"resourceAttributes": create}))["status"]["allowed"]


async def test_selectors_reach_the_node_authorizer():
    async with api_server() as server:
        node = User("system:node:one", groups=("system:nodes", "system:authenticated"))
        path, client = f"{AUTHORIZATION}/selfsubjectaccessreviews", server.client(node)

        async def may(selector: dict[str, Any]) -> Any:
            listing = {"verb": "list", "resource": "pods", "fieldSelector": selector}
            return (await ask(client, path, {"resourceAttributes": listing}))["status"]

        assert (await may({"rawSelector": "spec.nodeName=one"}))["allowed"]
        term = {"key": "spec.nodeName", "operator": "In", "values": ["one"]}
        assert (await may({"requirements": [term]}))["allowed"]
        assert not (await may({"requirements": [{**term, "operator": "NotIn"}]}))["allowed"]
        unknown = await may({"requirements": [term, {"key": "x", "operator": "Near", "values": ["y"]}]})
        assert unknown["allowed"] and "partially ignored" in unknown["evaluationError"]


async def test_a_local_review_stays_in_its_namespace():
    async with api_server() as server:
        path = f"{AUTHORIZATION}/namespaces/default/localsubjectaccessreviews"
        spec = {"groups": ["system:masters"], "resourceAttributes": READ_PODS}
        assert (await ask(server.system, path, spec))["status"]["allowed"]
        spec = {"user": "x", "resourceAttributes": {**READ_PODS, "namespace": "kube-system"}}
        with pytest.raises(StatusError) as caught:
            await ask(server.system, path, spec)
        assert "must match metadata.namespace" in caught.value.message
        with pytest.raises(StatusError) as caught:
            await ask(server.system, f"{AUTHORIZATION}/localsubjectaccessreviews", spec)
        assert caught.value.code == 404


async def test_a_rules_review_lists_what_one_may():
    async with api_server() as server:
        path = f"{AUTHORIZATION}/selfsubjectrulesreviews"
        status = (await ask(server.client(NAT), path, {"namespace": "default"}))["status"]
        assert status["incomplete"] is False
        assert {
            "verbs": ["create"],
            "apiGroups": ["authorization.k8s.io"],
            "resources": ["selfsubjectaccessreviews", "selfsubjectrulesreviews"],
        } in status["resourceRules"]
        assert any("/version" in rule["nonResourceURLs"] for rule in status["nonResourceRules"])
        with pytest.raises(StatusError) as caught:
            await ask(server.client(NAT), path, {})
        assert (caught.value.code, caught.value.message) == (400, "no namespace on request")


async def test_whoami():
    async with api_server() as server:
        found = await ask(server.client(NAT), f"{AUTHENTICATION}/selfsubjectreviews")
        assert found["metadata"]["creationTimestamp"]
        assert found["status"]["userInfo"] == {
            "username": "nat",
            "uid": "7",
            "groups": ["staff", "system:authenticated"],
            "extra": {"example.com/team": ["a", "b"]},
        }


async def test_a_token_review_says_whose_token_it_is_and_for_whom():
    config = ApiServerConfig(fixed_tokens={"sesame": User("ali", groups=("thieves",))})
    async with api_server(config=config) as server:
        path = f"{AUTHENTICATION}/tokenreviews"
        found = (await ask(server.system, path, {"token": "sesame"}))["status"]
        assert found["authenticated"] and found["user"]["username"] == "ali"
        found = (await ask(server.system, path, {"token": "wrong"}))["status"]
        assert "authenticated" not in found and found["error"] == "invalid bearer token"
        made = await server.system.create(SERVICE_ACCOUNTS, {"metadata": {"name": "robot"}}, "default")
        request = {"spec": {"audiences": ["vault", "db"]}}
        answer = await server.system.create(SERVICE_ACCOUNTS, request, "default", name="robot", subresource="token")
        token = answer["status"]["token"]
        found = (await ask(server.system, path, {"token": token, "audiences": ["vault", "other"]}))["status"]
        assert found["audiences"] == ["vault"]
        assert found["user"]["username"] == "system:serviceaccount:default:robot"
        assert found["user"]["uid"] == made["metadata"]["uid"]
        assert found["user"]["extra"]["authentication.kubernetes.io/credential-id"][0].startswith("JTI=")
        found = (await ask(server.system, path, {"token": token}))["status"]
        assert "token audiences" in found["error"] and found["user"] == {}
        with pytest.raises(StatusError) as caught:
            await ask(server.system, path, {})
        assert caught.value.code == 400
