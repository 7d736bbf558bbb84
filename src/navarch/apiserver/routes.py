"""Paths that are no resources: the index, /version, health, discovery, OpenAPI, metrics, the keys of tokens."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import orjson

from navarch import __version__
from navarch.api.apiextensions.kinds import CustomKind
from navarch.api.kind import Kind
from navarch.apiserver import health, servermetrics
from navarch.apiserver.discovery import Discovery, index, not_found, plain, version_info
from navarch.apiserver.negotiate import JSON, dump, is_pretty
from navarch.apiserver.request import Handler, Request, Response
from navarch.machinery import errors, metrics
from navarch.machinery.types import Obj

if TYPE_CHECKING:
    from navarch.apiserver.server import ApiServer

Answer = Response | Awaitable[Response]
OPENAPI_SECONDS = "public, max-age=31536000, immutable"
"""A document whose address names its hash never changes."""
PROTOBUF = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
FIXED = (
    "/api",
    "/api/v1",
    "/apis",
    "/healthz",
    "/livez",
    "/readyz",
    "/version",
    "/metrics",
    "/metrics/slis",
    "/openapi/v2",
)
TOKEN_PATHS = ("/openid/v1/jwks", "/.well-known/openid-configuration")


class Routes:
    """The handlers of everything below / but resources. Each path is read only."""

    def __init__(self, server: ApiServer) -> None:
        config = server.config
        address = f"{config.advertise_address}:{config.advertise_port}"
        self._server = server
        self._discovery = Discovery(server.scheme, address)
        self._address = address
        self._documents: dict[str, asyncio.Task[bytes]] = {}
        self._revision = 0
        self._started = False
        self.checks = health.checks(server)
        self.extra: dict[str, Handler] = {}
        """Further paths, by their exact path; authorized as a nonResourceURL before they are called."""
        self.below: dict[str, Handler] = {}
        """The same, for all paths that begin so."""

    def handle(self, request: Request) -> Answer:
        """Raises StatusError, at once or when awaited."""
        if handler := self.extra.get(request.path):
            return handler(request)
        for prefix, handler in self.below.items():
            if request.path.startswith(prefix):
                return handler(request)
        if request.method not in ("GET", "HEAD"):
            return not_found()
        parts = request.segments()
        match parts:
            case []:
                return Response(200, dump(index(self.paths()), is_pretty(request)))
            case ["version"]:
                return Response(200, dump(version_info(__version__), is_pretty(request)))
            case ["livez" | "readyz" | "healthz", *_]:
                return health.answer(request, parts, self.checks)
            case ["api" | "apis", *_] if len(parts) <= 3:
                if answer := self._server.aggregator.discovery(request, parts, self._discovery):
                    return answer
                if answer := self._discovery.handle(request, parts):
                    return answer
                if parts[0] == "api" or (parts[1:2] and parts[1] in self._discovery.groups()):
                    raise errors.path_not_found()
                return not_found()
            case ["openapi", "v2" | "v3", *_]:
                return self._openapi(request, parts)
            case ["metrics"]:
                return Response(200, self._server.metrics.text().encode(), metrics.CONTENT_TYPE)
            case ["metrics", "slis"]:
                return Response(200, servermetrics.health(self._server).encode(), metrics.CONTENT_TYPE)
            case ["openid", "v1", "jwks"]:
                return _public(self._server.tokens.key_set(), "application/jwk-set+json")
            case [".well-known", "openid-configuration"]:
                return _public(self._server.tokens.configuration(self._address), JSON)
            case _:
                return not_found()

    def paths(self) -> list[str]:
        """What the index lists."""
        paths = [*FIXED, *TOKEN_PATHS, "/openapi/v3", *self.extra]
        for root in servermetrics.ROOTS:
            paths.extend(f"/{root}/{name}" for name in health.of_root(root, self.checks))
        for group in self._discovery.groups():
            paths.append(f"/apis/{group}")
            paths.extend(f"/apis/{group}/{version}" for version in self._discovery.versions(group))
        return paths

    # -- OpenAPI

    def _openapi(self, request: Request, parts: list[str]) -> Answer:
        """The document, made by a thread when it is first asked for. Protobuf there is of version 2 only: nobody asks for
        the other."""
        accept = request.headers.get("accept", "")
        if parts[1:] == ["v2"] and PROTOBUF in accept:
            return self._protobuf(request)
        if accept and not any(media in accept for media in (JSON, "*/*", "application/*")):
            return plain(406, "406 Not Acceptable\n")
        if len(parts) == 5 and (remote := self._server.aggregator.remotes.get((parts[3], parts[4]))):
            if converted := self._server.aggregator.converted(remote):
                return self._document(request, "/".join(parts), lambda: converted)
            return self._server.aggregator.carry(request, remote)
        make = self._maker(parts)
        if make is None:
            return not_found()
        return self._document(request, "/".join(parts), make)

    def _maker(self, parts: list[str]) -> Callable[[], bytes] | None:
        from navarch.apiserver import openapi

        kinds, custom = self._kinds()
        match parts[1:]:
            case ["v2"]:
                return lambda: orjson.dumps(self._swagger())
            case ["v3"]:
                others = self._server.aggregator.openapi_paths()
                return lambda: _with_paths(openapi.v3_index(kinds, _marks(custom)), others)
            case ["v3", *rest] if (made := openapi.v3_other("/".join(rest), kinds)) is not None:
                return lambda: made
            case ["v3", "api", version] if version in self._discovery.versions(""):
                return lambda: openapi.v3_document("", version, kinds)
            case ["v3", "apis", group, version] if version in self._discovery.versions(group):
                mine = [kind for kind in custom if kind.resource.group == group]
                return lambda: openapi.v3_document(group, version, kinds, _published(mine, version))
            case _:
                return None

    def _kinds(self) -> tuple[Sequence[Kind], list[CustomKind]]:
        """What is served now; the documents of what was are forgotten."""
        scheme = self._server.scheme
        if self._revision != scheme.revision:
            self._revision = scheme.revision
            self._documents.clear()
        return scheme.kinds, list(self._server.custom.kinds())

    def _protobuf(self, request: Request) -> Answer:
        from navarch.apiserver import openapi_protobuf

        return self._document(
            request, PROTOBUF, lambda: openapi_protobuf.document(self._swagger()), openapi_protobuf.MEDIA
        )

    def _swagger(self) -> Obj:
        """Version 2 of what this server and the extension servers serve."""
        from navarch.apiserver import openapi
        from navarch.apiserver.aggregation import merging

        kinds, custom = self._kinds()
        tree = openapi.v2_tree(kinds, _published(custom, old=True))
        others = self._server.aggregator.swaggers()
        return merging.swagger(tree, others) if others else tree

    def forget_documents(self) -> None:
        """What is served has changed."""
        self._documents.clear()

    async def _document(self, request: Request, path: str, make: Callable[[], bytes], media: str = JSON) -> Response:
        task = self._documents.get(path)
        if task is None:
            task = self._documents[path] = asyncio.create_task(asyncio.to_thread(make))
            task.add_done_callback(lambda done: self._forget_failed(path, done))
        body = await asyncio.shield(task)
        etag = f'"{hashlib.sha256(body).hexdigest().upper()}"'
        headers = [("ETag", etag), ("Vary", "Accept")]
        if request.param("hash"):
            headers.append(("Cache-Control", OPENAPI_SECONDS))
        if request.headers.get("if-none-match") == etag:
            return Response(304, b"", headers=headers)
        return Response(200, body, media, headers)

    def _forget_failed(self, path: str, done: asyncio.Task[bytes]) -> None:
        if done.cancelled() or done.exception() is not None:
            self._documents.pop(path, None)


def _with_paths(index: bytes, others: Mapping[str, Obj]) -> bytes:
    """The index of version 3 with the extension servers' entries."""
    if not others:
        return index
    tree = orjson.loads(index)
    return orjson.dumps({**tree, "paths": {**tree["paths"], **others}})


def _published(kinds: Sequence[CustomKind], version: str = "", old: bool = False) -> dict[str, Obj]:
    """The schemas of custom kinds by their names, of one version or all."""
    from navarch.apiserver.customresources.openapi import definitions

    found: dict[str, Obj] = {}
    for kind in kinds:
        for name in kind.served:
            if version in ("", name):
                found |= definitions(kind, name, old=old)
    return found


def _marks(kinds: Sequence[CustomKind]) -> dict[tuple[str, str], str]:
    """What changes with the schemas of a group version."""
    found: dict[tuple[str, str], str] = {}
    for kind in sorted(kinds, key=lambda kind: kind.name):
        digest = hashlib.sha256(orjson.dumps([kind.schema_of(name) for name in kind.served])).hexdigest()
        for name in kind.served:
            key = (kind.resource.group, name)
            found[key] = found.get(key, "") + digest
    return found


def _public(tree: object, media: str) -> Response:
    return Response(200, dump(tree), media, [("Cache-Control", "public, max-age=3600")])
