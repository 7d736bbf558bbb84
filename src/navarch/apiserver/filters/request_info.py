"""What a request asks for, read from its method, path and query: the one parser of resource paths.

Source: apiserver/pkg/endpoints/request/requestinfo.go. Results are cached and shared: paths repeat.
"""

from __future__ import annotations

from functools import lru_cache
from urllib.parse import unquote

from navarch.apiserver.options import flag
from navarch.apiserver.request import Request, RequestInfo
from navarch.machinery import errors

VERBS = {"POST": "create", "GET": "get", "HEAD": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
NAMESPACE_SUBRESOURCES = ("status", "finalize")
LONG_RUNNING_SUBRESOURCES = frozenset(("attach", "exec", "proxy", "log", "portforward"))
NAME_SELECTOR = "metadata.name="


def request_info(request: Request) -> RequestInfo:
    """Raises 400 where a path asks to watch nothing."""
    info = _of_path(request.method, request.path)
    if request.raw_query and info.verb == "list":
        return _of_list(info, request)
    return info


def is_long_running(info: RequestInfo) -> bool:
    """Watches and tunnels: neither time nor number of them is bounded."""
    return info.verb == "watch" or (info.is_resource and info.subresource in LONG_RUNNING_SUBRESOURCES)


@lru_cache(maxsize=8192)
def _of_path(method: str, path: str) -> RequestInfo:
    parts = [unquote(part) for part in path.split("/") if part]
    if len(parts) >= 3 and parts[0] == "api":
        group, version, rest = "", parts[1], parts[2:]
    elif len(parts) >= 4 and parts[0] == "apis":
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return RequestInfo(path, method.lower())
    verb = VERBS.get(method, "")
    if rest[0] in ("watch", "proxy"):
        verb = rest[0]
        rest = rest[1:]
        if not rest:
            raise errors.bad_request(f"unable to determine kind and namespace from url, {path}")
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 1:
        namespace = rest[1]
        if len(rest) > 2 and rest[2] not in NAMESPACE_SUBRESOURCES:
            rest = rest[2:]
    resource, name, subresource = (*rest, "", "")[:3]
    if not name:
        verb = {"get": "list", "delete": "deletecollection"}.get(verb, verb)
    return RequestInfo(path, verb, True, group, version, resource, subresource, namespace, name, tuple(rest[3:]))


def _of_list(info: RequestInfo, request: Request) -> RequestInfo:
    """A list may be a watch, and may be of one name."""
    query = request.raw_query
    if "watch" in query and flag(request.param("watch") or "false"):
        info = info._replace(verb="watch")
    if "fieldSelector" in query and (name := name_selected(request.param("fieldSelector"))):
        return info._replace(name=name)
    return info


def name_selected(fields: str) -> str:
    """The one name that a field selector asks for, or ""."""
    for term in fields.split(",") if fields else ():
        name = term.removeprefix(NAME_SELECTOR).removeprefix("=")
        if term.startswith(NAME_SELECTOR) and name and "/" not in name and name not in (".", ".."):
            return name
    return ""
