"""Probes and hooks ask real servers on the loopback interface."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from navarch.kubelet.cri import Cri, CriError
from navarch.kubelet.hooks import HookError, run_hook
from navarch.kubelet.probes.manager import ProbeManager, next_due
from navarch.kubelet.probes.probers import Outcome, Target, ask, health_request
from navarch.kubelet.runtime_state import Container, PodRuntime
from navarch.machinery.clock import RealWorld

HOST = "127.0.0.1"
Answers = Callable[[str, dict[str, str]], bytes]


class Runtime:
    """What runs commands: the part of the runtime that exec probes and hooks use."""

    def __init__(self, *answers: tuple[int, bytes, bytes] | CriError) -> None:
        self.answers, self.commands = list(answers), list[list[str]]()

    async def exec_sync(self, container: str, command: list[str], seconds: int) -> tuple[int, bytes, bytes]:
        self.commands.append(command)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, CriError):
            raise answer
        return answer


def runtime(*answers: tuple[int, bytes, bytes] | CriError) -> Any:
    return cast(Cri, Runtime(*(answers or ((0, b"", b""),))))


@asynccontextmanager
async def http_server(answers: Answers, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.read(3)
        if first != b"GET":
            writer.write(reply("400 Bad Request"))  # as servers answer a TLS handshake
            writer.close()
            return
        lines = (first + await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines[1:] if ": " in line)
        writer.write(answers(lines[0].split(" ")[1], headers))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, HOST, 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


def reply(status: str, body: str = "", location: str = "") -> bytes:
    extra = f"Location: {location}\r\n" if location else ""
    return f"HTTP/1.1 {status}\r\n{extra}Content-Length: {len(body)}\r\n\r\n{body}".encode()


def free_port() -> int:
    with socket.socket() as free:
        free.bind((HOST, 0))
        return free.getsockname()[1]


async def asked(probe: dict[str, Any], container: dict[str, Any] | None = None, timeout: float = 5) -> Outcome:
    return await ask(probe, Target({"name": "c", **(container or {})}, "id", HOST), timeout, runtime())


# -- HTTP


@pytest.mark.parametrize(
    ("status", "passed", "message"),
    [
        ("200 OK", True, "hello"),
        ("204 No Content", True, "hello"),
        ("404 Not Found", False, "HTTP probe failed with statuscode: 404"),
        ("500 Oh", False, "HTTP probe failed with statuscode: 500"),
    ],
)
async def test_a_status_decides(status: str, passed: bool, message: str) -> None:
    async with http_server(lambda path, headers: reply(status, "hello")) as port:
        assert await asked({"httpGet": {"port": port}}) == Outcome(passed, message)


async def test_redirects_are_followed_on_the_same_host_only() -> None:
    def answers(path: str, headers: dict[str, str]) -> bytes:
        away = {"/near": "/end", "/far": "http://elsewhere.example/end", "/loop": "/loop"}
        return reply("302 Found", "moved", away[path]) if path in away else reply("404 Not Found")

    async with http_server(answers) as port:
        near = await asked({"httpGet": {"port": port, "path": "/near"}})
        assert near == Outcome(False, "HTTP probe failed with statuscode: 404")
        far = await asked({"httpGet": {"port": port, "path": "/far"}})
        assert far == Outcome(True, "Probe terminated redirects, Response body: moved", warning=True)
        loop = await asked({"httpGet": {"port": port, "path": "/loop"}})
        assert not loop.passed and "stopped after 10 redirects" in loop.message


async def test_headers_are_those_of_the_probe() -> None:
    seen: list[dict[str, str]] = []

    def answers(path: str, headers: dict[str, str]) -> bytes:
        seen.append({**headers, "path": path})
        return reply("200 OK")

    given = [{"name": "Host", "value": "example"}, {"name": "X-Own", "value": "1"}, {"name": "Accept", "value": ""}]
    async with http_server(answers) as port:
        named = {"ports": [{"name": "web", "containerPort": port}]}
        action = {"httpGet": {"port": "web", "path": "a b?c=d#e", "httpHeaders": given}}
        assert (await asked(action, named)).passed
        assert (await asked({"httpGet": {"port": str(port)}})).passed
    assert (seen[0]["Host"], seen[0]["X-Own"], seen[0]["path"]) == ("example", "1", "/a%20b?c=d")
    assert "Accept" not in seen[0] and seen[0]["User-Agent"] == "kube-probe/1.36"
    assert seen[1]["Host"] == f"{HOST}:{port}" and seen[1]["Accept"] == "*/*"


async def test_a_header_cannot_smuggle_a_request() -> None:
    header = {"name": "X", "value": "1\r\n\r\nGET /admin HTTP/1.1"}
    outcome = await asked({"httpGet": {"port": free_port(), "httpHeaders": [header]}})
    assert outcome == Outcome(False, 'net/http: invalid header field value for "X"')


async def test_nobody_there_is_a_failure_and_a_wrong_port_is_no_answer() -> None:
    port = free_port()
    refused = f'Get "http://{HOST}:{port}/": dial tcp {HOST}:{port}: connect: connection refused'
    assert await asked({"httpGet": {"port": port}}) == Outcome(False, refused)
    assert (await asked({"httpGet": {"port": "nameless"}})).passed is None


async def test_silence_is_a_failure_after_the_time_out() -> None:
    hold = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await hold.wait()
        writer.close()

    async with await asyncio.start_server(serve, HOST, 0) as server:
        port = server.sockets[0].getsockname()[1]
        outcome = await asked({"httpGet": {"port": port}}, timeout=0.05)
        hold.set()
    assert outcome.passed is False and "context deadline exceeded" in outcome.message


async def test_what_is_not_http_is_a_failure() -> None:
    async with http_server(lambda path, headers: b"SSH-2.0-x\r\n") as port:
        outcome = await asked({"httpGet": {"port": port}})
    assert outcome.passed is False and "malformed HTTP response" in outcome.message


# -- the others


async def test_a_connection_is_enough_for_tcp() -> None:
    async with http_server(lambda path, headers: b"") as port:
        assert (await asked({"tcpSocket": {"port": port}})).passed is True
    closed = await asked({"tcpSocket": {"port": port}})
    assert closed == Outcome(False, f"dial tcp {HOST}:{port}: connect: connection refused")


async def grpc_server(answer: Callable[[bytes], bytes]) -> tuple[Any, int]:
    import grpc
    import grpc.aio

    async def check(request: bytes, context: Any) -> bytes:
        return answer(request)

    method = grpc.unary_unary_rpc_method_handler(check)
    server: Any = grpc.aio.server()
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": method})])
    port = server.add_insecure_port(f"{HOST}:0")
    await server.start()
    return server, port


async def test_grpc_health() -> None:
    server, port = await grpc_server(lambda request: b"\x08\x01" if not request else b"\x08\x02")
    try:
        assert await asked({"grpc": {"port": port}}) == Outcome(True, "service healthy")
        sick = await asked({"grpc": {"port": port, "service": "s" * 200}})
        assert sick == Outcome(False, 'service unhealthy (responded with "NOT_SERVING")')
    finally:
        await server.stop(None)
    gone = await asked({"grpc": {"port": free_port()}}, timeout=0.1)
    assert gone.passed is False and "failed to connect service" in gone.message


def test_long_names_of_services_have_a_length_of_two_bytes() -> None:
    assert health_request("") == b"" and health_request("ab") == b"\x0a\x02ab"
    assert health_request("s" * 200)[:3] == b"\x0a\xc8\x01"


async def test_commands_see_the_plain_variables_and_their_exit_code_decides() -> None:
    cri = runtime((1, b"out", b"err"))
    env = [{"name": "A", "value": "x"}, {"name": "B", "valueFrom": {}}]
    probe = {"exec": {"command": ["echo", "$(A)", "$(B)"]}}
    target = Target({"name": "c", "env": env}, "id", HOST)
    assert await ask(probe, target, 1, cri) == Outcome(False, "outerr")
    assert cri.commands == [["echo", "x", "$(B)"]]


async def test_a_runtime_that_cannot_say_is_asked_again() -> None:
    target = Target({"name": "c"}, "id", HOST)
    cri = runtime(CriError("UNAVAILABLE", "away"), (0, b"", b""))
    assert (await ask({"exec": {"command": ["x"]}}, target, 1, cri)).passed is True
    late = runtime(CriError("DEADLINE_EXCEEDED", "slow"))
    assert await ask({"exec": {"command": ["x", "y"]}}, target, 2, late) == Outcome(
        False, 'command timed out: "x y" timed out after 2s'
    )


# -- hooks


def hook(handler: dict[str, Any], cri: Any = None) -> Awaitable[None]:
    pod = {"metadata": {"name": "p", "namespace": "ns", "uid": "u"}}
    return run_hook(handler, pod, {"name": "c"}, "id", HOST, cri or runtime())


async def test_any_answer_to_a_hook_will_do() -> None:
    agents: list[str] = []

    def answers(path: str, headers: dict[str, str]) -> bytes:
        agents.append(headers["User-Agent"])
        return reply("500 Oh")

    async with http_server(answers) as port:
        await hook({"httpGet": {"port": port}})
        await hook(
            {"httpGet": {"port": port, "scheme": "HTTPS"}}
        )  # as upstream: plain HTTP, where that is what is spoken
    assert agents == ["kube-lifecycle/1.36"] * 2
    with pytest.raises(HookError, match="connection refused"):
        await hook({"httpGet": {"port": port}})


async def test_a_hook_that_fails_says_how() -> None:
    with pytest.raises(HookError, match="Exec lifecycle hook"):
        await hook({"exec": {"command": ["false"]}}, runtime((1, b"no", b"")))
    await hook({"sleep": {"seconds": 0}})
    with pytest.raises(HookError, match="invalid handler: tcpSocket"):
        await hook({"tcpSocket": {"port": 1}})


# -- the manager


class Watched:
    """A manager, and what it said."""

    def __init__(self, cri: Any) -> None:
        self.events: list[tuple[str, str]] = []
        self.change = asyncio.Event()
        self.manager = ProbeManager(cri, RealWorld(), lambda uid: self.change.set(), self._event)

    def _event(self, pod: Any, container: Any, kind: str, reason: str, message: str) -> None:
        self.events.append((reason, message))

    async def until(self, check: Callable[[], Any]) -> None:
        async with asyncio.timeout(10):
            while not check():
                await self.change.wait()
                self.change.clear()


def running(id: str) -> PodRuntime:
    run = Container(id=id, name="c", attempt=0, state=1, created=1.0, started=1.0)
    return PodRuntime(sandboxes=(), containers={"c": (run,)})


def probed(**probes: Any) -> dict[str, Any]:
    return {"metadata": {"name": "p", "namespace": "ns", "uid": "u"}, "spec": {"containers": [{"name": "c", **probes}]}}


EXEC = {"exec": {"command": ["x"]}}


async def test_nothing_is_ready_before_it_said_so() -> None:
    watched = Watched(runtime((0, b"", b"")))
    watched.manager.sync(probed(readinessProbe=EXEC, startupProbe=EXEC), running("1"), HOST)
    assert not watched.manager.ready("1") and not watched.manager.started("1")
    await watched.until(lambda: watched.manager.started("1") and watched.manager.ready("1"))
    assert {(n[4], n[5]) for n, _ in watched.manager.counts()} == {
        ("Startup", "successful"),
        ("Readiness", "successful"),
    }
    watched.manager.forget("u")
    assert not list(watched.manager.counts())


async def test_a_container_that_fails_its_liveness_is_to_be_restarted_with_the_probes_grace() -> None:
    watched = Watched(runtime((1, b"sick", b"")))
    pod = probed(livenessProbe={**EXEC, "failureThreshold": 1, "terminationGracePeriodSeconds": 3})
    watched.manager.sync(pod, running("1"), HOST)
    await watched.until(lambda: watched.manager.unhealthy("u"))
    assert watched.manager.unhealthy("u")["1"] == ("Container c failed liveness probe, will be restarted", 3)
    assert watched.events == [("Unhealthy", "Liveness probe failed: sick")]
    watched.manager.sync(pod, running("2"), HOST)  # the next run begins healthy
    assert not watched.manager.unhealthy("u")
    watched.manager.forget("u")


async def test_what_could_not_be_asked_does_not_count() -> None:
    watched = Watched(runtime(CriError("UNAVAILABLE", "away")))
    watched.manager.sync(probed(livenessProbe={**EXEC, "failureThreshold": 1}), running("1"), HOST)
    async with asyncio.timeout(10):
        while not watched.events:
            await asyncio.sleep(0)
    assert watched.events[0][1].startswith("Liveness probe errored") and not watched.manager.unhealthy("u")
    watched.manager.forget("u")


async def test_a_pod_that_is_deleted_ends_in_peace() -> None:
    watched = Watched(runtime((1, b"sick", b"")))
    pod = probed(livenessProbe={**EXEC, "failureThreshold": 1})
    pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    watched.manager.sync(pod, running("1"), HOST)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not watched.events and not watched.manager.unhealthy("u")
    watched.manager.forget("u")


def test_questions_keep_their_period_and_overdue_ones_are_left_out() -> None:
    assert next_due(10.0, 5.0, 12.0) == 15.0
    assert next_due(10.0, 5.0, 31.0) == 31.0
