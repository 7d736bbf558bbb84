"""The HTTP transport of Client: for parts that run elsewhere than the API server."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol
from urllib.parse import urlencode, urlsplit

import orjson

from navarch.client.interface import ListResult, PatchType, Resource, WatchEvent
from navarch.http.client import Answer, Headers, Pool
from navarch.machinery.errors import StatusError
from navarch.machinery.types import Obj

PATCH_MEDIA: dict[PatchType, str] = {
    "json": "application/json-patch+json",
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
}
LIST_TIMEOUT = 120.0


class Answering(Protocol):
    """An answer that is read as it comes."""

    status: int
    headers: dict[str, str]

    def chunks(self) -> AsyncIterator[bytes]: ...

    async def read_all(self) -> bytes: ...

    def close(self) -> None: ...


class Transport(Protocol):
    """What carries requests: a pool of connections, or the server's handler in the same process."""

    async def request(
        self, method: str, path: str, headers: Headers, body: bytes = b"", timeout: float = 60.0
    ) -> Answer: ...

    async def stream(self, method: str, path: str, headers: Headers, body: bytes = b"") -> Answering: ...

    def close(self) -> None: ...


class HttpClient:
    """A Client over HTTPS, with a client certificate or a bearer token (a file is read again for every request)."""

    def __init__(
        self,
        server: str,
        *,
        ca: Path | None = None,
        certificate: tuple[Path, Path] | None = None,
        token: str = "",
        token_file: Path | None = None,
        user_agent: str = "navarch",
        transport: Transport | None = None,
    ) -> None:
        """`transport` carries requests in place of connections to `server`."""
        url = urlsplit(server)
        context: ssl.SSLContext | None = None
        if url.scheme == "https":
            context = ssl.create_default_context(cafile=str(ca) if ca else None)
            if certificate:
                context.load_cert_chain(str(certificate[0]), str(certificate[1]))
        port = url.port or (443 if context else 80)
        self.pool: Transport = transport or Pool(url.hostname or "127.0.0.1", port, context)
        self._token = token
        self._token_file = token_file
        self._agent = user_agent

    @staticmethod
    def from_kubeconfig(path: Path, user_agent: str = "navarch") -> HttpClient:
        """By the current context. Raises ValueError for a kubeconfig that cannot be used."""
        from navarch.client.kubeconfig import load

        found = load(path)
        return HttpClient(
            found.server,
            ca=found.ca,
            certificate=found.certificate,
            token=found.token,
            token_file=found.token_file,
            user_agent=user_agent,
        )

    async def close(self) -> None:
        self.pool.close()

    def headers(self, **more: str) -> dict[str, str]:
        """The headers of every request."""
        found = {"Accept": "application/json", "User-Agent": self._agent, **more}
        token = self._token_file.read_text().strip() if self._token_file else self._token
        if token:
            found["Authorization"] = f"Bearer {token}"
        return found

    # -- reads

    async def get(self, resource: Resource, name: str, namespace: str = "", *, subresource: str = "") -> Obj:
        return await self._ask("GET", resource.path(namespace, name, subresource))

    async def list(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        resource_version: str = "",
        limit: int = 0,
        continue_token: str = "",
    ) -> ListResult:
        query = {
            "labelSelector": label_selector,
            "fieldSelector": field_selector,
            "resourceVersion": resource_version,
            "limit": str(limit) if limit else "",
            "continue": continue_token,
        }
        found = await self._ask("GET", resource.path(namespace), query, timeout=LIST_TIMEOUT)
        kind = found["kind"].removesuffix("List")
        items = [{"apiVersion": found["apiVersion"], "kind": kind, **item} for item in found["items"] or []]
        meta = found["metadata"]
        return ListResult(
            meta.get("resourceVersion", ""), items, meta.get("continue", ""), meta.get("remainingItemCount", 0)
        )

    async def watch(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        resource_version: str = "",
        timeout_seconds: int = 0,
    ) -> AsyncIterator[Sequence[WatchEvent]]:
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "labelSelector": label_selector,
            "fieldSelector": field_selector,
            "resourceVersion": resource_version,
            "timeoutSeconds": str(timeout_seconds) if timeout_seconds else "",
        }
        stream = await self.pool.stream("GET", _with_query(resource.path(namespace), query), self.headers())
        try:
            if stream.status != 200:
                raise _failure(Answer(stream.status, stream.headers, await stream.read_all()))
            rest = b""
            async for chunk in stream.chunks():
                *lines, rest = (rest + chunk).split(b"\n")
                if batch := [_event(line) for line in lines if line]:
                    yield batch
        finally:
            stream.close()

    # -- writes

    async def create(
        self, resource: Resource, obj: Obj, namespace: str = "", *, name: str = "", subresource: str = ""
    ) -> Obj:
        return await self._ask("POST", resource.path(namespace, name, subresource), body=obj)

    async def update(self, resource: Resource, obj: Obj, namespace: str = "", *, subresource: str = "") -> Obj:
        return await self._ask("PUT", resource.path(namespace, obj["metadata"]["name"], subresource), body=obj)

    async def patch(
        self,
        resource: Resource,
        name: str,
        patch: Any,
        namespace: str = "",
        *,
        type: PatchType = "merge",
        subresource: str = "",
        field_manager: str = "",
        force: bool = False,
    ) -> Obj:
        query = {"fieldManager": field_manager, "force": "true" if force else ""}
        path = resource.path(namespace, name, subresource)
        return await self._ask("PATCH", path, query, body=patch, media=PATCH_MEDIA[type])

    async def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str = "",
        *,
        uid: str = "",
        resource_version: str = "",
        grace_period_seconds: int | None = None,
        propagation: Literal["", "Background", "Foreground", "Orphan"] = "",
    ) -> Obj:
        options: Obj = {"apiVersion": "v1", "kind": "DeleteOptions"}
        preconditions = {k: v for k, v in (("uid", uid), ("resourceVersion", resource_version)) if v}
        if preconditions:
            options["preconditions"] = preconditions
        if grace_period_seconds is not None:
            options["gracePeriodSeconds"] = grace_period_seconds
        if propagation:
            options["propagationPolicy"] = propagation
        return await self._ask("DELETE", resource.path(namespace, name), body=options)

    async def delete_collection(
        self, resource: Resource, namespace: str = "", *, label_selector: str = "", field_selector: str = ""
    ) -> None:
        query = {"labelSelector": label_selector, "fieldSelector": field_selector}
        await self._ask("DELETE", resource.path(namespace), query)

    async def raw(self, method: str, path: str, query: Mapping[str, str] | None = None, body: Any = None) -> Any:
        return await self._ask(method, path, query or {}, body)

    # -- one request

    async def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        media: str = "application/json",
        timeout: float = 60.0,
    ) -> Any:
        encoded = b"" if body is None else orjson.dumps(body)
        headers = self.headers(**{"Content-Type": media}) if encoded else self.headers()
        answer = await self.pool.request(method, _with_query(path, query or {}), headers, encoded, timeout)
        if answer.status >= 300:
            raise _failure(answer)
        if answer.headers.get("content-type", "").startswith("application/json"):
            return orjson.loads(answer.body)
        return answer.body.decode(errors="replace")


def _with_query(path: str, query: Mapping[str, str]) -> str:
    given = {name: value for name, value in query.items() if value}
    return f"{path}?{urlencode(given)}" if given else path


def _event(line: bytes) -> WatchEvent:
    decoded = orjson.loads(line)
    if decoded["type"] == "ERROR":
        raise StatusError.from_status(decoded["object"])
    return WatchEvent(decoded["type"], decoded["object"])


def _failure(answer: Answer) -> StatusError:
    """The error that an answer stands for, whether or not its body is a Status."""
    try:
        status: Any = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        status = None
    if isinstance(status, dict) and status.get("kind") == "Status":
        return StatusError.from_status(status)
    text = answer.body[:500].decode(errors="replace").strip()
    return StatusError(answer.status, "", text or f"HTTP status {answer.status}")
