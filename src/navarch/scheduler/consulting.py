"""A decision in which extenders have a say: they take nodes away, add to scores, and choose victims."""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence

import numpy as np

from navarch.scheduler.cycle import NO_NODES, Cycle, Decision
from navarch.scheduler.extenders import Extender, ExtenderFailed
from navarch.scheduler.nodes import Ints
from navarch.scheduler.plugins.interface import Refusal
from navarch.scheduler.podinfo import PodInfo
from navarch.scheduler.preemption import Preemption, Preemptor, best_of
from navarch.scheduler.verdict import Verdict, message_of

log = logging.getLogger(__name__)


class Consultation:
    """One pod's. The cluster must not change for others while it lasts: the caller schedules nobody else meanwhile."""

    def __init__(self, cycle: Cycle, extenders: Sequence[Extender], pod: PodInfo, randomness: random.Random) -> None:
        self._cycle = cycle
        self._extenders = [extender for extender in extenders if extender.is_interested(pod)]
        self._pod = pod
        self._random = randomness
        self.verdict = Verdict(None, [], np.zeros(len(cycle.nodes.alive), bool))
        """Why the pod fits nowhere, extenders' reasons included; complete where `decide` finds no node."""

    async def decide(self) -> Decision:
        """Raises ExtenderFailed where an extender that may not be ignored gives no answer."""
        nodes, pod = self._cycle.nodes, self._pod
        if not len(nodes):
            return Decision(message=NO_NODES)
        feasible = self._cycle.feasible_slots(pod)
        own = feasible
        refusals: list[tuple[str, Refusal]] = []
        for extender in self._extenders:
            if extender.config.filter_verb and len(feasible):
                feasible = await self._filtered(extender, feasible, refusals)
        total = len(nodes)
        if not len(feasible):
            self.verdict = self._cycle.verdict(pod) if not len(own) else self._mixed(refusals)
            return Decision(message=message_of(self.verdict, total), total=total, plugins=self.verdict.plugins())
        score = self._cycle.scores_of(pod, feasible)
        for extender in self._extenders:
            if extender.config.prioritize_verb:
                score = score + await self._points(extender, feasible)
        best = feasible[np.flatnonzero(score == score.max())]
        chosen = int(best[self._random.randrange(len(best))])
        return Decision(nodes.names[chosen], "", len(feasible), total, int(score.max()))

    def _mixed(self, refusals: list[tuple[str, Refusal]]) -> Verdict:
        found = self._cycle.verdict(self._pod)
        found.refusals += refusals
        for _, refusal in refusals:
            found.helpless |= refusal.helpless
        return found

    async def _filtered(self, extender: Extender, feasible: Ints, refusals: list[tuple[str, Refusal]]) -> Ints:
        nodes = self._cycle.nodes
        objects = [obj for slot in feasible.tolist() if (obj := nodes.objects[slot]) is not None]
        try:
            names, failed, hopeless = await extender.filter(self._pod, objects)
        except ExtenderFailed as error:
            if not extender.config.ignorable:
                raise
            log.info("extender %s: %s", extender.config.url, error)
            return feasible
        left = set(names)
        for slot in feasible.tolist():
            name = nodes.names[slot]
            if name not in left:
                mask = np.zeros(len(nodes.alive), bool)
                mask[slot] = True
                reason = hopeless.get(name) or failed.get(name) or f"node(s) refused by extender {extender.config.url}"
                refusals.append((extender.config.url, Refusal(mask, reason, mask & (name in hopeless))))
        return np.array([slot for slot in feasible.tolist() if nodes.names[slot] in left], np.int64)

    async def _points(self, extender: Extender, feasible: Ints) -> Ints:
        """None where it does not answer: upstream lets others decide then."""
        nodes = self._cycle.nodes
        objects = [obj for slot in feasible.tolist() if (obj := nodes.objects[slot]) is not None]
        try:
            points = await extender.prioritize(self._pod, objects)
        except ExtenderFailed as error:
            log.info("extender %s: %s", extender.config.url, error)
            points = {}
        return np.array([points.get(nodes.names[slot], 0) for slot in feasible.tolist()], np.int64)

    async def preempt(self, preemptor: Preemptor, now: str) -> Preemption:
        """As the preemptor finds, among the candidates that extenders leave."""
        own = preemptor.preempt(self._pod, self.verdict, now)
        asked = [extender for extender in self._extenders if extender.config.preempt_verb]
        if own.candidate is None or not asked:
            return own
        candidates = preemptor.candidates(self._pod, self.verdict, now)
        for extender in asked:
            try:
                candidates = await extender.preempt(self._pod, candidates)
            except ExtenderFailed as error:
                if not extender.config.ignorable:
                    return Preemption(None, str(error), looked=False)
                log.info("extender %s: %s", extender.config.url, error)
            if not candidates:
                return Preemption(None, "no candidate node for preemption")
        return Preemption(best_of(candidates, now))
