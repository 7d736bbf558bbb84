"""Acting as somebody else: the Impersonate-* headers, and who may use them.

Source: apiserver/pkg/endpoints/filters/impersonation (KEP-5284). Constrained modes are tried first: each asks whether the
user may do this very request in the mode (`impersonate-on:MODE:VERB`), and whether they may be that user
(`impersonate:MODE`). The legacy mode asks only the latter (`impersonate`). Who is refused by all learns of the first.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import NamedTuple
from urllib.parse import unquote

from navarch.apiserver.auth.interface import Attributes, Decision
from navarch.apiserver.filters.access import attributes_of, denied
from navarch.apiserver.request import ANONYMOUS, Handler, Request, Response, User
from navarch.machinery import errors, names
from navarch.machinery.gotext import quoted

AUTHENTICATED, UNAUTHENTICATED = "system:authenticated", "system:unauthenticated"
MASTERS = "system:masters"
SERVICE_ACCOUNT, NODE = "system:serviceaccount:", "system:node:"
NODE_NAME = "authentication.kubernetes.io/node-name"
AUTHENTICATION = "authentication.k8s.io"
HEADER = "impersonate-"
EXTRA_HEADER = "impersonate-extra-"
MANY = 4
"""From so many groups or extra values on, one question for all of them (`*`) comes first."""
Decide = Callable[[Attributes], Decision]


class Impersonated(NamedTuple):
    user: User
    constraint: str
    """The verb of the constrained mode; "" for the legacy one."""


def with_impersonation(handler: Handler, decide: Decide) -> Handler:
    """Acts as the user of the Impersonate-* headers, where the asking user may."""

    def run(request: Request) -> Response | Awaitable[Response]:
        for name in request.headers:
            if name.startswith(HEADER):
                if wanted := wanted_user(request.headers):
                    found = impersonated(attributes_of(request), wanted, decide)
                    request.impersonator, request.user = request.user, found.user
                    request.constraint = found.constraint
                break
        return handler(request)

    return run


def wanted_user(headers: Mapping[str, str]) -> User | None:
    """The user that the headers name, as they name it. Raises 400."""
    name, uid = headers.get("impersonate-user", ""), headers.get("impersonate-uid", "")
    groups = tuple(headers["impersonate-group"].split(", ")) if "impersonate-group" in headers else ()
    extra = tuple(
        (unquote(key[len(EXTRA_HEADER) :]), tuple(value.split(", ")))
        for key, value in sorted(headers.items())
        if key.startswith(EXTRA_HEADER)
    )
    if name:
        return User(name, uid, groups, extra)
    if groups or uid or extra:
        raise errors.bad_request(f"requested {_shown(uid, groups, extra)} without impersonating a user name")
    return None


def _shown(uid: str, groups: tuple[str, ...], extra: tuple[tuple[str, tuple[str, ...]], ...]) -> str:
    """A user without a name as Go shows it."""

    def words(values: tuple[str, ...]) -> str:
        return "[]string{" + ", ".join(map(quoted, values)) + "}" if values else "[]string(nil)"

    pairs = ", ".join(f"{quoted(key)}:{words(values)}" for key, values in extra)
    shown = f"map[string][]string{{{pairs}}}" if extra else "map[string][]string(nil)"
    return f'&user.DefaultInfo{{Name:"", UID:{quoted(uid)}, Groups:{words(groups)}, Extra:{shown}}}'


def impersonated(asked: Attributes, wanted: User, decide: Decide) -> Impersonated:
    """The user to act as. Raises 403."""
    refusal: errors.StatusError | None = None
    for mode in _modes(asked.user, wanted):
        try:
            if mode:
                _check(asked._replace(verb=f"impersonate-on:{mode}:{asked.verb}"), decide)
            return _become(asked.user, wanted, mode, decide)
        except errors.StatusError as err:
            refusal = refusal or err
    assert refusal is not None
    raise refusal


def _modes(asker: User, wanted: User) -> Iterator[str]:
    """The modes that could serve, the most constrained first; "" is the legacy one."""
    node, account = _node_of(wanted.name), _account_of(wanted.name)
    bare = not (wanted.uid or wanted.groups or wanted.extra)
    if bare and node and _account_of(asker.name) and dict(asker.extra).get(NODE_NAME) == (node,):
        yield "associated-node"
    if bare and node:
        yield "arbitrary-node"
    if bare and account:
        yield "serviceaccount"
    if not node and not account:
        yield "user-info"
    yield ""


def _become(asker: User, wanted: User, mode: str, decide: Decide) -> Impersonated:
    """Every part of the wanted user is authorized by itself."""
    verb = f"impersonate:{mode}" if mode else "impersonate"
    group = AUTHENTICATION if mode else ""
    groups = list(wanted.groups)

    def check(resource: str, name: str, group: str = AUTHENTICATION, sub: str = "", namespace: str = "") -> None:
        _check(Attributes(asker, verb, True, "", group, "v1", resource, sub, namespace, name), decide)

    node, account = _node_of(wanted.name), _account_of(wanted.name)
    if mode and node:
        groups = ["system:nodes"]
        check("nodes", "*" if mode == "associated-node" else node, group)
    elif account:
        if not groups:
            groups = ["system:serviceaccounts", f"system:serviceaccounts:{account[0]}"]
        check("serviceaccounts", account[1], group, namespace=account[0])
    else:
        check("users", wanted.name, group)
    if wanted.uid:
        check("uids", wanted.uid)
    _check_groups(asker, wanted.groups, verb, group, decide)
    _check_extra(asker, wanted.extra, verb, decide)
    if wanted.name == ANONYMOUS.name:
        if UNAUTHENTICATED not in groups:
            groups.append(UNAUTHENTICATED)
    elif AUTHENTICATED not in groups and UNAUTHENTICATED not in groups:
        groups.append(AUTHENTICATED)
    return Impersonated(User(wanted.name, wanted.uid, tuple(groups), wanted.extra), verb if mode else "")


def _check_groups(asker: User, groups: tuple[str, ...], verb: str, group: str, decide: Decide) -> None:
    asked = Attributes(asker, verb, True, "", group, "v1", "groups")
    if verb != "impersonate":
        if "" in groups:
            raise denied(asked, "impersonating the empty string group is not allowed")
        if MASTERS in groups:
            raise denied(asked._replace(name=MASTERS), "impersonating the system:masters group is not allowed")
        if len(groups) >= MANY and decide(asked._replace(name="*")).allowed:
            return
    for name in groups:
        _check(asked._replace(name=name), decide)


def _check_extra(asker: User, extra: tuple[tuple[str, tuple[str, ...]], ...], verb: str, decide: Decide) -> None:
    asked = Attributes(asker, verb, True, "", AUTHENTICATION, "v1", "userextras")
    if verb != "impersonate":
        for key, values in extra:
            if why := _extra_problem(key, values):
                raise denied(asked, why)
        many = len(extra) >= MANY or sum(len(values) for _, values in extra) >= MANY
        if many and decide(asked._replace(subresource="*", name="*")).allowed:
            return
    for key, values in extra:
        for value in values:
            _check(asked._replace(subresource=key, name=value), decide)


def _extra_problem(key: str, values: tuple[str, ...]) -> str:
    if not key:
        return "impersonating the empty string key in extra is not allowed"
    domain, _, path = key.partition("/")
    if not path or names.dns1123_subdomain(domain):
        return f'impersonating an invalid key in extra is not allowed: "{key}" must be a domain-prefixed path'
    if "" in values:
        return "impersonating the empty string value in extra is not allowed"
    return ""


def _check(asked: Attributes, decide: Decide) -> None:
    decision = decide(asked)
    if not decision.allowed:
        raise denied(asked, decision.reason)


def _account_of(name: str) -> tuple[str, str] | None:
    """(namespace, name) of a service account's user name."""
    if not name.startswith(SERVICE_ACCOUNT):
        return None
    parts = name[len(SERVICE_ACCOUNT) :].split(":")
    if len(parts) != 2 or names.dns1123_label(parts[0]) or names.dns1123_subdomain(parts[1]):
        return None
    return parts[0], parts[1]


def _node_of(name: str) -> str:
    """The node of a node's user name, or ""."""
    node = name[len(NODE) :] if name.startswith(NODE) else ""
    return "" if not node or names.dns1123_subdomain(node) else node
