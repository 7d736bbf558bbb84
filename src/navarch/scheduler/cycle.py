"""One scheduling decision: pure, on arrays. Which node a pod goes to, or why it goes nowhere.

Pods with the same placement share the node plugins' verdicts, and pods that also request the same share feasibility and
scores; both are renewed only for the slots that changed since (scheduler/nodes.py journals). A decision about the next
replica of a Deployment thus costs the one node that took the last replica, and a search for the best score.
"""

from __future__ import annotations

import random
from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from navarch.machinery.types import Obj
from navarch.scheduler.nodes import Ints, Nodes
from navarch.scheduler.plugins.affinity import NodeAffinity
from navarch.scheduler.plugins.interface import MAX_SCORE, NodePlugin, Refusal, UsagePlugin
from navarch.scheduler.plugins.ports import NodePorts
from navarch.scheduler.plugins.resources import NodeResourcesBalancedAllocation, NodeResourcesFit
from navarch.scheduler.plugins.taints import NodeUnschedulable, TaintToleration
from navarch.scheduler.podinfo import PodInfo

MAX_CLASSES = 256
"""Classes of pods that are remembered; the one unused for longest is forgotten."""


@dataclass(slots=True)
class Decision:
    """Where a pod goes. `node` is empty where it fits nowhere; then `message` says why, in upstream's words."""

    node: str = ""
    message: str = ""
    feasible: int = 0
    total: int = 0
    score: int = 0


@dataclass(slots=True)
class _Placement:
    """What the node plugins say about every slot, for one placement."""

    prepared: list[object]
    position: int = -1
    reasons: list[str] = field(default_factory=list)
    """Per slot; "" where the node is in."""
    mask: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))
    scores: list[Ints] = field(default_factory=list)
    """Raw, one array per scoring node plugin; None of them where all are zero (see `flat`)."""


@dataclass(slots=True)
class _Usage:
    """Feasibility and score by usage of every slot, for pods that request the same."""

    position: int = -1
    mask: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))
    score: Ints = field(default_factory=lambda: np.zeros(0, np.int64))


