"""One decision about a group of pods: all of those that are enough, or none. Pure, on the cycle's arrays.

Pods are tried one after another, each seeing those before it where they would be; then everything is put back. Source:
pkg/scheduler/schedule_one_podgroup.go; plugins/topologyaware, podgrouppodscount; framework/preemption/podgrouppreemption.go.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from navarch.api.features import GANGS, TOPOLOGY
from navarch.machinery.types import Key
from navarch.scheduler.cycle import NO_NODES, Cycle, Decision
from navarch.scheduler.groups import Groups, least_of
from navarch.scheduler.nodes import CPU, MEMORY, Bools
from navarch.scheduler.plugins.interface import MAX_SCORE
from navarch.scheduler.podinfo import PodInfo
from navarch.scheduler.preemption import Preemption

UNSCHEDULABLE = "pod group is unschedulable"
WAITS = "waiting for minCount pods from a gang to be scheduled, one or more plugins asked to wait and no plugin rejected pod"
PREEMPTING = "pod group is waiting for preemption to complete"
NO_PLACEMENTS = "no feasible placements found"
BY_PLACEMENT = "not eligible due to placement-based pod group scheduling limitation"
AS_A_WHOLE = "not eligible due to workload aware preemption enabled"

Undo = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Edge:
    """What the decision asks of whoever acts on it."""

    reserve: Callable[[PodInfo, str], Undo]
    """Promises a pod's volumes and devices on a node."""
    preempt: Callable[[PodInfo], Preemption]
    after_filters: Callable[[PodInfo, Decision, Preemption], str]
    """What is said after why nodes are out."""


@dataclass(slots=True)
class Member:
    """What becomes of one pod. `decision.node` is where it would go, `preemption.candidate` where room has to be made."""

    info: PodInfo
    decision: Decision
    preemption: Preemption | None = None

    @property
    def node(self) -> str:
        """Where it counted as placed while the others were tried."""
        if self.decision.node or self.preemption is None or self.preemption.candidate is None:
            return self.decision.node
        return self.preemption.candidate.node


@dataclass(slots=True)
class GroupDecision:
    members: list[Member]
    """In the order in which they were tried; empty where they were not."""
    schedulable: bool = False
    preempting: bool = False
    """It would be schedulable once others have gone."""
    message: str = UNSCHEDULABLE
    """Why it is not."""
    victims: list[PodInfo] = field(default_factory=list[PodInfo])
    """Who has to go for the group as a whole."""


@dataclass(slots=True)
class GroupCycle:
    cycle: Cycle
    groups: Groups
    randomness: random.Random
    edge: Edge

    def decide(self, key: Key, pods: Sequence[PodInfo], post_filters: bool = True) -> GroupDecision:
        """`post_filters`: whether room is made for pods that do not fit (each by itself, where that is how it is made)."""
        if not self.groups.features.has(TOPOLOGY):
            return self._try(key, pods, None, post_filters)
        placements = self._placements(key, pods)
        if not placements:
            return GroupDecision([], message=NO_PLACEMENTS)
        results = [(within, self._try(key, pods, within, post_filters)) for within in placements]
        good = [(within, result) for within, result in results if result.schedulable or result.preempting]
        if not good:
            first = results[0][1]
            first.message = f"0/{len(placements)} placements are available, first placement status: {UNSCHEDULABLE}"
            return first
        return good[0][1] if len(good) == 1 else self._best(key, good)

    # -- one placement

    def _try(self, key: Key, pods: Sequence[PodInfo], within: Bools | None, post_filters: bool) -> GroupDecision:
        least = least_of(self.groups.objects.get(key)) if self.groups.features.has(GANGS) else 0
        scheduled, undone = self.groups.scheduled(key), list[Undo]()
        result, requires = GroupDecision([]), False
        try:
            for info in pods:
                member = self._member(key, info, within, post_filters)
                result.members.append(member)
                if not member.node:
                    continue
                undone.append(self._count(info, member.node))
                scheduled += 1
                requires = requires or not member.decision.node
                if scheduled >= least:
                    result.schedulable, result.preempting = not requires, requires
        finally:
            for undo in reversed(undone):
                undo()
        if result.preempting:
            result.message = f"{UNSCHEDULABLE}, {PREEMPTING}"
        return result

    def _member(self, key: Key, info: PodInfo, within: Bools | None, post_filters: bool) -> Member:
        decision = self.cycle.decide(info, within)
        if decision.node:
            return Member(info, decision)
        preemption = Preemption(looked=False)
        if post_filters and decision.message != NO_NODES:
            preemption = self._room(key, info)
        if preemption.candidate is None:
            decision.message += self.edge.after_filters(info, decision, preemption) if post_filters else ""
        return Member(info, decision, preemption)

    def _room(self, key: Key, info: PodInfo) -> Preemption:
        if self.groups.constraints_of(key) is not None:
            return Preemption(None, BY_PLACEMENT, looked=False)
        if self.groups.preempts_whole():
            return Preemption(None, AS_A_WHOLE, looked=False)
        return self.edge.preempt(info)

    def _count(self, info: PodInfo, node: str) -> Undo:
        """The pod counts there until it is undone."""
        release = self.edge.reserve(info, node)
        self.cycle.nodes.set_pod(info, node)

        def undo() -> None:
            self.cycle.nodes.remove_pod(info.key)
            release()

        return undo

    # -- placements

    def _placements(self, key: Key, pods: Sequence[PodInfo]) -> list[Bools]:
        """The domains that the group may be in; all nodes where it names none."""
        label, nodes = self.groups.topology_of(key), self.cycle.nodes
        if label is None:
            return [nodes.alive.copy()]
        topology = nodes.topology(label)
        domains = set(topology.ids[nodes.alive].tolist()) - {0}
        taken = {int(topology.ids[slot]) for slot in self._slots_of(key)}
        if taken:
            domains &= taken if len(taken) == 1 else set()
        return [nodes.alive & (topology.ids == domain) for domain in sorted(domains)]

    def _slots_of(self, key: Key) -> Iterator[int]:
        """Where pods of the group are already."""
        nodes = self.cycle.nodes
        for slot in range(nodes.size):
            for other in nodes.pods_on(slot):
                group = other.obj["spec"].get("schedulingGroup")
                if group and other.key.namespace == key.namespace and group.get("podGroupName") == key.name:
                    yield slot

    def _best(self, key: Key, found: Sequence[tuple[Bools, GroupDecision]]) -> GroupDecision:
        """Most pods, then fullest; of equals any."""
        placed = [sum(bool(m.node) for m in result.members) + self.groups.scheduled(key) for _, result in found]
        scores = [
            MAX_SCORE * number // max(placed) + self._fullness(within, result)
            for number, (within, result) in zip(placed, found, strict=True)
        ]
        best = [result for score, (_, result) in zip(scores, found, strict=True) if score == max(scores)]
        return best[self.randomness.randrange(len(best))]

    def _fullness(self, within: Bools, result: GroupDecision) -> int:
        nodes, total, resources = self.cycle.nodes, 0, 0
        for index, resource in enumerate((CPU, MEMORY)):
            room = int(nodes.capacity(resource)[within].sum())
            if room:
                asked = int(nodes.scored[index][within].sum())
                asked += sum(member.info.scored[index] for member in result.members if member.node)
                total, resources = total + min(asked, room) * MAX_SCORE // room, resources + 1
        return total // resources if resources else 0
