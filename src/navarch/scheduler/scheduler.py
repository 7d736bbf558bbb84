"""The scheduler's edge: takes pods from the queue, runs the cycle, binds, makes room, and says what happened."""

from __future__ import annotations

import asyncio
import logging
import random
import socket
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from typing import Any

from navarch.api.features import NONE, WORKLOADS, Features
from navarch.client import resources
from navarch.client.informer import InformerFactory
from navarch.client.interface import Client
from navarch.controlloop.recorder import Recorder
from navarch.machinery.clock import Timer, World, rfc3339, work_clock
from navarch.machinery.errors import StatusError
from navarch.machinery.types import Key, Obj, key_of
from navarch.scheduler.consulting import Consultation
from navarch.scheduler.cycle import NO_NODES, Cycle, Decision
from navarch.scheduler.devicebinding import ClaimBinder, waits
from navarch.scheduler.devices.extended import is_for_extended
from navarch.scheduler.devices.state import Given
from navarch.scheduler.extenders import Extender, ExtenderFailed
from navarch.scheduler.groupcycle import Edge
from navarch.scheduler.hints import DEVICE, VOLUME, Happening, may_help
from navarch.scheduler.plugins.dynamicresources import claims_of, given_on, in_the_way
from navarch.scheduler.plugins.interface import PluginFailed
from navarch.scheduler.plugins.volumes import VolumeBinding
from navarch.scheduler.podinfo import PodInfo
from navarch.scheduler.preemption import Preemption, Preemptor
from navarch.scheduler.profiles import SchedulerConfig
from navarch.scheduler.queue import SchedulingQueue
from navarch.scheduler.registry import DEVICES
from navarch.scheduler.storage import Choice
from navarch.scheduler.telling import told_of
from navarch.scheduler.together import Hands, Together
from navarch.scheduler.volumebinding import NotBound, VolumeBinder
from navarch.scheduler.watching import Cluster, Watching
from navarch.scheduler.writing import FAILURES, Writer

log = logging.getLogger(__name__)

SLICE_SECONDS = 0.004
"""How long cycles run before the event loop gets its turn."""
MAX_BINDING = 128
"""Bindings under way at once."""
DECISIONS_KEPT = 5000


