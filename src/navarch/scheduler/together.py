"""The scheduler's edge for pod groups: who is tried together, and what comes of a decision about them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from navarch.client.informer import Informer
from navarch.machinery.clock import World, rfc3339
from navarch.machinery.types import Key, Obj, key_of
from navarch.scheduler.cycle import Cycle, Decision
from navarch.scheduler.groupcycle import UNSCHEDULABLE, WAITS, Edge, GroupCycle, GroupDecision, Member
from navarch.scheduler.grouppreemption import make_room
from navarch.scheduler.groups import Groups, group_of
from navarch.scheduler.nominations import Nominations
from navarch.scheduler.plugins.interface import PluginFailed
from navarch.scheduler.podinfo import PodInfo
from navarch.scheduler.preemption import Candidate
from navarch.scheduler.queue import SchedulingQueue
from navarch.scheduler.writing import Writer

Report = Callable[[PodInfo, Decision, "str | None", str], Coroutine[Any, Any, None]]
"""Pod, decision, its nominated node (None: as it is), and the reason of its condition."""


@dataclass(frozen=True, slots=True)
class Hands:
    """What the scheduler does for one pod, and is done for each of a group."""

    edge: Edge
    assume: Callable[[PodInfo, Decision], None]
    report: Report
    start: Callable[[Coroutine[Any, Any, None]], None]
    remember: Callable[[PodInfo, Decision], None]
    wake: Callable[[], None]


class Together:
    def __init__(
        self,
        groups: Groups,
        queue: SchedulingQueue,
        cycles: Mapping[str, Cycle],
        writers: Mapping[str, Writer],
        nominations: Nominations,
        world: World,
        hands: Hands,
    ) -> None:
        self.groups = groups
        self._queue = queue
        self._cycles = cycles
        self._writers = writers
        self._nominations = nominations
        self._world = world
        self._hands = hands

    def begin(self, groups: Informer, pods: Informer) -> None:
        """Takes PodGroups and pods in, from now on."""
        groups.add_handler(self._group_changed)
        pods.add_handler(self._pod_changed)

    # -- who is tried

    def _pod_changed(self, old: Obj | None, new: Obj | None) -> None:
        if new is None or (new.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
            gone = new or old
            assert gone
            self.groups.drop(gone)
        elif (key := self.groups.put(new)) is not None:
            self.completed(key)

    def _group_changed(self, old: Obj | None, new: Obj | None) -> None:
        key = key_of(new or old or {})
        if new is None:
            self.groups.objects.pop(key, None)
            return
        self.groups.objects[key] = new
        if old is None:
            self.completed(key)

    def completed(self, key: Key) -> None:
        """Something came that pods of a group may have waited for."""
        for info in self.groups.complete(key):
            self._queue.add(info, self._world.now())
            self._hands.wake()

    def holds(self, info: PodInfo) -> bool:
        """Whether a pod waits for its group; it is kept until that is complete."""
        if not self.groups.waits_for(info):
            return False
        self._queue.remove(info.key)
        self.groups.hold(info)
        return True

    def schedule(self, first: PodInfo, now: float) -> bool:
        """Tries a pod with all others of its group that wait; False where it is of none."""
        key = self.groups.key_of(first)
        if key is None:
            return False
        if self.holds(first):
            return True
        pods = [first, *self._queue.take(lambda info: group_of(info.obj) == key, now)]
        pods.sort(key=lambda info: (-info.priority, self._queue.since(info.key)))
        names = list(dict.fromkeys(info.scheduler for info in pods))
        if len(names) > 1:
            self._differ(pods, names)
            return True
        self._decide(key, pods, now)
        return True

    def _decide(self, key: Key, pods: list[PodInfo], now: float) -> None:
        cycle = self._cycles[pods[0].scheduler]
        on = GroupCycle(cycle, self.groups, cycle.randomness, self._hands.edge)
        try:
            decision = on.decide(key, pods)
            if not decision.schedulable and not decision.preempting and self.groups.preempts_whole():
                make_room(on, key, pods, decision, rfc3339(now))
        except PluginFailed as error:
            message = f"failed to schedule other pod from a pod group: {error}"
            self._broken(pods, message)
            if (group := self.groups.objects.get(key)) is not None:
                writer = self._writers[pods[0].scheduler]
                self._hands.start(writer.group_scheduled(group, "False", "SchedulerError", message))
            return
        self._apply(key, pods, decision)

    def _differ(self, pods: list[PodInfo], names: list[str]) -> None:
        why = "all pods in a single pod group should have the same .spec.schedulerName set, got: "
        self._broken(pods, f'{why}"{names[1]}" and "{names[0]}"')

    def _broken(self, pods: list[PodInfo], message: str) -> None:
        """Something is wrong that waiting for the cluster to change need not help."""
        for info in pods:
            self._hands.start(self._hands.report(info, Decision(message=message), "", "SchedulerError"))
            self._queue.failed(info.key, self._world.now(), at_once=True)

    # -- what comes of it

    def _apply(self, key: Key, pods: list[PodInfo], decision: GroupDecision) -> None:
        members = decision.members or [Member(info, Decision(message=decision.message)) for info in pods]
        for member in members:
            if decision.schedulable and member.decision.node:
                self._hands.remember(member.info, member.decision)
                self._hands.assume(member.info, member.decision)
            else:
                self._failed(member, decision)
        writer = self._writers[pods[0].scheduler]
        group = self.groups.objects.get(key)
        if group is not None:
            if decision.schedulable:
                self._hands.start(writer.group_scheduled(group, "True", "Scheduled", ""))
            else:
                self._hands.start(writer.group_scheduled(group, "False", "Unschedulable", decision.message))
        self._hands.start(self._make_room(writer, pods, members, decision, group))

    def _failed(self, member: Member, decision: GroupDecision) -> None:
        """What is said of a pod that stays without a node; where it goes once others have gone is kept for it."""
        info, said, nominated = member.info, member.decision, self._kept(member)
        if member.node and not decision.preempting:
            said, nominated = Decision(message=f"{UNSCHEDULABLE}, {WAITS}"), ""
        elif said.node:
            said, nominated = Decision(message=decision.message), said.node
        if nominated is not None:
            self._nominations.set(info, nominated)
        self._hands.remember(info, said)
        self._hands.start(self._hands.report(info, said, nominated, "Unschedulable"))

    @staticmethod
    def _kept(member: Member) -> str | None:
        if member.preemption is None:
            return ""
        if member.preemption.candidate is not None:
            return member.preemption.candidate.node
        return "" if member.preemption.looked else None

    async def _make_room(
        self, writer: Writer, pods: list[PodInfo], members: list[Member], decision: GroupDecision, group: Obj | None
    ) -> None:
        """Victims are told to go; then the pods wait out their time: nothing else tells when to try a group again."""
        for member in members:
            candidate: Candidate | None = member.preemption.candidate if member.preemption else None
            if candidate is not None:
                await writer.evict(member.info, candidate.victims, candidate.node)
        if decision.victims:
            await writer.evict(pods[0], decision.victims, "cluster", group)
        for member in members:
            if not (decision.schedulable and member.decision.node):
                self._queue.failed(member.info.key, self._world.now(), at_once=True)
        self._hands.wake()