class Cycle:
    def __init__(
        self,
        nodes: Nodes,
        randomness: random.Random,
        node_plugins: Sequence[NodePlugin] | None = None,
        usage_plugins: Sequence[UsagePlugin] | None = None,
    ) -> None:
        self.nodes = nodes
        self.node_plugins = node_plugins or (NodeUnschedulable(), TaintToleration(), NodeAffinity())
        self.usage_plugins = usage_plugins or (NodePorts(), NodeResourcesFit(), NodeResourcesBalancedAllocation())
        self._random = randomness
        self._placements: OrderedDict[bytes, _Placement] = OrderedDict()
        self._usages: OrderedDict[tuple[object, ...], _Usage] = OrderedDict()

    def decide(self, pod: PodInfo) -> Decision:
        nodes = self.nodes
        if not len(nodes):
            return Decision(message="0/0 nodes are available: no nodes available to schedule pods")
        placement, usage = self._placement(pod), self._usage(pod)
        mask = placement.mask & usage.mask
        for plugin in self.usage_plugins:
            if not plugin.shared and plugin.applies(pod):
                mask &= plugin.feasible(pod, nodes, None)
        feasible = np.flatnonzero(mask)
        if not len(feasible):
            return Decision(message=self._message(pod, placement), total=len(nodes))
        score = usage.score[feasible] + self._placement_score(placement, feasible)
        best = feasible[np.flatnonzero(score == score.max())]
        slot = int(best[self._random.randrange(len(best))] if len(best) > 1 else best[0])
        return Decision(nodes.names[slot], "", len(feasible), len(nodes), int(score.max()))

    # -- by placement

    def _placement(self, pod: PodInfo) -> _Placement:
        found = self._placements.get(pod.placement)
        if found is None:
            found = _Placement([plugin.prepare(pod.obj) for plugin in self.node_plugins])
            self._placements[pod.placement] = found
            if len(self._placements) > MAX_CLASSES:
                self._placements.popitem(last=False)
        else:
            self._placements.move_to_end(pod.placement)
        nodes = self.nodes
        changed = nodes.specs.since(found.position) if found.position >= 0 else None
        if changed is None or len(found.mask) != len(nodes.alive):
            length = len(nodes.alive)
            found.reasons = [""] * length
            found.mask = np.zeros(length, bool)
            found.scores = [np.zeros(length, np.int64) for plugin in self.node_plugins if plugin.weight]
            changed = list(range(nodes.size))
        for slot in set(changed):
            self._judge(found, slot)
        found.position = nodes.specs.position
        return found

    def _judge(self, placement: _Placement, slot: int) -> None:
        node = self.nodes.objects[slot]
        scored = 0
        placement.mask[slot] = node is not None
        placement.reasons[slot] = ""
        for plugin, prepared in zip(self.node_plugins, placement.prepared, strict=True):
            if node is not None and placement.mask[slot] and (reason := plugin.filter(prepared, node)):
                placement.reasons[slot] = reason
                placement.mask[slot] = False
            if plugin.weight:
                placement.scores[scored][slot] = plugin.score(prepared, node) if node is not None else 0
                scored += 1

    def _placement_score(self, placement: _Placement, feasible: Ints) -> Ints | int:
        total: Ints | int = 0
        plugins = [plugin for plugin in self.node_plugins if plugin.weight]
        for plugin, raw in zip(plugins, placement.scores, strict=True):
            values = raw[feasible]
            highest = int(values.max())
            if highest == 0:  # nothing to tell nodes apart by; an inverse score gives all the same
                continue
            scaled = values * MAX_SCORE // highest
            if plugin.normalise == "inverse":
                scaled = MAX_SCORE - scaled
            total = total + scaled * plugin.weight
        return total

    # -- by usage

    def _usage(self, pod: PodInfo) -> _Usage:
        key = (pod.requests, pod.scored)
        found = self._usages.get(key)
        if found is None:
            found = self._usages[key] = _Usage()
            if len(self._usages) > MAX_CLASSES:
                self._usages.popitem(last=False)
        else:
            self._usages.move_to_end(key)
        nodes = self.nodes
        changed = nodes.usage.since(found.position) if found.position >= 0 else None
        if changed is None or len(found.mask) != len(nodes.alive) or len(changed) > len(nodes.alive) // 2:
            found.mask, found.score = self._judge_usage(pod, None)
        elif changed:
            slots = np.fromiter(set(changed), np.int64)
            found.mask[slots], found.score[slots] = self._judge_usage(pod, slots)
        found.position = nodes.usage.position
        return found

    def _judge_usage(self, pod: PodInfo, slots: Ints | None) -> tuple[np.ndarray, Ints]:
        nodes = self.nodes
        mask = (nodes.alive if slots is None else nodes.alive[slots]).copy()
        total = np.zeros(len(mask), np.int64)
        for plugin in self.usage_plugins:
            if not plugin.shared or not plugin.applies(pod):
                continue
            mask &= plugin.feasible(pod, nodes, slots)
            if plugin.weight and (score := plugin.score(pod, nodes, slots)) is not None:
                total += plugin.weight * score
        return mask, total

    # -- saying why

    def _message(self, pod: PodInfo, placement: _Placement) -> str:
        """upstream's FitError: how many nodes are out for which reason."""
        counts: Counter[str] = Counter(r for r in placement.reasons if r)
        left = placement.mask
        for plugin in self.usage_plugins:
            if plugin.applies(pod):
                refusals = plugin.refusals(pod, self.nodes)
                for refusal in refusals:
                    if count := int((refusal.mask & left).sum()):
                        counts[refusal.reason] += count
                for refusal in refusals:
                    left = left & ~refusal.mask
        total = len(self.nodes)
        reasons = ", ".join(sorted(f"{count} {reason}" for reason, count in counts.items()))
        helpful = int(placement.mask.sum())
        preemption = ", ".join(
            sorted(
                f"{count} {reason}"
                for count, reason in (
                    (total - helpful, "Preemption is not helpful for scheduling"),
                    (helpful, "No preemption victims found for incoming pod"),
                )
                if count
            )
        )
        return f"0/{total} nodes are available: {reasons}. preemption: 0/{total} nodes are available: {preemption}."

    def explain(self, pod: PodInfo) -> list[tuple[str, str, str]]:
        """Node by node: (node, plugin that refuses it or "", its reason or its score in words)."""
        nodes = self.nodes
        rows: list[tuple[str, str, str]] = []
        usage = self._usage(pod) if len(nodes) else _Usage()
        refusals = [
            (plugin.name, refusal)
            for plugin in self.usage_plugins
            if plugin.applies(pod)
            for refusal in plugin.refusals(pod, nodes)
        ]
        for slot, name in enumerate(nodes.names):
            if name:
                rows.extend(self._explain_node(pod, slot, name, refusals, usage))
        return rows

    def _explain_node(
        self, pod: PodInfo, slot: int, name: str, refusals: Sequence[tuple[str, Refusal]], usage: _Usage
    ) -> list[tuple[str, str, str]]:
        node: Obj | None = self.nodes.objects[slot]
        assert node is not None
        rows = [
            (name, plugin.name, reason)
            for plugin in self.node_plugins
            if (reason := plugin.filter(plugin.prepare(pod.obj), node))
        ]
        rows += [(name, plugin_name, refusal.reason) for plugin_name, refusal in refusals if refusal.mask[slot]]
        return rows or [(name, "", f"fits, with a score of {int(usage.score[slot])} by its resources")]