class Scheduler:
    def __init__(
        self, client: Client, world: World, config: SchedulerConfig | None = None, features: Features = NONE
    ) -> None:
        self._config = config or SchedulerConfig()
        self._world = world
        self._informers = InformerFactory(client, world)
        self._pods = self._informers[resources.PODS]
        self.cluster = Cluster.empty()
        self._watching = Watching(self._informers, self.cluster, self._happened, self._unscheduled)
        self._volumes = VolumeBinder(client, world, self.cluster.around.storage, self._config.bind_timeout)
        self._extenders = [Extender(extender) for extender in self._config.extenders]
        self._consulting = False
        """Extenders are being asked about a pod: nobody else is scheduled meanwhile."""
        self._claims = ClaimBinder(client, world, self.cluster.around.devices, self._config.device_timeout)
        self._held: dict[Key, Obj] = {}
        """Pods that wait for claims for devices to be made: nobody looks at them before."""
        self._recorders: dict[str, Recorder] = {}
        self._writers: dict[str, Writer] = {}
        self._cycles: dict[str, Cycle] = {}
        self._preemptors: dict[str, Preemptor] = {}
        self._profiles = {profile.name: profile for profile in self._config.profiles}
        for name in self._profiles:
            self._add_profile(name, client, world.random())
        self._queue = SchedulingQueue(self._config.first_backoff, self._config.max_backoff)
        self._happenings: list[Happening] = []
        self._assumed: dict[Key, str] = {}
        """Pods whose binding is under way -> their uid."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._patient: set[asyncio.Task[None]] = set()
        """Work that waits for others: volumes to be made. It does not count among the bindings under way."""
        self._scheduled = False
        self._timer: Timer | None = None
        self._decisions: OrderedDict[Key, Decision] = OrderedDict()
        self.running = False
        self._together: Together | None = None
        """Pod groups, where there are any."""
        if features.has(WORKLOADS):
            self._informers.informer(resources.POD_GROUPS)
            self._together = self._with_groups(features)

    def _with_groups(self, features: Features) -> Together:
        groups = self.cluster.groups
        groups.features, groups.names = features, frozenset(self._cycles)
        hands = Hands(
            Edge(self._reserve, self._preempt_now, self._after_filters),
            self._assume,
            self._report,
            self._start,
            self._remember,
            self._wake,
        )
        nominations, world = self.cluster.nominations, self._world
        return Together(groups, self._queue, self._cycles, self._writers, nominations, world, hands)

    def _add_profile(self, name: str, client: Client, randomness: random.Random) -> None:
        profile = self._profiles[name]
        cluster = self.cluster
        cycle = Cycle(cluster.nodes, randomness, profile.plugins(), cluster.around, cluster.nominations)
        self._cycles[name] = cycle
        if profile.preempts:
            self._preemptors[name] = Preemptor(
                cycle, randomness, profile.least_candidates_percent, profile.least_candidates
            )
        self._recorders[name] = Recorder(client, self._world, name, socket.gethostname(), in_series=True)
        self._writers[name] = Writer(client, self._world, self._recorders[name])

    async def start(self) -> None:
        """Returns when the caches are complete and scheduling has begun."""
        self._informers.start()
        await self._informers.wait_synced()
        self.running = True
        if self._together is not None:
            self._together.begin(self._informers[resources.POD_GROUPS], self._pods)
        self._watching.begin()

    async def stop(self) -> None:
        self.running = False
        if self._timer:
            self._timer.cancel()
        tasks = [*self._tasks, *self._patient]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for recorder in self._recorders.values():
            await recorder.stop()
        for extender in self._extenders:
            extender.close()
        await self._informers.stop()

    # -- what changes

    def _happened(self, happening: Happening) -> None:
        self._happenings.append(happening)
        if happening.what == VOLUME:
            self._volumes.something_changed()
        if happening.what == DEVICE:
            self._claims.something_changed()
            for pod in list(self._held.values()):
                self._unscheduled(None, pod)
        self._wake()

    def _unscheduled(self, old: Obj | None, new: Obj | None) -> None:
        """A pod without a node; `new` is None where it has got one or is gone."""
        if new is None:
            if old is None:
                return
            key = key_of(old)
            self._queue.remove(key)
            self._assumed.pop(key, None)
            self._held.pop(key, None)
            self.cluster.groups.release(old)
            return
        key = key_of(new)
        if key in self._assumed:
            return
        was_held = self._held.pop(key, None) is not None
        if not self._is_ours(new) or self._is_held(key, new):
            self._queue.remove(key)
            return
        info = PodInfo.of(new)
        if info.nominated != (old or {}).get("status", {}).get("nominatedNodeName", ""):
            self.cluster.nominations.set(info, info.nominated)
        if old is not None and not was_held and _wants(old) == _wants(new):
            self._queue.refresh(info)
            return
        if self._together is not None and self._together.holds(info):
            return
        self._queue.add(info, self._world.now())
        self._wake()

    def _is_ours(self, pod: Obj) -> bool:
        spec = pod["spec"]
        return (
            spec.get("schedulerName", "") in self._cycles
            and not spec.get("schedulingGates")
            and "deletionTimestamp" not in pod["metadata"]
        )

    def _is_held(self, key: Key, pod: Obj) -> bool:
        if not pod["spec"].get("resourceClaims") or isinstance(claims_of(pod, self.cluster.around.devices), list):
            return False
        self._held[key] = pod
        return True

    # -- scheduling

    def _wake(self) -> None:
        if not self._scheduled and self.running:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._run_slice)

    def _run_slice(self) -> None:
        """Cycles until the slice is over, too many bindings are under way, or nothing is left to try."""
        self._scheduled = False
        if not self.running:
            return
        if self._timer:
            self._timer.cancel()
            self._timer = None
        clock = work_clock()
        ends = clock() + SLICE_SECONDS
        now = self._world.now()
        if self._happenings:
            happenings, self._happenings = self._happenings, []
            self._queue.happened(happenings, now, may_help)
        self._queue.flush(now)
        while len(self._tasks) < MAX_BINDING and not self._consulting:
            info = self._queue.pop(now)
            if info is None:
                self._sleep(now)
                return
            self._schedule(info, now)
            if clock() > ends:
                self._wake()
                return

    def _sleep(self, now: float) -> None:
        wake = self._queue.next_wake()
        if wake is not None:
            self._timer = self._world.call_later(max(wake - now, 0.0), self._wake)

    def _schedule(self, info: PodInfo, now: float) -> None:
        if self._together is not None and self._together.schedule(info, now):
            return
        if any(extender.is_interested(info) for extender in self._extenders):
            self._consulting = True
            self._start(self._consult(info, now))
            return
        try:
            decision = self._cycles[info.scheduler].decide(info)
        except PluginFailed as error:
            self._broken(info, str(error))
            return
        self._remember(info, decision)
        if decision.node:
            self._assume(info, decision)
        else:
            self._failed(info, decision, self._preempt(info, now), now)

    def _broken(self, info: PodInfo, why: str) -> None:
        """Something is wrong that waiting for the cluster to change need not help: the pod is tried again by itself."""
        decision = Decision(message=why)
        self._remember(info, decision)
        self._queue.failed(info.key, self._world.now(), at_once=True)
        self._start(self._report(info, decision, None, "SchedulerError"))

    def _remember(self, info: PodInfo, decision: Decision) -> None:
        self._decisions[info.key] = decision
        if len(self._decisions) > DECISIONS_KEPT:
            self._decisions.popitem(last=False)

    async def _consult(self, info: PodInfo, now: float) -> None:
        """Schedules a pod in which extenders have a say."""
        cycle, preemptor = self._cycles[info.scheduler], self._preemptors.get(info.scheduler)
        consultation = Consultation(cycle, self._extenders, info, self._world.random())
        try:
            decision = await consultation.decide()
            self._remember(info, decision)
            if decision.node:
                self._assume(info, decision)
            else:
                found = Preemption(looked=False)
                if preemptor is not None and len(self.cluster.nodes):
                    found = await consultation.preempt(preemptor, rfc3339(now))
                self._failed(info, decision, found, now)
        except (ExtenderFailed, PluginFailed) as error:
            self._broken(info, str(error))
        finally:
            self._consulting = False
            self._wake()

    def _assume(self, info: PodInfo, decision: Decision) -> None:
        """The pod counts as placed from now on; its volumes and devices are promised."""
        choice, given = self._promised(info, decision.node)
        if isinstance(choice, str):
            log.warning("claims of %s: %s", info.key, choice)
            self._queue.failed(info.key, self._world.now(), at_once=True)
            return
        self._assumed[info.key] = info.uid
        self.cluster.nominations.remove(info.uid)
        self.cluster.nodes.set_pod(info, decision.node)
        self.cluster.groups.assume(info, True)
        self._start(self._bind(info, decision, choice, given), patient=bool(choice) or waits(given))

    def _promised(self, info: PodInfo, name: str) -> tuple[Choice | str, list[Given]]:
        """What becomes of a pod's claims on its node, marked as taken; or why that is no longer possible."""
        around, slot = self.cluster.around, self.cluster.nodes.slot(name)
        node = self.cluster.nodes.objects[slot] if slot is not None else None
        devices = bool(info.obj["spec"].get("resourceClaims")) or bool(around.devices.backed(info.requests))
        if not info.claims and not devices:
            return Choice(), []
        if node is None:
            return "the node is gone", []
        choice = VolumeBinding.choose(info, around.storage, node) if info.claims else Choice()
        given = given_on(info, around.devices, node, self._world.uid) if devices else []
        if isinstance(choice, str) or isinstance(given, str):
            return choice if isinstance(choice, str) else str(given), []
        around.storage.promise(choice, name)
        for claim, allocation, _ in given:
            if allocation is not None:
                around.devices.promise(claim, allocation)
        return choice, given

    def _reserve(self, info: PodInfo, node: str) -> Callable[[], None]:
        """Promises what a pod would get there, until what is returned is called."""
        choice, given = self._promised(info, node)
        return lambda: self._forget(choice if isinstance(choice, Choice) else Choice(), given)

    def _forget(self, choice: Choice, given: list[Given]) -> None:
        if choice:
            self.cluster.around.storage.forget(choice)
        for claim, _, _ in given:
            self.cluster.around.devices.forget(claim)

    def _failed(self, info: PodInfo, decision: Decision, preemption: Preemption, now: float) -> None:
        """It fits nowhere: room is made for it where that is possible; until then it waits."""
        if preemption.candidate is None:
            decision.message += self._after_filters(info, decision, preemption)
            if preemption.looked:
                self.cluster.nominations.remove(info.uid)
            self._queue.failed(info.key, now, decision.plugins)
            self._start(self._report(info, decision, "" if preemption.looked else None))
            return
        self.cluster.nominations.set(info, preemption.candidate.node)
        self._queue.hold(info.key, decision.plugins)
        self._start(self._make_room(info, decision, preemption))

    def _after_filters(self, info: PodInfo, decision: Decision, preemption: Preemption) -> str:
        """What plugins say that come after those that filter. That of device claims has nothing to go by where a pod was
        rejected before they were looked at, and ends what others would have said: so upstream says "not found"."""
        profile = self._profiles[info.scheduler]
        if decision.message == NO_NODES:
            return ""
        if decision.rejected and profile.deallocates and DEVICES not in decision.plugins:
            return " not found"
        said = [self._deallocated(info, decision)] if profile.deallocates else []
        if preemption.message:
            said.append(f"preemption: {preemption.message}")
        return f" {', '.join(said)}" if said else ""

    def _deallocated(self, info: PodInfo, decision: Decision) -> str:
        """A claim that nobody else uses, and that keeps the pod from nodes where it could go, is given back."""
        backed = self.cluster.around.devices.backed(info.requests)
        if not (info.obj["spec"].get("resourceClaims") or backed) or decision.rejected:
            return "no new claims to deallocate"
        claim = in_the_way(info, self.cluster.around.devices) if DEVICES in decision.plugins else None
        if claim is None:
            return "still not schedulable"
        if is_for_extended(claim):
            self._start(self._claims.remove(claim))
            return "deletion of ResourceClaim completed"
        self._start(self._claims.free(claim))
        return "deallocation of ResourceClaim completed"

    def _preempt(self, info: PodInfo, now: float) -> Preemption:
        preemptor = self._preemptors.get(info.scheduler)
        if preemptor is None or not len(self.cluster.nodes):
            return Preemption(looked=False)
        return preemptor.preempt(info, preemptor.cycle.verdict(info), rfc3339(now))

    def _preempt_now(self, info: PodInfo) -> Preemption:
        return self._preempt(info, self._world.now())

    def _start(self, work: Coroutine[Any, Any, None], patient: bool = False) -> None:
        task = asyncio.get_running_loop().create_task(work)
        (self._patient if patient else self._tasks).add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._patient.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("scheduling: %s", error, exc_info=error)
        if len(self._tasks) == MAX_BINDING - 1:
            self._wake()

    # -- what comes of it

    async def _bind(self, info: PodInfo, decision: Decision, choice: Choice, given: list[Given]) -> None:
        written: list[Obj] = []
        try:
            if choice:
                await self._volumes.bind(choice, decision.node)
            await self._claims.bind(info, given, written, lambda: self._devices_pending(info, decision.node))
            await self._bind_pod(info, decision.node)
        except (*FAILURES, NotBound, ExtenderFailed) as error:
            await self._claims.release(info, written)
            self._unassume(info, error)
        finally:
            self._forget(choice, given)

    def _devices_pending(self, info: PodInfo, node: str) -> None:
        message = f"waiting for binding conditions for device on node {node}"
        self._recorders[info.scheduler].emit(info.obj, "Normal", "BindingConditionsPending", message, "Scheduling")

    async def _bind_pod(self, info: PodInfo, node: str) -> None:
        writer = self._writers[info.scheduler]
        for extender in self._extenders:
            if extender.config.bind_verb and extender.is_interested(info):
                try:
                    await extender.bind(info, node)
                    writer.bound(info, node)
                    return
                except ExtenderFailed as error:
                    if not extender.config.ignorable:
                        raise
                    log.info("extender %s: %s", extender.config.url, error)
        await writer.bind(info, node)

    def _unassume(self, info: PodInfo, error: Exception) -> None:
        """The binding failed: the node is as free as before, and the pod waits again unless it is gone."""
        self.cluster.groups.assume(info, False)
        if self._assumed.pop(info.key, None):
            self.cluster.nodes.remove_pod(info.key)
            self._happened(Happening("pod", info.obj, None))
        if isinstance(error, StatusError) and error.code in (404, 409):
            log.info("binding %s: %s", info.key, error)
        else:
            log.warning("binding %s: %s", info.key, error)
        if isinstance(error, NotBound):
            decision = Decision(message=f'running PreBind plugin "{error.plugin}": {error}')
            self._start(self._report(info, decision, None, "SchedulerError"))
        self._queue.failed(info.key, self._world.now(), at_once=True)
        self._wake()

    async def _report(
        self, info: PodInfo, decision: Decision, nominated: str | None, reason: str = "Unschedulable"
    ) -> None:
        pod = self._pods.get(info.key.namespace, info.key.name)
        if pod is None or pod["metadata"].get("uid") != info.uid or pod["spec"].get("nodeName"):
            return
        await self._writers[info.scheduler].unschedulable(pod, decision.message, nominated, reason)

    async def _make_room(self, info: PodInfo, decision: Decision, preemption: Preemption) -> None:
        """Victims are told to go; the pod is tried again when they have gone."""
        candidate = preemption.candidate
        assert candidate
        writer = self._writers[info.scheduler]
        await self._report(info, decision, candidate.node)
        for other in self.cluster.nominations.on(candidate.node):
            if other.priority < info.priority:
                self.cluster.nominations.remove(other.uid)
                await writer.clear_nomination(other.obj)
                self._queue.activate(other.key)
        done = await writer.evict(info, candidate.victims, candidate.node)
        self._queue.failed(info.key, self._world.now(), decision.plugins, at_once=not done)
        self._wake()

    # -- saying why

    def why(self, namespace: str, name: str) -> dict[str, Any] | None:
        """The last decision about a pod, and the nodes as they look to it now; None for a pod that is not known."""
        pod = self._pods.get(namespace, name)
        if pod is None:
            return None
        info = PodInfo.of(pod)
        cycle = self._cycles.get(info.scheduler) or next(iter(self._cycles.values()))
        return told_of(info, self._decisions.get(info.key), cycle, self.cluster.groups)


def _wants(pod: Obj) -> tuple[Any, ...]:
    """What of a waiting pod could change whether it fits."""
    spec, meta = pod["spec"], pod["metadata"]
    return meta.get("uid"), spec, meta.get("labels"), meta.get("deletionTimestamp")
