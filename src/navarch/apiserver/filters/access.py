"""Who asks, and whether they may: authentication, authorization."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from navarch.apiserver.auth.configuration import Anonymous
from navarch.apiserver.auth.interface import Attributes, Authenticator, Decision
from navarch.apiserver.request import ANONYMOUS, Handler, Request, Response, User
from navarch.machinery import errors
from navarch.machinery.types import GroupResource

SELECTING = ("list", "watch", "deletecollection")
Decide = Callable[[Attributes], Decision]
CONNECTED = frozenset(("exec", "attach", "portforward"))
PLAIN = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
"""No refusal looks like HTML."""


def with_authentication(handler: Handler, authenticator: Authenticator, anonymous: Anonymous) -> Handler:
    """Sets the request's user. Bad credentials are a 401, as are none where nobody may stay anonymous. What proved the
    user goes no further."""

    def run(request: Request) -> Response | Awaitable[Response]:
        user = authenticator.authenticate(request)
        if user is not None and not isinstance(user, User):
            return later(request, user)
        return known(request, user)

    def known(request: Request, user: User | None) -> Response | Awaitable[Response]:
        if user is None:
            if not anonymous.admits(request.path):
                raise errors.unauthorized()
            user = ANONYMOUS
        elif "authorization" in request.headers:
            request.headers = {k: v for k, v in request.headers.items() if k != "authorization"}
        request.user = user
        return handler(request)

    async def later(request: Request, found: Awaitable[User | None]) -> Response:
        answer = known(request, await found)
        return answer if isinstance(answer, Response) else await answer

    return run


def with_authorization(handler: Handler, decide: Decide) -> Handler:
    def run(request: Request) -> Response | Awaitable[Response]:
        authorize(request, decide)
        return handler(request)

    return run


def authorize(request: Request, decide: Decide) -> None:
    """Raises 403 for what the request's user may not do."""
    asked = attributes_of(request)
    decision = request.decision = decide(asked)
    if decision.allowed and asked.verb == "get" and asked.subresource in CONNECTED and asked.resource == "pods":
        # A WebSocket begins with a GET, and yet it does what takes the verb `create`
        asked = asked._replace(verb="create")
        decision = request.decision = decide(asked)
    if not decision.allowed:
        raise denied(asked, decision.reason)


def attributes_of(request: Request) -> Attributes:
    """What authorization is asked about a request."""
    info = request.info
    return Attributes(
        request.user,
        info.verb,
        info.is_resource,
        info.path,
        info.group,
        info.version,
        info.resource,
        info.subresource,
        info.namespace,
        info.name,
        request.param("fieldSelector") if info.verb in SELECTING and "fieldSelector" in request.raw_query else "",
    )


def denied(asked: Attributes, reason: str) -> errors.StatusError:
    """The 403 of authorization, in upstream's words."""
    user, verb = asked.user.name, asked.verb
    if not asked.is_resource:
        what = f'path "{asked.path}"'
    else:
        resource = asked.resource + (f"/{asked.subresource}" if asked.subresource else "")
        where = f'in the namespace "{asked.namespace}"' if asked.namespace else "at the cluster scope"
        what = f'resource "{resource}" in API group "{asked.group}" {where}'
    why = f'User "{user}" cannot {verb} {what}'.translate(PLAIN)
    return errors.forbidden(
        GroupResource(asked.group, asked.resource), asked.name, f"{why}: {reason}" if reason else why
    )
