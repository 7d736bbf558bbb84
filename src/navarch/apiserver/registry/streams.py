"""pods/{exec,attach,portforward,log}: carried to the pod's node. Source: pkg/registry/core/pod/rest/subresources.go."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import NamedTuple
from urllib.parse import urlencode

from navarch.apiserver.relaying import (
    Pools,
    dial_error,
    kubelet_failure,
    node_address,
    streamed,
    upgraded,
    wants_upgrade,
)
from navarch.apiserver.request import Request, RequestInfo, Response
from navarch.http import websocket
from navarch.http.client import Stream
from navarch.machinery import errors
from navarch.machinery.clock import parse_time
from navarch.machinery.errors import FieldErrors, StatusError
from navarch.machinery.types import GroupKind, GroupResource, Obj

PODS, NODES = GroupResource("", "pods"), GroupResource("", "nodes")
STREAMS = {"stdin": "input", "stdout": "output", "stderr": "error", "tty": "tty"}
"""Query parameters here -> at the kubelet."""
LOG_PROTOCOLS = ("binary.k8s.io", "base64.binary.k8s.io")
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
                ports = self._ports(request)
                return await self._tunnel(request, self._place(self._pod(target)), "portForward", "", ports)
            case _:
                return await self._log(request, target)

    # -- tunnels

    async def _streams(self, request: Request, target: RequestInfo) -> Response:
        query = [(theirs, "1") for ours, theirs in STREAMS.items() if _flag(request.param(ours))]
        if target.subresource == "exec":
            query += [("command", word) for word in request.query.get("command", ())]
        pod = self._pod(target)
        container = container_of(pod, request.param("container"))
        return await self._tunnel(request, self._place(pod), target.subresource, container, query)

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
        given = request.query.get("ports", [])
        for port in given:
            if not (port.isascii() and port.isdigit()):
                why = f'cannot convert to []int32: strconv.ParseUint: parsing "{port}": invalid syntax'
                raise errors.bad_request(why)
        return [("port", ",".join(given))] if given else []

    def _place(self, pod: Obj) -> Place:
        node_name = pod["spec"].get("nodeName", "")
        if not node_name:
            raise errors.bad_request(f"pod {pod['metadata']['name']} does not have a host assigned")
        node = self._lookup(NODES, "", node_name)
        if node is None:
            raise errors.not_found(PODS, node_name)  # so upstream words it: a pod by the node's name
        return Place(pod, *node_address(node))

    def _pod(self, target: RequestInfo) -> Obj:
        pod = self._lookup(PODS, target.namespace, target.name)
        if pod is None:
            raise errors.not_found(PODS, target.name)
        return pod

    # -- logs

    async def _log(self, request: Request, target: RequestInfo) -> Response:
        query = log_query(request, target.name)
        shaken = websocket.handshake(request, LOG_PROTOCOLS) if websocket.wanted(request) else None
        if shaken is None and websocket.wanted(request):
            raise errors.bad_request("the WebSocket handshake is wrong or offers no protocol that logs are sent in")
        pod = self._pod(target)
        container = container_of(pod, request.param("container"))
        if not pod["spec"].get("nodeName"):
            return Response(204)
        place = self._place(pod)
        path = f"/containerLogs/{target.namespace}/{target.name}/{container}"
        pool = self._pools.get(place.host, place.port, "kubelet")
        if query:
            path += "?" + urlencode(query)
        try:
            stream = await pool.stream("GET", path, {"accept": "*/*"})
        except ConnectionError as error:
            address = f"https://{place.host}:{place.port}{path}"
            raise StatusError(500, "", f'Get "{address}": {dial_error(pool, error)}') from None
        if stream.status != 200:
            try:
                body = await stream.read_all()
            finally:
                stream.close()
            raise kubelet_failure(stream.status, body, target.name)
        if shaken is not None:
            headers, protocol = shaken
            return websocket.streaming(headers, _until_closed(stream), protocol.startswith("base64"))
        return streamed(200, stream, "text/plain")


async def _until_closed(stream: Stream) -> AsyncIterator[bytes]:
    try:
        async for chunk in stream.chunks():
            yield chunk
    finally:
        stream.close()


def log_query(request: Request, name: str) -> list[tuple[str, str]]:
    """The options of a log request as the kubelet takes them. Raises 400 and 422."""
    errs = FieldErrors()
    numbers = {name: _number(request, name) for name in ("tailLines", "limitBytes", "sinceSeconds")}
    since = request.param("sinceTime")
    if since:
        _check_time(since)
    if (lines := numbers["tailLines"]) is not None and lines < 0:
        errs.invalid("tailLines", lines, "must be greater than or equal to 0")
    if (size := numbers["limitBytes"]) is not None and size < 1:
        errs.invalid("limitBytes", size, "must be greater than 0")
    if (seconds := numbers["sinceSeconds"]) is not None:
        if since:
            errs.forbidden("[]", "at most one of `sinceTime` or `sinceSeconds` may be specified")
        elif seconds < 1:
            errs.invalid("sinceSeconds", seconds, "must be greater than 0")
    if request.param("stream"):
        errs.forbidden("stream", "may not be specified")  # an alpha feature of 1.36 (PodLogsQuerySplitStreams)
    if errs:
        raise errors.invalid(GroupKind("", "PodLogOptions"), name, errs)
    query = [(name, str(value)) for name, value in numbers.items() if value is not None]
    query += [(name, "true") for name in ("follow", "previous", "timestamps") if _flag(request.param(name))]
    if since:
        query.append(("sinceTime", since))
    return query


def _check_time(text: str) -> None:
    try:
        parse_time(text)
    except ValueError:
        raise errors.bad_request(
            f'parsing time "{text}" as "2006-01-02T15:04:05Z07:00": cannot parse "{text}" as "2006"'
        ) from None


def _flag(text: str) -> bool:
    return text not in ("", "0", "false", "False", "FALSE", "f", "F")


def _number(request: Request, name: str) -> int | None:
    text = request.param(name)
    if not text:
        return None
    digits = text[1:] if text[0] in "+-" else text
    if not (digits.isascii() and digits.isdigit()):
        raise errors.bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    if len(digits) > 19 or int(text) >= 1 << 63 or int(text) < -(1 << 63):
        raise errors.bad_request(f'strconv.ParseInt: parsing "{text}": value out of range')
    return int(text)


def container_of(pod: Obj, name: str) -> str:
    """The container that is meant. Raises 400 where that is not clear, or there is none of that name."""
    spec, called = pod["spec"], pod["metadata"]["name"]
    names = [
        c["name"] for part in ("initContainers", "containers", "ephemeralContainers") for c in spec.get(part) or ()
    ]
    if name:
        if name not in names:
            raise errors.bad_request(f"container {name} is not valid for pod {called}")
        return name
    if len(spec["containers"]) == 1:
        return spec["containers"][0]["name"]
    raise errors.bad_request(f"a container name must be specified for pod {called}, choose one of: [{' '.join(names)}]")
