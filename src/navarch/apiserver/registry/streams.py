"""pods/{exec,attach,portforward,log}: carried to the pod's node. Source: pkg/registry/core/pod/rest/subresources.go."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import urlencode

from navarch.apiserver.relaying import (
    Pools,
    kubelet_failure,
    node_address,
    streamed,
    unreachable,
    upgraded,
    wants_upgrade,
)
from navarch.apiserver.request import Request, RequestInfo, Response
from navarch.machinery import errors
from navarch.machinery.clock import parse_time
from navarch.machinery.errors import FieldErrors
from navarch.machinery.types import GroupKind, GroupResource, Obj

PODS, NODES = GroupResource("", "pods"), GroupResource("", "nodes")
STREAMS = {"stdin": "input", "stdout": "output", "stderr": "error", "tty": "tty"}
"""Query parameters here -> at the kubelet."""
LOG_STREAMS = ("All", "Stderr", "Stdout")
Lookup = Callable[[GroupResource, str, str], "Obj | None"]


class Place(NamedTuple):
    """A pod, and where its kubelet listens."""

    pod: Obj
    host: str
    port: int


class PodStreams:
    def __init__(self, lookup: Lookup, pools: Pools) -> None:
        self._lookup = lookup
        self._pools = pools

    async def handle(self, request: Request, target: RequestInfo) -> Response:
        """Raises StatusError."""
        match target.subresource:
            case "exec" | "attach":
                return await self._streams(request, target)
            case "portforward":
                place = self._place(target)
                return await self._tunnel(request, place, "portForward", "", self._ports(request))
            case _:
                return await self._log(request, target)

    # -- tunnels

    async def _streams(self, request: Request, target: RequestInfo) -> Response:
        wanted = {name: _flag(request.param(name)) for name in STREAMS}
        if not (wanted["stdin"] or wanted["stdout"] or wanted["stderr"]):
            raise errors.bad_request("you must specify at least one of stdin, stdout, stderr")
        if target.subresource == "exec" and not request.query.get("command"):
            raise errors.bad_request("you must specify at least one command for the container")
        place = self._place(target)
        phase = (place.pod.get("status") or {}).get("phase", "")
        if target.subresource == "exec" and phase in ("Succeeded", "Failed"):
            raise errors.bad_request(f"cannot exec into a container in a completed pod; current phase is {phase}")
        container = container_of(place.pod, request.param("container"))
        query = [(theirs, "1") for ours, theirs in STREAMS.items() if wanted[ours]]
        if target.subresource == "exec":
            query += [("command", word) for word in request.query["command"]]
        return await self._tunnel(request, place, target.subresource, container, query)

    async def _tunnel(
        self, request: Request, place: Place, verb: str, container: str, query: list[tuple[str, str]]
    ) -> Response:
        if not wants_upgrade(request):
            raise errors.bad_request("Upgrade request required")
        meta = place.pod["metadata"]
        path = f"/{verb}/{meta['namespace']}/{meta['name']}" + (f"/{container}" if container else "")
        pool = self._pools.get(place.host, place.port, "kubelet")
        return await upgraded(pool, request, f"{path}?{urlencode(query)}" if query else path)

    @staticmethod
    def _ports(request: Request) -> list[tuple[str, str]]:
        return [("port", port) for port in request.query.get("ports", ())]

    def _place(self, target: RequestInfo) -> Place:
        pod = self._pod(target)
        node_name = pod["spec"].get("nodeName", "")
        if not node_name:
            raise errors.bad_request(f"pod {target.name} does not have a host assigned")
        node = self._lookup(NODES, "", node_name)
        if node is None:
            raise errors.not_found(NODES, node_name)
        return Place(pod, *node_address(node))

    def _pod(self, target: RequestInfo) -> Obj:
        pod = self._lookup(PODS, target.namespace, target.name)
        if pod is None:
            raise errors.not_found(PODS, target.name)
        return pod

    # -- logs

    async def _log(self, request: Request, target: RequestInfo) -> Response:
        query = log_query(request)
        pod = self._pod(target)
        container = container_of(pod, request.param("container"))
        if not pod["spec"].get("nodeName"):
            return Response(200, b"", "text/plain")
        place = self._place(target)
        path = f"/containerLogs/{target.namespace}/{target.name}/{container}"
        pool = self._pools.get(place.host, place.port, "kubelet")
        try:
            stream = await pool.stream("GET", f"{path}?{urlencode(query)}" if query else path, {"accept": "*/*"})
        except ConnectionError as error:
            raise unreachable(error) from None
        if stream.status != 200:
            try:
                body = await stream.read_all()
            finally:
                stream.close()
            raise kubelet_failure(stream.status, body, target.name)
        return streamed(200, stream, "text/plain")


def log_query(request: Request) -> list[tuple[str, str]]:
    """The options of a log request as the kubelet takes them. Raises 400 and 422."""
    errs = FieldErrors()
    numbers = {name: _number(request, name) for name in ("tailLines", "limitBytes", "sinceSeconds")}
    since = request.param("sinceTime")
    if (lines := numbers["tailLines"]) is not None and lines < 0:
        errs.invalid("tailLines", lines, "must be greater than or equal to 0")
    if (size := numbers["limitBytes"]) is not None and size < 1:
        errs.invalid("limitBytes", size, "must be greater than 0")
    if (seconds := numbers["sinceSeconds"]) is not None:
        if since:
            errs.forbidden("", "at most one of `sinceTime` or `sinceSeconds` may be specified")
        elif seconds < 1:
            errs.invalid("sinceSeconds", seconds, "must be greater than 0")
    stream = request.param("stream")
    if stream and stream not in LOG_STREAMS:
        errs.not_supported("stream", stream, LOG_STREAMS)
    if stream in ("Stdout", "Stderr") and numbers["tailLines"] is not None:
        errs.forbidden("tailLines", "`tailLines` and specific `stream` are mutually exclusive for now")
    if errs:
        raise errors.invalid(GroupKind("", "PodLogOptions"), "", errs)
    if since:
        try:
            parse_time(since)
        except ValueError:
            raise errors.bad_request(
                f'parsing time "{since}" as "2006-01-02T15:04:05Z07:00": cannot parse "{since}"'
            ) from None
    query = [(name, str(value)) for name, value in numbers.items() if value is not None]
    query += [(name, "true") for name in ("follow", "previous", "timestamps") if _flag(request.param(name))]
    if since:
        query.append(("sinceTime", since))
    if stream in ("Stdout", "Stderr"):
        query.append(("stream", stream))
    return query


def _flag(text: str) -> bool:
    return text not in ("", "0", "false", "False", "FALSE", "f", "F")


def _number(request: Request, name: str) -> int | None:
    text = request.param(name)
    if not text:
        return None
    digits = text[1:] if text[0] in "+-" else text
    if not (digits.isascii() and digits.isdigit() and len(digits) < 19):
        raise errors.bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    return int(text)


def container_of(pod: Obj, name: str) -> str:
    """The container that is meant. Raises 400 where that is not clear, or there is none of that name."""
    spec = pod["spec"]
    mains = [c["name"] for c in spec.get("containers") or ()]
    inits = [c["name"] for c in spec.get("initContainers") or ()]
    extras = [c["name"] for c in spec.get("ephemeralContainers") or ()]
    called = pod["metadata"]["name"]
    if name:
        if name not in (*mains, *inits, *extras):
            raise errors.bad_request(f"container {name} is not valid for pod {called}")
        return name
    if len(mains) == 1 and not inits and not extras:
        return mains[0]
    if len(mains) == 1:
        return mains[0]
    text = f"a container name must be specified for pod {called}, choose one of: [{' '.join(mains)}]"
    if inits:
        text += f" or one of the init containers: [{' '.join(inits)}]"
    if extras:
        text += f" or one of the ephemeral containers: [{' '.join(extras)}]"
    raise errors.bad_request(text)
