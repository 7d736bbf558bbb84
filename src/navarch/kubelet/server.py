"""The node's own HTTPS server: logs, exec, attach, port-forward, statistics. Source: pkg/kubelet/server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import orjson

from navarch.http.client import Pool, relay
from navarch.http.messages import Request, Response, Tunnel
from navarch.http.server import Server, serve
from navarch.http.streaming import pour
from navarch.http.tls import TlsConfig
from navarch.kubelet import host_logs, logs, node_metrics
from navarch.kubelet.access import Access
from navarch.kubelet.cri import Cri, CriError
from navarch.kubelet.logs import LogOptions
from navarch.kubelet.runtime_state import Container, PodRuntime
from navarch.kubelet.stats import Stats
from navarch.machinery.clock import World, parse_time, rfc3339
from navarch.machinery.metrics import CONTENT_TYPE
from navarch.machinery.types import Obj

STREAMS = {"stdin": "input", "stdout": "output", "stderr": "error", "tty": "tty"}
TUNNEL_HEADERS = ("host", "authorization", "content-length")
CONTAINER_FIELDS = ("containers", "initContainers", "ephemeralContainers")


class NodeView(Protocol):
    """What the server shows of the kubelet."""

    @property
    def name(self) -> str: ...

    @property
    def terminations(self) -> Mapping[tuple[str, str, str], int]: ...

    def pods(self) -> Sequence[Obj]: ...

    def runtime(self, uid: str) -> PodRuntime: ...


class Extras(Protocol):
    """What other parts of the kubelet count."""

    def probe_counts(self) -> Iterable[tuple[tuple[str, ...], float]]: ...

    def claims(self) -> Iterable[tuple[str, str, str]]:
        """(namespace, claim, path) of the persistent volumes in use."""
        ...

    def configuration(self) -> Obj:
        """The KubeletConfiguration that is in force."""
        ...


class Refused(Exception):
    """A request that cannot be served."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class KubeletServer:
    def __init__(
        self,
        node: NodeView,
        cri: Cri,
        access: Access,
        stats: Stats,
        world: World,
        log_path: Callable[[Obj, str, int], Path],
        disk: str,
        extras: Extras,
    ) -> None:
        """`log_path(pod, container, run)` is a container's log file; `disk` a folder on the pods' file system."""
        self._node = node
        self._cri = cri
        self._access = access
        self._stats = stats
        self._world = world
        self._log_path = log_path
        self._disk = disk
        self._extras = extras
        self._own = node_metrics.Own(node.name, node.pods, node.runtime, lambda: node.terminations)
        self._started = world.now()
        self._server: Server | None = None
        self._routes: dict[str, Callable[[Request, list[str]], Awaitable[Response]]] = {
            "healthz": self._health,
            "configz": self._configz,
            "pods": self._pods,
            "runningpods": self._pods,
            "stats": self._summary,
            "metrics": self._metrics,
            "containerLogs": self._logs,
            "exec": self._exec,
            "attach": self._attach,
            "portForward": self._port_forward,
            "run": self._run,
            "logs": self._host_logs,
        }

    async def start(self, host: str, port: int, tls: TlsConfig) -> None:
        self._server = await serve(self._handle, host, port, tls)

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.close()

    @property
    def port(self) -> int:
        return self._server.port if self._server is not None else 0

    async def _handle(self, request: Request) -> Response:
        code, why = await self._access.check(request)
        if code:
            return _text(code, why)
        parts = request.segments()
        route = self._routes.get(parts[0]) if parts else None
        if route is None:
            return _text(404, "404 page not found\n")
        try:
            return await route(request, parts)
        except Refused as refused:
            return _text(refused.status, str(refused))
        except CriError as error:
            return _text(500, str(error))

    # -- what is here

    async def _health(self, request: Request, parts: list[str]) -> Response:
        return _text(200, "ok")

    async def _configz(self, request: Request, parts: list[str]) -> Response:
        return Response(200, orjson.dumps({"kubeletconfig": self._extras.configuration()}))

    async def _pods(self, request: Request, parts: list[str]) -> Response:
        items = [pod for pod in self._node.pods() if parts[0] == "pods" or self._runs(pod)]
        body = {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items}
        return Response(200, orjson.dumps(body))

    def _runs(self, pod: Obj) -> bool:
        return any(run.running for run in self._node.runtime(pod["metadata"]["uid"]).all())

    async def _summary(self, request: Request, parts: list[str]) -> Response:
        if parts[1:] != ["summary"]:
            raise Refused(404, "404 page not found\n")
        node, now = self._node, self._world.now()
        made = await asyncio.to_thread(
            self._stats.summary, node.name, list(node.pods()), node.runtime, now, self._started, self._disk
        )
        return Response(200, orjson.dumps(made))

    async def _metrics(self, request: Request, parts: list[str]) -> Response:
        node, stats = self._node, self._stats
        match parts[1:]:
            case ["resource"]:
                text = await asyncio.to_thread(node_metrics.resource, stats, list(node.pods()), node.runtime)
            case ["cadvisor"]:
                now = self._world.now()
                text = await asyncio.to_thread(node_metrics.cadvisor, stats, list(node.pods()), node.runtime, now)
            case ["probes"]:
                text = node_metrics.probes(self._extras.probe_counts())
            case []:
                text = self._own.text() + node_metrics.volumes(self._extras.claims())
            case _:
                raise Refused(404, "404 page not found\n")
        return Response(200, text.encode(), CONTENT_TYPE)

    # -- which container

    def _pod(self, namespace: str, name: str) -> Obj:
        for pod in self._node.pods():
            meta = pod["metadata"]
            if (meta["namespace"], meta["name"]) == (namespace, name):
                return pod
        raise Refused(404, f'pod "{name}" not found in namespace "{namespace}"\n')

    def _target(self, parts: list[str], words: int) -> tuple[Obj, str]:
        """(pod, container) of /VERB/NAMESPACE/POD[/UID]/CONTAINER."""
        if len(parts) not in (words, words + 1):
            raise Refused(404, "404 page not found\n")
        pod, name = self._pod(parts[1], parts[2]), parts[-1]
        if not any(c["name"] == name for field in CONTAINER_FIELDS for c in pod["spec"].get(field) or ()):
            raise Refused(404, f'container "{name}" not found in pod "{parts[2]}"\n')
        return pod, name

    def _running(self, pod: Obj, name: str) -> Container:
        run = self._node.runtime(pod["metadata"]["uid"]).latest(name)
        if run is None or not run.running:
            raise Refused(500, f'unable to upgrade connection: container not found ("{name}")')
        return run

    # -- logs

    async def _logs(self, request: Request, parts: list[str]) -> Response:
        pod, name = self._target(parts, 4)
        uid = pod["metadata"]["uid"]
        run = self._run_of_log(pod, name, request.param("previous") == "true")
        path = self._log_path(pod, name, run.attempt)
        options = _log_options(request, self._world.now())
        if not path.exists():
            raise Refused(400, f"unable to retrieve container logs for containerd://{run.id}")

        def ended() -> bool:
            latest = next((r for r in self._node.runtime(uid).all() if r.id == run.id), None)
            return latest is None or latest.exited

        return Response(200, content_type="text/plain", stream=lambda out: pour(logs.read(path, options, ended), out))

    def _run_of_log(self, pod: Obj, name: str, previous: bool) -> Container:
        try:
            id = logs.logged_run(pod, name, previous)
        except logs.NoLog as error:
            raise Refused(400, str(error)) from None
        runs = self._node.runtime(pod["metadata"]["uid"]).containers.get(name, ())
        for run in runs:
            if run.id == id:
                return run
        raise Refused(400, f"unable to retrieve container logs for containerd://{id}")

    async def _host_logs(self, request: Request, parts: list[str]) -> Response:
        found = host_logs.place(parts[1:])
        if found is None:
            raise Refused(404, "404 page not found\n")
        if found.is_dir():
            return Response(200, await asyncio.to_thread(host_logs.listing, found), "text/html; charset=utf-8")
        return Response(
            200, content_type="text/plain; charset=utf-8", stream=lambda out: pour(host_logs.pieces(found), out)
        )

    # -- tunnels

    async def _exec(self, request: Request, parts: list[str]) -> Response:
        pod, name = self._target(parts, 4)
        run = self._running(pod, name)
        url = await self._cri.exec_url(run.id, request.query.get("command", []), _streams(request))
        return await self._tunnel(request, url)

    async def _attach(self, request: Request, parts: list[str]) -> Response:
        pod, name = self._target(parts, 4)
        run = self._running(pod, name)
        streams = _streams(request)
        container = next(c for f in CONTAINER_FIELDS for c in pod["spec"].get(f) or () if c["name"] == name)
        streams["tty"] = bool(container.get("tty"))
        return await self._tunnel(request, await self._cri.attach_url(run.id, streams))

    async def _port_forward(self, request: Request, parts: list[str]) -> Response:
        if len(parts) not in (3, 4):
            raise Refused(404, "404 page not found\n")
        pod = self._pod(parts[1], parts[2])
        sandbox = self._node.runtime(pod["metadata"]["uid"]).sandbox
        if sandbox is None:
            raise Refused(500, f"sandbox of pod {parts[2]} is not running")
        ports = [int(port) for port in request.query.get("port", []) if port.isdigit()]
        return await self._tunnel(request, await self._cri.port_forward_url(sandbox.id, ports))

    async def _tunnel(self, request: Request, url: str) -> Response:
        """Raw bytes to and from the runtime's streaming server."""
        there = urlsplit(url)
        pool = Pool(there.hostname or "127.0.0.1", there.port or 80, None)
        headers = {name: value for name, value in request.headers.items() if name not in TUNNEL_HEADERS}
        target = there.path + (f"?{there.query}" if there.query else "")
        try:
            answer, tunnel = await pool.upgrade(request.method, target, headers)
        except ConnectionError as error:
            raise Refused(500, f"error dialing the runtime: {error}") from None
        if tunnel is None:
            return Response(answer.status, answer.body, answer.headers.get("content-type", "text/plain"))
        far = tunnel

        async def carry(near: Tunnel) -> None:
            await relay(near, far)

        kept = [(name, value) for name, value in answer.headers.items() if name not in ("content-length", "date")]
        return Response(101, headers=kept, upgrade=carry)

    async def _run(self, request: Request, parts: list[str]) -> Response:
        """POST /run: a command without streams; answers what it printed."""
        if request.method != "POST":
            raise Refused(405, "405: Method Not Allowed")
        pod, name = self._target(parts, 4)
        run = self._running(pod, name)
        words = request.query.get("cmd", [""])[0].split(" ")
        code, out, err = await self._cri.exec_sync(run.id, words, 60)
        if code:
            raise Refused(
                500, f"command '{' '.join(words)}' exited with {code}: {(out + err).decode(errors='replace')}"
            )
        return Response(200, out + err, "text/plain")


def _text(status: int, text: str) -> Response:
    return Response(status, text.encode(), "text/plain; charset=utf-8")


def _streams(request: Request) -> dict[str, bool]:
    found = {ours: request.param(theirs) in ("1", "true") for ours, theirs in STREAMS.items()}
    if found["tty"]:
        found["stderr"] = False
        found["stdin"] = True  # without it, output is lost with the runtime's terminals
    return found


def _log_options(request: Request, now: float) -> LogOptions:
    def number(name: str) -> int | None:
        text = request.param(name)
        return int(text) if text.lstrip("-").isdigit() else None

    since = request.param("sinceTime")
    if since:
        since = rfc3339(parse_time(since)) if "." not in since else since
    elif (seconds := number("sinceSeconds")) is not None:
        since = rfc3339(now - seconds)
    return LogOptions(
        tail=number("tailLines"),
        since=since,
        limit=number("limitBytes"),
        timestamps=request.param("timestamps") == "true",
        follow=request.param("follow") == "true",
        stream=request.param("stream").lower(),
    )
