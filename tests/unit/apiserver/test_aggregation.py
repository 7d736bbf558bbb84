"""APIServices and a real extension server behind them: who is asked, in whose name, and what clients see of it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pytest
from tests.support.apiserver import api_server
from tests.support.extension import FLUNDERS, GROUP, META, ROOT, Extension, extension
from tests.support.hollow import until
from tests.support.requests import Authority, Connection, exchange, send

from navarch.apiserver.aggregation import availability
from navarch.apiserver.aggregation.remote import remote_of
from navarch.apiserver.auth.configuration import Authentication
from navarch.apiserver.request import Request, Response, User
from navarch.apiserver.server import ApiServer, ApiServerConfig
from navarch.client.interface import Resource
from navarch.client.resources import API_SERVICES, NAMESPACES, SERVICES
from navarch.machinery.types import GroupResource
from navarch.store.interface import Store
from navarch.store.memory import MemoryStore
from navarch.testing.inside import control_plane
from navarch.testing.options import Options

ADMIN = User("admin", "u-1", ("system:masters", "a b"), (("example.org/Scope", ("x", "y")),))
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
NAME = f"v1.{GROUP}"


class Writer:
    """The near end of a streamed answer."""

    buffered = 0

    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        self.arrived = asyncio.Event()
        self.ended = asyncio.Event()

    def write(self, chunks: Sequence[bytes]) -> None:
        self.chunks.extend(chunks)
        self.arrived.set()

    def finish(self) -> None:
        self.ended.set()

    abort = finish

    def on_drain(self, callback: Callable[[], None]) -> None:
        callback()

    async def all_of(self, answer: Response) -> bytes:
        assert answer.stream
        answer.stream(self)
        await asyncio.wait_for(self.ended.wait(), 10)
        return b"".join(self.chunks)


class Setup(NamedTuple):
    server: ApiServer
    extension: Extension

    async def ask(self, method: str, url: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = await exchange(self.server, method, url, body, token="admin", headers=named)
        if answer.stream is None:
            content = answer.body if isinstance(answer.body, bytes) else b"".join(answer.body)
        else:
            content = await Writer().all_of(answer)
        return answer.status, orjson.loads(content) if answer.content_type.startswith("application/json") else content

    def condition(self) -> tuple[str, str, str]:
        obj = self.server.lookup(GroupResource("apiregistration.k8s.io", "apiservices"), "", NAME)
        found = ((obj or {}).get("status") or {}).get("conditions") or [{}]
        return found[0].get("status", ""), found[0].get("reason", ""), found[0].get("message", "")

    async def available(self) -> None:
        await until("the extension server is available", lambda: self.condition()[:2] == ("True", "Passed"))


@asynccontextmanager
async def running(
    directory: Path, *, aggregated: bool = True, old: bool = False, store: Store | None = None, **spec: Any
) -> AsyncIterator[Setup]:
    """An API server, and an extension server that is registered with it behind the service `wardle`."""
    proxies = Authority("front-proxy-ca")
    certificate = directory / "proxy.crt", directory / "proxy.key"
    for path, pem in zip(certificate, proxies.client_files("front-proxy-client"), strict=True):
        path.write_bytes(pem)
    config = ApiServerConfig(
        fixed_tokens={"admin": ADMIN, "nobody": User("nobody", groups=("system:authenticated",))},
        authentication=Authentication(front_proxy_ca_pem=proxies.pem),
        proxy_client=certificate,
    )
    async with api_server(store=store, config=config) as server:
        trusted = await server.system.raw(
            "GET", "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication"
        )
        ca = trusted["data"]["requestheader-client-ca-file"].encode()
        async with extension(directory, ca, aggregated=aggregated) as (made, _):
            made.old = old
            service = {"metadata": {"name": "wardle"}, "spec": {"type": "ExternalName", "externalName": "localhost"}}
            await server.system.create(SERVICES, service, "default")
            await server.system.create(API_SERVICES, made.api_service(**spec))
            yield Setup(server, made)


async def test_requests_reach_the_extension_server_in_their_users_names(tmp_path: Path) -> None:
    async with running(tmp_path) as setup:
        await setup.available()
        code, made = await setup.ask("POST", FLUNDERS, {"metadata": {"name": "a"}})
        assert (code, made["metadata"]["annotations"]) == (201, {"by": "admin"})
        code, listed = await setup.ask("GET", f"{FLUNDERS}?limit=500", x_remote_user="somebody", x_custom="kept")
        assert (code, [item["metadata"]["name"] for item in listed["items"]]) == (200, ["a"])
        seen = setup.extension.asked
        assert seen.raw_query == "limit=500"
        sent = {name: seen.headers.get(name) for name in ("x-remote-user", "x-remote-uid", "x-custom", "authorization")}
        assert sent == {"x-remote-user": "admin", "x-remote-uid": "u-1", "x-custom": "kept", "authorization": None}
        assert seen.headers["x-remote-group"] == "system:masters, a b, system:authenticated"
        assert seen.headers["x-remote-extra-example.org%2fscope"] == "x, y"

        answer = await exchange(setup.server, "GET", FLUNDERS, token="admin", headers={"audit-id": "mine"})
        headers = dict(answer.headers)
        assert (headers["X-From"], headers["Cache-Control"], headers["Audit-Id"]) == ("wardle", "no-store", "mine")
        assert seen.headers["audit-id"] != setup.extension.asked.headers["audit-id"] == "mine"

        code, refused = await send(setup.server, "GET", FLUNDERS, token="nobody")
        assert (code, refused["reason"]) == (403, "Forbidden")
        assert setup.extension.asked.headers["x-remote-user"] == "admin"


async def test_the_condition_says_what_is_wrong(tmp_path: Path) -> None:
    async with running(tmp_path) as setup:
        await setup.available()
        setup.extension.broken = True
        await setup.server.system.patch(SERVICES, "wardle", {"metadata": {"labels": {"a": "b"}}}, "default")
        await until("the failure is told", lambda: setup.condition()[1] == "FailedDiscoveryCheck")
        url = f"https://localhost:{setup.extension.port}{ROOT}"
        expected = f"failing or missing response from {url}: bad status from {url}: 500"
        assert setup.condition() == ("False", "FailedDiscoveryCheck", expected)
        answer = await exchange(setup.server, "GET", FLUNDERS, token="admin")
        assert (answer.status, answer.body, answer.content_type.split(";")[0]) == (
            503,
            b"service unavailable\n",
            "text/plain",
        )
        setup.extension.broken = False
        await setup.available()
        await setup.server.system.delete(SERVICES, "wardle", "default")
        await until("the service is missed", lambda: setup.condition()[1] == "ServiceNotFound")
        assert setup.condition()[2] == 'service/wardle in "default" is not present'


@pytest.mark.parametrize(
    ("spec", "trouble"),
    [
        ({"caBundle": None}, "x509: certificate signed by unknown authority"),
        ({"caBundle": "aGVsbG8="}, "unable to parse bytes as PEM block"),
        ({"service": {"namespace": "default", "name": "wardle", "port": 1}}, "connect: connection refused"),
    ],
)
async def test_servers_that_cannot_be_believed_or_reached(tmp_path: Path, spec: dict[str, Any], trouble: str) -> None:
    async with running(tmp_path, **spec) as setup:
        await until("a verdict", lambda: setup.condition()[1])
        assert setup.condition()[:2] == ("False", "FailedDiscoveryCheck")
        assert trouble in setup.condition()[2]


async def test_certificates_may_be_left_unjudged(tmp_path: Path) -> None:
    async with running(tmp_path, caBundle=None, insecureSkipTLSVerify=True) as setup:
        await setup.available()
        assert (await setup.ask("GET", FLUNDERS))[0] == 200


async def test_an_api_service_may_become_local_again(tmp_path: Path) -> None:
    async with running(tmp_path) as setup:
        await setup.available()
        spec = {"service": None, "caBundle": None}
        await setup.server.system.patch(API_SERVICES, NAME, {"spec": spec})
        await until("it is local", lambda: setup.condition()[:2] == ("True", "Local"))
        assert (await setup.ask("GET", FLUNDERS))[0] == 404


@pytest.mark.parametrize("aggregated", [True, False], ids=["aggregated", "legacy"])
async def test_discovery_shows_what_extension_servers_serve(tmp_path: Path, aggregated: bool) -> None:
    async with running(tmp_path, aggregated=aggregated) as setup:
        await setup.available()
        _, groups = await setup.ask("GET", "/apis")
        names = [group["name"] for group in groups["groups"]]
        assert names[:2] == ["apiregistration.k8s.io", "apps"]
        assert GROUP in names
        code, group = await setup.ask("GET", f"/apis/{GROUP}")
        version = {"groupVersion": f"{GROUP}/v1", "version": "v1"}
        assert (code, group["versions"], group["preferredVersion"]) == (200, [version], version)
        _, resources = await setup.ask("GET", ROOT)
        assert resources["resources"][0]["name"] == "flunders"

        async def shown() -> Any:
            _, found = await setup.ask("GET", "/apis", accept=AGGREGATED)
            item = next(item for item in found["items"] if item["metadata"]["name"] == GROUP)
            return item["versions"][0]

        for _ in range(200):
            if (await shown()).get("resources"):
                break
            await asyncio.sleep(0.02)
        found = await shown()
        assert (found["version"], found["freshness"]) == ("v1", "Current")
        flunders = found["resources"][0]
        assert (flunders["resource"], flunders["scope"], flunders["shortNames"]) == ("flunders", "Namespaced", ["fl"])
        assert flunders["responseKind"] == {"group": GROUP, "version": "v1", "kind": "Flunder"}
        if not aggregated:
            assert [s["subresource"] for s in flunders["subresources"]] == ["status"]

        await setup.server.system.delete(API_SERVICES, NAME)
        _, groups = await setup.ask("GET", "/apis")
        assert GROUP not in [group["name"] for group in groups["groups"]]
        assert (await setup.ask("GET", f"/apis/{GROUP}"))[0] == 404
        assert (await setup.ask("GET", ROOT))[0] == 404


async def test_groups_and_versions_are_ordered_by_their_priorities(tmp_path: Path) -> None:
    async with running(tmp_path, groupPriorityMinimum=20000, versionPriority=10) as setup:
        other = setup.extension.api_service(version="v2", groupPriorityMinimum=100, versionPriority=20)
        other["metadata"]["name"] = f"v2.{GROUP}"
        await setup.server.system.create(API_SERVICES, other)
        _, groups = await setup.ask("GET", "/apis")
        assert [group["name"] for group in groups["groups"]][:3] == ["apiregistration.k8s.io", GROUP, "apps"]
        assert [v["version"] for v in groups["groups"][1]["versions"]] == ["v2", "v1"]


async def listed(setup: Setup) -> dict[str, Any]:
    """OpenAPI's index, once it has the extension server's document."""
    index: dict[str, Any] = {}
    for _ in range(200):
        _, index = await setup.ask("GET", "/openapi/v3")
        if ROOT[1:] in index["paths"]:
            break
        await asyncio.sleep(0.02)
    return index


async def test_openapi_holds_their_documents(tmp_path: Path) -> None:
    async with running(tmp_path) as setup:
        await setup.available()
        index = await listed(setup)
        assert index["paths"][ROOT[1:]] == {"serverRelativeURL": f"/openapi/v3{ROOT}?hash=1"}
        assert "apis/apps/v1" in index["paths"]
        code, document = await setup.ask("GET", f"/openapi/v3{ROOT}?hash=1")
        assert (code, list(document["paths"])) == (200, [f"{ROOT}/"])

        _, swagger = await setup.ask("GET", "/openapi/v2")
        meta = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
        flunder = swagger["definitions"]["example.wardle.v1.Flunder"]
        assert flunder["properties"]["metadata"] == {"$ref": f"#/definitions/{meta}_v2"}
        assert list(swagger["definitions"][f"{meta}_v2"]["properties"]) == ["mine"]
        assert "labels" in swagger["definitions"][meta]["properties"]
        assert "unused" not in swagger["definitions"]
        flunders = swagger["paths"][f"{ROOT}/namespaces/{{namespace}}/flunders/{{name}}"]
        assert flunders["get"]["parameters"] == [{"name": "pretty", "in": "query", "type": "string"}]
        assert "/version" not in swagger["paths"]


async def test_openapi_of_version_2_is_told_in_version_3_too(tmp_path: Path) -> None:
    async with running(tmp_path, old=True) as setup:
        await setup.available()
        index = await listed(setup)
        code, document = await setup.ask("GET", index["paths"][ROOT[1:]]["serverRelativeURL"])
        flunder = "example.wardle.v1.Flunder"
        schemas = document["components"]["schemas"]
        assert (code, document["openapi"], sorted(schemas)) == (200, "3.0.0", sorted([flunder, META]))
        assert schemas[flunder]["properties"]["metadata"] == {"$ref": f"#/components/schemas/{META}"}
        (path,) = document["paths"].values()
        (answer,) = path["get"]["responses"].values()
        assert answer["content"] == {"application/json": {"schema": {"$ref": f"#/components/schemas/{flunder}"}}}
        assert path["get"]["parameters"] == [{"name": "pretty", "in": "query", "schema": {"type": "string"}}]


async def test_watches_and_upgrades_pass(tmp_path: Path) -> None:
    async with running(tmp_path) as setup:
        await setup.available()
        answer = await exchange(setup.server, "GET", f"{FLUNDERS}?watch=true", token="admin")
        writer = Writer()
        assert answer.stream
        gone = answer.stream(writer)
        await setup.ask("POST", FLUNDERS, {"metadata": {"name": "b"}})
        await asyncio.wait_for(writer.arrived.wait(), 10)
        assert orjson.loads(b"".join(writer.chunks))["object"]["metadata"]["name"] == "b"
        assert gone
        gone()

        tunnel = Tunnel([b"hello"])
        request = Request("GET", f"{FLUNDERS}/a/echo", "", {}, b"", Connection())
        request.headers = {"authorization": "Bearer admin", "connection": "Upgrade", "upgrade": "echo"}
        answering = setup.server.handle(request)
        answer = await answering if inspect.isawaitable(answering) else answering
        assert answer.status == 101
        assert answer.upgrade
        await asyncio.wait_for(answer.upgrade(tunnel), 10)
        assert tunnel.written == b"HELLO"
        assert setup.extension.asked.headers["x-remote-user"] == "admin"


async def test_controllers_and_clients_in_the_process_reach_extension_servers(tmp_path: Path) -> None:
    flunders = Resource(GROUP, "v1", "flunders")
    async with running(tmp_path) as setup, control_plane(setup.server, Options(controllers=True)):
        await setup.available()
        client = setup.server.system

        async def more() -> None:
            await client.create(flunders, {"metadata": {"name": "b"}}, "keep")

        for namespace in ("keep", "go"):
            await client.create(NAMESPACES, {"metadata": {"name": namespace}})
            await client.create(flunders, {"metadata": {"name": "a"}}, namespace)
        assert (await client.get(flunders, "a", "go"))["metadata"]["annotations"] == {"by": "system:apiserver"}
        assert [f["metadata"]["namespace"] for f in (await client.list(flunders)).items] == ["keep", "go"]
        made = asyncio.get_running_loop().call_later(0.1, lambda: asyncio.ensure_future(more()))
        async with asyncio.timeout(10):
            async for events in client.watch(flunders, "keep"):
                assert events[0].object["metadata"]["name"] == "b"
                break
            else:
                raise AssertionError("the watch ended")
        made.cancel()
        await client.delete(NAMESPACES, "go")
        namespaces = GroupResource("", "namespaces")
        await until("the namespace is gone", lambda: setup.server.lookup(namespaces, "", "go") is None)
        assert {key[0] for key in setup.extension.flunders} == {"keep"}


class Tunnel:
    """Sends what it is made with, and ends with the first answer."""

    def __init__(self, sent: list[bytes]) -> None:
        self.sent = sent
        self.written = b""
        self._answered = asyncio.Event()

    async def read(self) -> bytes:
        if self.sent:
            return self.sent.pop()
        await self._answered.wait()
        return b""

    async def write(self, data: bytes) -> None:
        self.written += data
        self._answered.set()

    def close(self) -> None: ...


def test_what_is_plain_without_asking() -> None:
    spec = {"group": GROUP, "version": "v1", "groupPriorityMinimum": 1, "versionPriority": 1}
    service = {"name": "wardle", "namespace": "default", "port": 443}
    remote = remote_of({"metadata": {"name": NAME}, "spec": {**spec, "service": service}})
    assert remote
    assert remote_of({"metadata": {"name": NAME}, "spec": spec}) is None
    port = {"name": "https", "port": 443}
    cluster_ip = {"spec": {"type": "ClusterIP", "ports": [port]}}
    piece = {"ports": [{"name": "https", "port": 8443}], "endpoints": [{"addresses": ["10.0.0.1"]}]}
    unready = {**piece, "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": False}}]}

    def reason(service: Any, slices: list[Any]) -> str:
        verdict = availability.before_asking(remote, service, slices)
        return verdict.reason if verdict else ""

    assert reason(None, []) == "ServiceNotFound"
    assert reason({"spec": {"type": "ClusterIP", "ports": [{"port": 80}]}}, [piece]) == "ServicePortError"
    assert reason(cluster_ip, []) == "EndpointsNotFound"
    assert reason(cluster_ip, [unready]) == "MissingEndpoints"
    assert reason(cluster_ip, [{**piece, "ports": [{"name": "other", "port": 1}]}]) == "MissingEndpoints"
    assert reason(cluster_ip, [unready, piece]) == ""
    assert reason({"spec": {"type": "ExternalName"}}, []) == ""


async def test_a_server_that_starts_anew_knows_its_extension_servers(tmp_path: Path) -> None:
    store = MemoryStore()
    async with running(tmp_path, store=store) as setup:
        await setup.available()
        async with api_server(store=store, config=setup.server.config) as again:
            _, groups = await send(again, "GET", "/apis", token="admin")
            assert GROUP in [group["name"] for group in groups["groups"]]
            answer = await exchange(again, "GET", FLUNDERS, token="admin")
            assert answer.status == 200
            assert orjson.loads(await Writer().all_of(answer))["kind"] == "FlunderList"
