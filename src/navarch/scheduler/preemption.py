"""Preemption: which pods have to go, and where, so that a more important one fits. Pure.

Source: framework/preemption/preemption.go and plugins/defaultpreemption.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from navarch.api.podspec.placement import ports_conflict
from navarch.machinery.types import Obj
from navarch.scheduler.cycle import Cycle
from navarch.scheduler.nodes import PODS
from navarch.scheduler.podinfo import PodInfo
from navarch.scheduler.verdict import Verdict, in_words

NO_VICTIMS = "No preemption victims found for incoming pod"
NOT_HELPFUL = "Preemption is not helpful for scheduling"
MORE_THAN_ANY_PRIORITY = 2**31
"""Added to each priority before they are summed: a node with more victims is never better for their being negative."""
BY_SCHEDULER = "PreemptionByScheduler"


@dataclass(slots=True)
class Candidate:
    node: str
    victims: list[PodInfo]
    """The most important first."""
    violations: int = 0
    """How many of them a disruption budget protects."""


@dataclass(slots=True)
class Preemption:
    """Where to make room; or `message`, why that is not done. `looked` is false where the pod may not preempt now."""

    candidate: Candidate | None = None
    message: str = ""
    looked: bool = True


@dataclass(slots=True)
class Preemptor:
    """`least_percent` and `least_absolute` bound how many candidates are compared (DefaultPreemptionArgs)."""

    cycle: Cycle
    randomness: random.Random
    least_percent: int = 10
    least_absolute: int = 100
    _reasons: dict[str, int] = field(default_factory=dict)

    def preempt(self, pod: PodInfo, verdict: Verdict, now: str) -> Preemption:
        """`now` (RFC 3339) counts as the start of pods that have not started."""
        reason = self._ineligible(pod, verdict)
        if reason:
            return Preemption(None, reason, looked=False)
        candidates = self.candidates(pod, verdict, now)
        if candidates:
            return Preemption(best_of(candidates, now))
        return Preemption(None, self._nothing_found())

    def _ineligible(self, pod: PodInfo, verdict: Verdict) -> str:
        if not pod.preempts:
            return "not eligible due to preemptionPolicy=Never."
        slot = self.cycle.nodes.slot(pod.nominated) if pod.nominated else None
        if slot is not None and not verdict.helpless[slot]:
            for other in self.cycle.nodes.pods_on(slot):
                if other.priority < pod.priority and _is_going(other.obj):
                    return "not eligible due to a terminating pod on the nominated node."
        return ""

    def _nothing_found(self) -> str:
        total = len(self.cycle.nodes)
        counts = dict(self._reasons)
        visited = counts.pop("", 0)
        counts[NOT_HELPFUL] = total - visited
        return f"0/{total} nodes are available: {in_words(counts)}."

    def candidates(self, pod: PodInfo, verdict: Verdict, now: str) -> list[Candidate]:
        nodes = self.cycle.nodes
        self._reasons = {}
        slots = [slot for slot in range(nodes.size) if nodes.alive[slot] and not verdict.helpless[slot]]
        if verdict.rejected or not slots:
            return []
        simple = is_simple(self.cycle, pod)
        wanted = max(len(slots) * self.least_percent // 100, self.least_absolute)
        offset = self.randomness.randrange(len(slots))
        found: list[Candidate] = []
        for slot in (*slots[offset:], *slots[:offset]):
            judged = (_Simple if simple else _Whole)(self.cycle, pod, slot).victims(now)
            if isinstance(judged, Candidate):
                found.append(judged)
                if len(found) >= wanted and any(not c.violations for c in found):
                    break
            else:
                self._refuse(judged)
        return found

    def _refuse(self, reasons: Sequence[str]) -> None:
        self._reasons[""] = self._reasons.get("", 0) + 1
        for reason in reasons:
            self._reasons[reason] = self._reasons.get(reason, 0) + 1


def is_simple(cycle: Cycle, pod: PodInfo) -> bool:
    """Whether resources and ports alone decide among the nodes that preemption could help with."""
    view = cycle.view(pod)
    for plugin in cycle.pod_plugins:
        if plugin.name == "NodePorts":
            continue
        ready = plugin.prepare(pod, view)
        if ready is not None and plugin.refusals(ready, pod, view):
            return False
    return not any(other.shape.terms.anti for other in _nominated(cycle, pod))


def _nominated(cycle: Cycle, pod: PodInfo) -> Iterable[PodInfo]:
    return [other for _, others in cycle.nominations.before(pod) for other in others]


# -- one node


class _Trial(ABC):
    """A node whose less important pods leave, and come back one by one as long as the pod still fits."""

    def __init__(self, cycle: Cycle, pod: PodInfo, slot: int) -> None:
        self._cycle = cycle
        self._pod = pod
        self._slot = slot
        self._name = cycle.nodes.names[slot]

    def victims(self, now: str) -> Candidate | Sequence[str]:
        """What has to go, or why the node is no candidate."""
        nodes = self._cycle.nodes
        lesser = [other for other in nodes.pods_on(self._slot) if other.priority < self._pod.priority]
        if not lesser:
            return (NO_VICTIMS,)
        lesser.sort(key=lambda other: (-other.priority, started(other.obj, now)))
        self._begin(lesser)
        try:
            against = self._against()
            if against:
                return against
            violating, others = by_budget(self._cycle, lesser)
            victims = [other for other in violating if not self._spare(other)]
            violations = len(victims)
            victims += [other for other in others if not self._spare(other)]
        finally:
            self._end(lesser)
        if not victims:
            return (f'expected at least one victim pod on node "{self._name}"',)
        victims.sort(key=lambda other: (-other.priority, started(other.obj, now)))
        return Candidate(self._name, victims, violations)

    @abstractmethod
    def _begin(self, lesser: Sequence[PodInfo]) -> None: ...

    @abstractmethod
    def _end(self, lesser: Sequence[PodInfo]) -> None: ...

    @abstractmethod
    def _against(self) -> Sequence[str]:
        """Why the pod does not fit though they are all gone."""

    @abstractmethod
    def _spare(self, other: PodInfo) -> bool:
        """Whether the pod fits though this one stays; then it stays."""


class _Simple(_Trial):
    """By sums of what is requested, and by host ports."""

    def _begin(self, lesser: Sequence[PodInfo]) -> None:
        nodes = self._cycle.nodes
        self._wanted = {**dict(self._pod.requests), PODS: 1}
        self._free = {name: int(nodes.free(name)[self._slot]) for name in self._wanted}
        self._ports = dict(nodes.ports[self._slot])
        for other in lesser:
            self._count(other, 1)
        for other in self._cycle.nominations.on(self._name):
            if other.priority >= self._pod.priority and other.uid != self._pod.uid:
                self._count(other, -1)

    def _count(self, other: PodInfo, sign: int) -> None:
        self._free[PODS] += sign
        for name, value in other.requests:
            if name in self._free:
                self._free[name] += sign * value
        for port in other.host_ports:
            self._ports[port] = self._ports.get(port, 0) - sign
            if self._ports[port] <= 0:
                del self._ports[port]

    def _end(self, lesser: Sequence[PodInfo]) -> None:
        pass

    def _against(self) -> Sequence[str]:
        short = [name for name, value in self._wanted.items() if self._free[name] < value]
        if self._pod.host_ports and ports_conflict(self._pod.host_ports, self._ports):
            return ("node(s) didn't have free ports for the requested pod ports",)
        return ["Too many pods" if name == PODS else f"Insufficient {name}" for name in short]

    def _spare(self, other: PodInfo) -> bool:
        self._count(other, -1)
        if not self._against():
            return True
        self._count(other, 1)
        return False


class _Whole(_Trial):
    """By every plugin, on the arrays themselves, which are put back afterwards."""

    def _begin(self, lesser: Sequence[PodInfo]) -> None:
        for other in lesser:
            self._cycle.nodes.remove_pod(other.key)

    def _end(self, lesser: Sequence[PodInfo]) -> None:
        for other in lesser:
            self._cycle.nodes.set_pod(other, self._name)

    def _fits(self) -> bool:
        def ask() -> bool:
            return self._cycle.fits(self._pod, self._slot)

        beside = [
            other
            for other in self._cycle.nominations.on(self._name)
            if other.priority >= self._pod.priority and other.uid != self._pod.uid
        ]
        return ask() and (not beside or self._cycle.with_others(beside, self._name, ask))

    def _against(self) -> Sequence[str]:
        if self._fits():
            return ()
        verdict = self._cycle.verdict(self._pod)
        return [refusal.reason for _, refusal in verdict.refusals if refusal.mask[self._slot]] or [NOT_HELPFUL]

    def _spare(self, other: PodInfo) -> bool:
        self._cycle.nodes.set_pod(other, self._name)
        if self._fits():
            return True
        self._cycle.nodes.remove_pod(other.key)
        return False


def by_budget(cycle: Cycle, pods: Sequence[PodInfo]) -> tuple[list[PodInfo], list[PodInfo]]:
    """Those whose leaving would violate a disruption budget, if all left in this order; and the others."""
    left: dict[str, int] = {}
    violating: list[PodInfo] = []
    others: list[PodInfo] = []
    for pod in pods:
        violated = False
        for budget in cycle.around.budgets_of(pod):
            status: Obj = budget.get("status") or {}
            if pod.key.name in (status.get("disruptedPods") or {}):
                continue
            name = budget["metadata"]["name"] + "/" + pod.key.namespace
            left[name] = left.get(name, status.get("disruptionsAllowed") or 0) - 1
            violated = violated or left[name] < 0
        (violating if violated else others).append(pod)
    return violating, others


# -- choosing


def best_of(candidates: Sequence[Candidate], now: str) -> Candidate:
    """Fewest protected victims, then the least important, then the least of them, then those that started last."""
    least = min(map(_cost, candidates))
    return max((c for c in candidates if _cost(c) == least), key=lambda c: _since(c, now))


def _cost(candidate: Candidate) -> tuple[int, ...]:
    victims = candidate.victims
    total = sum(pod.priority + MORE_THAN_ANY_PRIORITY for pod in victims)
    return candidate.violations, victims[0].priority, total, len(victims)


def _since(candidate: Candidate, now: str) -> str:
    """When the first of the most important victims started."""
    highest = candidate.victims[0].priority
    return min(started(pod.obj, now) for pod in candidate.victims if pod.priority == highest)


def started(pod: Obj, now: str) -> str:
    return (pod.get("status") or {}).get("startTime") or now


def _is_going(pod: Obj) -> bool:
    """Whether a scheduler has told it to go, and it has not gone yet."""
    if "deletionTimestamp" not in pod["metadata"]:
        return False
    conditions = (pod.get("status") or {}).get("conditions") or ()
    found = next((c for c in conditions if c["type"] == "DisruptionTarget"), None)
    return bool(found and found["status"] == "True" and found.get("reason") == BY_SCHEDULER)
