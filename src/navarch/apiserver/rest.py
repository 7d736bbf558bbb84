"""HTTP requests for resources: the path's resource and verb, the registry call, the answer.

Reads answer at once, without a task; writes answer a coroutine.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

from navarch.api import wire
from navarch.api.kind import Kind, Version
from navarch.api.schemas import schema
from navarch.apiserver import codec, negotiate, options, sockets
from navarch.apiserver.customresources.conversion import converting
from navarch.apiserver.discovery import not_found
from navarch.apiserver.fanout import Watcher
from navarch.apiserver.negotiate import JSON, PROTOBUF, YAML, accepted, is_pretty, read_body
from navarch.apiserver.output import View, partial
from navarch.apiserver.patchbodies import read_patch
from navarch.apiserver.registry import connecting
from navarch.apiserver.registry.call import Call
from navarch.apiserver.registry.generic import Registry
from navarch.apiserver.registry.listing import Page, list_objects, open_watch, parse_revision, select, selected
from navarch.apiserver.registry.virtual import Virtual
from navarch.apiserver.request import Request, RequestInfo, Response, StreamWriter
from navarch.apiserver.watchcache import Entry
from navarch.http import websocket
from navarch.http.streaming import HIGH_WATER
from navarch.machinery import decode, errors, trees
from navarch.machinery.errors import StatusError
from navarch.machinery.types import GroupResource, Obj

if TYPE_CHECKING:
    from navarch.apiserver.server import ApiServer

Answer = Response | Awaitable[Response]
Carried = Callable[[Request, RequestInfo], Awaitable[Response]]
NAMESPACES = GroupResource("", "namespaces")
NAMESPACE_NEEDED = frozenset(("create", "get", "update", "patch", "delete"))
"""Verbs that no path across namespaces has, where the kind is in namespaces."""
WATCHABLE = ("application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch")
STATUS = "io.k8s.apimachinery.pkg.apis.meta.v1.Status"
WATCH_SECONDS = 1800
"""A watch without timeoutSeconds lasts once to twice as long, by chance, so that clients do not return together."""


class Rest:
    """The resource handlers of one server."""

    def __init__(self, server: ApiServer) -> None:
        self._server = server
        self._served: dict[tuple[str, str, str], tuple[Registry, Version]] = {}
        for registry in server.registries.values():
            for version in registry.kind.versions:
                self._served[version.group, version.version, registry.kind.plural] = (registry, version)

        self._asked = {
            (version.group, version.version, kind.plural): (kind, version)
            for kind in server.kinds
            if kind.ephemeral
            for version in kind.versions
        }

    def groups(self) -> set[tuple[str, str]]:
        return {(group, version) for group, version, _ in (*self._served, *self._asked)}

    def serve(self, registry: Registry) -> None:
        """One version of a custom kind, from now on."""
        hub = registry.kind.hub
        self._served[hub.group, hub.version, registry.kind.plural] = (registry, hub)

    def unserve(self, kind: Kind) -> None:
        for version in kind.versions:
            self._served.pop((version.group, version.version, kind.plural), None)

    def handle(self, request: Request, target: RequestInfo) -> Answer:
        """Raises StatusError."""
        served = self._served.get((target.group, target.version, target.resource))
        if served is not None and served[0].converting:
            return self._converting(request, target)
        return self._handle(request, target)

    async def _converting(self, request: Request, target: RequestInfo) -> Response:
        """Of a kind that a webhook converts: run again after each conversion that was needed."""
        warned = len(request.warnings)

        async def attempt() -> Response:
            del request.warnings[warned:]
            answer = self._handle(request, target)
            return await answer if isinstance(answer, Awaitable) else answer

        return await converting(attempt)

    def _handle(self, request: Request, target: RequestInfo) -> Answer:
        served = self._served.get((target.group, target.version, target.resource))
        if served is None or target.verb == "proxy":
            if ephemeral := self._asked.get((target.group, target.version, target.resource)):
                return self._ephemeral(request, target, *ephemeral)
            raise errors.path_not_found()
        registry, version = served
        kind = registry.kind
        if target.namespace and not kind.namespaced and registry.resource != NAMESPACES:
            raise errors.path_not_found()
        if version.deprecation and (not target.subresource or kind.has_subresource(target.subresource)):
            request.warnings.append(version.deprecation)
        if target.subresource:
            return self._subresource(request, target, registry, version)
        verb = target.verb
        if verb not in kind.verbs or request.method == "HEAD":
            raise errors.method_not_allowed()
        if kind.namespaced and not target.namespace and verb in NAMESPACE_NEEDED:
            if kind.typed_items:
                return not_found()
            raise errors.method_not_allowed() if verb == "create" else errors.path_not_found()
        match verb:
            case "get":
                return self._get(request, target, registry, version)
            case "list":
                return self._list(request, target, registry, version)
            case "watch":
                return self._watch(request, target, registry, version)
            case "create" if not target.name:
                return self._create(request, target, registry, version)
            case "update" if target.name:
                return self._update(request, target, registry, version)
            case "patch" if target.name:
                return self._patch(request, target, registry, version)
            case "delete":
                return self._delete(request, target, registry, version)
            case "deletecollection":
                return self._delete_collection(request, target, registry, version)
            case _:
                raise errors.method_not_allowed()

    # -- reads

    def _view(self, request: Request, kind: Kind, version: Version, many: bool = False, watch: bool = False) -> View:
        output = accepted(request.headers.get("accept", ""), messages=not kind.typed_items)
        if output.kind.startswith("Partial") and output.kind.endswith("List") != many:
            what = "is a list" if many else "is not a list"
            raise StatusError(406, "NotAcceptable", f"you requested {output.kind}, but the requested object {what}")
        if watch and output.media == YAML:
            raise errors.not_acceptable(WATCHABLE)
        include = request.param("includeObject") if output.kind == "Table" else ""
        if include not in ("", "None", "Metadata", "Object"):
            raise errors.bad_request(f'unrecognized includeObject value: "{include}"')
        return View(kind, version, output, include, self._server.world)

    def _answer(self, request: Request, view: View, entry: Entry, status: int = 200) -> Response:
        return Response(status, view.object(entry, is_pretty(request)), content_type=view.media)

    def _get(self, request: Request, target: RequestInfo, registry: Registry, version: Version) -> Answer:
        view = self._view(request, registry.kind, version)
        wanted = parse_revision(request.param("resourceVersion")) if request.raw_query else 0
        if wanted > self._server.caches.revision:
            raise errors.too_large_resource_version(self._server.caches.revision, wanted)
        if self._server.embedded:
            return self._answer(request, view, registry.get(target.namespace, target.name))
        return self._get_fresh(request, target, registry, view)

    async def _get_fresh(self, request: Request, target: RequestInfo, registry: Registry, view: View) -> Response:
        await self._server.current()
        return self._answer(request, view, registry.get(target.namespace, target.name))

    def _list(self, request: Request, target: RequestInfo, registry: Registry, version: Version) -> Answer:
        view = self._view(request, registry.kind, version, many=True)
        asked = options.list_options(request, False)

        def answer(page: Page) -> Answer:
            pretty = is_pretty(request)
            if view.takes_turns(page, pretty):
                return in_turns(page, pretty)
            return Response(200, view.list(page, pretty), content_type=view.media)

        async def in_turns(page: Page, pretty: bool) -> Response:
            return Response(200, await view.list_in_turns(page, pretty), content_type=view.media)

        async def older(found: Awaitable[Page]) -> Response:
            made = answer(await found)
            return made if isinstance(made, Response) else await made

        if self._server.embedded:
            page = list_objects(registry, target.namespace, asked, self._server.caches.revision)
            return answer(page) if isinstance(page, Page) else older(page)

        async def later() -> Response:
            current = await self._server.current()
            found = list_objects(registry, target.namespace, asked, current)
            made = answer(found) if isinstance(found, Page) else older(found)
            return made if isinstance(made, Response) else await made

        return later()

    def _watch(self, request: Request, target: RequestInfo, registry: Registry, version: Version) -> Response:
        view = self._view(request, registry.kind, version, watch=True)
        asked = options.list_options(request, True)
        server = self._server
        select(registry, target.namespace, asked)
        wanted = parse_revision(asked.resource_version)
        if wanted > server.caches.revision:
            raise errors.too_large_resource_version(server.caches.revision, wanted)
        seconds = asked.timeout_seconds or WATCH_SECONDS * (1 + server.world.random().random())

        def stream(writer: StreamWriter) -> Callable[[], None] | None:
            watcher: Watcher | None = None
            started = False

            def sink(chunks: Sequence[bytes]) -> None:
                nonlocal started
                writer.write(chunks if started else [view.first_event(chunks[0]), *chunks[1:]])
                started = True
                if writer.buffered > HIGH_WATER and watcher is not None and not watcher.paused:
                    watcher.pause()
                    writer.on_drain(watcher.resume)

            def close() -> None:
                timer.cancel()
                if watcher is not None:
                    watcher.cancel()
                writer.finish()

            try:
                watcher = open_watch(
                    registry, target.namespace, asked, server.caches.revision, view, sink, lambda: close()
                )
            except StatusError as err:
                writer.write([view.error(err.to_status())])
                writer.finish()
                return None
            timer = server.world.call_later(seconds, close)

            def gone() -> None:
                timer.cancel()
                watcher.cancel()

            return gone

        if websocket.wanted(request):
            return sockets.watched(request, stream, view.media != PROTOBUF)
        content_type = f"{PROTOBUF};stream=watch" if view.media == PROTOBUF else JSON
        return Response(200, content_type=content_type, stream=stream)

    # -- writes

    def _call(
        self, request: Request, target: RequestInfo, version: Version, kind: str, subresource: str = ""
    ) -> tuple[Call, str]:
        """The call, and the fieldValidation directive."""
        dry_run, manager, validation = options.write_options(request, kind)
        call = Call(
            user=request.user,
            version=version,
            namespace=target.namespace,
            name=target.name,
            subresource=subresource,
            manager=manager or options.manager_of_agent(request.headers.get("user-agent", "")),
            dry_run=dry_run,
            options=options.options_tree(request, kind),
            warnings=request.warnings,
            note=request.note,
        )
        return call, validation

    def _tree(
        self, request: Request, registry: Registry, version: Version, validation: str, warnings: list[str]
    ) -> Any:
        """The body's tree; duplicate fields warned about or refused."""
        if registry.kind.typed_items and request.headers.get("content-type", "").startswith(PROTOBUF):
            raise errors.unsupported_media_type((JSON, YAML))
        body = read_body(request, registry.kind.kind, version.definition, validation != "Ignore")
        if body.duplicates:
            unknown = list[str]()
            if validation == codec.STRICT:
                version.normalised(trees.copy(body.tree), unknown)
                raise decode.strict_error(version.schema, body.tree, decode.strict_errors(unknown, body.duplicates))
            warnings.extend(decode.strict_errors([], body.duplicates))
        return body.tree

    async def _create(self, request: Request, target: RequestInfo, registry: Registry, version: Version) -> Response:
        view = self._view(request, registry.kind, version)
        call, validation = self._call(request, target, version, "CreateOptions")
        if registry.kind.namespaced and not target.namespace:
            raise errors.bad_request("an empty namespace may not be set during creation")
        tree = self._tree(request, registry, version, validation, call.warnings)
        entry = await self._server.operations.create(registry, call, tree, validation)
        return self._answer(request, view, entry, 201)

    async def _update(
        self, request: Request, target: RequestInfo, registry: Registry, version: Version, subresource: str = ""
    ) -> Response:
        view = self._view(request, registry.kind, version)
        call, validation = self._call(request, target, version, "UpdateOptions", subresource)
        first = [self._tree(request, registry, version, validation, call.warnings)]

        def tree() -> Any:
            return first.pop() if first else read_body(request, registry.kind.kind, version.definition).tree

        entry, created = await self._server.operations.update(registry, call, tree, validation)
        return self._answer(request, view, entry, 201 if created else 200)

    async def _patch(
        self, request: Request, target: RequestInfo, registry: Registry, version: Version, subresource: str = ""
    ) -> Response:
        view = self._view(request, registry.kind, version)
        call, validation = self._call(request, target, version, "PatchOptions", subresource)
        try:
            patch = read_patch(request, validation, registry.patch_types)
        except StatusError as err:
            if err.code == 400 and "apply-patch" not in request.headers.get("content-type", ""):
                registry.get(target.namespace, target.name)  # that nothing is there is told before
            raise
        entry, created = await self._server.operations.patch(registry, call, patch, validation)
        return self._answer(request, view, entry, 201 if created else 200)

    async def _delete(self, request: Request, target: RequestInfo, registry: Registry, version: Version) -> Response:
        view = self._view(request, registry.kind, version)
        asked, dry_run = options.delete_options(request)
        call, _ = self._call(request, target, version, "DeleteOptions")
        call.dry_run = call.dry_run or dry_run
        call.options = options.delete_tree(asked, call.dry_run)
        entry, gone = await self._server.operations.delete(registry, call, asked)
        status = 202 if not gone and asked.orphan_dependents is False else 200
        if not gone or registry.returns_deleted:
            return self._answer(request, view, entry, status)
        return _tree_answer(request, _deleted(registry, entry), status)

    async def _delete_collection(
        self, request: Request, target: RequestInfo, registry: Registry, version: Version
    ) -> Response:
        view = self._view(request, registry.kind, version, many=True)
        asked, dry_run = options.delete_options(request)
        selection = options.list_options(request, False)
        call, _ = self._call(request, target, version, "DeleteOptions")
        call.dry_run = call.dry_run or dry_run
        call.options = options.delete_tree(asked, call.dry_run)
        page = await self._server.operations.delete_collection(registry, call, asked, selection)
        return Response(200, view.list(page, is_pretty(request)), view.media)

    # -- subresources

    def _subresource(self, request: Request, target: RequestInfo, registry: Registry, version: Version) -> Answer:
        name = target.subresource
        found = next((s for s in registry.kind.subresources if s.name == name), None)
        if found is None:
            raise errors.not_found(registry.resource, target.name) if registry.patch_types else errors.path_not_found()
        if carried := self._server.carried(registry.resource, name):
            if not _carries(request.method, target, found.verbs):
                raise errors.method_not_allowed()
            return carried(request, target) if name == "log" else self._connect(request, target, registry, carried)
        if virtual := registry.virtual(name) or self._server.virtual(registry.resource, name):
            return self._virtual(request, target, registry, version, virtual)
        if request.method in ("GET", "HEAD") and "get" in found.verbs:
            return self._get(request, target, registry, version)
        if request.method == "PUT" and "update" in found.verbs:
            return self._update(request, target, registry, version, name)
        if request.method == "PATCH" and "patch" in found.verbs:
            return self._patch(request, target, registry, version, name)
        raise errors.method_not_allowed()

    async def _connect(self, request: Request, target: RequestInfo, registry: Registry, carried: Carried) -> Response:
        """Tunnels and proxies, once admission has seen what is asked for."""
        call = Call(user=request.user, version=registry.kind.hub, warnings=request.warnings, note=request.note)
        call.namespace, call.name, call.subresource = target.namespace, target.name, target.subresource
        asked, body = connecting.options_of(request, target)
        before = dict(asked)
        await registry.review(call, "CONNECT", asked, body)
        if asked != before:
            connecting.take(request, target, asked)
        return await carried(request, target)

    async def _virtual(
        self, request: Request, target: RequestInfo, registry: Registry, version: Version, virtual: Virtual
    ) -> Response:
        call, validation = self._call(request, target, version, "UpdateOptions", target.subresource)
        match target.verb:
            case "get":
                return _tree_answer(request, await virtual.get(call), 200, virtual.definition)
            case "create":
                body = self._body(request, virtual.definition, validation)
                return _tree_answer(request, await virtual.create(call, body), 201, virtual.definition)
            case "update":
                wanted = self._body(request, virtual.definition, validation)
                return _tree_answer(request, await virtual.update(call, lambda _: wanted), 200, virtual.definition)
            case "patch":
                patch = read_patch(request)
                if patch.type == "apply":
                    answer = await virtual.apply(call, patch.tree, patch.force)
                else:
                    answer = await virtual.update(call, patch.applied_to_virtual)
                return _tree_answer(request, answer, 200, virtual.definition)
            case _:
                raise errors.method_not_allowed()

    async def _ephemeral(self, request: Request, target: RequestInfo, kind: Kind, version: Version) -> Response:
        """A kind that is never stored: its objects are questions, answered as they come."""
        virtual = self._server.virtual(kind.group_resource, "")
        reads = "get" in kind.verbs
        everywhere = reads and not target.name
        misplaced = kind.namespaced != bool(target.namespace) and not (kind.namespaced and everywhere)
        if virtual is None or misplaced or (target.name and not reads):
            raise errors.path_not_found()
        if target.verb not in kind.verbs or request.method == "HEAD" or target.subresource:
            raise errors.method_not_allowed()
        if reads:
            return await self._computed(request, target, kind, version, virtual)
        output = accepted(request.headers.get("accept", ""), tables=False)
        call, validation = self._call(request, target, version, "CreateOptions")
        tree = read_body(request, kind.kind, version.definition).tree
        obj = codec.decode_object(kind, version, tree, validation, request.warnings)
        obj = self._server.ownership.update(kind, call, None, obj)
        answer = codec.from_hub(kind, version, await virtual.create(call, obj))
        if output.kind:
            return _tree_answer(request, partial(answer, output.version), 201)
        return _tree_answer(request, answer, 201, version.definition)

    async def _computed(
        self, request: Request, target: RequestInfo, kind: Kind, version: Version, virtual: Virtual
    ) -> Response:
        """Objects that are found out when they are read."""
        if version.deprecation:
            request.warnings.append(version.deprecation)
        many, pretty = target.verb == "list", is_pretty(request)
        view = self._view(request, kind, version, many)
        call = Call(user=request.user, version=version, namespace=target.namespace, name=target.name)
        if many:
            objs = selected(kind, await virtual.everything(call), options.list_options(request, False))
            return Response(200, view.listed(objs, {}, pretty), view.media)
        return Response(200, view.shown(await virtual.get(call), pretty), view.media)

    def _body(self, request: Request, definition: str, validation: str) -> Obj:
        """The body of a write to an object that is no kind of its own. Raises 400 and 415."""
        kind = definition.rpartition(".")[2]
        body = read_body(request, kind, definition, validation != codec.IGNORE)
        tree = body.tree
        if not isinstance(tree, dict):
            raise decode.unreadable("couldn't get version/kind", kind)
        shape, unknown = schema(definition), list[str]()
        obj = decode.normalise(shape, tree, unknown)
        messages = decode.strict_errors(unknown, body.duplicates)
        if messages and validation == codec.STRICT:
            raise decode.strict_error(shape, tree, messages)
        if validation == codec.WARN:
            request.warnings.extend(messages)
        return obj


def _tree_answer(request: Request, tree: Obj, status: int, definition: str = "") -> Response:
    """An object that has no entry (a Scale, a Status), as the client wants it; JSON where it has no protobuf form."""
    media = accepted(request.headers.get("accept", "")).media
    if tree.get("kind") == "Status" and tree.get("apiVersion") == "v1":
        definition = STATUS
    if media == PROTOBUF and not wire.has_message(definition):
        media = JSON
    return Response(status, negotiate.encode(tree, media, definition, is_pretty(request)), media)


def _carries(method: str, target: RequestInfo, verbs: Collection[str]) -> bool:
    """Whether a tunnel, log or proxy takes a method: proxies take OPTIONS, which is no verb; tunnels take no HEAD."""
    if method == "OPTIONS":
        return target.subresource == "proxy"
    return target.verb in verbs and (method != "HEAD" or target.subresource in ("proxy", "log"))


def _deleted(registry: Registry, entry: Entry) -> Obj:
    """The Status that answers a DELETE."""
    details: Obj = {"name": entry.name}
    if registry.resource.group:
        details["group"] = registry.resource.group
    details["kind"] = registry.resource.resource
    details["uid"] = entry.obj["metadata"].get("uid", "")
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
