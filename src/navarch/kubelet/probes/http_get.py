"""One HTTP GET as a probe or a lifecycle hook makes it: to the pod, by no proxy, certificates unchecked, redirects followed
while they stay with the host. Source: pkg/probe/http."""

from __future__ import annotations

import asyncio
import os
import re
import ssl
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple
from urllib.parse import quote, urljoin, urlsplit

from navarch import KUBERNETES_VERSION
from navarch.machinery.types import Obj

BODY_LIMIT = 10 << 10
HEADERS_LIMIT = 256
REDIRECTS = 10
FOLLOWED = (301, 302, 303, 307, 308)
VERSION = KUBERNETES_VERSION.removeprefix("v").rpartition(".")[0]
AS_THEY_ARE = "%/?:@!$&'()*+,;=~[]"
BAD_HEADER = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class Answer(NamedTuple):
    status: int
    body: bytes
    location: str


class FetchError(Exception):
    """There was no answer; the message says why, in the words of Go's client."""


class NotTls(FetchError):
    """An HTTP server answered an HTTPS request."""


def url_of(action: Obj, host: str, port: int) -> str:
    scheme = (action.get("scheme") or "HTTP").lower()
    path = quote((action.get("path") or "/").partition("#")[0], safe=AS_THEY_ARE)
    slash = "" if path.startswith("/") else "/"
    return f"{scheme}://{_place(host, port)}{slash}{path}"


def request_headers(action: Obj, purpose: str) -> list[tuple[str, str]]:
    """Those of the action, and what they leave open: an empty Accept or User-Agent takes it out. Raises FetchError."""
    given = [(h["name"], h.get("value", "")) for h in action.get("httpHeaders") or []]
    for name, value in given:
        if BAD_HEADER.search(value):
            raise FetchError(f'net/http: invalid header field value for "{name}"')
    names = {name.lower() for name, _ in given}
    if "user-agent" not in names:
        given.append(("User-Agent", f"kube-{purpose}/{VERSION}"))
    if "accept" not in names:
        given.append(("Accept", "*/*"))
    return [(n, v) for n, v in given if v or n.lower() not in ("user-agent", "accept", "host")]


async def get(url: str, headers: Sequence[tuple[str, str]], timeout: float) -> Answer:
    """The last answer: one that redirects to another host is not followed. Raises FetchError."""
    first = urlsplit(url).hostname
    at = url
    try:
        async with asyncio.timeout(timeout):
            for _ in range(REDIRECTS):
                answer = await _once(at, headers)
                if answer.status not in FOLLOWED or not answer.location:
                    return answer
                following = urljoin(at, answer.location)
                if urlsplit(following).hostname != first:
                    return answer
                at = following
    except TimeoutError:
        text = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        raise FetchError(f'Get "{at}": {text}') from None
    except FetchError as error:
        raise type(error)(f'Get "{at}": {error}') from None
    raise FetchError(f'Get "{at}": stopped after {REDIRECTS} redirects')


@cache
def _trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


async def _once(url: str, headers: Sequence[tuple[str, str]]) -> Answer:
    """Raises FetchError."""
    there = urlsplit(url)
    host, secure = there.hostname or "", there.scheme == "https"
    port = there.port or (443 if secure else 80)
    context = _trusting() if secure else None
    try:
        reader, writer = await asyncio.open_connection(host, port, ssl=context, limit=64 << 10)
    except ssl.SSLError as error:
        if error.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST"):
            raise NotTls("http: server gave HTTP response to HTTPS client") from None
        raise FetchError(f"tls: {error.reason or error}") from None
    except OSError as error:
        raise FetchError(dial_error(host, port, error)) from None
    try:
        writer.write(_request(there.path + (f"?{there.query}" if there.query else ""), there.netloc, headers))
        return await _answer(reader)
    except OSError as error:
        raise FetchError(os.strerror(error.errno).lower() if error.errno else str(error)) from None
    except EOFError:
        raise FetchError("EOF") from None
    except ValueError as error:
        raise FetchError(f"net/http: HTTP/1.x transport connection broken: {error}") from None
    finally:
        writer.close()


def _request(target: str, host: str, headers: Sequence[tuple[str, str]]) -> bytes:
    named = next((value for name, value in headers if name.lower() == "host"), host)
    rest = "".join(f"{name}: {value}\r\n" for name, value in headers if name.lower() != "host")
    return f"GET {target or '/'} HTTP/1.1\r\nHost: {named}\r\n{rest}Connection: close\r\n\r\n".encode()


async def _answer(reader: asyncio.StreamReader) -> Answer:
    """Raises OSError, ValueError, EOFError."""
    line = await reader.readline()
    if not line:
        raise EOFError
    words = line.split(None, 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
        raise ValueError(f"malformed HTTP response {line[:64].decode(errors='replace').rstrip()!r}")
    location = ""
    for _ in range(HEADERS_LIMIT):
        name, _, value = (await reader.readline()).strip().partition(b":")
        if not name:
            break
        if name.lower() == b"location":
            location = value.strip().decode(errors="replace")
    return Answer(int(words[1]), await reader.read(BODY_LIMIT), location)


def _place(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def dial_error(host: str, port: int, error: OSError) -> str:
    reason = os.strerror(error.errno).lower() if error.errno and error.errno > 0 else str(error)
    return f"dial tcp {_place(host, port)}: connect: {reason}"
