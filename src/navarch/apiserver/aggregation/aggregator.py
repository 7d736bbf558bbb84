"""The aggregator: follows APIServices, judges their servers, keeps what they say of themselves, carries requests to them."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from navarch.apiserver.aggregation import availability, merging, newer
from navarch.apiserver.aggregation.availability import LOCAL, PASSED, Verdict
from navarch.apiserver.aggregation.extensions import Extensions
from navarch.apiserver.aggregation.remote import Remote, remote_of
from navarch.apiserver.discovery import GROUP_PRIORITIES, REGISTRATION, Discovery
from navarch.apiserver.negotiate import dump, is_pretty
from navarch.apiserver.request import Request, RequestInfo, Response
from navarch.apiserver.services import SERVICE_NAME, SERVICES
from navarch.apiserver.watchcache import Entry
from navarch.apiserver.webhooks import WebhookError
from navarch.client.resources import API_SERVICES, ENDPOINT_SLICES
from navarch.controlloop.queue import ShutDown, WorkQueue
from navarch.http.client import Answer
from navarch.machinery.errors import StatusError
from navarch.machinery.types import GroupResource, Obj

if TYPE_CHECKING:
    from navarch.apiserver.server import ApiServer

log = logging.getLogger(__name__)
WORKERS = 4
ASKED = 5
"""Endpoints of a service that are asked at once: one that answers is enough."""
AGAIN_SECONDS = 30.0
FIRST_SECONDS, LAST_SECONDS = 0.1, 30.0
"""Between two tries of a server that does not answer."""
CUSTOM = 1000
"""The priority of groups without APIService."""
DISCOVERY = (
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,"
    "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList"
)
API_SERVICE, SLICE = (GroupResource(r.group, r.plural) for r in (API_SERVICES, ENDPOINT_SLICES))


class Learned(NamedTuple):
    """What an extension server says of itself."""

    discovery: Obj
    """APIVersionDiscovery."""
    openapi: Obj | None
    """Its entry in /openapi/v3; None where it has none."""
    swagger: Obj | None
    """Its /openapi/v2."""
    converted: bytes = b""
    """Its document of version 3 as it follows from version 2, where it has no other."""


class Merged(NamedTuple):
    """An answer, and what it was made of."""

    local: bytes
    generation: int
    body: bytes
    etag: str


class Aggregator:
    def __init__(self, server: ApiServer, extensions: Extensions) -> None:
        self._server = server
        self._extensions = extensions
        self.remotes: dict[tuple[str, str], Remote] = {}
        """By group and version."""
        self._by_name: dict[str, Remote] = {}
        self._learned: dict[str, Learned] = {}
        self._merged: dict[str, Merged] = {}
        """Aggregated discovery, by its media type."""
        self._generation = 0
        """Grows whenever an APIService changes, or what is known of a server."""
        self._queue: WorkQueue[str] = WorkQueue(server.world)
        self._workers: list[asyncio.Task[None]] = []
        self._cache = server.caches[API_SERVICE]
        self._cache.on_change(self._service_changed)
        server.caches[SERVICES].on_change(self._backend_changed)
        server.caches[SLICE].on_change(self._slice_changed)

    def start(self) -> None:
        self._workers = [asyncio.create_task(self._work()) for _ in range(WORKERS)]

    def stop(self) -> None:
        self._queue.shut_down()
        for worker in self._workers:
            worker.cancel()
        self._extensions.close()

    # -- what changes

    def _service_changed(self, entry: Entry | None, previous: Entry | None) -> None:
        obj = entry.obj if entry else previous.obj if previous else None
        if obj is None:
            return
        self._generation += 1
        name = obj["metadata"]["name"]
        old = self._by_name.get(name)
        new = remote_of(obj) if entry else None
        if new is not None and new.group == REGISTRATION:
            return
        if old == new:
            if entry and new is None and not availability.is_local(obj):
                self._queue.add(name)
            return
        if old is not None:
            del self._by_name[name]
            self.remotes.pop((old.group, old.version), None)
        if new is not None:
            self._by_name[name] = new
            self.remotes[new.group, new.version] = new
        if old is None or new is None or old._replace(available=new.available) != new:
            self._learned.pop(name, None)
            self._forget()
        self._queue.add(name)

    def _backend_changed(self, entry: Entry | None, previous: Entry | None) -> None:
        if self._by_name and (found := entry or previous):
            self._recheck(found.namespace, found.name)

    def _slice_changed(self, entry: Entry | None, previous: Entry | None) -> None:
        if self._by_name and (found := entry or previous):
            self._recheck(found.namespace, found.labels.get(SERVICE_NAME, ""))

    def _recheck(self, namespace: str, service: str) -> None:
        for remote in self._by_name.values():
            if (remote.namespace, remote.service) == (namespace, service):
                self._queue.add(remote.name)

    def _forget(self) -> None:
        """Documents that name what is served are made anew."""
        self._generation += 1
        self._server.routes.forget_documents()

    # -- judging and learning

    async def _work(self) -> None:
        failures: dict[str, int] = {}
        while True:
            try:
                name = await self._queue.get()
            except ShutDown:
                return
            try:
                good = await self._sync(name)
            except Exception:
                log.exception("API service %s", name)
                good = False
            finally:
                self._queue.done(name)
            if good:
                failures.pop(name, None)
                if name in self._by_name:
                    self._queue.add_after(name, AGAIN_SECONDS)
            else:
                failures[name] = failures.get(name, 0) + 1
                self._queue.add_after(name, min(FIRST_SECONDS * 2 ** failures[name], LAST_SECONDS))

    async def _sync(self, name: str) -> bool:
        """Whether all is well and told."""
        remote = self._by_name.get(name)
        if remote is None:
            return await self._tell(name, LOCAL)
        verdict, place = await self._judge(remote)
        told = await self._tell(name, verdict)
        if place is not None:
            await self._learn(remote, place)
        elif (known := self._learned.get(name)) and known.discovery["freshness"] != "Stale":
            self._learned[name] = known._replace(discovery={**known.discovery, "freshness": "Stale"})
            self._forget()
        return told and verdict.status

    async def _judge(self, remote: Remote) -> tuple[Verdict, tuple[str, int] | None]:
        """The verdict, and a place where the server answers."""
        service = self._server.lookup(SERVICES, remote.namespace, remote.service)
        slices = self._server.slices_of(remote.namespace, remote.service)
        if verdict := availability.before_asking(remote, service, slices):
            return verdict, None
        try:
            places = self._extensions.places(remote)
        except StatusError as error:
            return availability.failed(error.message), None
        chosen = random.sample(places, min(ASKED, len(places)))
        found = await asyncio.gather(*(self._answers(remote, place) for place in chosen))
        for place, trouble in zip(chosen, found, strict=True):
            if not trouble:
                return PASSED, place
        return availability.failed(found[-1]), None

    async def _answers(self, remote: Remote, place: tuple[str, int]) -> str:
        """What is wrong with a server's answer to the question what it serves; "" for nothing."""
        url = f"https://{place[0]}:{place[1]}{remote.root}"
        try:
            answer = await self._extensions.ask(remote, place, remote.root)
        except (ConnectionError, WebhookError) as error:
            return f'failing or missing response from {url}: Get "{url}": {error}'
        if not 200 <= answer.status < 300:
            return f"failing or missing response from {url}: bad status from {url}: {answer.status}"
        return ""

    async def _tell(self, name: str, verdict: Verdict) -> bool:
        """Puts the verdict into the APIService's status."""
        entry = self._cache.get("", name)
        if entry is None:
            return True
        wanted = availability.with_condition(entry.obj, verdict, self._server.world.now())
        if wanted is None:
            return True
        try:
            await self._server.system.update(API_SERVICES, wanted, subresource="status")
        except StatusError as error:
            if error.reason not in ("Conflict", "NotFound"):
                log.warning("status of API service %s: %s", name, error)
            return False
        return True

    async def _learn(self, remote: Remote, place: tuple[str, int]) -> None:
        ask = self._extensions.ask
        try:
            discovery = await self._discover(remote, place)
            answered = await ask(remote, place, "/openapi/v3")
            document = _tree(await ask(remote, place, "/openapi/v2"))
        except (ConnectionError, WebhookError):
            return  # the next check says so
        index = _tree(answered)
        entry: Any = (index.get("paths") or {}).get(remote.root[1:]) if index else None
        learned = Learned(discovery, entry if isinstance(entry, dict) else None, document)
        if answered.status == 404 and document:
            learned = await asyncio.to_thread(_converted, remote, learned, document)
        if self._by_name.get(remote.name, remote)._replace(available=True) != remote._replace(available=True):
            return  # it was another meanwhile
        if remote.name in self._by_name and self._learned.get(remote.name) != learned:
            self._learned[remote.name] = learned
            self._forget()

    async def _discover(self, remote: Remote, place: tuple[str, int]) -> Obj:
        """APIVersionDiscovery, from either form of discovery; without resources where there is neither."""
        try:
            answer = await self._extensions.ask(remote, place, "/apis", {"accept": DISCOVERY})
            if "as=APIGroupDiscoveryList" in answer.headers.get("content-type", "") and (tree := _tree(answer)):
                if found := merging.from_aggregated(tree, remote):
                    return found
            elif tree := _tree(await self._extensions.ask(remote, place, remote.root)):
                return merging.from_legacy(tree, remote)
        except (KeyError, TypeError, AttributeError):
            pass  # no discovery that anybody could read
        return {"version": remote.version, "freshness": "Current"}

    # -- what requests see

    def of(self, info: RequestInfo) -> Remote | None:
        """Whose request it is, where it is an extension server's."""
        if info.is_resource:
            return self.remotes.get((info.group, info.version))
        parts = info.path.strip("/").split("/")
        if len(parts) == 3 and parts[0] == "apis":
            return self.remotes.get((parts[1], parts[2]))
        return None

    async def carry(self, request: Request, remote: Remote) -> Response:
        return await self._extensions.carry(request, remote)

    def discovery(self, request: Request, parts: Sequence[str], local: Discovery) -> Response | None:
        """The answers of /apis and /apis/G where extension servers have a part in them."""
        if not self.remotes or parts[0] != "apis" or len(parts) > 2:
            return None
        own = [remote for remote in self.remotes.values() if len(parts) == 1 or remote.group == parts[1]]
        if not own:
            return None
        asked = {"accept": request.headers.get("accept", "")}
        answer = local.handle(Request("GET", request.path, "", asked, b"", request.connection), parts)
        if answer and "as=APIGroupDiscoveryList" in answer.content_type and len(parts) == 1:
            return self._answered(request, answer, own)
        tree = orjson.loads(answer.body) if answer and isinstance(answer.body, bytes) else None
        if len(parts) == 2:
            merged = {"kind": "APIGroup", "apiVersion": "v1", **merging.group(tree, parts[1], own)}
            return Response(200, dump(merged, is_pretty(request)))
        assert tree
        return Response(200, dump(merging.group_list(tree, own, self._priority), is_pretty(request)))

    def _answered(self, request: Request, local: Response, own: Sequence[Remote]) -> Response:
        """Aggregated discovery, kept until anything in it changes: clients ask for it often, and it is long."""
        assert isinstance(local.body, bytes)
        kept = self._merged.get(local.content_type)
        if kept is None or kept.local != local.body or kept.generation != self._generation:
            known = {name: learned.discovery for name, learned in self._learned.items()}
            merged = merging.aggregated(orjson.loads(local.body), own, known, self._priority)
            body = orjson.dumps(merged)
            kept = Merged(local.body, self._generation, body, f'"{hashlib.sha512(body).hexdigest().upper()}"')
            self._merged[local.content_type] = kept
        _, _, body, etag = kept
        headers = [("ETag", etag), ("Vary", "Accept"), ("Cache-Control", "public")]
        if request.headers.get("if-none-match") == etag:
            return Response(304, b"", headers=headers)
        return Response(200, body, local.content_type, headers)

    def _priority(self, group: str) -> int:
        """The highest that any of the group's APIServices asks for."""
        found = [e.obj["spec"] for e in self._cache.range() if e.obj["spec"].get("group", "") == group]
        known = GROUP_PRIORITIES.get(group, CUSTOM)
        return max((spec["groupPriorityMinimum"] for spec in found), default=known)

    def openapi_paths(self) -> Mapping[str, Obj]:
        """Entries of /openapi/v3, by path."""
        learned = ((remote, self._learned.get(remote.name)) for remote in self.remotes.values())
        return {remote.root[1:]: known.openapi for remote, known in learned if known and known.openapi}

    def converted(self, remote: Remote) -> bytes:
        """Its document of version 3 where it has version 2 only; else empty."""
        learned = self._learned.get(remote.name)
        return learned.converted if learned else b""

    def swaggers(self) -> list[tuple[Remote, Obj]]:
        learned = ((remote, self._learned.get(remote.name)) for remote in self.remotes.values())
        return [(remote, known.swagger) for remote, known in learned if known and known.swagger]


def _converted(remote: Remote, learned: Learned, swagger: Obj) -> Learned:
    try:
        made = orjson.dumps(newer.document(remote, swagger))
    except (AttributeError, KeyError, TypeError):
        return learned  # no Swagger that anybody could read
    url = f"/openapi/v3{remote.root}?hash={hashlib.sha512(made).hexdigest().upper()}"
    return learned._replace(openapi={"serverRelativeURL": url}, converted=made)


def _tree(answer: Answer) -> Obj | None:
    """The JSON object of an answer; None where it is none."""
    if answer.status != 200:
        return None
    try:
        tree = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        return None
    return tree if isinstance(tree, dict) else None
