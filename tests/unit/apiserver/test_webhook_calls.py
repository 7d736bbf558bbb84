"""How webhooks are asked: real HTTPS servers, believed by their bundles only."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path

import orjson
import pytest
from tests.support.requests import Authority
from tests.support.webhook import webhook

from navarch.apiserver.admission.plugins import check
from navarch.apiserver.admission.settings import BadSettings, Settings
from navarch.apiserver.credentials import Credentials
from navarch.apiserver.services import Services
from navarch.apiserver.webhooks import WebhookError, Webhooks, goal
from navarch.http.messages import Response
from navarch.machinery.types import GroupResource, Obj

BODY = orjson.dumps({"apiVersion": "v1", "kind": "Review", "request": {"uid": "1"}})


def alone() -> Webhooks:
    return Webhooks(Services(lambda *_: None, lambda *_: ()))


async def why(hooks: Webhooks, client: Obj, timeout: float = 5) -> str:
    with pytest.raises(WebhookError) as caught:
        await hooks.ask(client, BODY, timeout)
    return str(caught.value)


async def test_an_answer_comes_back_and_the_connection_is_kept(tmp_path: Path) -> None:
    hooks = alone()
    async with webhook(tmp_path, lambda path, request: {"allowed": True}) as hook:
        for _ in range(3):
            answer = await hooks.ask(hook.client("/here"), BODY, 7)
        assert answer == {"apiVersion": "v1", "kind": "Review", "response": {"uid": "1", "allowed": True}}
        assert hook.urls[0] == "/here?timeout=7s"
        assert len(hook.server.connections) == 1
        hooks.close()


async def test_who_closed_a_kept_connection_is_asked_anew(tmp_path: Path) -> None:
    hooks = alone()
    async with webhook(tmp_path, lambda path, request: {"allowed": True}) as hook:
        await hooks.ask(hook.client(), BODY, 5)
        for connection in list(hook.server.connections):
            connection.abort()
        assert (await hooks.ask(hook.client(), BODY, 5))["response"]["allowed"]
        hooks.close()


async def test_only_who_the_bundle_vouches_for_is_believed(tmp_path: Path) -> None:
    hooks = alone()
    async with webhook(tmp_path, lambda path, request: {"allowed": True}) as hook:
        stranger = base64.b64encode(Authority("other").pem).decode()
        url = hook.client()["url"]
        said = await why(hooks, {"url": url, "caBundle": stranger})
        assert said == (
            f'Post "{url}?timeout=5s": tls: failed to verify certificate: x509: certificate signed by unknown authority'
        )
        assert "unknown authority" in await why(hooks, {"url": url})
        assert "unable to parse bytes as PEM block" in await why(hooks, {"url": url, "caBundle": "aGk="})
        elsewhere = {**hook.client(), "url": url.replace("127.0.0.1", "localhost")}
        assert "tls: failed to verify certificate" in await why(hooks, elsewhere)
        hooks.close()


async def test_silence_ends_with_the_timeout(tmp_path: Path) -> None:
    hooks, forever = alone(), asyncio.Event()

    async def answer(path: str, request: Obj) -> Obj:
        await forever.wait()
        return {}

    async with webhook(tmp_path, answer) as hook:
        said = await why(hooks, hook.client("/slow"), 0.2)
        assert said.endswith('/slow?timeout=0.2s": context deadline exceeded')
        forever.set()
        hooks.close()


@pytest.mark.parametrize(
    "response, said",
    [
        (Response(404, b"404 page not found\n", "text/plain"), "the server could not find the requested resource"),
        (Response(500, b"boom", "text/plain"), 'an error on the server ("boom") has prevented the request'),
        (Response(200, b"nonsense", "text/plain"), "couldn't get version/kind; json parse error"),
        (Response(200, b"[]", "application/json"), "couldn't get version/kind; json parse error"),
        (Response(200, b'"' + b"x" * (9 << 20) + b'"', "application/json"), "longer than"),
    ],
)
async def test_other_answers_are_failures(tmp_path: Path, response: Response, said: str) -> None:
    hooks = alone()
    async with webhook(tmp_path, lambda path, request: response) as hook:
        assert said in await why(hooks, hook.client())
        hooks.close()


async def test_nobody_there() -> None:
    assert await why(alone(), {"url": "https://127.0.0.1:1/x"}) == (
        'Post "https://127.0.0.1:1/x?timeout=5s": dial tcp 127.0.0.1:1: connect: connection refused'
    )


SERVICE: Obj = {"spec": {"ports": [{"name": "https", "port": 443}, {"port": 8443, "name": "b"}]}}
SLICE: Obj = {
    "ports": [{"name": "https", "port": 9443}],
    "endpoints": [
        {"addresses": ["10.0.0.1"], "conditions": {"ready": False}},
        {"addresses": ["10.0.0.2"], "conditions": {"ready": True}},
    ],
}


async def test_a_service_is_reached_at_a_ready_endpoint() -> None:
    def lookup(resource: GroupResource, namespace: str, name: str) -> Obj | None:
        return SERVICE if (namespace, name) == ("ns", "hook") else None

    services = Services(lookup, lambda namespace, name: [SLICE])
    assert services.resolve("ns", "hook", 443) == ("10.0.0.2", 9443)
    hooks = Webhooks(services)
    base = {"namespace": "ns", "name": "hook", "path": "/p"}
    assert goal({"service": base}).url == "https://hook.ns.svc:443/p"
    assert await why(hooks, {"service": {**base, "name": "gone"}}) == (
        'Post "https://gone.ns.svc:443/p?timeout=5s": service "gone" not found'
    )
    assert 'no service port 1 found for service "hook"' in await why(hooks, {"service": {**base, "port": 1}})
    assert 'no endpoints available for service "hook"' in await why(hooks, {"service": {**base, "port": 8443}})


KUBECONFIG = """
users:
- {name: "127.0.0.1:%(port)s", user: {tokenFile: token}}
- {name: "*.example.svc", user: {username: u, password: p, as: other, as-groups: [a, b]}}
- {name: "*", user: {token: star}}
- {name: mine, user: {token: fallback}}
contexts: [{name: c, context: {user: mine}}]
current-context: c
"""


async def test_a_webhook_is_told_who_asks(tmp_path: Path) -> None:
    hooks = alone()
    (tmp_path / "token").write_text("first\n")
    async with webhook(tmp_path, lambda path, request: {"allowed": True}) as hook:
        (tmp_path / "kubeconfig").write_text(KUBECONFIG % {"port": hook.server.port})
        credentials = Credentials.read(tmp_path / "kubeconfig")
        await hooks.ask(hook.client(), BODY, 5, credentials)
        (tmp_path / "token").write_text("renewed")
        await hooks.ask(hook.client(), BODY, 5, credentials)
        await hooks.ask(hook.client(), BODY, 5)
        said = [headers.get("authorization") for headers in hook.headers]
        assert said == ["Bearer first", "Bearer renewed", None]
        (tmp_path / "token").unlink()
        with pytest.raises(WebhookError, match="No such file"):
            await hooks.ask(hook.client(), BODY, 5, credentials)
        hooks.close()


def test_users_are_chosen_by_address(tmp_path: Path) -> None:
    (tmp_path / "kubeconfig").write_text(KUBECONFIG % {"port": 1})
    credentials = Credentials.read(tmp_path / "kubeconfig")
    assert credentials.of("hook.example.svc", 443).sent() == {
        "Authorization": "Basic dTpw",
        "Impersonate-User": "other",
        "Impersonate-Group": ("a", "b"),
    }
    assert credentials.of("hook.example.svc", 8443).sent() == {"Authorization": "Bearer star"}
    (tmp_path / "kubeconfig").write_text((KUBECONFIG % {"port": 1}).replace('"*"', '"**"'))
    assert Credentials.read(tmp_path / "kubeconfig").of("elsewhere", 443).token == "fallback"


@pytest.mark.parametrize(
    "given, said",
    [
        ({"kind": "WebhookAdmission"}, "no WebhookAdmissionConfiguration, but 'WebhookAdmission' of ''"),
        ({"kubeConfigFile": "relative"}, "must be an absolute file path"),
        ({"kubeConfigFile": "{}/exec"}, "exec is not supported"),
        ({"kubeConfigFile": "{}/list"}, "is not a kubeconfig"),
    ],
)
def test_configurations_that_cannot_be_used(tmp_path: Path, given: Obj, said: str) -> None:
    (tmp_path / "exec").write_text("users: [{name: a, user: {exec: {command: x}}}]")
    (tmp_path / "list").write_text("- a")
    kind = {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "WebhookAdmissionConfiguration"}
    found = {key: value.format(tmp_path) for key, value in given.items()}
    settings = Settings(configurations={"ValidatingAdmissionWebhook": found if "kind" in found else kind | found})
    with pytest.raises(BadSettings) as caught:
        check(settings)
    assert said in str(caught.value)
