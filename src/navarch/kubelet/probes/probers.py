"""Asking once: HTTP, TCP, gRPC and exec. The words are those of upstream's probers."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

from navarch.kubelet.cri import Cri, CriError
from navarch.kubelet.env import expand
from navarch.kubelet.probes import http_get
from navarch.machinery.types import Obj

TRIES = 3
"""How often a question is put that cannot be asked (an error, which is no answer)."""
SERVING = b"\x08\x01"
HEALTHS = {b"": "UNKNOWN", b"\x08\x00": "UNKNOWN", b"\x08\x02": "NOT_SERVING", b"\x08\x03": "SERVICE_UNKNOWN"}


class Outcome(NamedTuple):
    passed: bool | None
    """None: it could not be asked, which says nothing about the container."""
    message: str
    warning: bool = False
    """It passed, but somebody should know how."""


class Target(NamedTuple):
    """Who is asked."""

    container: Obj
    id: str
    ip: str


async def ask(probe: Obj, target: Target, timeout: float, cri: Cri) -> Outcome:
    """One question of a probe."""
    outcome = Outcome(None, "")
    for _ in range(TRIES):
        try:
            outcome = await _ask(probe, target, timeout, cri)
        except ValueError as error:
            outcome = Outcome(None, str(error))
        if outcome.passed is not None:
            break
    return outcome


async def _ask(probe: Obj, target: Target, timeout: float, cri: Cri) -> Outcome:
    """Raises ValueError where the probe makes no sense for the container."""
    if action := probe.get("exec"):
        values = {e["name"]: e.get("value", "") for e in target.container.get("env") or [] if "valueFrom" not in e}
        command = [expand(word, values) for word in action.get("command") or []]
        return await run_command(command, target, timeout, cri)
    if action := probe.get("httpGet"):
        return await http(action, target, timeout)
    if action := probe.get("tcpSocket"):
        return await tcp(action, target, timeout)
    if action := probe.get("grpc"):
        return await grpc_health(action, target, timeout)
    raise ValueError(f"missing probe handler for {target.container['name']}")


def port_number(port: Any, container: Obj) -> int:
    """Raises ValueError for a name that no port has."""
    found = port
    if isinstance(port, str):
        named = (p["containerPort"] for p in container.get("ports") or [] if p.get("name") == port)
        found = next(named, int(port) if port.isdecimal() else None)
        if found is None:
            raise ValueError(f'strconv.Atoi: parsing "{port}": invalid syntax')
    if not 0 < found < 65536:
        raise ValueError(f"invalid port number: {found}")
    return found


async def run_command(command: list[str], target: Target, timeout: float, cri: Cri) -> Outcome:
    try:
        code, out, err = await cri.exec_sync(target.id, command, int(max(timeout, 1)))
    except CriError as error:
        if error.code == "DEADLINE_EXCEEDED":
            return Outcome(False, f'command timed out: "{" ".join(command)}" timed out after {timeout:g}s')
        return Outcome(None, f"rpc error: code = {error.code} desc = {error}")
    return Outcome(code == 0, (out + err)[: http_get.BODY_LIMIT].decode(errors="replace"))


async def http(action: Obj, target: Target, timeout: float) -> Outcome:
    """Raises ValueError."""
    url = http_get.url_of(action, action.get("host") or target.ip, port_number(action["port"], target.container))
    try:
        answer = await http_get.get(url, http_get.request_headers(action, "probe"), timeout)
    except http_get.FetchError as error:
        return Outcome(False, str(error))
    body = answer.body.decode(errors="replace")
    if 300 <= answer.status < 400:
        return Outcome(True, f"Probe terminated redirects, Response body: {body}", warning=True)
    if 200 <= answer.status < 300:
        return Outcome(True, body)
    return Outcome(False, f"HTTP probe failed with statuscode: {answer.status}")


async def tcp(action: Obj, target: Target, timeout: float) -> Outcome:
    """Raises ValueError."""
    host, port = action.get("host") or target.ip, port_number(action["port"], target.container)
    try:
        async with asyncio.timeout(timeout):
            _, writer = await asyncio.open_connection(host, port)
            writer.close()
    except TimeoutError:
        return Outcome(False, f"dial tcp {host}:{port}: i/o timeout")
    except OSError as error:
        return Outcome(False, http_get.dial_error(host, port, error))
    return Outcome(True, "")


def health_request(service: str) -> bytes:
    """grpc.health.v1.HealthCheckRequest."""
    name = service.encode()
    if not name:
        return b""
    size, length = len(name), bytearray()
    while size > 0x7F:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    return b"\x0a" + bytes(length) + bytes([size]) + name


async def grpc_health(action: Obj, target: Target, timeout: float) -> Outcome:
    """grpc.health.v1.Health/Check. Raises ValueError."""
    import grpc
    import grpc.aio

    place = f"{target.ip}:{port_number(action['port'], target.container)}"
    options = [("grpc.enable_http_proxy", 0), ("grpc.primary_user_agent", f"kube-probe/{http_get.VERSION}")]
    opened: Any = grpc.aio.insecure_channel(place, options=options)
    connected = False
    async with opened as channel:
        check: Any = channel.unary_unary("/grpc.health.v1.Health/Check", lambda b: b, lambda b: b)
        try:
            async with asyncio.timeout(timeout):
                await channel.channel_ready()
                connected = True
                answer: bytes = await check(health_request(action.get("service") or ""), timeout=timeout)
        except (TimeoutError, grpc.aio.AioRpcError) as error:
            return Outcome(False, _grpc_failure(error, place, timeout, connected))
    if answer[:2] == SERVING:
        return Outcome(True, "service healthy")
    return Outcome(False, f'service unhealthy (responded with "{HEALTHS.get(answer[:2], "UNKNOWN")}")')


def _grpc_failure(error: Any, place: str, timeout: float, connected: bool) -> str:
    if not connected:
        return f'timeout: failed to connect service "{place}" within {timeout:g}s: context deadline exceeded'
    code = error.code().name if hasattr(error, "code") else "DEADLINE_EXCEEDED"
    if code == "DEADLINE_EXCEEDED":
        return f"timeout: health rpc did not complete within {timeout:g}s"
    if code == "UNIMPLEMENTED":
        health = "this server does not implement the grpc health protocol (grpc.health.v1.Health)"
        return f"error: {health}: {error.details()}"
    return f"error: health rpc probe failed: rpc error: code = {code} desc = {error.details()}"
