"""exec, attach, port-forward, logs and proxies: refusals as kube-apiserver 1.36 words them, and bytes both ways to a peer
that stands where a kubelet or a pod would."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.apiserver import api_server
from tests.support.requests import Authority, exchange

from navarch.apiserver.auth.interface import Decision
from navarch.apiserver.relaying import KubeletAccess, check_proxyable
from navarch.apiserver.request import Request, User
from navarch.apiserver.server import ApiServer, ApiServerConfig
from navarch.client.resources import CONFIG_MAPS, NAMESPACES, NODES, PODS, SERVICES
from navarch.http import server as http
from navarch.http.client import Pool
from navarch.http.messages import Response, StreamWriter, Tunnel
from navarch.http.tls import TlsConfig
from navarch.machinery.errors import StatusError

ADMIN = "secret"
HERE = "/api/v1/namespaces/n/pods"
UPGRADE = {"connection": "Upgrade", "upgrade": "SPDY/3.1", "x-stream-protocol-version": "v4.channel.k8s.io"}
LOG = b"0123456789abcdef" * 4096


class Peer:
    """Answers what a kubelet is asked, over mutual TLS, and remembers the requests."""

    def __init__(self) -> None:
        self.asked: list[Request] = []
        self.ended = asyncio.Event()
        self.sent = 0

    def handle(self, request: Any) -> Response:
        self.asked.append(request)
        kind = request.path.split("/")[1]
        if kind == "exec" and request.param("command") == "refuse":
            return Response(403, b"not here\n", "text/plain")
        if kind in ("exec", "attach", "portForward"):
            headers = [("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1")]
            return Response(101, headers=headers, upgrade=self._echo)
        if request.param("tailLines") == "7":
            return Response(400, b"previous terminated container not found", "text/plain")
        if request.param("tailLines") == "1":
            return Response(200, b"the last line\n", "text/plain")
        return Response(200, content_type="text/plain", stream=self._endless)

    async def _echo(self, tunnel: Tunnel) -> None:
        while data := await tunnel.read():
            if data == b"bye":
                break
            await tunnel.write(data.upper())
        self.ended.set()

    def _endless(self, writer: StreamWriter) -> Any:
        """Writes as long as it is taken."""

        def more() -> None:
            while writer.buffered < 1 << 20 and not self.ended.is_set():
                writer.write([LOG])
                self.sent += len(LOG)
            if not self.ended.is_set():
                writer.on_drain(more)

        more()
        return self.ended.set


class Setup:
    def __init__(self, server: ApiServer, peer: Peer, port: int) -> None:
        self.server, self.peer, self.port = server, peer, port

    async def ask(self, method: str, url: str, **headers: str) -> tuple[int, str, str]:
        """(code, reason, message)."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = await exchange(self.server, method, url, token=ADMIN, headers=sent)
        if not answer.body:
            return answer.status, "", ""
        import orjson

        status = orjson.loads(answer.body)
        return status["code"], status.get("reason", ""), status["message"]

    async def upgrade(self, url: str) -> tuple[Any, Tunnel | None]:
        pool = Pool("127.0.0.1", self.port, None)
        return await pool.upgrade("POST", url, {"authorization": f"Bearer {ADMIN}", **UPGRADE})


class Everything:
    def authorize(self, attributes: Any) -> Decision:
        return Decision(True)


@pytest.fixture
async def setup(tmp_path: Path) -> AsyncIterator[Setup]:
    authority = Authority("ca")
    files = {name: tmp_path / name for name in ("ca", "crt", "key", "client.crt", "client.key")}
    contents = (authority.pem, *authority.server(), *authority.client_files("kube-apiserver-kubelet-client"))
    for path, content in zip(files.values(), contents, strict=True):
        path.write_bytes(content)
    peer = Peer()
    kubelet = await http.serve(peer.handle, "127.0.0.1", 0, TlsConfig(certificate=files["crt"], key=files["key"]))
    config = ApiServerConfig(
        kubelets=KubeletAccess(certificate=files["client.crt"], key=files["client.key"], ca=files["ca"]),
        fixed_tokens={ADMIN: User("admin", groups=("system:masters", "system:authenticated"))},
    )
    async with api_server(config=config) as server:
        await _objects(server, kubelet.port)
        front = await http.serve(server.handle, "127.0.0.1", 0, request_type=Request)
        yield Setup(server, peer, front.port)
        await front.close(0.1)
    await kubelet.close(0.1)


