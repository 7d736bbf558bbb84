"""/statusz and /flagz: text for people, objects for who asks for them."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
import yaml
from tests.support.apiserver import api_server
from tests.support.requests import exchange

from navarch.apiserver.request import Response, User
from navarch.apiserver.server import ApiServer, ApiServerConfig

CONFIG = ApiServerConfig(
    flags={"secure-port": "6443", "anonymous-auth": "true"},
    fixed_tokens={"t": User("admin", groups=("system:masters",)), "u": User("plain", groups=("system:authenticated",))},
)


async def ask(server: ApiServer, path: str, accept: str = "", token: str = "t") -> Response:
    return await exchange(server, "GET", path, token=token, headers={"accept": accept} if accept else {})


def text(answer: Response) -> str:
    assert isinstance(answer.body, bytes)
    return answer.body.decode()


@pytest.mark.parametrize("accept", ["", "*/*", "text/plain", "application/json,text/plain;q=0.5"])
async def test_people_get_text(accept: str) -> None:
    async with api_server(config=CONFIG) as server:
        status, flags = await ask(server, "/statusz", accept), await ask(server, "/flagz", accept)
        assert (status.status, status.content_type) == (200, "text/plain; charset=utf-8")
        assert text(status).startswith(
            "\napiserver statusz\nWarning: This endpoint is not meant to be machine parseable"
        )
        assert "/flagz /healthz /livez /metrics /readyz /statusz /version" in text(status)
        lines = text(flags).splitlines()
        assert [line[:14] for line in lines[3:]] == ["anonymous-auth", "secure-port" + lines[4][11:14]]


@pytest.mark.parametrize("kind, path", [("Statusz", "/statusz"), ("Flagz", "/flagz")])
async def test_objects_for_who_asks_for_them(kind: str, path: str) -> None:
    async with api_server(config=CONFIG) as server:
        wanted = f"g=config.k8s.io;v=v1beta1;as={kind}"
        answer = await ask(server, path, f"application/json;{wanted}")
        tree: dict[str, Any] = orjson.loads(text(answer))
        assert (answer.content_type, tree["kind"]) == (f"application/json;{wanted}", kind)
        assert tree["apiVersion"] == "config.k8s.io/v1beta1"
        assert tree.get("flags", {}) == (dict(CONFIG.flags) if kind == "Flagz" else {})
        assert yaml.safe_load(text(await ask(server, path, f"application/yaml;{wanted}"))).keys() == tree.keys()
        older = await ask(server, path, f"application/json;{wanted}".replace("v1beta1", "v1alpha1"))
        assert "deprecated" in dict(older.headers)["Warning"]
        for other in ("application/json", "text/html", f"text/plain;{wanted}", f"application/json;{wanted}x"):
            refused = await ask(server, path, other)
            assert (refused.status, orjson.loads(text(refused))["message"]) == (
                406,
                "only the following media types are accepted: application/json, application/yaml, text/plain",
            )


async def test_only_who_may_monitor_sees_them() -> None:
    async with api_server(config=CONFIG) as server:
        assert (await ask(server, "/statusz", token="u")).status == 403
