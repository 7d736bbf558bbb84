"""Asking webhooks: one caller for admission, conversion and whatever else names a URL or a service with a caBundle.

Source: apiserver's util/webhook (ClientManager), client-go's rest for the words of failures.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import ssl
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import orjson

from navarch.apiserver.credentials import NOBODY, Credential, Credentials
from navarch.apiserver.relaying import dial_error
from navarch.apiserver.services import Services
from navarch.http.client import Pool, Stream
from navarch.machinery.errors import StatusError
from navarch.machinery.patch.json_patch import go_kind
from navarch.machinery.types import Obj

POOLS = 256
"""Webhooks that connections are kept to; the one unused for longest is let go."""
ANSWER_LIMIT = 8 * 1024 * 1024
HEADERS: dict[str, str | Sequence[str]] = {
    "Content-Type": "application/json",
    "Accept": "application/json, */*",
    "User-Agent": "kube-apiserver-admission",
}


REFUSALS = {
    400: "the server rejected our request for an unknown reason",
    401: "the server has asked for the client to provide credentials",
    404: "the server could not find the requested resource",
    405: "the server does not allow this method on the requested resource",
    409: "the server reported a conflict",
    422: "the server rejected our request due to an error in our request",
    429: "the server has received too many requests and has asked us to try again later",
    503: "the server is currently unable to handle the request",
    504: "the server was unable to return a response in the time allotted, but may still be processing the request",
}
"""What client-go makes of answers that are no Status (NewGenericServerResponse)."""


class WebhookError(Exception):
    """There is no answer, or none that can be read. The text is what upstream's client would say; `code` the status that
    was answered, or 503."""

    def __init__(self, text: str, code: int = 503) -> None:
        super().__init__(text)
        self.code = code


class Goal(NamedTuple):
    """Where a webhook is, as its clientConfig says it."""

    host: str
    port: int
    path: str
    url: str
    """What messages call it."""
    service: tuple[str, str] | None
    """(namespace, name), where it is behind a service."""


def goal(client: Obj) -> Goal:
    """Reads a WebhookClientConfig. Raises WebhookError."""
    service = client.get("service")
    if service is not None:
        namespace, name, port = service.get("namespace", ""), service.get("name", ""), service.get("port") or 443
        host, path = f"{name}.{namespace}.svc", service.get("path") or "/"
        path = path if path.startswith("/") else f"/{path}"
        return Goal(host, port, path, f"https://{host}:{port}{path}", (namespace, name))
    text = client.get("url") or ""
    if not text:
        raise WebhookError("webhook configuration must have either service or URL")
    try:
        url = urlsplit(text)
        port = url.port or 443
    except ValueError as error:
        raise WebhookError(f"Unparsable URL: {error}") from None
    return Goal(url.hostname or "", port, url.path or "/", text, None)


def trust(bundle: str | None) -> ssl.SSLContext:
    """A context that believes the bundle (base64 of PEM), else what the machine believes. Raises WebhookError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # as Go judges: any certificate of the bundle may end a chain, extensions that RFC 5280 asks for may be missing
    context.verify_flags = (context.verify_flags | ssl.VERIFY_X509_PARTIAL_CHAIN) & ~ssl.VERIFY_X509_STRICT
    context.set_alpn_protocols(["http/1.1"])
    if not bundle:
        context.load_default_certs()
        return context
    try:
        context.load_verify_locations(cadata=base64.b64decode(bundle).decode())
    except (ValueError, binascii.Error, ssl.SSLError):
        raise WebhookError("unable to load root certificates: unable to parse bytes as PEM block") from None
    return context


