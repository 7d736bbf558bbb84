"""One pod's life on the node: a task that observes the runtime, plans, acts, and publishes the status; again and again.

Everything that concerns one pod happens in its worker, one step at a time. A step that waits for something slow (an
image, a hook) is broken off when the pod is to end.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from navarch.kubelet.admission import is_static
from navarch.kubelet.context import Context, container_ref, full_name
from navarch.kubelet.cri import CriError
from navarch.kubelet.cri_tables import CREATED
from navarch.kubelet.pod_actions import Circumstances, PodPlan, Start, past_deadline, plan
from navarch.kubelet.resizing import Resizer
from navarch.kubelet.runtime_state import Container, PodRuntime
from navarch.kubelet.starting import Slot, Starter, StartError
from navarch.kubelet.status import View, pod_status
from navarch.kubelet.status_writer import OWN_CONDITIONS
from navarch.kubelet.stopping import Stopper
from navarch.kubelet.volumes.manager import remove
from navarch.machinery.types import Obj

log = logging.getLogger(__name__)

REFRESH_SECONDS = 60.0
"""Volumes' contents (tokens that are renewed, say) are looked after so often."""
RUNTIME_RETRY_SECONDS = 1.0
DEADLINE = ("DeadlineExceeded", "Pod was active on the node longer than the specified deadline")


