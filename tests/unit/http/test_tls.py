"""The server behind TLS: what comes in large pieces arrives whole."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest
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
