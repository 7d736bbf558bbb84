"""Preemption for a group as a whole (KEP-5710): who has to go, anywhere in the cluster, so that all of it fits. Pure.

Source: framework/preemption/podgrouppreemption.go and types.go.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from navarch.machinery.types import Key, Obj
from navarch.scheduler.groupcycle import GroupCycle, GroupDecision
from navarch.scheduler.groups import Groups, group_of
from navarch.scheduler.podinfo import PodInfo
from navarch.scheduler.preemption import by_budget, started

NEVER = "not eligible due to preemptionPolicy=Never."
NOBODY = "No preemption victims found for incoming preemptor"
CONSTRAINED = "workload aware preemption is not supported for pod groups with scheduling constraints"


@dataclass(slots=True)
class _Unit:
    """Pods that go together or not at all, and their nodes."""

    pods: list[tuple[PodInfo, str]]
    priority: int

    def order(self, now: str) -> tuple[object, ...]:
        """The most important first."""
        is_group = group_of(self.pods[0][0].obj) is not None
        size = -len(self.pods) if is_group else 0
        return -self.priority, not is_group, size, min(started(info.obj, now) for info, _ in self.pods)


def make_room(on: GroupCycle, key: Key, pods: Sequence[PodInfo], decision: GroupDecision, now: str) -> None:
    """Adds to the decision who has to go, or why nobody does."""
    if on.groups.topology_of(key) is not None:
        why = CONSTRAINED
    elif any(not info.preempts for info in pods):
        why = NEVER
    else:
        why = _select(on, key, pods, decision, now)
    if why:
        decision.message += f", {why}"
    else:
        decision.preempting = True


def _select(on: GroupCycle, key: Key, pods: Sequence[PodInfo], decision: GroupDecision, now: str) -> str:
    nodes = on.cycle.nodes
    priority = priority_of(on.groups.objects.get(key))
    units = [unit for unit in _units(on) if unit.priority < priority]
    if not units:
        return NOBODY
    _remove(on, units)
    left = list(units)
    try:
        result = on.decide(key, pods, post_filters=False)
        if not result.schedulable:
            return result.message
        units.sort(key=lambda unit: unit.order(now))
        for unit in _protected_first(on, units):
            _add(on, unit)
            left.remove(unit)
            if not on.decide(key, pods, post_filters=False).schedulable:
                _remove(on, [unit])
                left.append(unit)
        decision.victims = [info for unit in units if unit in left for info, _ in unit.pods]
    finally:
        for unit in left:
            for info, node in unit.pods:
                nodes.set_pod(info, node)
    return ""


def priority_of(group: Obj | None) -> int:
    return ((group or {}).get("spec") or {}).get("priority") or 0


def _units(on: GroupCycle) -> list[_Unit]:
    nodes, found, together = on.cycle.nodes, list[_Unit](), dict[Key, _Unit]()
    for slot in range(nodes.size):
        for info in nodes.pods_on(slot):
            group, place = _whole(on.groups, info), (info, nodes.names[slot])
            if group is None:
                found.append(_Unit([place], info.priority))
            elif (unit := together.get(group)) is not None:
                unit.pods.append(place)
            else:
                found.append(unit := _Unit([place], priority_of(on.groups.objects.get(group))))
                together[group] = unit
    return found


def _whole(groups: Groups, info: PodInfo) -> Key | None:
    """The group with which a pod goes."""
    key = group_of(info.obj)
    group = groups.objects.get(key) if key else None
    return key if group is not None and group["spec"].get("disruptionMode") == "PodGroup" else None


def _protected_first(on: GroupCycle, units: Sequence[_Unit]) -> list[_Unit]:
    """Those that a disruption budget protects are spared first."""
    violating, _ = by_budget(on.cycle, [info for unit in units for info, _ in unit.pods])
    protected = {info.uid for info in violating}
    return sorted(units, key=lambda unit: all(info.uid not in protected for info, _ in unit.pods))


def _remove(on: GroupCycle, units: Sequence[_Unit]) -> None:
    for unit in units:
        for info, _ in unit.pods:
            on.cycle.nodes.remove_pod(info.key)


def _add(on: GroupCycle, unit: _Unit) -> None:
    for info, node in unit.pods:
        on.cycle.nodes.set_pod(info, node)
