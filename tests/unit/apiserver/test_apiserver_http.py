"""The same server through requests: negotiation, status codes, paths, watches."""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from navarch.apiserver.request import Request, Response, User

_spec = importlib.util.spec_from_file_location(
    "support_apiserver_http", Path(__file__).parents[2] / "support" / "apiserver.py"
)
assert _spec is not None and _spec.loader is not None
_support = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_support)
api_server = _support.api_server

MAPS = "/api/v1/namespaces/default/configmaps"
MERGE = {"content-type": "application/merge-patch+json"}


class Connection:
    peer_certificate: bytes | None = None
    peer_address = ("127.0.0.1", 1)

    def __init__(self) -> None:
        self.cache: dict[str, Any] = {}


async def send(server: Any, method: str, url: str, body: Any = None, headers: dict[str, str] | None = None) -> Response:
    path, _, query = url.partition("?")
    encoded = body if isinstance(body, bytes) else orjson.dumps(body) if body is not None else b""
    request = Request(method, path, query, headers or {}, encoded, Connection())
    request.user = User("admin", groups=("system:masters",))
    answer = server.handle_as(request)
    return await answer if inspect.isawaitable(answer) else answer


def tree(response: Response) -> Any:
    return orjson.loads(response.body if isinstance(response.body, bytes) else b"".join(response.body))


@pytest.mark.parametrize(
    ("method", "url", "body", "code", "reason"),
    [
        ("GET", MAPS + "/none", None, 404, "NotFound"),
        ("POST", MAPS, b"{", 400, "BadRequest"),
        ("POST", MAPS, {"metadata": {"name": "a"}, "data": {"k": 1}}, 400, "BadRequest"),
        ("POST", MAPS, {"metadata": {}}, 422, "Invalid"),
        ("POST", MAPS + "?fieldValidation=Strict", {"metadata": {"name": "a"}, "x": 1}, 400, "BadRequest"),
        ("POST", MAPS + "?dryRun=x", {"metadata": {"name": "a"}}, 422, "Invalid"),
        ("PUT", MAPS, {}, 405, "MethodNotAllowed"),
        ("GET", "/api/v1/nothings", None, 404, "NotFound"),
        ("GET", MAPS + "?resourceVersion=9999", None, 504, "Timeout"),
        ("GET", MAPS + "?resourceVersion=x", None, 400, "BadRequest"),
        ("GET", MAPS + "?resourceVersionMatch=Exact", None, 422, "Invalid"),
        ("GET", MAPS + "?continue=zz", None, 400, "BadRequest"),
        ("DELETE", "/api/v1/namespaces/kube-system", None, 403, "Forbidden"),
    ],
)
async def test_failures_have_their_status(method: str, url: str, body: Any, code: int, reason: str):
    async with api_server() as server:
        response = await send(server, method, url, body)
        assert (response.status, tree(response)["reason"], tree(response)["code"]) == (code, reason, code)


async def test_an_object_in_three_media_types():
    async with api_server() as server:
        await send(server, "POST", MAPS, {"metadata": {"name": "a"}, "data": {"k": "v"}})
        yaml = await send(server, "GET", MAPS + "/a", headers={"accept": "application/yaml"})
        assert b"k: v\n" in yaml.body and yaml.content_type == "application/yaml"
        proto = await send(server, "GET", MAPS + "/a", headers={"accept": "application/vnd.kubernetes.protobuf"})
        assert isinstance(proto.body, bytes) and proto.body.startswith(b"k8s\0")
        again = await send(
            server, "PUT", MAPS + "/a", proto.body, {"content-type": "application/vnd.kubernetes.protobuf"}
        )
        assert again.status == 200 and tree(again)["data"] == {"k": "v"}
        wrong = await send(server, "GET", MAPS + "/a", headers={"accept": "text/html"})
        assert wrong.status == 406
        unknown = await send(server, "POST", MAPS, b"x", {"content-type": "text/plain"})
        assert unknown.status == 415


