"""Lifecycle handlers of containers: postStart and preStop. Source: pkg/kubelet/lifecycle."""

from __future__ import annotations

import asyncio

from navarch.kubelet.cri import Cri
from navarch.kubelet.probes import http_get
from navarch.kubelet.probes.probers import Target, port_number, run_command
from navarch.machinery.types import Obj

EXEC_SECONDS = 3600.0
"""A command has no time-out of its own: a preStop hook ends with the grace period at the latest."""
HTTP_SECONDS = 30.0


class HookError(Exception):
    """The handler failed; the message says how."""


async def run_hook(handler: Obj, pod: Obj, container: Obj, container_id: str, pod_ip: str, cri: Cri) -> None:
    """Raises HookError."""
    target = Target(container, container_id, pod_ip)
    meta = pod["metadata"]
    where = f'for Container "{container["name"]}" in Pod "{meta["name"]}_{meta["namespace"]}({meta["uid"]})" failed'
    if action := handler.get("exec"):
        command = action.get("command") or []
        outcome = await run_command(command, target, EXEC_SECONDS, cri)
        if not outcome.passed:
            raise HookError(f"Exec lifecycle hook ([{' '.join(command)}]) {where} - message: {outcome.message!r}")
    elif action := handler.get("httpGet"):
        try:
            await _http(action, target)
        except (ValueError, http_get.FetchError) as error:
            raise HookError(f"HTTP lifecycle hook ({action.get('path', '')}) {where} - error: {error}") from None
    elif action := handler.get("sleep"):
        await asyncio.sleep(action.get("seconds", 0))
    else:
        raise HookError(f"Cannot run handler: invalid handler: {', '.join(handler)}")


async def _http(action: Obj, target: Target) -> None:
    """Any answer will do, whatever its status. Raises ValueError, FetchError."""
    host = action.get("host") or target.ip
    if not host:
        raise ValueError("failed to find networking container")
    url = http_get.url_of(action, host, port_number(action["port"], target.container))
    headers = http_get.request_headers(action, "lifecycle")
    try:
        await http_get.get(url, headers, HTTP_SECONDS)
    except http_get.NotTls:
        plain = [(name, value) for name, value in headers if name.lower() != "authorization"]
        await http_get.get(url.replace("https://", "http://", 1), plain, HTTP_SECONDS)