async def _objects(server: ApiServer, port: int) -> None:
    client = server.system
    await client.create(NAMESPACES, {"metadata": {"name": "n"}})
    await client.create(NODES, _node("node", port))
    await client.create(NODES, _node("closed", 1))
    for name, node, containers in (
        ("one", "node", ["a"]),
        ("two", "node", ["a", "b"]),
        ("shut", "closed", ["a"]),
        ("free", "", ["a"]),
        ("lost", "gone", ["a"]),
    ):
        spec: dict[str, Any] = {"containers": [{"name": c, "image": "x"} for c in containers]}
        if node:
            spec["nodeName"] = node
        if name == "two":
            spec["initContainers"] = [{"name": "i", "image": "x"}]
        spec["serviceAccountName"] = "default"
        spec["automountServiceAccountToken"] = False
        await _pod(client, name, spec)
    ports = [{"name": "web", "port": 80}, {"name": "other", "port": 81}]
    await client.create(SERVICES, {"metadata": {"name": "s"}, "spec": {"ports": ports}}, "n")


async def _pod(client: Any, name: str, spec: dict[str, Any]) -> None:
    from navarch.client.resources import SERVICE_ACCOUNTS

    if name == "one":
        await client.create(SERVICE_ACCOUNTS, {"metadata": {"name": "default"}}, "n")
    made = await client.create(PODS, {"metadata": {"name": name}, "spec": spec}, "n")
    status = {**made, "status": {"podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}], "phase": "Running"}}
    await client.update(PODS, status, "n", subresource="status")


def _node(name: str, port: int) -> dict[str, Any]:
    status = {
        "addresses": [
            {"type": "Hostname", "address": "nowhere.example"},
            {"type": "InternalIP", "address": "127.0.0.1"},
        ],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
    }
    return {"metadata": {"name": name}, "status": status}


BAD, GONE = "BadRequest", "NotFound"
CHOOSE = "a container name must be specified for pod two, choose one of: [i a b]"
DIAL = "dial tcp 127.0.0.1:1: connect: connection refused"


@pytest.mark.parametrize(
    ("url", "code", "reason", "message"),
    [
        ("two/exec?command=ls", 400, BAD, CHOOSE),
        ("two/exec?command=ls&container=zz", 400, BAD, "container zz is not valid for pod two"),
        ("free/exec?command=ls", 400, BAD, "pod free does not have a host assigned"),
        ("lost/exec?command=ls", 404, GONE, 'pods "gone" not found'),
        ("nope/exec?command=ls", 404, GONE, 'pods "nope" not found'),
        ("shut/exec?command=ls", 500, "", f"error dialing backend: {DIAL}"),
        ("shut/attach", 500, "", f"error dialing backend: {DIAL}"),
        ("one/portforward?ports=zz", 400, BAD,
         'cannot convert to []int32: strconv.ParseUint: parsing "zz": invalid syntax'),
    ],
)  # fmt: skip
async def test_refused_tunnels(setup: Setup, url: str, code: int, reason: str, message: str) -> None:
    sent = {name.replace("-", "_"): value for name, value in UPGRADE.items()}
    assert await setup.ask("POST", f"{HERE}/{url}", **sent) == (code, reason, message)


async def test_tunnels_ask_for_an_upgrade(setup: Setup) -> None:
    assert await setup.ask("POST", f"{HERE}/one/exec?command=ls") == (400, BAD, "Upgrade request required")
    assert (await setup.ask("PUT", f"{HERE}/one/exec?command=ls"))[0] == 405


@pytest.mark.parametrize(
    ("query", "code", "message"),
    [
        ("two/log", 400, CHOOSE),
        ("two/log?container=zz", 400, "container zz is not valid for pod two"),
        ("free/log", 204, ""),
        ("lost/log", 404, 'pods "gone" not found'),
        ("shut/log?follow=yes", 500, f'Get "https://127.0.0.1:1/containerLogs/n/shut/a?follow=true": {DIAL}'),
        ("one/log?tailLines=x", 400, 'strconv.ParseInt: parsing "x": invalid syntax'),
        ("one/log?tailLines=99999999999999999999", 400,
         'strconv.ParseInt: parsing "99999999999999999999": value out of range'),
        ("one/log?tailLines=-1", 422,
         'PodLogOptions "one" is invalid: tailLines: Invalid value: -1: must be greater than or equal to 0'),
        ("one/log?limitBytes=0", 422,
         'PodLogOptions "one" is invalid: limitBytes: Invalid value: 0: must be greater than 0'),
        ("one/log?sinceSeconds=5&sinceTime=2020-01-01T00:00:00Z", 422, 'PodLogOptions "one" is invalid: []: '
         "Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified"),
        ("one/log?sinceTime=zz", 400,
         'parsing time "zz" as "2006-01-02T15:04:05Z07:00": cannot parse "zz" as "2006"'),
        ("one/log?stream=Stdout", 422, 'PodLogOptions "one" is invalid: stream: Forbidden: may not be specified'),
        ("one/log?tailLines=7", 400, "previous terminated container not found"),
    ],
)  # fmt: skip
async def test_log_options(setup: Setup, query: str, code: int, message: str) -> None:
    found, _, said = await setup.ask("GET", f"{HERE}/{query}")
    assert (found, said) == (code, message)


async def test_a_tunnel_carries_both_ways_and_ends_with_either_side(setup: Setup) -> None:
    answer, tunnel = await setup.upgrade(f"{HERE}/one/exec?command=sh&command=-c&stdin=true&tty=1&stdout=0")
    assert tunnel and answer.headers["upgrade"] == "SPDY/3.1"
    asked = setup.peer.asked[-1]
    assert (asked.path, asked.raw_query) == ("/exec/n/one/a", "input=1&tty=1&command=sh&command=-c")
    assert asked.connection.peer_certificate, "the server shows who it is"
    assert "authorization" not in asked.headers
    assert asked.headers["x-stream-protocol-version"] == "v4.channel.k8s.io"
    payload, came = b"x" * 3_000_000, 0
    writing = asyncio.ensure_future(tunnel.write(payload))
    async with asyncio.timeout(10):
        while came < len(payload):
            piece = await tunnel.read()
            assert piece and piece == b"X" * len(piece)
            came += len(piece)
        await writing
        tunnel.close()
        await setup.peer.ended.wait()

        _, other = await setup.upgrade(f"{HERE}/one/portforward?ports=80&ports=81")
        assert other and setup.peer.asked[-1].raw_query == "port=80%2C81"
        await other.write(b"bye")
        assert await other.read() == b""


async def test_a_refusal_of_the_node_is_passed_on(setup: Setup) -> None:
    answer, tunnel = await setup.upgrade(f"{HERE}/one/exec?command=refuse&stdout=1")
    assert (answer.status, answer.body, tunnel) == (403, b"not here\n", None)


@pytest.mark.parametrize(
    ("offered", "chosen", "frame"),
    [
        ("", None, b"\x82\x0ethe last line\n"),
        ("binary.k8s.io", "binary.k8s.io", b"\x82\x0ethe last line\n"),
        ("other, base64.binary.k8s.io", "base64.binary.k8s.io", b"\x81\x14dGhlIGxhc3QgbGluZQo="),
    ],
)
async def test_logs_over_a_websocket(setup: Setup, offered: str, chosen: str | None, frame: bytes) -> None:
    headers = {
        "authorization": f"Bearer {ADMIN}",
        "connection": "Upgrade",
        "upgrade": "websocket",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
        "sec-websocket-version": "13",
        **({"sec-websocket-protocol": offered} if offered else {}),
    }
    pool = Pool("127.0.0.1", setup.port, None)
    answer, tunnel = await pool.upgrade("GET", f"{HERE}/one/log?tailLines=1", headers)
    assert tunnel and answer.headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert answer.headers.get("sec-websocket-protocol") == chosen
    came = b""
    async with asyncio.timeout(10):
        while piece := await tunnel.read():
            came += piece
    assert came == frame + b"\x88\x02\x03\xe8"
    other = {**headers, "sec-websocket-protocol": "v4.channel.k8s.io"}
    refused, nothing = await pool.upgrade("GET", f"{HERE}/one/log?tailLines=1", other)
    assert (refused.status, nothing) == (400, None)


async def test_a_watch_over_a_websocket_sends_an_event_a_message(setup: Setup) -> None:
    token = base64.urlsafe_b64encode(ADMIN.encode()).rstrip(b"=").decode()
    headers = {
        "connection": "Upgrade",
        "upgrade": "websocket",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
        "sec-websocket-version": "13",
        "sec-websocket-protocol": f"base64url.bearer.authorization.k8s.io.{token}, base64.binary.k8s.io",
    }
    pool = Pool("127.0.0.1", setup.port, None)
    answer, tunnel = await pool.upgrade("GET", "/api/v1/namespaces/n/configmaps?watch=1", headers)
    assert tunnel and answer.headers["sec-websocket-protocol"] == "base64.binary.k8s.io"
    created = {"metadata": {"name": "new"}, "data": {"k": "v" * 200}}
    await setup.server.system.create(CONFIG_MAPS, created, "n")
    came = b""
    async with asyncio.timeout(10):
        while b'"name":"new"' not in came:
            came += await tunnel.read()
        assert came[0] == 0x81  # text
        await tunnel.write(b"\x89\x82\x00\x00\x00\x00hi")
        while b"\x8a\x02hi" not in came:
            came += await tunnel.read()
        await tunnel.write(b"\x88\x80\x00\x00\x00\x00")
        while await tunnel.read():
            pass


async def test_logs_come_no_faster_than_they_are_read(setup: Setup) -> None:
    pool = Pool("127.0.0.1", setup.port, None)
    stream = await pool.stream("GET", f"{HERE}/one/log?follow=true", {"authorization": f"Bearer {ADMIN}"})
    assert (stream.status, stream.headers["content-type"]) == (200, "text/plain")
    async with asyncio.timeout(20):
        before = -1
        while before != setup.peer.sent:  # until everything in between is full
            before = setup.peer.sent
            await asyncio.sleep(0.2)
        assert before < 64 << 20
        async for chunk in stream.chunks():
            assert chunk.strip(b"0123456789abcdef") == b""
            if setup.peer.sent > before:
                break
        stream.close()
        await setup.peer.ended.wait()


@pytest.mark.parametrize(
    ("path", "code", "message"),
    [
        (f"{HERE}/one/proxy/", 400, "address not allowed"),
        (f"{HERE}/nope/proxy", 404, 'pods "nope" not found'),
        (f"{HERE}/a:b:c:d/proxy/", 400, 'invalid pod request "a:b:c:d"'),
        (f"{HERE}/ftp:one:80/proxy/", 400, 'invalid pod request "ftp:one:80"'),
        ("/api/v1/nodes/node/proxy/pods", 400, "address not allowed"),
        ("/api/v1/nodes/nope/proxy/", 404, 'nodes "nope" not found'),
        ("/api/v1/namespaces/n/services/s:82/proxy/", 503, 'no service port 82 found for service "s"'),
        ("/api/v1/namespaces/n/services/nope/proxy/", 404, 'services "nope" not found'),
    ],
)
async def test_proxies_that_lead_nowhere(setup: Setup, path: str, code: int, message: str) -> None:
    found, _, said = await setup.ask("GET", path)
    assert (found, said) == (code, message)


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "169.254.169.254", "::1", "fe80::1", "::ffff:127.0.0.1", "0.0.0.0", ""]
)
def test_a_proxy_leads_to_no_address_of_the_servers_own(address: str) -> None:
    with pytest.raises(StatusError, match="address not allowed"):
        check_proxyable(address)


def test_a_proxy_leads_to_pods() -> None:
    for address in ("10.244.0.7", "192.0.2.1", "2001:db8::1", "fd00::1"):
        check_proxyable(address)
