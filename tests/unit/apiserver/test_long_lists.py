"""Lists that are made in turns have the bytes of those that are made at once, whatever their form."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from tests.support.apiserver import api_server
from tests.support.requests import exchange

from navarch.apiserver import output
from navarch.apiserver.request import User
from navarch.apiserver.server import ApiServerConfig
from navarch.client.interface import Resource
from navarch.client.resources import CONFIG_MAPS

PARTIAL = "as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
FORMS = (
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
    "application/json;as=Table;v=v1;g=meta.k8s.io",
    f"application/json;{PARTIAL}",
    f"application/vnd.kubernetes.protobuf;{PARTIAL}",
)
PATHS = ("/api/v1/configmaps", "/api/v1/configmaps?limit=50", "/apis/autoscaling/v1/horizontalpodautoscalers")


@pytest.mark.parametrize("pretty", ["", "pretty=1"])
async def test_a_list_in_turns_is_a_list(monkeypatch: pytest.MonkeyPatch, pretty: str) -> None:
    monkeypatch.setattr(output, "TURN_SECONDS", 0.0)
    config = ApiServerConfig(fixed_tokens={"admin": User("admin", groups=("system:masters",))})
    async with api_server(config=config) as server:
        await _furnish(server)
        for path, form in product(PATHS, FORMS):
            made: list[tuple[int, bytes]] = []
            while len(made) < 2 or made[-1][0] != made[-2][0]:  # at one revision: something else may write meanwhile
                for at_once in (10_000, 7):
                    monkeypatch.setattr(output, "AT_ONCE", at_once)
                    made.append((server.caches.revision, await _list(server, path, form, pretty)))
            assert made[-1] == made[-2] and len(made[-1][1]) > 500


async def _list(server: Any, path: str, form: str, query: str) -> bytes:
    where = path + ("&" if "?" in path else "?") + query if query else path
    answer = await exchange(server, "GET", where, token="admin", headers={"accept": form})
    assert answer.status == 200
    return answer.body if isinstance(answer.body, bytes) else b"".join(answer.body)


async def _furnish(server: Any) -> None:
    """Texts that look like a list's end; and objects that are stored in another version than the one that is listed."""
    for number in range(60):
        metadata = {"name": f"m{number}", "annotations": {"a": '"items":[],"rows":[]}'}}
        await server.system.create(CONFIG_MAPS, {"metadata": metadata, "data": {"k": f'"{number}", ]}}'}}, "default")
    scalers = Resource("autoscaling", "v2", "horizontalpodautoscalers", True)
    for number in range(20):
        spec = {"maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}}
        await server.system.create(scalers, {"metadata": {"name": f"h{number}"}, "spec": spec}, "default")
