"""One scheduling decision: pure, on arrays. Which node a pod goes to, or why it goes nowhere.

Pods with the same placement share the node plugins' verdicts, and pods that also request the same share feasibility and
scores; both are renewed only for the slots that changed since (scheduler/nodes.py journals). A decision about the next
replica of a Deployment thus costs the one node that took the last replica, and a search for the best score.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from navarch.scheduler.nodes import PODS, Bools, Ints, Nodes
from navarch.scheduler.nominations import Nominations
from navarch.scheduler.plugins.interface import (
    MAX_SCORE,
    NodePlugin,
    Plugin,
    PodPlugin,
    Refusal,
    Rejected,
    UsagePlugin,
    View,
    is_node_plugin,
    is_usage_plugin,
)
from navarch.scheduler.podinfo import PodInfo
from navarch.scheduler.registry import default_plugins
from navarch.scheduler.surroundings import Surroundings
from navarch.scheduler.verdict import Verdict, message_of

MAX_CLASSES = 256
"""Classes of pods that are remembered; the one unused for longest is forgotten."""
MANY = 30
"""Where more than one slot in so many changed, all are judged at once: an array costs as much as that many by themselves."""
NO_NODES = "no nodes available to schedule pods"


@dataclass(slots=True)
class Decision:
    """Where a pod goes. `node` is empty where it fits nowhere; then `message` says why, in upstream's words."""

    node: str = ""
    message: str = ""
    feasible: int = 0
    total: int = 0
    score: int = 0
    plugins: frozenset[str] = frozenset()
    """Who keeps it off nodes, where it fits nowhere: what happens to others does not interest it."""
    rejected: bool = False
    """It was not even looked at on nodes."""


@dataclass(slots=True)
class _Placement:
    """What the node plugins say about every slot, for one placement."""

    prepared: list[Any]
    names: frozenset[str] | None
    position: int = -1
    passed: list[Bools] = field(default_factory=list)
    """Per node plugin, the slots that it lets through."""
    mask: Bools = field(default_factory=lambda: np.zeros(0, bool))
    """Slots that all of them let through."""
    scores: list[Ints] = field(default_factory=list)
    """Raw, one array per scoring node plugin."""
    scoring: int = 0
    """How many raw scores are not 0."""
    view: View | None = None


@dataclass(slots=True)
class _Usage:
    """Feasibility and score by usage of every slot, for pods that request the same."""

    position: int = -1
    mask: Bools = field(default_factory=lambda: np.zeros(0, bool))
    score: Ints = field(default_factory=lambda: np.zeros(0, np.int64))


Prepared = list[tuple[PodPlugin, Any]]


