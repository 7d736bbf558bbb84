"""Requests to a server in the test's own process, through all its filters; and certificates to send them with."""

from __future__ import annotations

import inspect
import ssl
from typing import Any

import orjson

from navarch.apiserver.request import Request, Response
from navarch.cluster import certificates


class Connection:
    def __init__(self, certificate: bytes | None = None) -> None:
        self.peer_certificate = certificate
        self.peer_address = ("127.0.0.1", 1)
        self.cache: dict[str, Any] = {}


async def send(
    server: Any,
    method: str,
    url: str,
    body: Any = None,
    *,
    token: str = "",
    certificate: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> tuple[int, Any]:
    """(status, body): the body's tree where it is JSON."""
    response = await exchange(server, method, url, body, token=token, certificate=certificate, headers=headers)
    content = response.body if isinstance(response.body, bytes) else b"".join(response.body)
    return response.status, orjson.loads(content) if response.content_type.startswith("application/json") else content


async def exchange(
    server: Any,
    method: str,
    url: str,
    body: Any = None,
    *,
    token: str = "",
    certificate: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    path, _, query = url.partition("?")
    sent = {"authorization": f"Bearer {token}"} if token else {}
    sent |= headers or {}
    request = Request(
        method, path, query, sent, orjson.dumps(body) if body is not None else b"", Connection(certificate)
    )
    answer = server.handle(request)
    return await answer if inspect.isawaitable(answer) else answer


class Authority:
    """A certificate authority."""

    def __init__(self, name: str) -> None:
        self._made = certificates.Authority.new(name)
        self.pem = self._made.pem

    def client(self, name: str, *groups: str) -> bytes:
        """DER of a client's certificate."""
        return ssl.PEM_cert_to_DER_cert(self.client_files(name, *groups)[0].decode())

    def client_files(self, name: str, *groups: str) -> tuple[bytes, bytes]:
        """PEM of a client's certificate and key."""
        return self._made.client(name, *groups)

    def server(self, address: str = "127.0.0.1") -> tuple[bytes, bytes]:
        """PEM of a server's certificate and key."""
        return self._made.server(address, [], [address])

    def server_for(self, name: str) -> tuple[bytes, bytes]:
        """The same for a name."""
        return self._made.server(name, [name], [])
