"""An extension API server: TLS, front-proxy authentication as the cluster's config map says it, one resource, discovery and
OpenAPI in either form, an upgrade. It serves `wardle.example/v1`."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
from tests.support.requests import Authority

from navarch.apiserver.auth.frontproxy import FrontProxy
from navarch.http.messages import Request, Response, StreamWriter, Tunnel
from navarch.http.server import Server, serve
from navarch.http.tls import TlsConfig
from navarch.machinery.clock import RealWorld
from navarch.machinery.errors import StatusError

GROUP, VERSION = "wardle.example", "v1"
ROOT = f"/apis/{GROUP}/{VERSION}"
FLUNDERS = f"{ROOT}/namespaces/default/flunders"
RESOURCES: list[dict[str, Any]] = [
    {
        "name": "flunders", "singularName": "flunder", "namespaced": True, "kind": "Flunder", "shortNames": ["fl"],
        "verbs": ["create", "delete", "deletecollection", "get", "list", "watch"],
    },
    {"name": "flunders/status", "singularName": "", "namespaced": True, "kind": "Flunder", "verbs": ["get"]},
]  # fmt: skip
AGGREGATED = {
    "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {},
    "items": [{"metadata": {"name": GROUP}, "versions": [{"version": VERSION, "resources": [{
        "resource": "flunders", "responseKind": {"group": GROUP, "version": VERSION, "kind": "Flunder"},
        "scope": "Namespaced", "singularResource": "flunder", "verbs": RESOURCES[0]["verbs"], "shortNames": ["fl"],
    }]}]}],
}  # fmt: skip
FLUNDER = f"example.wardle.{VERSION}.Flunder"
META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
KIND = {"group": GROUP, "version": VERSION, "kind": "Flunder"}


def swagger() -> dict[str, Any]:
    answer = {"200": {"description": "OK", "schema": {"$ref": f"#/definitions/{FLUNDER}"}}}
    operation = {
        "x-kubernetes-group-version-kind": KIND, "x-kubernetes-action": "get", "responses": answer,
        "produces": ["application/json"], "parameters": [{"$ref": "#/parameters/pretty-x1"}],
    }  # fmt: skip
    fields = {"metadata": {"$ref": f"#/definitions/{META}"}, "reference": {"type": "string", "description": "Its kin."}}
    shape = {"type": "object", "properties": fields, "x-kubernetes-group-version-kind": [KIND]}
    other = {"type": "object", "properties": {"mine": {"type": "string"}}}
    return {
        "swagger": "2.0", "info": {"title": "wardle", "version": "1"},
        "parameters": {"pretty-x1": {"name": "pretty", "in": "query", "type": "string"}},
        "paths": {f"{ROOT}/namespaces/{{namespace}}/flunders/{{name}}": {"get": operation}, "/version": {}},
        "definitions": {FLUNDER: shape, META: other, "unused": {}},
    }  # fmt: skip


class Extension:
    """Counts what it is asked; `broken` makes it fail."""

    def __init__(self, front_proxy_ca: bytes, *, aggregated: bool) -> None:
        self.authority = Authority("wardle-ca")
        self.port = 0
        self.broken = False
        self.old = False
        """It has no OpenAPI version 3."""
        self.seen: list[Request] = []
        self._aggregated = aggregated
        self._users = FrontProxy(front_proxy_ca, {"front-proxy-client"}, RealWorld())
        self.flunders: dict[tuple[str, str], Any] = {}
        """By namespace and name."""
        self._watchers: list[StreamWriter] = []

    @property
    def asked(self) -> Request:
        """The last request for its resource."""
        return next(request for request in reversed(self.seen) if request.path.startswith(FLUNDERS))

    def api_service(self, **spec: Any) -> dict[str, Any]:
        bundle = base64.b64encode(self.authority.pem).decode()
        service = {"namespace": "default", "name": "wardle", "port": self.port}
        return {
            "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": f"{VERSION}.{GROUP}"},
            "spec": {
                "group": GROUP, "version": VERSION, "groupPriorityMinimum": 2000, "versionPriority": 200,
                "service": service, "caBundle": bundle, **spec,
            },
        }  # fmt: skip

    def handle(self, request: Request) -> Response | Awaitable[Response]:
        self.seen.append(request)
        try:
            user = self._users.authenticate(request)
        except StatusError:
            user = None
        if user is None:
            return _json(401, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 401})
        if self.broken:
            return _json(500, {"message": "broken"})
        if self.old and request.path.startswith("/openapi/v3"):
            return Response(404, b"404 page not found\n", "text/plain")
        if request.path == "/openapi/v3":
            paths = {ROOT[1:]: {"serverRelativeURL": f"/openapi/v3{ROOT}?hash=1"}}
            return _json(200, {"paths": paths})
        if request.path == f"/openapi/v3{ROOT}":
            return _json(200, {"openapi": "3.0.0", "paths": {f"{ROOT}/": {}}, "components": {"schemas": {FLUNDER: {}}}})
        if request.path == "/openapi/v2":
            return _json(200, swagger())
        if (
            request.path == "/apis"
            and self._aggregated
            and "APIGroupDiscoveryList" in request.headers.get("accept", "")
        ):
            media = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
            return Response(200, orjson.dumps(AGGREGATED), media)
        if request.path == ROOT:
            return _json(200, {"kind": "APIResourceList", "groupVersion": f"{GROUP}/{VERSION}", "resources": RESOURCES})
        if request.path == f"{ROOT}/namespaces/default/flunders/a/echo":
            headers = [("Upgrade", "echo"), ("Connection", "Upgrade")]
            return Response(101, headers=headers, upgrade=_echo)
        if request.path.startswith(f"{ROOT}/") and "flunders" in request.path:
            return self._flunder(request, user.name)
        return _json(
            404, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}
        )

    def _flunder(self, request: Request, user: str) -> Response:
        _, _, namespace = request.path.partition("/namespaces/")
        namespace, _, rest = namespace.partition("/")
        name = rest.removeprefix("flunders").removeprefix("/")
        if request.method == "POST":
            made = orjson.loads(request.body)
            made["metadata"] |= {"namespace": namespace, "annotations": {"by": user}}
            self.flunders[namespace, made["metadata"]["name"]] = made
            for watcher in self._watchers:
                watcher.write([orjson.dumps({"type": "ADDED", "object": made}) + b"\n"])
            return _json(201, made)
        if request.param("watch"):
            return Response(200, stream=self._begin)
        if request.method == "DELETE" and not name:
            self.flunders = {key: found for key, found in self.flunders.items() if key[0] != namespace}
            return _json(200, {"kind": "Status", "apiVersion": "v1", "status": "Success"})
        if not name:
            items = [found for key, found in self.flunders.items() if namespace in ("", key[0])]
            return _json(
                200, {"kind": "FlunderList", "apiVersion": f"{GROUP}/{VERSION}", "metadata": {}, "items": items}
            )
        return _json(200, self.flunders[namespace, name])

    def _begin(self, writer: StreamWriter) -> None:
        self._watchers.append(writer)


def _json(status: int, tree: Any) -> Response:
    return Response(status, orjson.dumps(tree), headers=[("X-From", "wardle"), ("Cache-Control", "no-store")])


async def _echo(tunnel: Tunnel) -> None:
    while data := await tunnel.read():
        await tunnel.write(data.upper())


@asynccontextmanager
async def extension(
    directory: Path, front_proxy_ca: bytes, *, aggregated: bool = True
) -> AsyncIterator[tuple[Extension, Server]]:
    """Listens on loopback, with a certificate for the service `wardle` in `default`."""
    made = Extension(front_proxy_ca, aggregated=aggregated)
    certificate, key = directory / "wardle.crt", directory / "wardle.key"
    pem = made.authority.server_for("wardle.default.svc")
    certificate.write_bytes(pem[0])
    key.write_bytes(pem[1])
    server = await serve(made.handle, "127.0.0.1", 0, TlsConfig(certificate=certificate, key=key))
    made.port = server.port
    try:
        yield made, server
    finally:
        await asyncio.wait_for(server.close(0.1), 10)
