"""Talking to extension servers: connections, this server's proof, and the user that it asks for.

Source: client-go's transport (NewAuthProxyRoundTripper), apimachinery's util/proxy.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from navarch.apiserver.aggregation.remote import Remote
from navarch.apiserver.relaying import HOP_BY_HOP, forwarded_headers, streamed, upgraded, wants_upgrade
from navarch.apiserver.request import Request, Response, User
from navarch.apiserver.services import Services
from navarch.apiserver.webhooks import WebhookError, trust, why_unanswered
from navarch.http.client import Answer, Pool
from navarch.machinery.errors import StatusError

AGGREGATOR = User("system:kube-aggregator", groups=("system:masters",))
DISCOVERY_SECONDS = 5.0
POOLS = 128
ANSWER_LIMIT = 32 * 1024 * 1024
OWN_HEADERS = frozenset(("content-type", "date", "audit-id"))
TOKEN = "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
Headers = dict[str, "str | Sequence[str]"]


def identity(user: User) -> Headers:
    """X-Remote-* headers."""
    found: Headers = {"x-remote-user": user.name}
    if user.uid:
        found["x-remote-uid"] = user.uid
    if user.groups:
        found["x-remote-group"] = user.groups
    for key, values in user.extra:
        found[f"x-remote-extra-{quote(key, safe=TOKEN.replace('%', ''))}"] = values
    return found


def failure(status: int, text: str) -> Response:
    """What upstream's proxy says by itself: plain text."""
    body = f"{text}\n".encode()
    return Response(status, body, "text/plain; charset=utf-8", [("X-Content-Type-Options", "nosniff")])


UNAVAILABLE = "service unavailable"


class Extensions:
    """Connections to extension servers, kept while they are in use."""

    def __init__(self, services: Services, certificate: tuple[Path, Path] | None) -> None:
        """`certificate`: PEM files of the front proxy's certificate and key; without it nobody will believe us."""
        self._services = services
        self._certificate = certificate
        self._pools: OrderedDict[tuple[str, int, str, bytes], Pool] = OrderedDict()

    def places(self, remote: Remote) -> Sequence[tuple[str, int]]:
        """Host and port of all that is ready. Raises StatusError."""
        return self._services.places(remote.namespace, remote.service, remote.port)

    def pool(self, remote: Remote, place: tuple[str, int]) -> Pool:
        """Raises WebhookError for a caBundle that is none."""
        trusted = b"" if remote.insecure else hashlib.sha256(remote.bundle.encode()).digest()
        key = (*place, remote.server_name, trusted)
        pool = self._pools.get(key)
        if pool is None:
            if len(self._pools) >= POOLS:
                self._pools.popitem(last=False)[1].close()
            pool = self._pools[key] = Pool(*place, self._context(remote), remote.server_name)
        self._pools.move_to_end(key)
        return pool

    def _context(self, remote: Remote) -> ssl.SSLContext:
        context = trust(remote.bundle)
        if remote.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self._certificate:
            context.load_cert_chain(*map(str, self._certificate))
        return context

    def close(self) -> None:
        for pool in self._pools.values():
            pool.close()
        self._pools.clear()

    async def ask(
        self, remote: Remote, place: tuple[str, int], path: str, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """A GET by the aggregator itself. Raises ConnectionError, and WebhookError for a caBundle that is none."""
        sent = {"accept": "application/json", **identity(AGGREGATOR), **(headers or {})}
        pool = self.pool(remote, place)
        try:
            async with asyncio.timeout(DISCOVERY_SECONDS):
                stream = await pool.stream("GET", path, sent)
                try:
                    parts: list[bytes] = []
                    size = 0
                    async for part in stream.chunks():
                        size += len(part)
                        if size > ANSWER_LIMIT:
                            raise ConnectionError(f"the answer is longer than {ANSWER_LIMIT} bytes")
                        parts.append(part)
                finally:
                    stream.close()
        except TimeoutError:
            raise ConnectionError("context deadline exceeded") from None
        except ConnectionError as error:
            raise ConnectionError(why_unanswered(pool.server_name or pool.host, pool, error)) from None
        return Answer(stream.status, stream.headers, b"".join(parts))

    async def carry(self, request: Request, remote: Remote) -> Response:
        """The request, asked of the extension server in its user's name."""
        if not remote.available:
            return failure(503, UNAVAILABLE)
        try:
            place = self._services.resolve(remote.namespace, remote.service, remote.port)
        except StatusError:
            return failure(503, UNAVAILABLE)
        try:
            pool = self.pool(remote, place)
        except WebhookError as error:
            return failure(500, str(error))
        path = request.path + (f"?{request.raw_query}" if request.raw_query else "")
        own = {**identity(request.user), "audit-id": request.audit_id}
        if wants_upgrade(request):
            return await upgraded(pool, request, path, _cleaned(request, {}) | own)
        if len(request.info.path.strip("/").split("/")) > 3:
            return await _streamed(pool, request, path, own)
        try:  # discovery should be quick
            async with asyncio.timeout(DISCOVERY_SECONDS):
                return await _streamed(pool, request, path, own)
        except TimeoutError:
            return failure(503, "error trying to reach service: context deadline exceeded")


async def _streamed(pool: Pool, request: Request, path: str, own: Headers) -> Response:
    host = request.headers.get("host", "")
    forwarded = {"x-forwarded-uri": request.path, "x-forwarded-host": host, "x-forwarded-proto": "https"}
    try:
        stream = await pool.stream(request.method, path, _cleaned(request, forwarded) | own, request.body)
    except ConnectionError as error:
        return failure(
            503, f"error trying to reach service: {why_unanswered(pool.server_name or pool.host, pool, error)}"
        )
    kept = [(_canonical(n), v) for n, v in stream.headers.items() if n not in HOP_BY_HOP and n not in OWN_HEADERS]
    return streamed(stream.status, stream, stream.headers.get("content-type", ""), kept)


def _cleaned(request: Request, more: Mapping[str, str]) -> Headers:
    """The client's headers but those by which it would be somebody else."""
    found: Headers = dict(more)
    for name, value in forwarded_headers(request).items():
        if not name.startswith(("x-remote-", "impersonate-")):
            found.setdefault(name, value)
    return found


def _canonical(name: str) -> str:
    return "-".join(part.capitalize() for part in name.split("-"))
