"""The outermost filters: every request gets an answer, every failure its Status, every answer its headers."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable

from navarch.apiserver import negotiate
from navarch.apiserver.filters.request_info import request_info
from navarch.apiserver.request import Handler, Request, Response
from navarch.machinery import errors
from navarch.machinery.clock import World
from navarch.machinery.errors import StatusError

log = logging.getLogger(__name__)

CACHE_CONTROL = ("Cache-Control", "no-cache, private")
MAX_AUDIT_ID = 64
MAX_WARNING = 256
MAX_WARNINGS = 4096
"""Characters of one warning, and of all warnings of one answer (upstream's bounds)."""
STATUS = "io.k8s.apimachinery.pkg.apis.meta.v1.Status"
WIRE_REASONS = {408: "Timeout", 413: "RequestEntityTooLarge", 500: "InternalError"}


def with_headers(handler: Handler, world: World) -> Handler:
    """Audit-Id, Cache-Control and Warning headers."""

    def run(request: Request) -> Response | Awaitable[Response]:
        given = request.headers.get("audit-id", "")
        request.audit_id = given if given and len(given) <= MAX_AUDIT_ID else world.uid()
        answer = handler(request)
        if isinstance(answer, Response):
            return finish(request, answer)
        return later(request, answer)

    async def later(request: Request, answer: Awaitable[Response]) -> Response:
        return finish(request, await answer)

    def finish(request: Request, response: Response) -> Response:
        headers = [("Audit-Id", request.audit_id), *response.headers]
        if not any(name == "Cache-Control" for name, _ in response.headers):
            headers.append(CACHE_CONTROL)
        if request.priority:
            headers.extend(request.priority)
        if request.warnings:
            headers.extend(warning_headers(request.warnings))
        response.headers = headers
        return response

    return run


_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def warning_headers(warnings: list[str]) -> list[tuple[str, str]]:
    """RFC 7234 warnings of code 299, each once, cut to upstream's bounds; none of what no header can hold."""
    texts = [text for text in dict.fromkeys(warnings) if text and not _CONTROL.search(text)]
    short = sum(map(len, texts)) > MAX_WARNINGS
    found: list[tuple[str, str]] = []
    room = MAX_WARNINGS
    for text in texts:
        text = text[:MAX_WARNING] if short else text
        room -= len(text)
        if room < 0:
            break
        quoted = text.replace("\\", "\\\\").replace('"', '\\"')
        found.append(("Warning", f'299 - "{quoted}"'))
    return found


def with_statuses(handler: Handler) -> Handler:
    """A StatusError becomes its Status; any other exception is logged and becomes a 500."""

    def run(request: Request) -> Response | Awaitable[Response]:
        try:
            answer = handler(request)
        except Exception as err:
            return failure(request, err)
        return answer if isinstance(answer, Response) else later(request, answer)

    async def later(request: Request, answer: Awaitable[Response]) -> Response:
        try:
            return await answer
        except Exception as err:
            return failure(request, err)

    return run


def failure(request: Request, err: Exception) -> Response:
    """The answer that carries a failure."""
    if not isinstance(err, StatusError):
        log.error("%s %s failed", request.method, request.path, exc_info=err)
        err = errors.internal("this request made the API server fail; its log has the details")
    return error_response(err, negotiate.is_pretty(request), _media(request))


def error_response(err: StatusError, pretty: bool = False, media: str = negotiate.JSON) -> Response:
    return Response(err.code, negotiate.encode(err.to_status(), media, STATUS, pretty), media, headers=err.headers)


def _media(request: Request) -> str:
    """Failures are told in the client's own media type, where it has one of ours."""
    try:
        return negotiate.accepted(request.headers.get("accept", "")).media
    except StatusError:
        return negotiate.JSON


def wire_error(status: int, message: str) -> Response:
    """The Status for what never became a request (`navarch.http.server.serve`'s `error`)."""
    reason = WIRE_REASONS.get(status, "BadRequest" if status == 400 else "")
    return error_response(StatusError(status, reason, message))


def with_request_info(handler: Handler) -> Handler:
    def run(request: Request) -> Response | Awaitable[Response]:
        request.info = request_info(request)
        return handler(request)

    return run