class PodWorker:
    """`finished` is called once nothing of the pod is left on the node."""

    def __init__(
        self,
        context: Context,
        pod: Obj,
        finished: Callable[[str], None],
        *,
        failure: tuple[str, str] | None = None,
        gone: bool = False,
    ) -> None:
        self._context = context
        self.pod = pod
        self.uid: str = pod["metadata"]["uid"]
        self.is_gone = gone
        """The API does not have the pod any more (or, of a static pod, its manifest is gone)."""
        self.shown_as: Obj | None = None if is_static(pod) else pod
        """The API's object that shows the status: the pod, or a static pod's mirror (None: there is none yet)."""
        self.status: Obj = pod.get("status") or {}
        """As last published."""
        self._finished = finished
        self._failure = failure
        self._shortened: int | None = None
        self._disruption = ""
        self._waiting: dict[str, tuple[str, str]] = {}
        self._wake = asyncio.Event()
        self._ending = asyncio.Event()
        self._starter, self._stopper = Starter(context), Stopper(context)
        self.sizes = Resizer(context, pod)
        self._volumes: Mapping[str, Any] | None = None
        self._mounted_at = 0.0
        self._stale = False
        self._ended = False
        """Its containers were stopped for good, because it is being deleted."""
        self._released = False
        """Volumes and cgroup are given back."""
        self._deleted = False
        self.reasons: list[str] = []
        """Why the last plan is as it is."""
        self._task: asyncio.Task[None] | None = None

    # -- from outside

    def start(self) -> None:
        self._note_ending()
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"pod {full_name(self.pod)}")

    def update(self, pod: Obj) -> None:
        self.pod = pod
        self.shown_as = pod
        self._stale = True  # its volumes may show its labels and annotations
        self._note_ending()
        self._wake.set()

    def mirrored(self, mirror: Obj | None) -> None:
        """A static pod's mirror came, changed or went."""
        before, self.shown_as = self.shown_as, mirror
        if before and (mirror is None or mirror["metadata"]["uid"] != before["metadata"]["uid"]):
            self._context.writer.forget(before["metadata"]["uid"])
        if mirror:
            self._context.writer.set(mirror, {**(mirror.get("status") or {}), **self.status})

    def gone(self) -> None:
        self.is_gone = True
        self._note_ending()
        self._wake.set()

    def wake(self) -> None:
        self._wake.set()

    def refresh(self) -> None:
        """What its volumes show has changed."""
        self._stale = True
        self._wake.set()

    def fail(self, reason: str, message: str, *, grace: int | None = None, disruption: str = "") -> None:
        """Ends the pod with a Failed status (evicted, preempted), in `grace` seconds (None: its own). `disruption`: why it
        is a disruption, where it is one."""
        if self._failure is None:
            self._failure, self._shortened, self._disruption = (reason, message), grace, disruption
            self._ending.set()
            self._wake.set()

    @property
    def terminal(self) -> bool:
        return self._failure is not None or self.status.get("phase") in ("Succeeded", "Failed")

    async def stop(self) -> None:
        """Leaves the pod as it is: it goes on while the kubelet restarts."""
        if self._task:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    def _note_ending(self) -> None:
        if self.is_gone or "deletionTimestamp" in self.pod["metadata"]:
            self._ending.set()

    # -- the loop

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            try:
                delay = await self._step()
            except CriError as error:
                log.warning("pod %s: %s", full_name(self.pod), error)
                delay = RUNTIME_RETRY_SECONDS
                with suppress(CriError):
                    await self._context.cache.relist(self.uid)
            except Exception:
                log.exception("pod %s", full_name(self.pod))
                delay = 10 * RUNTIME_RETRY_SECONDS
            if delay is None:
                break
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), delay)
        self._finished(self.uid)

    async def _step(self) -> float | None:
        """Seconds until the next step, unless something happens before; None: nothing is left to do for ever."""
        if self.is_gone or "deletionTimestamp" in self.pod["metadata"]:
            return await self._terminate()
        if not self.terminal:
            self.sizes.consider(self.pod)
        pod, now = self._seen(), self._context.world.now()
        self._context.probes.sync(pod, self._runtime(), self._ip())
        if self._failure is None and not self.terminal and past_deadline(pod, now):
            self._failure = DEADLINE
            self._context.emit(pod, "Normal", *DEADLINE)
        decided = plan(pod, self._runtime(), self._circumstances(now))
        self.reasons = decided.reasons
        delay = min(decided.requeue_after if decided.requeue_after is not None else REFRESH_SECONDS, REFRESH_SECONDS)
        if decided.kill_all:
            self._publish()
            await self._stop_all(pod)
        elif self.terminal:
            await self._release()
        else:
            self._note_crash_loops(pod, decided)
            again = await self.sizes.actuate(pod, self._runtime())
            delay = min(delay, again if again is not None else delay)
            retry = await self._unless_ending(self._advance(pod, decided))
            delay = min(delay, retry if retry is not None else delay)
        self._publish()
        if self.terminal and (self._runtime().anything_runs or not self._released):
            return 0.0
        return max(delay, 0.01)

    def _circumstances(self, now: float) -> Circumstances:
        context, runtime = self._context, self._runtime()
        running = [run.id for run in runtime.all() if run.running]
        return Circumstances(
            now=now,
            unhealthy={**self.sizes.restarts(self._seen(), runtime), **context.probes.unhealthy(self.uid)},
            started=frozenset(id for id in running if context.probes.started(id)),
            crash_wait=lambda name, finished: context.crashes.remaining(f"{self.uid}/{name}", finished, now),
            terminal=self.terminal,
        )

    def _runtime(self) -> PodRuntime:
        return self._context.cache.get(self.uid)

    def _seen(self) -> Obj:
        """The pod with the status as it is meant to be: the API's may lag behind what was published."""
        theirs = self.pod.get("status") or {}
        ours = self.status
        own = [c for c in ours.get("conditions") or [] if c["type"] in OWN_CONDITIONS]
        others = [c for c in theirs.get("conditions") or [] if c["type"] not in OWN_CONDITIONS]
        return {**self.sizes.seen(self.pod), "status": {**theirs, **ours, "conditions": [*own, *others]}}

    # -- forward

    async def _unless_ending(self, work: Any) -> Any:
        """The work's result; None where it was broken off because the pod is to end."""
        if self._ending.is_set():
            work.close()
            return None
        task, ending = asyncio.ensure_future(work), asyncio.ensure_future(self._ending.wait())
        try:
            await asyncio.wait({task, ending}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
        finally:
            ending.cancel()
            if not task.done():
                task.cancel()
                await asyncio.wait({task})
        await self._context.cache.relist(self.uid)
        return None

    async def _advance(self, pod: Obj, decided: PodPlan) -> float | None:
        """Carries the plan out; seconds after which what failed is to be tried again."""
        kills = [self._kill(pod, kill.container, kill.grace, kill.message) for kill in decided.kills]
        if kills:
            await asyncio.gather(*kills)
            if not decided.starts:
                return 0.0
        slot = Slot(self._context.starts)
        try:
            return await self._start(pod, decided, slot)
        except StartError as error:
            return error.retry
        finally:
            slot.give_back()

    async def _start(self, pod: Obj, decided: PodPlan, slot: Slot) -> float | None:
        now = self._context.world.now()
        if decided.starts or decided.new_sandbox is not None:
            self._publish()
            self._starter.prepare(pod)
        elif not self._stale and now - self._mounted_at < REFRESH_SECONDS - 1:
            return None
        self._stale, self._mounted_at = False, now
        if decided.new_sandbox is None:
            self._volumes = await self._starter.mount(pod)
        else:
            await self._new_sandbox(pod, decided.new_sandbox, slot)
        retry: float | None = None
        for item in decided.starts:
            failed = await self._start_one(pod, item, slot)
            if failed is not None:
                retry = failed if retry is None else min(retry, failed)
            self._context.probes.sync(pod, self._runtime(), self._ip())
            self._publish()
        return 0.0 if retry is None and decided.starts else retry

    async def _new_sandbox(self, pod: Obj, attempt: int, slot: Slot) -> None:
        """Volumes and a sandbox: both at once where nothing that the volumes show is missing. Raises StartError."""
        if attempt:
            text = "Pod sandbox changed, it will be killed and re-created."
            self._context.emit(pod, "Normal", "SandboxChanged", text)
            await self._stopper.pod(pod, 0, now=True)
        await self._context.sources.ready(self.uid)
        mounting = asyncio.ensure_future(self._starter.mount(pod))
        if not self._context.sources.complete(self.uid):
            self._volumes = await mounting
        try:
            await self._starter.sandbox(pod, attempt, slot)
        finally:
            await asyncio.wait({mounting})
            if not mounting.cancelled():
                mounting.exception()  # told of below, or less important than the sandbox's
        self._volumes = mounting.result()

    async def _start_one(self, pod: Obj, item: Start, slot: Slot) -> float | None:
        """Seconds after which to try again; None where it started."""
        sandbox, name = self._runtime().sandbox, item.spec["name"]
        if sandbox is None:
            return RUNTIME_RETRY_SECONDS
        if item.attempt:
            self._context.crashes.failed(f"{self.uid}/{name}", self._context.world.now())
        try:
            await self._starter.container(pod, item, self._volumes or {}, sandbox.id, self._ip(), slot)
        except StartError as error:
            last = self._runtime().latest(name)
            if last is None or last.attempt != item.attempt:
                self._waiting[name] = (error.reason, error.message)
            return error.retry
        self._waiting.pop(name, None)
        self.sizes.started(name)
        await self._forget_runs(name)
        return None

    async def _forget_runs(self, name: str) -> None:
        """All but the last two runs of a container leave no trace."""
        for run in self._runtime().containers.get(name, ())[2:]:
            with suppress(CriError):
                await self._context.cri.remove_container(run.id)
                self._context.cache.removed(self.uid, run.id)
            folder = self._context.config.pod_root(self.uid) / "containers" / name / str(run.attempt)
            folder.unlink(missing_ok=True)
            log_file = self._context.config.pod_logs(self.pod) / name / f"{run.attempt}.log"
            log_file.unlink(missing_ok=True)

    async def _kill(self, pod: Obj, run: Container, grace: int | None, message: str) -> None:
        if (
            run.state == CREATED
        ):  # the runtime, or we, ended between its creation and its start: there is nothing to stop
            await _absent(self._context.cri.remove_container(run.id))
            self._context.cache.removed(self.uid, run.id)
            return
        seconds = self._grace() if grace is None else grace
        await self._stopper.container(pod, run, seconds, message, self._ip())

    def _note_crash_loops(self, pod: Obj, decided: PodPlan) -> None:
        for name in [n for n, why in self._waiting.items() if why[0] == "CrashLoopBackOff"]:
            if name not in decided.waiting:
                del self._waiting[name]
        for name, reason in decided.waiting.items():
            delay = _duration(self._context.crashes.delay(f"{self.uid}/{name}"))
            message = f"back-off {delay} restarting failed container={name} pod={full_name(pod)}"
            self._waiting[name] = (reason, message)
            spec = pod["spec"]
            everything = [*spec["containers"], *(spec.get("initContainers") or [])]
            container = next(c for c in everything if c["name"] == name)
            text = f"Back-off restarting failed container {name} in pod {full_name(pod)}"
            self._context.emit(container_ref(pod, container), "Warning", "BackOff", text)

    # -- the end

    async def _terminate(self) -> float | None:
        pod = self._seen()
        if not self._ended:
            self._context.probes.sync(pod, self._runtime(), self._ip())
            self._publish()
            await self._stop_all(pod)
            self._ended = True
        self._publish()
        if not self.is_gone and not self._deleted:
            await asyncio.gather(self._context.writer.settled(self.uid), self._release())
            self._deleted = await self._context.writer.delete(pod)
            return REFRESH_SECONDS if self._deleted else RUNTIME_RETRY_SECONDS
        if not self.is_gone:
            return REFRESH_SECONDS
        await self._release()
        await self._remove(pod)
        return None

    async def _stop_all(self, pod: Obj) -> None:
        """Stops everything in the pod's grace period; sooner where that is shortened meanwhile."""
        grace = self._grace()
        work = asyncio.ensure_future(self._stopper.pod(pod, grace))
        try:
            while not work.done():
                woken = asyncio.ensure_future(self._wake.wait())
                await asyncio.wait({work, woken}, return_when=asyncio.FIRST_COMPLETED)
                woken.cancel()
                if work.done():
                    break
                self._wake.clear()
                self._publish()
                if (shorter := self._grace()) < grace:
                    grace = shorter
                    work.cancel()
                    await asyncio.wait({work})
                    work = asyncio.ensure_future(self._stopper.pod(pod, grace))
            work.result()
        finally:
            work.cancel()

    def _grace(self) -> int:
        if self._shortened is not None:
            return max(self._shortened, 1)
        meta, spec = self.pod["metadata"], self.pod["spec"]
        seconds = meta.get("deletionGracePeriodSeconds")
        if seconds is None or (self.is_gone and not seconds):
            seconds = spec.get("terminationGracePeriodSeconds")
        return max(30 if seconds is None else seconds, 1)

    async def _release(self) -> None:
        """Gives back volumes and cgroup; the containers' remains and logs stay for those who ask."""
        if self._released:
            return
        self._context.probes.forget(self.uid)
        await self._context.volumes.unmount(self.uid)
        if self._context.claims is not None:
            await self._context.claims.unprepare(self.uid)
        self._context.cgroups.remove(self.uid)
        self._volumes = None
        self._released = True

    async def _remove(self, pod: Obj) -> None:
        """Everything of the pod leaves the node."""
        context = self._context
        async with context.removals:
            runtime = self._runtime()
            for run in runtime.all():
                await _absent(context.cri.remove_container(run.id))
            for sandbox in runtime.sandboxes:
                await _absent(context.cri.remove_sandbox(sandbox.id))
        context.cgroups.remove(self.uid)
        context.cache.forget(self.uid)
        context.images.forget(self.uid)
        context.crashes.forget(f"{self.uid}/")
        context.sources.forget(self.uid)
        context.writer.forget(self.shown_as["metadata"]["uid"] if self.shown_as else self.uid)
        folders = [context.config.pod_root(self.uid), context.config.pod_logs(pod)]
        await asyncio.to_thread(lambda: [remove(folder) for folder in folders])

    # -- what others see

    def _ip(self) -> str:
        if self.pod["spec"].get("hostNetwork"):
            return self._context.config.node_ip
        sandbox = self._runtime().sandbox
        return sandbox.ips[0] if sandbox and sandbox.ips else ""

    def _publish(self) -> None:
        context, runtime = self._context, self._runtime()
        running = [run.id for run in runtime.all() if run.running]
        view = View(
            now=context.world.now(),
            host_ip=context.config.node_ip,
            ready=frozenset(id for id in running if context.probes.ready(id)),
            started=frozenset(id for id in running if context.probes.started(id)),
            waiting=self._waiting,
            failure=self._failure,
            disruption=self._disruption,
            actuated=self.sizes.actuated,
            resizing=self.sizes.conditions,
            devices=self._devices(),
            ended=self._ended,
        )
        self.status = pod_status(self._seen(), runtime, view)
        if self.shown_as and not self.is_gone:
            context.writer.set(self.shown_as, self.status)

    def _devices(self) -> dict[str, list[Obj]]:
        """How the devices of its containers are."""
        context, pod = self._context, self.pod
        found: dict[str, list[Obj]] = {}
        for container in pod["spec"]["containers"]:
            told = context.devices.status(self.uid, container["name"])
            if context.claims is not None:
                told += context.claims.status(pod, container)
            if told:
                found[container["name"]] = sorted(told, key=lambda one: one["name"])
        return found


async def _absent(removal: Any) -> None:
    try:
        await removal
    except CriError as error:
        if not error.not_found:
            raise


def _duration(seconds: float) -> str:
    """As Go prints it: 10s, 1m20s, 5m0s."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
