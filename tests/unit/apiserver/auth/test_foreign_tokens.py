"""Tokens that others vouch for: OpenID Connect providers and webhooks, real servers on loopback."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey
from tests.support.apiserver import api_server
from tests.support.requests import Authority, send

from navarch.apiserver.auth.configuration import Authentication, BadConfiguration, parse
from navarch.apiserver.server import ApiServerConfig
from navarch.http.messages import Request, Response
from navarch.http.server import serve
from navarch.http.tls import TlsConfig

WHOAMI = "/apis/authentication.k8s.io/v1/selfsubjectreviews"


class Provider:
    """An OpenID Connect provider."""

    def __init__(self, authority: Authority) -> None:
        self.authority = authority
        self.url = ""
        self.key = RSAKey.generate_key(2048, auto_kid=True)
        self.fetched: list[str] = []

    def handle(self, request: Request) -> Response:
        self.fetched.append(request.path)
        if request.path == "/.well-known/openid-configuration":
            return Response(200, orjson.dumps({"issuer": self.url, "jwks_uri": f"{self.url}/keys"}))
        return Response(200, orjson.dumps({"keys": [self.key.as_dict(private=False)]}))

    def token(self, key: Any = None, **claims: Any) -> str:
        key = key or self.key
        content = {"iss": self.url, "aud": "navarch", "exp": int(time.time()) + 600, "sub": "42", **claims}
        return jwt.encode({"alg": "RS256", "kid": key.kid}, content, key, algorithms=["RS256"])


@asynccontextmanager
async def provider(directory: Path) -> AsyncIterator[Provider]:
    made = Provider(Authority("provider"))
    certificate, key = made.authority.server()
    (directory / "cert.pem").write_bytes(certificate)
    (directory / "key.pem").write_bytes(key)
    tls = TlsConfig(certificate=directory / "cert.pem", key=directory / "key.pem")
    listener = await serve(made.handle, "127.0.0.1", 0, tls, request_type=Request)
    made.url = f"https://127.0.0.1:{listener.port}"
    try:
        yield made
    finally:
        await listener.close()


def settings(made: Provider, mappings: dict[str, Any], **more: Any) -> ApiServerConfig:
    issuer = {"url": made.url, "audiences": ["navarch"], "certificateAuthority": made.authority.pem.decode()}
    document = {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "AuthenticationConfiguration",
        "jwt": [{"issuer": issuer, "claimMappings": mappings, **more}],
    }
    anonymous, issuers = parse(orjson.dumps(document))
    return ApiServerConfig(authentication=Authentication(anonymous=anonymous, issuers=issuers))


async def whoami(server: Any, token: str) -> Any:
    code, answer = await send(server, "POST", WHOAMI, {}, token=token)
    return answer["status"]["userInfo"] if code == 201 else code


async def test_a_providers_token_becomes_a_user(tmp_path: Path):
    async with provider(tmp_path) as made:
        mappings = {
            "username": {"claim": "email", "prefix": "oidc:"},
            "groups": {"claim": "roles", "prefix": "r:"},
            "uid": {"claim": "sub"},
        }
        async with api_server(config=settings(made, mappings)) as server:
            token = made.token(email="a@x", roles=["dev", "ops"], jti="j1")
            for _ in range(2):
                assert await whoami(server, token) == {
                    "username": "oidc:a@x",
                    "uid": "42",
                    "groups": ["r:dev", "r:ops", "system:authenticated"],
                    "extra": {"authentication.kubernetes.io/credential-id": ["JTI=j1"]},
                }
            assert made.fetched == ["/.well-known/openid-configuration", "/keys"]
            assert (await whoami(server, made.token(email="a@x", roles="one")))["groups"][0] == "r:one"
            assert await whoami(server, made.token(email="a@x", email_verified=False)) == 401
            assert await whoami(server, made.token(email="a@x", aud="other")) == 401
            assert await whoami(server, made.token(email="a@x", exp=int(time.time()) - 1)) == 401
            assert await whoami(server, made.token()) == 401
            assert await whoami(server, made.token(email="a@x", iss="https://other")) == 401
            stranger = RSAKey.generate_key(2048, {"kid": made.key.kid})
            assert await whoami(server, made.token(stranger, email="a@x")) == 401
            head, _, signature = token.split(".")
            forged = made.token(email="root@x").split(".")[1]
            assert await whoami(server, f"{head}.{forged}.{signature}") == 401


async def test_expressions_map_and_check_claims(tmp_path: Path):
    async with provider(tmp_path) as made:
        mappings = {
            "username": {"expression": "claims.name + '@corp'"},
            "groups": {"expression": "claims.roles.split(',')"},
            "extra": [{"key": "acme.com/tenant", "valueExpression": "claims.tenant"}],
        }
        checks = {
            "claimValidationRules": [
                {"expression": "claims.tenant != 'evil'", "message": "no evil tenants"},
                {"claim": "hd", "requiredValue": "acme"},
            ],
            "userValidationRules": [{"expression": "!user.username.startsWith('system:')", "message": "reserved"}],
        }
        async with api_server(config=settings(made, mappings, **checks)) as server:
            claims = {"name": "ann", "roles": "a,b", "tenant": "t1", "hd": "acme"}
            assert await whoami(server, made.token(**claims)) == {
                "username": "ann@corp",
                "groups": ["a", "b", "system:authenticated"],
                "extra": {"acme.com/tenant": ["t1"]},
            }
            assert await whoami(server, made.token(**{**claims, "tenant": "evil"})) == 401
            assert await whoami(server, made.token(**{**claims, "hd": "other"})) == 401
            assert await whoami(server, made.token(**{**claims, "name": "system:admin"})) == 401


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"issuer": {"url": "http://x", "audiences": ["a"]}}, "https URL"),
        ({"issuer": {"url": "https://x", "audiences": []}}, "audiences"),
        ({"claimMappings": {"username": {"claim": "sub"}}}, "prefix is required"),
        ({"claimMappings": {"username": {"claim": "sub", "prefix": "", "expression": "1"}}}, "can't both"),
        ({"claimMappings": {"username": {"expression": "claims.email"}}}, "email_verified"),
        ({"claimMappings": {"username": {"expression": "'x'"}, "extra": [{"key": "k8s.io/x", "valueExpression": "1"}]}}, "reserved"),
        ({"claimMappings": {}}, "claim or expression"),
        ({"issuer": []}, "shape"),
    ],
)  # fmt: skip
def test_a_bad_configuration_says_what_is_bad(change: dict[str, Any], why: str):
    good = {
        "issuer": {"url": "https://x", "audiences": ["a"]},
        "claimMappings": {"username": {"claim": "sub", "prefix": ""}},
    }
    document = {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "AuthenticationConfiguration",
        "jwt": [{**good, **change}],
    }
    with pytest.raises(BadConfiguration, match=why):
        parse(orjson.dumps(document))


async def test_a_webhook_vouches_for_tokens(tmp_path: Path):
    asked: list[Any] = []

    def review(request: Request) -> Response:
        body = orjson.loads(request.body)
        asked.append(body["spec"])
        good = body["spec"]["token"] == "good"
        user = {"username": "wes", "groups": ["hooked"], "extra": {"k": ["v"]}}
        status = {"authenticated": True, "user": user} if good else {"error": "no such token"}
        return Response(200, orjson.dumps({**body, "status": status}))

    listener = await serve(review, "127.0.0.1", 0, None, request_type=Request)
    file = tmp_path / "hook.kubeconfig"
    file.write_text(
        f"""
current-context: c
contexts: [{{name: c, context: {{cluster: k, user: u}}}}]
clusters: [{{name: k, cluster: {{server: 'http://127.0.0.1:{listener.port}/review'}}}}]
users: [{{name: u, user: {{}}}}]
"""
    )
    config = ApiServerConfig(authentication=Authentication(webhook_kubeconfig=str(file)))
    async with api_server(config=config) as server:
        for _ in range(2):
            found = await whoami(server, "good")
            assert found["username"] == "wes" and found["groups"] == ["hooked", "system:authenticated"]
        assert await whoami(server, "bad") == 401
        path = "/apis/authentication.k8s.io/v1/tokenreviews"
        status = (await server.system.raw("POST", path, None, {"spec": {"token": "bad"}}))["status"]
        assert "no such token" in status["error"]
        await listener.close()
        assert await whoami(server, "unknown") == 401
        assert (await whoami(server, "good"))["username"] == "wes"
    assert [spec["token"] for spec in asked] == ["good", "bad", "bad"]
