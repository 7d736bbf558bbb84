"""The server behind TLS: what comes in large pieces arrives whole."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path

import pytest
from OpenSSL import SSL
from tests.support.requests import Authority

from navarch.http.client import Pool
from navarch.http.messages import Request, Response
from navarch.http.server import serve
from navarch.http.tls import TlsConfig

BODIES = [b"x" * size for size in (1, 16_384, 65_536, 200_000, 3 * 1024 * 1024)]


@pytest.mark.parametrize("body", BODIES, ids=lambda b: str(len(b)))
async def test_bodies_of_any_size_arrive_whole(tmp_path: Path, body: bytes) -> None:
    authority = Authority("ca")
    certificate, key = tmp_path / "crt", tmp_path / "key"
    for path, pem in zip((certificate, key), authority.server(), strict=True):
        path.write_bytes(pem)
    server = await serve(lambda request: echo(request), "127.0.0.1", 0, TlsConfig(certificate=certificate, key=key))
    pool = Pool("127.0.0.1", server.port, ssl.create_default_context(cadata=authority.pem.decode()))
    try:
        for answer in await asyncio.gather(*(pool.request("POST", "/", {}, body, timeout=20) for _ in range(3))):
            assert answer.status == 200
            assert answer.body == body
    finally:
        pool.close()
        await server.close(0.1)


def echo(request: Request) -> Response:
    return Response(200, request.body)


async def test_clients_are_told_whose_certificates_are_taken(tmp_path: Path) -> None:
    """Some choose by that which certificate they show."""
    authority, other = Authority("one"), Authority("another")
    certificate, key = tmp_path / "crt", tmp_path / "key"
    for path, pem in zip((certificate, key), authority.server(), strict=True):
        path.write_bytes(pem)
    tls = TlsConfig(certificate=certificate, key=key, authorities=authority.pem + other.pem + authority.pem)
    server = await serve(echo, "127.0.0.1", 0, tls)

    def names() -> list[str]:
        connection = SSL.Connection(
            SSL.Context(SSL.TLS_CLIENT_METHOD), socket.create_connection(("127.0.0.1", server.port))
        )
        connection.set_connect_state()
        connection.do_handshake()
        found = [name.CN for name in connection.get_client_ca_list()]
        connection.close()
        return found

    try:
        assert await asyncio.to_thread(names) == ["one", "another"]
    finally:
        await server.close(0.1)
