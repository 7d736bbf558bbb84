"""A webhook inside a test: a real HTTPS server on loopback that answers reviews as the test says."""

from __future__ import annotations

import base64
import inspect
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
from tests.support.requests import Authority

from navarch.http.messages import Request, Response
from navarch.http.server import Server, serve
from navarch.http.tls import TlsConfig

Obj = dict[str, Any]
Answer = Callable[[str, Obj], Any]
"""(path, the review's `request`) -> the review's `response`, without uid; or a Response; or an awaitable of either."""


class Webhook:
    def __init__(self, authority: Authority, answer: Answer) -> None:
        self.authority = authority
        self.answer = answer
        self.requests: list[Obj] = []
        """The `request` of each review, as it came."""
        self.urls: list[str] = []
        self.headers: list[Mapping[str, str]] = []
        self.server: Server

    def client(self, path: str = "/") -> Obj:
        """The clientConfig that leads here."""
        bundle = base64.b64encode(self.authority.pem).decode()
        return {"url": f"https://127.0.0.1:{self.server.port}{path}", "caBundle": bundle}

    async def handle(self, request: Request) -> Response:
        review = orjson.loads(request.body)
        self.requests.append(review["request"])
        self.headers.append(request.headers)
        self.urls.append(f"{request.path}?{request.raw_query}")
        made = self.answer(request.path, review["request"])
        made = await made if inspect.isawaitable(made) else made
        if isinstance(made, Response):
            return made
        response = {"uid": review["request"].get("uid", ""), **made}
        answered = {"apiVersion": review["apiVersion"], "kind": review["kind"], "response": response}
        return Response(200, orjson.dumps(answered), "application/json")


def patch(*operations: Obj) -> Obj:
    """A response that allows and changes."""
    return {"allowed": True, "patchType": "JSONPatch", "patch": base64.b64encode(orjson.dumps(operations)).decode()}


@asynccontextmanager
async def webhook(directory: Path, answer: Answer) -> AsyncIterator[Webhook]:
    """`directory` takes the server's certificate."""
    authority = Authority("webhooks")
    certificate, key = authority.server()
    (directory / "webhook.crt").write_bytes(certificate)
    (directory / "webhook.key").write_bytes(key)
    hook = Webhook(authority, answer)
    tls = TlsConfig(certificate=directory / "webhook.crt", key=directory / "webhook.key")
    hook.server = await serve(hook.handle, "127.0.0.1", 0, tls)
    try:
        yield hook
    finally:
        await hook.server.close(0.1)
