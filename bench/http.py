"""A small, fast HTTP/1.1 client for benchmarks: the same bytes for every server that is measured."""

from __future__ import annotations

import asyncio
import base64
import ssl
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httptools
import yaml

JSON = "application/json"


class Target:
    """An API server as a kubeconfig describes it."""

    def __init__(self, kubeconfig: Path) -> None:
        loaded: Any = yaml.safe_load(kubeconfig.read_text())
        named = {c["name"]: c["context"] for c in loaded["contexts"]}[loaded["current-context"]]
        cluster = {c["name"]: c["cluster"] for c in loaded["clusters"]}[named["cluster"]]
        user = {u["name"]: u["user"] for u in loaded["users"]}[named["user"]]
        url = urlsplit(cluster["server"])
        self.host, self.port = url.hostname or "127.0.0.1", url.port or 443
        self.headers = f"Host: {self.host}:{self.port}\r\nUser-Agent: navarch-bench\r\n"
        if token := user.get("token"):
            self.headers += f"Authorization: Bearer {token}\r\n"
        self.tls = ssl.create_default_context()
        if data := cluster.get("certificate-authority-data"):
            self.tls.load_verify_locations(cadata=base64.b64decode(data).decode())
        elif path := cluster.get("certificate-authority"):
            self.tls.load_verify_locations(path)
        if cluster.get("insecure-skip-tls-verify"):
            self.tls.check_hostname = False
            self.tls.verify_mode = ssl.CERT_NONE
        if "client-certificate-data" in user:
            with tempfile.NamedTemporaryFile() as file:
                file.write(base64.b64decode(user["client-certificate-data"]))
                file.write(base64.b64decode(user["client-key-data"]))
                file.flush()
                self.tls.load_cert_chain(file.name)
        elif "client-certificate" in user:
            self.tls.load_cert_chain(user["client-certificate"], user["client-key"])


class Connection(asyncio.Protocol):
    """One keep-alive connection, one request at a time; or one watch, with a callback per chunk of body."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._done: asyncio.Future[tuple[int, bytes]] | None = None
        self._body: list[bytes] = []
        self._transport: Any = None
        self.on_chunk: Callable[[bytes], None] | None = None

    @staticmethod
    async def open(target: Target) -> Connection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(Connection, target.host, target.port, ssl=target.tls)
        return connection

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        if self.on_chunk:
            self.on_chunk(body)
        else:
            self._body.append(body)

    def on_message_complete(self) -> None:
        done, self._done = self._done, None
        if done and not done.done():
            done.set_result((self._parser.get_status_code(), b"".join(self._body)))
        self._body = []
        self._parser = httptools.HttpResponseParser(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._done and not self._done.done():
            self._done.set_exception(exc or ConnectionError("the server closed the connection"))

    def send(
        self,
        target: Target,
        method: str,
        path: str,
        body: bytes = b"",
        content: str = JSON,
        accept: str = JSON,
    ) -> None:
        head = f"{method} {path} HTTP/1.1\r\n{target.headers}Accept: {accept}\r\n"
        if body:
            head += f"Content-Type: {content}\r\nContent-Length: {len(body)}\r\n"
        self._transport.write(head.encode() + b"\r\n" + body)

    async def ask(
        self,
        target: Target,
        method: str,
        path: str,
        body: bytes = b"",
        content: str = JSON,
        accept: str = JSON,
    ) -> tuple[int, bytes]:
        self._done = asyncio.get_running_loop().create_future()
        self.send(target, method, path, body, content, accept)
        return await self._done

    def close(self) -> None:
        self._transport.abort()
