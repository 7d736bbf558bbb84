"""JSON from servers that others run: bounded in size and time, and never through a proxy or a redirect."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import orjson

from navarch.http.client import Pool

MAX_ANSWER = 1 << 20
SECONDS = 10.0


class FetchError(Exception):
    """No good answer; the text says why."""


class Peer:
    """One https (or, for tests and sidecars on loopback, http) server."""

    def __init__(self, url: str, ca_pem: str = "", certificate: tuple[str, str] | None = None) -> None:
        parts = urlsplit(url)
        context: ssl.SSLContext | None = None
        if parts.scheme == "https":
            context = ssl.create_default_context(cadata=ca_pem or None)
            if certificate:
                context.load_cert_chain(*certificate)
        self.path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._pool = Pool(parts.hostname or "", parts.port or (443 if context else 80), context)

    async def ask(self, method: str = "GET", headers: Mapping[str, str] | None = None, body: Any = None) -> Any:
        """The answer's JSON. Raises FetchError."""
        sent = {"Accept": "application/json", **(headers or {})}
        if body is not None:
            sent["Content-Type"] = "application/json"
        try:
            async with asyncio.timeout(SECONDS):
                stream = await self._pool.stream(method, self.path, sent, b"" if body is None else orjson.dumps(body))
                try:
                    content = bytearray()
                    async for chunk in stream.chunks():
                        content += chunk
                        if len(content) > MAX_ANSWER:
                            raise FetchError(f"the answer is longer than {MAX_ANSWER} bytes")
                finally:
                    stream.close()
            if not 200 <= stream.status < 300:
                raise FetchError(f"the server answered {stream.status}")
            return orjson.loads(content)
        except (ConnectionError, TimeoutError, ValueError) as err:
            raise FetchError(str(err) or "no answer in time") from None

    def close(self) -> None:
        self._pool.close()
