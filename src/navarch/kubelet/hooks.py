"""Lifecycle handlers of containers: postStart and preStop."""

from __future__ import annotations

import asyncio

from navarch.kubelet.cri import Cri
from navarch.kubelet.probes.probers import Target, http_get, run_command
from navarch.machinery.types import Obj

EXEC_SECONDS = 3600.0
"""A command has no time-out of its own: a preStop hook ends with the grace period at the latest."""
HTTP_SECONDS = 30.0


class HookError(Exception):
    """The handler failed; the message says how."""


async def run_hook(handler: Obj, pod: Obj, container: Obj, container_id: str, pod_ip: str, cri: Cri) -> None:
    """Raises HookError."""
    target = Target(container, container_id, pod_ip)
    if action := handler.get("exec"):
        command = action.get("command") or []
        outcome = await run_command(command, target, EXEC_SECONDS, cri)
        if not outcome.passed:
            raise HookError(
                f"Exec lifecycle hook ({command}) for Container {container['name']!r} failed: {outcome.message}"
            )
    elif action := handler.get("httpGet"):
        try:
            outcome = await http_get(action, target, HTTP_SECONDS)
        except ValueError as error:
            raise HookError(str(error)) from None
        if not outcome.passed:
            raise HookError(f"HTTP lifecycle hook for Container {container['name']!r} failed: {outcome.message}")
    elif action := handler.get("sleep"):
        await asyncio.sleep(action.get("seconds", 0))
    else:
        raise HookError("missing lifecycle handler")
