"""Who a request is from, by every kind of proof."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest
from tests.support.apiserver import api_server
from tests.support.requests import Authority, exchange, send

from navarch.apiserver.auth.configuration import Anonymous, Authentication
from navarch.apiserver.auth.tokenfile import parse_tokens
from navarch.apiserver.request import User
from navarch.apiserver.server import ApiServerConfig
from navarch.client.resources import NODES, PODS, SECRETS, SERVICE_ACCOUNTS
from navarch.machinery.clock import RealWorld, rfc3339

WHOAMI = "/apis/authentication.k8s.io/v1/selfsubjectreviews"


async def whoami(server: Any, **proof: Any) -> Any:
    code, answer = await send(server, "POST", WHOAMI, {}, **proof)
    return answer["status"]["userInfo"] if code == 201 else code


class Clock(RealWorld):
    """The real clock, put forward."""

    ahead = 0.0

    def now(self) -> float:
        return super().now() + self.ahead


async def test_without_proof_only_health_and_version_are_seen():
    async with api_server() as server:
        for path in ("/healthz", "/livez", "/readyz", "/version"):
            assert (await exchange(server, "GET", path)).status == 200, path
        for path in ("/", "/api", "/livez/ping", "/metrics", "/openapi/v2", "/api/v1/pods"):
            code, answer = await send(server, "GET", path)
            assert (code, answer["reason"], answer["message"]) == (401, "Unauthorized", "Unauthorized"), path
        assert (await exchange(server, "GET", "/healthz", token="wrong")).status == 401


async def test_anonymous_users_may_be_let_further_or_nowhere():
    config = ApiServerConfig(authentication=Authentication(anonymous=Anonymous(True, None)))
    async with api_server(config=config) as server:
        code, answer = await send(server, "GET", "/api/v1/pods")
        assert code == 403 and answer["message"].startswith('pods is forbidden: User "system:anonymous" cannot list')
    config = ApiServerConfig(authentication=Authentication(anonymous=Anonymous(False)))
    async with api_server(config=config) as server:
        assert (await exchange(server, "GET", "/healthz")).status == 401


async def test_a_static_token_file():
    tokens = parse_tokens('# people\nt1,ann,7,"staff,admins"\nt2,bob,8\n')
    async with api_server(config=ApiServerConfig(fixed_tokens=tokens)) as server:
        found = await whoami(server, token="t1")
        assert found == {"username": "ann", "uid": "7", "groups": ["staff", "admins", "system:authenticated"]}
        assert (await whoami(server, token="t2"))["groups"] == ["system:authenticated"]
        assert await whoami(server, token="t3") == 401
    with pytest.raises(ValueError, match="line 1"):
        parse_tokens("token,user")


async def test_certificates_name_users_and_groups():
    ca, other = Authority("ca"), Authority("ca")
    config = ApiServerConfig(client_ca_pem=ca.pem, fixed_tokens={"t": User("tom")})
    async with api_server(config=config) as server:
        der = ca.client("carol", "staff")
        found = await whoami(server, certificate=der)
        assert (found["username"], found["groups"]) == ("carol", ["staff", "system:authenticated"])
        fingerprint = f"X509SHA256={hashlib.sha256(der).hexdigest()}"
        assert found["extra"] == {"authentication.kubernetes.io/credential-id": [fingerprint]}
        assert await whoami(server, certificate=other.client("carol")) == 401
        assert (await whoami(server, certificate=other.client("carol"), token="t"))["username"] == "tom"


async def test_a_front_proxy_speaks_for_users():
    ca, clients = Authority("front"), Authority("clients")
    settings = Authentication(front_proxy_ca_pem=ca.pem, front_proxy_names=frozenset(("aggregator",)))
    config = ApiServerConfig(authentication=settings, client_ca_pem=clients.pem)
    async with api_server(config=config) as server:
        headers = {
            "x-remote-user": "dora", "x-remote-uid": "9", "x-remote-group": "one, two", "x-remote-extra-acme.com%2fk": "v",
        }  # fmt: skip
        found = await whoami(server, certificate=ca.client("aggregator"), headers=headers)
        assert found == {
            "username": "dora", "uid": "9", "groups": ["one", "two", "system:authenticated"], "extra": {"acme.com/k": ["v"]},
        }  # fmt: skip
        assert await whoami(server, certificate=ca.client("stranger"), headers=headers) == 401
        assert await whoami(server, headers=headers) == 401
        found = await whoami(server, certificate=clients.client("eve"), headers=headers)
        assert found["username"] == "eve"


def bootstrap_secret(**data: str) -> dict[str, Any]:
    values = {
        "token-id": "abcdef",
        "token-secret": "0123456789abcdef",
        "usage-bootstrap-authentication": "true",
        **data,
    }
    return {
        "metadata": {"name": "bootstrap-token-abcdef"},
        "type": "bootstrap.kubernetes.io/token",
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in values.items()},
    }


@pytest.mark.parametrize(
    ("data", "token", "good"),
    [
        ({}, "abcdef.0123456789abcdef", True),
        ({}, "abcdef.0123456789abcdeg", False),
        ({}, "abcdeg.0123456789abcdef", False),
        ({"usage-bootstrap-authentication": "false"}, "abcdef.0123456789abcdef", False),
        ({"token-id": "other1"}, "abcdef.0123456789abcdef", False),
        ({"expiration": "2001-01-01T00:00:00Z"}, "abcdef.0123456789abcdef", False),
        ({"expiration": "soon"}, "abcdef.0123456789abcdef", False),
        ({"expiration": rfc3339(4e9)}, "abcdef.0123456789abcdef", True),
        ({"auth-extra-groups": "system:masters"}, "abcdef.0123456789abcdef", False),
    ],
)
async def test_bootstrap_tokens(data: dict[str, str], token: str, good: bool):
    async with api_server() as server:
        await server.system.create(SECRETS, bootstrap_secret(**data), "kube-system")
        found = await whoami(server, token=token)
        if good:
            assert found["username"] == "system:bootstrap:abcdef"
            assert found["groups"] == ["system:bootstrappers", "system:authenticated"]
        else:
            assert found == 401


async def test_bootstrap_tokens_may_have_more_groups_and_end_with_their_secret():
    async with api_server() as server:
        secret = bootstrap_secret(**{"auth-extra-groups": "system:bootstrappers:workers"})
        await server.system.create(SECRETS, secret, "kube-system")
        groups = (await whoami(server, token="abcdef.0123456789abcdef"))["groups"]
        assert "system:bootstrappers:workers" in groups
        await server.system.delete(SECRETS, "bootstrap-token-abcdef", "kube-system")
        assert await whoami(server, token="abcdef.0123456789abcdef") == 401


async def request_token(server: Any, **spec: Any) -> str:
    answer = await server.system.create(SERVICE_ACCOUNTS, {"spec": spec}, "default", name="robot", subresource="token")
    return answer["status"]["token"]


async def test_service_account_tokens_end_with_time_and_with_what_they_are_bound_to():
    world = Clock(seed=1)
    async with api_server(world=world) as server:
        client = server.system
        await client.create(SERVICE_ACCOUNTS, {"metadata": {"name": "robot"}}, "default")
        node = await client.create(NODES, {"metadata": {"name": "n1"}})
        pod = {"serviceAccountName": "robot", "nodeName": "n1", "containers": [{"name": "c", "image": "i"}]}
        made = await client.create(PODS, {"metadata": {"name": "p"}, "spec": pod}, "default")
        await client.create(SECRETS, {"metadata": {"name": "s"}}, "default")
        plain = await request_token(server)

        def ref(kind: str, name: str) -> dict[str, str]:
            return {"kind": kind, "name": name, "apiVersion": "v1"}

        of_pod = await request_token(server, boundObjectRef=ref("Pod", "p"))
        of_secret = await request_token(server, boundObjectRef=ref("Secret", "s"))
        of_node = await request_token(server, boundObjectRef=ref("Node", "n1"))
        found = await whoami(server, token=of_pod)
        assert found["username"] == "system:serviceaccount:default:robot"
        assert found["groups"] == ["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"]
        extra = {key.partition("/")[2]: value for key, value in found["extra"].items()}
        assert extra.pop("credential-id")[0].startswith("JTI=")
        assert extra == {
            "pod-name": ["p"], "pod-uid": [made["metadata"]["uid"]],
            "node-name": ["n1"], "node-uid": [node["metadata"]["uid"]],
        }  # fmt: skip
        for_others = await request_token(server, audiences=["vault"])
        assert await whoami(server, token=for_others) == 401
        await client.delete(SECRETS, "s", "default")
        assert await whoami(server, token=of_secret) == 401
        await client.delete(NODES, "n1")
        assert await whoami(server, token=of_node) == 401
        await client.delete(PODS, "p", "default", grace_period_seconds=0)
        assert await whoami(server, token=of_pod) == 401
        assert (await whoami(server, token=plain))["uid"]
        world.ahead = 3600 + 120
        assert await whoami(server, token=plain) == 401
        world.ahead = 0
        await client.delete(SERVICE_ACCOUNTS, "robot", "default")
        assert await whoami(server, token=plain) == 401
