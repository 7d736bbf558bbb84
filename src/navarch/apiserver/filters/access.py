"""Who asks, on whose behalf, and whether they may: authentication, impersonation, authorization."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from urllib.parse import unquote

from navarch.apiserver.auth.interface import Attributes, Authenticator
from navarch.apiserver.request import ANONYMOUS, Handler, Request, Response, User
from navarch.machinery import errors

Authorize = Callable[[Attributes], None]
"""Raises 403 unless the attributes are allowed."""
AUTHENTICATED, UNAUTHENTICATED = "system:authenticated", "system:unauthenticated"
SERVICE_ACCOUNT = "system:serviceaccount:"
EXTRA_HEADER = "impersonate-extra-"
SELECTING = ("list", "watch", "deletecollection")


def with_authentication(handler: Handler, authenticator: Authenticator) -> Handler:
    """Sets the request's user. Bad credentials are a 401; none at all, the anonymous user."""

    def run(request: Request) -> Response | Awaitable[Response]:
        user = authenticator.authenticate(request)
        if user is not None and not isinstance(user, User):
            return later(request, user)
        request.user = user or ANONYMOUS
        return handler(request)

    async def later(request: Request, found: Awaitable[User | None]) -> Response:
        request.user = await found or ANONYMOUS
        answer = handler(request)
        return answer if isinstance(answer, Response) else await answer

    return run


def with_authorization(handler: Handler, authorize: Authorize) -> Handler:
    def run(request: Request) -> Response | Awaitable[Response]:
        authorize(attributes_of(request))
        return handler(request)

    return run


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


def with_impersonation(handler: Handler, authorize: Authorize) -> Handler:
    """Acts as the user of the Impersonate-* headers, where the asking user may."""

    def run(request: Request) -> Response | Awaitable[Response]:
        for name in request.headers:
            if name.startswith("impersonate-"):
                request.user = impersonated(request, authorize)
                break
        return handler(request)

    return run


def impersonated(request: Request, authorize: Authorize) -> User:
    """The user to act as; each part of it is authorized. Raises 400 and 403."""
    headers, asker = request.headers, request.user
    name, uid = headers.get("impersonate-user", ""), headers.get("impersonate-uid", "")
    groups = [g for g in headers.get("impersonate-group", "").split(", ") if g]
    extra = {
        unquote(key[len(EXTRA_HEADER) :]): tuple(value.split(", "))
        for key, value in sorted(headers.items())
        if key.startswith(EXTRA_HEADER)
    }
    if not name:
        if not (groups or uid or extra):
            return asker
        raise errors.bad_request("requested groups, a uid or extra fields without impersonating a user")

    def check(resource: str, value: str, group: str = "", subresource: str = "", namespace: str = "") -> None:
        version = "v1" if group or resource == "serviceaccounts" else ""
        authorize(Attributes(asker, "impersonate", True, "", group, version, resource, subresource, namespace, value))

    wanted = list(groups)
    account = name.removeprefix(SERVICE_ACCOUNT).split(":") if name.startswith(SERVICE_ACCOUNT) else []
    if len(account) == 2:
        check("serviceaccounts", account[1], namespace=account[0])
        if not groups:
            wanted = ["system:serviceaccounts", f"system:serviceaccounts:{account[0]}"]
    else:
        check("users", name)
    for group in groups:
        check("groups", group)
    for key, values in extra.items():
        for value in values:
            check("userextras", value, "authentication.k8s.io", key)
    if uid:
        check("uids", uid, "authentication.k8s.io")
    if name == ANONYMOUS.name:
        if UNAUTHENTICATED not in wanted:
            wanted.append(UNAUTHENTICATED)
    elif AUTHENTICATED not in wanted and UNAUTHENTICATED not in wanted:
        wanted.append(AUTHENTICATED)
    return User(name, uid, tuple(wanted), tuple(extra.items()))
