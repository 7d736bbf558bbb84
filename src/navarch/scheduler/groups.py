"""Pod groups as the scheduler sees them: their objects, who is of them, and who of those waits or has a node. Pure.

Source: KEP-4671; pkg/scheduler/backend/cache/podgroupstate.go, plugins/gangscheduling.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from navarch.api.features import GANGS, NONE, TOPOLOGY, WORKLOADS, Features
from navarch.api.features import PREEMPTION as PREEMPTS
from navarch.machinery.types import Key, Obj, key_of
from navarch.scheduler.podinfo import PodInfo


@dataclass(slots=True)
class Groups:
    """`names`: of the profiles, whose pods without a node count."""

    features: Features = NONE
    names: frozenset[str] = frozenset()
    objects: dict[Key, Obj] = field(default_factory=dict[Key, Obj])
    """The PodGroups."""
    _members: dict[Key, dict[str, bool]] = field(default_factory=dict[Key, dict[str, bool]])
    """Group -> uid of a pod -> whether it has a node."""
    _held: dict[Key, dict[Key, PodInfo]] = field(default_factory=dict[Key, dict[Key, PodInfo]])
    """Group -> the pods that are not tried before it is complete."""

    def key_of(self, info: PodInfo) -> Key | None:
        """The group that a pod is tried with."""
        return group_of(info.obj) if self.features.has(WORKLOADS) else None

    # -- who is of them

    def put(self, pod: Obj) -> Key | None:
        """A pod as it is now; the group that it has just become a member of."""
        key = group_of(pod)
        if key is None:
            return None
        spec, uid = pod["spec"], pod["metadata"].get("uid", "")
        has_node = bool(spec.get("nodeName"))
        members = self._members.setdefault(key, {})
        if not has_node and spec.get("schedulerName", "") not in self.names:
            return None
        new = uid not in members
        members[uid] = has_node or members.get(uid, False)
        return key if new else None

    def drop(self, pod: Obj) -> None:
        if (key := group_of(pod)) is None:
            return
        members = self._members.get(key, {})
        members.pop(pod["metadata"].get("uid", ""), None)
        if not members:
            self._members.pop(key, None)

    def assume(self, info: PodInfo, has_node: bool) -> None:
        """A pod of a group gets a node, or not after all."""
        members = self._members.get(group_of(info.obj) or info.key)
        if members is not None and info.uid in members:
            members[info.uid] = has_node

    def count(self, key: Key) -> int:
        return len(self._members.get(key, ()))

    def scheduled(self, key: Key) -> int:
        return sum(self._members.get(key, {}).values())

    # -- waiting for it to be complete

    def waits_for(self, info: PodInfo) -> str:
        """Why a pod is not tried yet; "" where it is."""
        key = self.key_of(info)
        if key is None or not self.features.has(GANGS):
            return ""
        group = self.objects.get(key)
        if group is None:
            return f'waiting for pods\'s pod group "{key.name}" to appear in scheduling queue'
        if self.count(key) < least_of(group):
            return "waiting for minCount pods from a gang to appear in scheduling queue"
        return ""

    def hold(self, info: PodInfo) -> None:
        key = group_of(info.obj)
        assert key is not None
        self._held.setdefault(key, {})[info.key] = info

    def release(self, pod: Obj) -> None:
        """It is not held any more, whatever becomes of it."""
        key = group_of(pod)
        held = self._held.get(key) if key else None
        if key and held and held.pop(key_of(pod), None) and not held:
            del self._held[key]

    def complete(self, key: Key) -> Iterator[PodInfo]:
        """Those that waited for a group, where it is complete now."""
        held = list(self._held.get(key, {}).values())
        for info in held:
            if not self.waits_for(info):
                self.release(info.obj)
                yield info

    def topology_of(self, key: Key) -> str | None:
        """The label whose value all pods of a group must share; None: they need not."""
        constraints = self.constraints_of(key)
        topology = (constraints or {}).get("topology") or ()
        return topology[0]["key"] if topology else None

    def constraints_of(self, key: Key) -> Obj | None:
        group = self.objects.get(key)
        return group["spec"].get("schedulingConstraints") if group and self.features.has(TOPOLOGY) else None

    def preempts_whole(self) -> bool:
        """Whether room is made for groups as a whole, not for each pod."""
        return self.features.has(PREEMPTS)


def group_of(pod: Obj) -> Key | None:
    group: Mapping[str, str] | None = pod["spec"].get("schedulingGroup")
    if group is None:
        return None
    return Key(pod["metadata"].get("namespace", ""), group.get("podGroupName", ""))


def least_of(group: Obj | None) -> int:
    """How many of a group have to be placed for any to be; 0 where that does not matter."""
    gang = ((group or {}).get("spec") or {}).get("schedulingPolicy", {}).get("gang")
    return gang.get("minCount") or 0 if gang is not None else 0
