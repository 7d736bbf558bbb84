"""Stopping a pod: preStop hooks, the grace period, sidecars last and in reverse order, then the sandbox.

Source of the rules: upstream's killContainer and termination ordering (KEP 753).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from navarch.kubelet.context import Context, container_ref
from navarch.kubelet.cri import CriError
from navarch.kubelet.pod_actions import is_sidecar
from navarch.kubelet.runtime_state import Container
from navarch.machinery.types import Obj

MINIMUM_GRACE = 2
"""Seconds that every container gets after SIGTERM, unless it is told to end now."""


class Stopper:
    """Stops what belongs to one pod; remembers which preStop hooks ran, so that a shortened grace does not repeat them."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._hooked: set[str] = set()
        self._told: set[str] = set()

    async def pod(self, pod: Obj, grace: int, *, now: bool = False) -> None:
        """Stops everything. `now` leaves hooks out and kills at once. Raises CriError."""
        uid = pod["metadata"]["uid"]
        runtime = self._context.cache.get(uid)
        running = [run for run in runtime.all() if not run.exited]
        gates = _Order(pod, [run.name for run in running])
        await asyncio.gather(*(self._in_turn(pod, run, grace, gates, now) for run in running))
        ready = [s for s in self._context.cache.get(uid).sandboxes if s.ready]
        for sandbox in ready:
            try:
                await self._context.cri.stop_sandbox(sandbox.id)
            except CriError as error:
                if not error.not_found:
                    self._context.emit(pod, "Warning", "FailedKillPod", f"error killing pod: {error}")
                    raise
            await self._context.cache.refresh_sandbox(uid, sandbox.id)

    async def container(self, pod: Obj, run: Container, grace: int, message: str = "", ip: str = "") -> None:
        """Stops one container. Raises CriError."""
        await self._stop(pod, run, grace, message, None, ip)

    async def _in_turn(self, pod: Obj, run: Container, grace: int, gates: _Order, now: bool) -> None:
        if now:
            await self._signal(pod, run, 0)
            return
        await self._stop(pod, run, grace, "", gates, _ip(self._context, pod))

    async def _stop(self, pod: Obj, run: Container, grace: int, message: str, gates: _Order | None, ip: str) -> None:
        loop = asyncio.get_running_loop()
        ends = loop.time() + grace
        container = _spec_of(pod, run.name)
        if run.id not in self._told:
            self._told.add(run.id)
            regarding = container_ref(pod, container) if container else pod
            self._context.emit(regarding, "Normal", "Killing", message or f"Stopping container {run.name}")
        handler = ((container or {}).get("lifecycle") or {}).get("preStop")
        if container and handler and grace > 0 and run.running and run.id not in self._hooked:
            self._hooked.add(run.id)
            await self._pre_stop(handler, pod, container, run.id, ip, grace)
        if gates and grace > 0:
            await gates.wait(run.name, max(ends - loop.time(), 0.0))
        await self._signal(pod, run, max(int(ends - loop.time()), MINIMUM_GRACE if grace else 1))
        if gates:
            gates.ended(run.name)

    async def _signal(self, pod: Obj, run: Container, seconds: int) -> None:
        try:
            await self._context.cri.stop_container(run.id, seconds)
        except CriError as error:
            if not error.not_found:
                raise
        await self._context.cache.refresh_container(pod["metadata"]["uid"], run.id)

    async def _pre_stop(self, handler: Obj, pod: Obj, container: Obj, id: str, ip: str, grace: int) -> None:
        hook = self._context.run_hook(handler, pod, container, id, ip, self._context.cri)
        try:
            await asyncio.wait_for(hook, grace)
        except TimeoutError:
            pass
        except (asyncio.CancelledError, MemoryError):
            raise
        except Exception:
            self._context.emit(container_ref(pod, container), "Warning", "FailedPreStopHook", "PreStopHook failed")


class _Order:
    """Whose turn it is to be stopped: sidecars wait for the pod's own containers, and for later sidecars."""

    def __init__(self, pod: Obj, running: Sequence[str]) -> None:
        spec = pod["spec"]
        self._done = {name: asyncio.Event() for name in running}
        self._before: dict[str, list[str]] = {}
        mains = [c["name"] for c in spec["containers"]]
        later = ""
        for container in reversed(spec.get("initContainers") or []):
            if is_sidecar(container):
                self._before[container["name"]] = [*mains, *([later] if later else [])]
                later = container["name"]

    async def wait(self, name: str, seconds: float) -> None:
        waits = [asyncio.ensure_future(self._done[n].wait()) for n in self._before.get(name, ()) if n in self._done]
        if waits:
            _, pending = await asyncio.wait(waits, timeout=seconds)
            for task in pending:
                task.cancel()

    def ended(self, name: str) -> None:
        if name in self._done:
            self._done[name].set()


def _spec_of(pod: Obj, name: str) -> Obj | None:
    for field in ("containers", "initContainers", "ephemeralContainers"):
        for container in pod["spec"].get(field) or []:
            if container["name"] == name:
                return container
    return None


def _ip(context: Context, pod: Obj) -> str:
    if pod["spec"].get("hostNetwork"):
        return context.config.node_ip
    sandbox = context.cache.get(pod["metadata"]["uid"]).sandbox
    return sandbox.ips[0] if sandbox and sandbox.ips else ""