class Cycle:
    def __init__(
        self,
        nodes: Nodes,
        randomness: random.Random,
        plugins: Sequence[Plugin] | None = None,
        surroundings: Surroundings | None = None,
        nominations: Nominations | None = None,
    ) -> None:
        self.nodes = nodes
        self.around = surroundings if surroundings is not None else Surroundings()
        self.nominations = nominations if nominations is not None else Nominations()
        self.plugins: Sequence[Any] = plugins if plugins is not None else default_plugins()
        self.node_plugins: list[NodePlugin] = [p for p in self.plugins if is_node_plugin(p)]
        self.usage_plugins: list[UsagePlugin] = [p for p in self.plugins if is_usage_plugin(p)]
        self.pod_plugins: list[PodPlugin] = [
            p for p in self.plugins if not is_node_plugin(p) and not is_usage_plugin(p)
        ]
        self.randomness = self._random = randomness
        self._placements: OrderedDict[bytes, _Placement] = OrderedDict()
        self._usages: OrderedDict[tuple[object, ...], _Usage] = OrderedDict()

    # -- deciding

    def decide(self, pod: PodInfo, within: Bools | None = None) -> Decision:
        """`within`: the only slots that there are for it."""
        total = len(self.nodes) if within is None else int(np.count_nonzero(within))
        if not total:
            return Decision(message=NO_NODES)
        mask, prepared, placement = self._feasible(pod)
        if mask is None:
            return self._nowhere(pod, within)
        if within is not None:
            mask = mask & within
        slot = self.nodes.slot(pod.nominated) if pod.nominated else None
        if slot is not None and mask[slot]:
            return Decision(pod.nominated, "", 1, total)
        number = int(np.count_nonzero(mask))
        if not number:
            return self._nowhere(pod, within)
        if number == 1:
            return Decision(self.nodes.names[int(mask.argmax())], "", 1, total)
        score = self._scores(pod, mask, placement, prepared)
        highest = int(score.max())
        best = np.flatnonzero(score == highest)
        slot = int(best[self._random.randrange(len(best))] if len(best) > 1 else best[0])
        return Decision(self.nodes.names[slot], "", number, total, highest)

    def _scores(self, pod: PodInfo, mask: Bools, placement: _Placement, prepared: Prepared) -> Ints:
        """Of every slot; -1 where the pod does not fit."""
        if not placement.scoring and not any(plugin.weight for plugin, _ in prepared):
            return np.where(mask, self._usage(pod).score + self._same_for_all(), -1)
        feasible = np.flatnonzero(mask)
        score = np.full(len(mask), -1, np.int64)
        score[feasible] = self.score(pod, feasible, placement, prepared)
        return score

    def _same_for_all(self) -> int:
        """What plugins give where no node has anything that they look at."""
        return sum(MAX_SCORE * p.weight for p in self.node_plugins if p.weight and p.normalise == "inverse")

    def _nowhere(self, pod: PodInfo, within: Bools | None = None) -> Decision:
        verdict = self.verdict(pod)
        total = len(self.nodes)
        if within is not None:
            verdict, total = verdict.within(within), int(np.count_nonzero(within))
        rejected = verdict.rejected is not None
        return Decision(message=message_of(verdict, total), total=total, plugins=verdict.plugins(), rejected=rejected)

    def feasible_slots(self, pod: PodInfo) -> Ints:
        """Where a pod fits now; for those who let others have a say before a node is chosen."""
        mask, _, _ = self._feasible(pod)
        return np.flatnonzero(mask) if mask is not None else np.zeros(0, np.int64)

    def scores_of(self, pod: PodInfo, feasible: Ints) -> Ints:
        placement = self._placement(pod)
        prepared = self._prepare(pod, self._view(placement))
        assert not isinstance(prepared, Rejected)
        return self.score(pod, feasible, placement, prepared)

    def _feasible(self, pod: PodInfo) -> tuple[Bools | None, Prepared, _Placement]:
        """The mask is None where a plugin rejects the pod altogether."""
        placement = self._placement(pod)
        view = self._view(placement)
        prepared = self._prepare(pod, view)
        if isinstance(prepared, Rejected):
            return None, [], placement
        mask = placement.mask & self._usage(pod).mask
        for plugin, ready in prepared:
            for refusal in plugin.refusals(ready, pod, view) if plugin.filters else ():
                mask &= ~refusal.mask
        if len(self.nominations):
            self._respect_nominations(pod, mask, bool(prepared))
        return mask, prepared, placement

    def _respect_nominations(self, pod: PodInfo, mask: Bools, whole: bool) -> None:
        """Takes out the nodes on which a pod would not fit beside those that room is being made for. Unless `whole`,
        nothing but what is requested decides."""
        for name, others in list(self.nominations.before(pod)):
            slot = self.nodes.slot(name)
            if slot is None or not mask[slot]:
                continue
            if not whole and not any(other.shape.terms.anti for other in others):
                mask[slot] = self._has_room(pod, slot, others)
            else:
                mask[slot] = self.with_others(others, name, lambda slot=slot: self.fits(pod, slot))

    def _has_room(self, pod: PodInfo, slot: int, others: Sequence[PodInfo]) -> bool:
        beside = [dict(other.requests) for other in others if self.nodes.pod(other.key) is None]
        if self.nodes.free_at(PODS, slot) - len(beside) < 1:
            return False
        for name, value in pod.requests:
            kept = sum(requests.get(name, 0) for requests in beside)
            if kept and self.nodes.free_at(name, slot) - kept < value:
                return False
        return True

    def with_others(self, others: Sequence[PodInfo], node: str, ask: Callable[[], bool]) -> bool:
        """What `ask` answers while other pods are on the node."""
        added = [other for other in others if self.nodes.pod(other.key) is None]
        for other in added:
            self.nodes.set_pod(other, node)
        try:
            return ask()
        finally:
            for other in added:
                self.nodes.remove_pod(other.key)

    def fits(self, pod: PodInfo, slot: int) -> bool:
        """Whether a pod fits on one node as the arrays are now; nominations aside."""
        placement = self._placement(pod)
        if not placement.mask[slot]:
            return False
        usage = (p for p in self.usage_plugins if p.filters and p.applies(pod))
        if not all(p.at(pod, self.nodes, slot)[0] for p in usage):
            return False
        view = self._view(placement)
        prepared = self._prepare(pod, view)
        if isinstance(prepared, Rejected):
            return False
        filtering = [(plugin, ready) for plugin, ready in prepared if plugin.filters]
        return not any(r.mask[slot] for plugin, ready in filtering for r in plugin.refusals(ready, pod, view))

    # -- what plugins are asked with

    def view(self, pod: PodInfo) -> View:
        return self._view(self._placement(pod))

    def _view(self, placement: _Placement) -> View:
        if placement.view is not None:
            return placement.view
        by_name = {p.name: passed for p, passed in zip(self.node_plugins, placement.passed, strict=True)}
        alive = self.nodes.alive
        placement.view = View(
            self.nodes, self.around, by_name.get("NodeAffinity", alive), by_name.get("TaintToleration", alive)
        )
        return placement.view

    def _prepare(self, pod: PodInfo, view: View) -> Prepared | Rejected:
        found: Prepared = []
        for plugin in self.pod_plugins:
            ready = plugin.prepare(pod, view)
            if isinstance(ready, Rejected):
                if not plugin.filters:
                    continue
                return ready._replace(plugin=plugin.name)
            if ready is not None:
                found.append((plugin, ready))
        return found

    # -- by placement

    def _placement(self, pod: PodInfo) -> _Placement:
        key = pod.shape.placement
        found = self._placements.get(key)
        if found is None:
            found = _Placement([plugin.prepare(pod.obj) for plugin in self.node_plugins], pod.shape.names)
            self._placements[key] = found
            if len(self._placements) > MAX_CLASSES:
                self._placements.popitem(last=False)
        else:
            self._placements.move_to_end(key)
        nodes = self.nodes
        changed = nodes.specs.since(found.position) if found.position >= 0 else None
        if changed is None or len(found.mask) != len(nodes.alive):
            length = len(nodes.alive)
            found.view, found.scoring = None, 0
            found.mask = np.zeros(length, bool)
            found.passed = [np.zeros(length, bool) for _ in self.node_plugins]
            found.scores = [np.zeros(length, np.int64) for plugin in self.node_plugins if plugin.weight]
            changed = self._slots_of(found)
        for slot in set(changed):
            self._judge(found, slot)
        found.position = nodes.specs.position
        return found

    def _slots_of(self, placement: _Placement) -> Sequence[int]:
        if placement.names is None:
            return range(self.nodes.size)
        return [slot for name in placement.names if (slot := self.nodes.slot(name)) is not None]

    def _judge(self, placement: _Placement, slot: int) -> None:
        node = self.nodes.objects[slot]
        if node is not None and placement.names is not None and self.nodes.names[slot] not in placement.names:
            node = None
        scored = 0
        mask = node is not None
        for index, plugin in enumerate(self.node_plugins):
            ready = placement.prepared[index]
            passed = node is not None and (not plugin.filters or plugin.passes(ready, node))
            placement.passed[index][slot] = passed
            mask = mask and passed
            if plugin.weight:
                score = plugin.score(ready, node) if node is not None else 0
                placement.scoring += (score != 0) - (int(placement.scores[scored][slot]) != 0)
                placement.scores[scored][slot] = score
                scored += 1
        placement.mask[slot] = mask

    # -- scores

    def score(self, pod: PodInfo, feasible: Ints, placement: _Placement, prepared: Prepared) -> Ints:
        """Of each feasible slot, all plugins together."""
        total = self._usage(pod).score[feasible]
        for _, part in self._parts(pod, feasible, placement, prepared):
            total = total + part
        return total

    def _parts(
        self, pod: PodInfo, feasible: Ints, placement: _Placement, prepared: Prepared
    ) -> Iterator[tuple[str, Ints | int]]:
        """(plugin, its weighted scores), but for those that go by usage."""
        scoring = [plugin for plugin in self.node_plugins if plugin.weight]
        for plugin, raw in zip(scoring, placement.scores, strict=True):
            values = raw[feasible]
            highest = int(values.max())
            if highest == 0:
                if plugin.normalise == "inverse":
                    yield plugin.name, MAX_SCORE * plugin.weight
                continue
            scaled = values * MAX_SCORE // highest
            if plugin.normalise == "inverse":
                scaled = MAX_SCORE - scaled
            yield plugin.name, scaled * plugin.weight
        view = self._view(placement)
        for plugin, ready in prepared:
            if plugin.weight:
                score = plugin.score(ready, pod, view, feasible)
                if score is not None:
                    yield plugin.name, score * plugin.weight

    # -- by usage

    def _usage(self, pod: PodInfo) -> _Usage:
        delegated = self.nodes.delegated
        served = tuple(name for name, _ in pod.requests if name in delegated) if delegated else ()
        key = (pod.requests, pod.scored, served)
        found = self._usages.get(key)
        if found is None:
            found = self._usages[key] = _Usage()
            if len(self._usages) > MAX_CLASSES:
                self._usages.popitem(last=False)
        else:
            self._usages.move_to_end(key)
        nodes = self.nodes
        changed = nodes.usage.since(found.position) if found.position >= 0 else None
        if changed is None or len(found.mask) != len(nodes.alive) or len(changed) > len(nodes.alive) // MANY:
            found.mask, found.score = self._judge_usage(pod)
        elif changed:
            applying = [plugin for plugin in self.usage_plugins if plugin.applies(pod)]
            for slot in set(changed):
                self._judge_slot(pod, slot, applying, found)
        found.position = nodes.usage.position
        return found

    def _judge_slot(self, pod: PodInfo, slot: int, plugins: Sequence[UsagePlugin], usage: _Usage) -> None:
        mask, total = bool(self.nodes.alive[slot]), 0
        for plugin in plugins:
            fits, score = plugin.at(pod, self.nodes, slot)
            mask = mask and (fits or not plugin.filters)
            total += plugin.weight * score
        usage.mask[slot], usage.score[slot] = mask, total

    def _judge_usage(self, pod: PodInfo) -> tuple[Bools, Ints]:
        nodes = self.nodes
        mask = nodes.alive.copy()
        total = np.zeros(len(mask), np.int64)
        for plugin in self.usage_plugins:
            if plugin.applies(pod):
                if plugin.filters:
                    mask &= plugin.feasible(pod, nodes)
                if plugin.weight:
                    total += plugin.weight * plugin.score(pod, nodes)
        return mask, total

    # -- saying why

    def verdict(self, pod: PodInfo) -> Verdict:
        """Who refuses which nodes. Each node is refused by the first plugin in order that has something against it."""
        nodes = self.nodes
        placement = self._placement(pod)
        view = self._view(placement)
        prepared = self._prepare(pod, view)
        if isinstance(prepared, Rejected):
            return Verdict(prepared, [], np.ones(len(nodes.alive), bool))
        left = nodes.alive.copy()
        helpless = np.zeros(len(left), bool)
        found: list[tuple[str, Refusal]] = []
        for name, refusals in self._refusals(pod, placement, view, prepared):
            here = [Refusal(r.mask & left, r.reason, r.helpless & r.mask & left) for r in refusals]
            for refusal in here:
                found.append((name, refusal))
                left = left & ~refusal.mask
                helpless |= refusal.helpless
        if left.any():  # room is kept there for others
            found += self._crowded(pod, left)
        return Verdict(None, found, helpless)

    def _refusals(
        self, pod: PodInfo, placement: _Placement, view: View, prepared: Prepared
    ) -> Iterator[tuple[str, Sequence[Refusal]]]:
        alive = self.nodes.alive
        if placement.names is not None:
            named = np.zeros(len(alive), bool)
            named[self._slots_of(placement)] = True
            yield "NodeAffinity", [Refusal(alive & ~named, "node(s) didn't satisfy plugin(s) [NodeAffinity]", True)]
        passed = {p.name: mask for p, mask in zip(self.node_plugins, placement.passed, strict=True)}
        ready = {plugin.name: one for plugin, one in prepared}
        for plugin in self.plugins:
            if not plugin.filters:
                continue
            if plugin.name in passed:
                yield plugin.name, [Refusal(alive & ~passed[plugin.name], plugin.reason, True)]
            elif is_usage_plugin(plugin):
                if plugin.applies(pod):
                    yield plugin.name, plugin.refusals(pod, self.nodes)
            elif plugin.name in ready:
                yield plugin.name, plugin.refusals(ready[plugin.name], pod, view)

    def _crowded(self, pod: PodInfo, left: Bools) -> Iterator[tuple[str, Refusal]]:
        """The reasons on nodes where a pod would fit but for others that room is being made for."""
        for name, others in list(self.nominations.before(pod)):
            slot = self.nodes.slot(name)
            if slot is None or not left[slot]:
                continue
            added = [other for other in others if self.nodes.pod(other.key) is None]
            for other in added:
                self.nodes.set_pod(other, name)
            placement = self._placement(pod)
            view = self._view(placement)
            prepared = self._prepare(pod, view)
            if not isinstance(prepared, Rejected):
                here = np.zeros(len(left), bool)
                here[slot] = True
                for plugin, refusals in self._refusals(pod, placement, view, prepared):
                    for refusal in refusals:
                        if refusal.mask[slot]:
                            yield plugin, Refusal(here, refusal.reason, refusal.helpless & here)
            for other in added:
                self.nodes.remove_pod(other.key)

    def explain(self, pod: PodInfo) -> list[tuple[str, str, str]]:
        """Node by node: (node, plugin that refuses it or "", its reason, or its score with what each plugin gave)."""
        nodes = self.nodes
        if not len(nodes):
            return []
        pod = replace(pod, node="")
        placement = self._placement(pod)
        view = self._view(placement)
        prepared = self._prepare(pod, view)
        if isinstance(prepared, Rejected):
            return [(name, prepared.plugin, prepared.reason) for name in nodes.names if name]
        refusals = [
            (name, r) for name, found in self._refusals(pod, placement, view, prepared) for r in found if r.mask.any()
        ]
        out = np.zeros(len(nodes.alive), bool)
        for _, refusal in refusals:
            out |= refusal.mask
        scores = self._score_words(pod, np.flatnonzero(nodes.alive & ~out), placement, prepared)
        rows: list[tuple[str, str, str]] = []
        for slot, name in enumerate(nodes.names):
            if name:
                against = [(name, plugin, refusal.reason) for plugin, refusal in refusals if refusal.mask[slot]]
                rows += against or [(name, "", scores[slot])]
        return rows

    def _score_words(self, pod: PodInfo, feasible: Ints, placement: _Placement, prepared: Prepared) -> dict[int, str]:
        if not len(feasible):
            return {}
        parts: list[tuple[str, Any]] = [
            (plugin.name, plugin.score(pod, self.nodes)[feasible] * plugin.weight)
            for plugin in self.usage_plugins
            if plugin.weight and plugin.applies(pod)
        ]
        parts += list(self._parts(pod, feasible, placement, prepared))
        arrays = [(name, np.broadcast_to(part, len(feasible))) for name, part in parts]
        found: dict[int, str] = {}
        for index, slot in enumerate(feasible.tolist()):
            each = ", ".join(f"{name} {int(part[index])}" for name, part in arrays)
            found[slot] = f"fits, with a score of {sum(int(part[index]) for _, part in arrays)}: {each}"
        return found