async def test_tables_and_partial_metadata():
    async with api_server() as server:
        await send(server, "POST", MAPS, {"metadata": {"name": "a"}, "data": {"k": "v"}})
        accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
        table = tree(await send(server, "GET", MAPS, headers={"accept": accept}))
        assert table["kind"] == "Table" and table["rows"][0]["cells"][0] == "a"
        accept = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
        partial = tree(await send(server, "GET", MAPS, headers={"accept": accept}))
        assert partial["kind"] == "PartialObjectMetadataList" and "data" not in partial["items"][0]


async def test_a_dry_run_changes_nothing():
    async with api_server() as server:
        dry = await send(server, "POST", MAPS + "?dryRun=All", {"metadata": {"name": "a"}})
        assert dry.status == 201 and "resourceVersion" not in tree(dry)["metadata"]
        assert (await send(server, "GET", MAPS + "/a")).status == 404


async def test_unknown_fields_warn():
    async with api_server() as server:
        request = Request("POST", MAPS, "", {}, b'{"metadata":{"name":"a"},"x":1}', Connection())
        request.user = User("admin", groups=("system:masters",))
        response = await server.handle_as(request)
        assert response.status == 201 and request.warnings == ['unknown field "x"']


class Writer:
    """Collects what a stream writes."""

    buffered = 0

    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        self.finished = False

    def write(self, chunks: Sequence[bytes]) -> None:
        self.chunks.extend(chunks)

    def on_drain(self, callback: Callable[[], None]) -> None:
        callback()

    def finish(self) -> None:
        self.finished = True

    def abort(self) -> None:
        self.finished = True


async def test_a_watch_list_sends_what_is_there_then_a_bookmark_then_changes():
    async with api_server() as server:
        await send(server, "POST", MAPS, {"metadata": {"name": "a"}})
        query = "?watch=1&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan"
        response = await send(server, "GET", MAPS + query)
        writer = Writer()
        assert response.stream is not None
        gone = response.stream(writer)
        await asyncio.sleep(0.01)
        await send(server, "PATCH", MAPS + "/a", {"data": {"k": "v"}}, MERGE)
        await send(server, "DELETE", MAPS + "/a")
        async with asyncio.timeout(5):
            while len(writer.chunks) < 4:
                await asyncio.sleep(0)
        events = [orjson.loads(c) for c in writer.chunks]
        assert [e["type"] for e in events] == ["ADDED", "BOOKMARK", "MODIFIED", "DELETED"]
        assert events[1]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
        assert gone is not None
        gone()


async def test_discovery_lists_resources_and_answers_unchanged():
    async with api_server() as server:
        core = tree(await send(server, "GET", "/api/v1"))
        maps = next(r for r in core["resources"] if r["name"] == "configmaps")
        assert maps["storageVersionHash"] == "qFsyl6wFWjQ="
        accept = {"accept": "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"}
        first = await send(server, "GET", "/apis", headers=accept)
        etag = dict(first.headers)["ETag"]
        assert (await send(server, "GET", "/apis", headers={**accept, "if-none-match": etag})).status == 304


async def test_health_and_unknown_paths():
    async with api_server() as server:
        assert (await send(server, "GET", "/readyz")).body == b"ok"
        verbose = await send(server, "GET", "/livez?verbose")
        assert isinstance(verbose.body, bytes) and b"[+]ping ok" in verbose.body
        assert (await send(server, "GET", "/readyz/none")).status == 404
        assert (await send(server, "GET", "/nowhere")).body == b"404 page not found\n"


async def test_strict_tells_unknown_and_duplicate_fields_together():
    async with api_server() as server:
        body = b'{"metadata":{"name":"a"},"x":1,"data":{"k":"1"},"data":{"k":"2"}}'
        answer = await send(server, "POST", MAPS + "?fieldValidation=Strict", body)
        assert 'strict decoding error: unknown field "x", duplicate field "data"' in tree(answer)["message"]
