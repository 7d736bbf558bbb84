"""Asking once: HTTP, TCP, gRPC and exec. Each answers (passed, message); the words are those of upstream's probers."""

from __future__ import annotations

import asyncio
import os
import ssl
from typing import Any, NamedTuple

from navarch import KUBERNETES_VERSION
from navarch.kubelet.cri import Cri, CriError
from navarch.machinery.types import Obj

BODY_LIMIT = 10 << 10
AGENT = f"kube-probe/{KUBERNETES_VERSION.removeprefix('v').rpartition('.')[0]}"


class Outcome(NamedTuple):
    passed: bool
    message: str


class Target(NamedTuple):
    """Who is asked."""

    container: Obj
    id: str
    ip: str


async def ask(probe: Obj, target: Target, timeout: float, cri: Cri) -> Outcome:
    """One question of a probe (or of a lifecycle handler)."""
    try:
        if action := probe.get("exec"):
            return await run_command(action.get("command") or [], target, timeout, cri)
        if action := probe.get("httpGet"):
            return await http_get(action, target, timeout)
        if action := probe.get("tcpSocket"):
            return await tcp(action, target, timeout)
        if action := probe.get("grpc"):
            return await grpc_health(action, target, timeout)
    except ValueError as error:
        return Outcome(False, str(error))
    return Outcome(False, "missing probe handler")


def port_number(port: Any, container: Obj) -> int:
    """Raises ValueError for a name that no port has."""
    if isinstance(port, int):
        return port
    for each in container.get("ports") or []:
        if each.get("name") == port:
            return each["containerPort"]
    if str(port).isdecimal():
        return int(port)
    raise ValueError(f'couldn\'t find port: "{port}"')


async def run_command(command: list[str], target: Target, timeout: float, cri: Cri) -> Outcome:
    try:
        code, out, err = await cri.exec_sync(target.id, command, int(max(timeout, 1)))
    except CriError as error:
        if error.code == "DEADLINE_EXCEEDED":
            return Outcome(False, f'command timed out: "{" ".join(command)}" timed out after {timeout:g}s')
        return Outcome(False, f"command error: {error}")
    return Outcome(code == 0, (out + err)[:BODY_LIMIT].decode(errors="replace"))


def _dial_error(place: str, error: OSError) -> str:
    reason = os.strerror(error.errno).lower() if error.errno else str(error)
    return f"dial tcp {place}: connect: {reason}"


async def tcp(action: Obj, target: Target, timeout: float) -> Outcome:
    host, port = action.get("host") or target.ip, port_number(action["port"], target.container)
    try:
        async with asyncio.timeout(timeout):
            _, writer = await asyncio.open_connection(host, port)
            writer.close()
    except TimeoutError:
        return Outcome(False, f"dial tcp {host}:{port}: i/o timeout")
    except OSError as error:
        return Outcome(False, _dial_error(f"{host}:{port}", error))
    return Outcome(True, "")


async def http_get(action: Obj, target: Target, timeout: float) -> Outcome:
    host, port = action.get("host") or target.ip, port_number(action["port"], target.container)
    scheme = (action.get("scheme") or "HTTP").lower()
    path = action.get("path") or "/"
    if not path.startswith("/"):
        path = f"/{path}"
    url = f"{scheme}://{host}:{port}{path}"
    context: ssl.SSLContext | None = None
    if scheme == "https":
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        async with asyncio.timeout(timeout):
            status, body = await _fetch(host, port, path, action.get("httpHeaders") or [], context)
    except TimeoutError:
        text = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        return Outcome(False, f'Get "{url}": {text}')
    except OSError as error:
        return Outcome(False, f'Get "{url}": {_dial_error(f"{host}:{port}", error)}')
    except (ValueError, EOFError):
        return Outcome(False, f'Get "{url}": malformed HTTP response')
    if 200 <= status < 400:
        return Outcome(True, body.decode(errors="replace"))
    return Outcome(False, f"HTTP probe failed with statuscode: {status}")


async def _fetch(
    host: str, port: int, path: str, headers: list[Obj], context: ssl.SSLContext | None
) -> tuple[int, bytes]:
    """(status, the beginning of what follows the headers). Raises OSError, ValueError, EOFError."""
    given = {"host": ("Host", f"{host}:{port}"), "user-agent": ("User-Agent", AGENT), "accept": ("Accept", "*/*")}
    given["connection"] = ("Connection", "close")
    for header in headers:
        given[header["name"].lower()] = (header["name"], header["value"])
    lines = "".join(f"{name}: {value}\r\n" for name, value in given.values() if value)
    reader, writer = await asyncio.open_connection(host, port, ssl=context, limit=64 << 10)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode())
        words = (await reader.readline()).split(None, 2)
        if len(words) < 2 or not words[0].startswith(b"HTTP/"):
            raise ValueError("no HTTP")
        while (await reader.readline()).strip():
            pass
        return int(words[1]), await reader.read(BODY_LIMIT)
    finally:
        writer.close()


async def grpc_health(action: Obj, target: Target, timeout: float) -> Outcome:
    """grpc.health.v1.Health/Check."""
    import grpc
    import grpc.aio

    service = (action.get("service") or "").encode()
    request = b"\x0a" + bytes([len(service)]) + service if service else b""
    place = f"{target.ip}:{port_number(action['port'], target.container)}"
    opened: Any = grpc.aio.insecure_channel(place)
    async with opened as channel:
        check: Any = channel.unary_unary("/grpc.health.v1.Health/Check", lambda b: b, lambda b: b)
        try:
            answer: bytes = await check(request, timeout=timeout)
        except grpc.aio.AioRpcError as error:
            if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
                return Outcome(False, f'timeout: failed to connect service "{place}" within {timeout:g}s')
            return Outcome(False, f"error: {error.details()}")
    if answer[:2] == b"\x08\x01":
        return Outcome(True, "service healthy")
    return Outcome(False, f'service unhealthy (responded with "{"NOT_SERVING" if answer else "UNKNOWN"}")')