class Webhooks:
    """Connections to webhooks, kept while they are in use."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._pools: OrderedDict[tuple[str, int, str, bytes, object], Pool] = OrderedDict()

    def close(self) -> None:
        for pool in self._pools.values():
            pool.close()
        self._pools.clear()

    async def ask(self, client: Obj, body: bytes, timeout: float, credentials: Credentials | None = None) -> Obj:
        """Sends JSON, returns the JSON object that is answered. `client` is a WebhookClientConfig: `url` or `service`,
        `caBundle`. `timeout` is in seconds; `credentials` say who asks. Raises WebhookError; a webhook may be asked twice when a connection breaks."""
        place = goal(client)
        path = f"{place.path}?timeout={timeout:g}s"
        shown = f'Post "{place.url}?timeout={timeout:g}s"'
        who = credentials.of(place.host, place.port) if credentials else NOBODY
        pool = None
        try:
            async with asyncio.timeout(timeout):
                pool = self._pool(place, client.get("caBundle"), who)
                stream = await pool.stream("POST", path, HEADERS | who.sent(), body)
                try:
                    answer = await _read(stream)
                finally:
                    stream.close()
        except TimeoutError:
            raise WebhookError(f"{shown}: context deadline exceeded") from None
        except StatusError as error:
            raise WebhookError(f"{shown}: {error.message}") from None
        except OSError as error:
            if not isinstance(error, ConnectionError):  # of a token's file
                raise WebhookError(f"{shown}: {error}") from None
            raise WebhookError(f"{shown}: {why_unanswered(place.host, pool, error)}") from None
        if not 200 <= stream.status <= 206:
            raise WebhookError(_refusal(stream.status, answer), stream.status)
        return _object(answer)

    def _pool(self, place: Goal, bundle: str | None, who: Credential) -> Pool:
        host, port = place.host, place.port
        if place.service is not None:
            host, port = self._services.resolve(*place.service, port)
        key = (host, port, place.host, hashlib.sha256((bundle or "").encode()).digest(), who.certificate)
        pool = self._pools.get(key)
        if pool is None:
            if len(self._pools) >= POOLS:
                self._pools.popitem(last=False)[1].close()
            context = trust(bundle)
            if who.certificate:
                context.load_cert_chain(*map(str, who.certificate))
            pool = self._pools[key] = Pool(host, port, context, place.host, repeatable=True)
        self._pools.move_to_end(key)
        return pool


async def _read(stream: Stream) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in stream.chunks():
        size += len(part)
        if size > ANSWER_LIMIT:
            raise WebhookError(f"the answer is longer than {ANSWER_LIMIT} bytes")
        parts.append(part)
    return b"".join(parts)


def why_unanswered(host: str, pool: Pool | None, error: ConnectionError) -> str:
    """Why there is no answer, as Go's client words it; `host` is whom the certificate must name."""
    cause = error.__cause__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"tls: failed to verify certificate: x509: {certificate_problem(cause, host)}"
    return dial_error(pool, error) if pool is not None and cause is not None else str(error)


def certificate_problem(error: ssl.SSLCertVerificationError, host: str) -> str:
    """Go's words for OpenSSL's commonest verdicts on a certificate."""
    words = {
        10: "certificate has expired or is not yet valid",
        18: "certificate signed by unknown authority",
        19: "certificate signed by unknown authority",
        20: "certificate signed by unknown authority",
        21: "certificate signed by unknown authority",
        62: f"certificate is not valid for any names, but wanted to match {host}",
    }
    return words.get(error.verify_code, error.verify_message)


def _refusal(status: int, body: bytes) -> str:
    """What an answer says that is none."""
    tree: Any = None
    try:
        tree = orjson.loads(body)
    except orjson.JSONDecodeError:
        pass
    if isinstance(tree, dict) and tree.get("kind") == "Status" and isinstance(tree.get("message"), str):
        return tree["message"]
    text = body.decode(errors="replace").strip()
    if status in REFUSALS:
        return REFUSALS[status]
    if status == 403:
        return text or "unknown"
    if status >= 500:
        quoted = orjson.dumps(text or "unknown").decode()
        return f"an error on the server ({quoted}) has prevented the request from succeeding"
    return f"the server responded with the status code {status} but did not return more information"


def _object(answer: bytes) -> Obj:
    if not answer:
        raise WebhookError("0-length response with status code: 200 and content type: application/json")
    try:
        tree = orjson.loads(answer)
    except orjson.JSONDecodeError:
        tree = ""  # upstream takes what is no JSON for YAML, of which anything is a string
    if not isinstance(tree, dict):
        what = 'struct { APIVersion string "json:\\"apiVersion,omitempty\\""; Kind string "json:\\"kind,omitempty\\"" }'
        why = f"json: cannot unmarshal {go_kind(tree)} into Go value of type {what}"
        raise WebhookError(f"couldn't get version/kind; json parse error: {why}")
    return tree
