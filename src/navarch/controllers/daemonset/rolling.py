"""Which daemon pods are replaced next by a rolling update. Pure.

Source of the rules: upstream's pkg/controller/daemon/update.go. A pod that is being deleted counts as gone: an update
goes on though a node is down.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from navarch.controllers import objects
from navarch.controllers.daemonset import placement
from navarch.controllers.deployment.numbers import scaled
from navarch.machinery.types import Obj


class Bounds(NamedTuple):
    surge: int
    unavailable: int
    wanted: int
    """Nodes that should run a pod."""


class Step(NamedTuple):
    delete: list[Obj]
    create_on: list[str]
    """Names of nodes."""


def is_rolling(daemon_set: Obj) -> bool:
    return (daemon_set["spec"].get("updateStrategy") or {}).get("type", "RollingUpdate") == "RollingUpdate"


def bounds(daemon_set: Obj, wanted: int) -> Bounds:
    """Percentages are rounded up. Both zero would never move: one may be unavailable then."""
    if not is_rolling(daemon_set):
        return Bounds(0, 0, wanted)
    rolling = (daemon_set["spec"].get("updateStrategy") or {}).get("rollingUpdate") or {}
    surge = scaled(rolling.get("maxSurge"), wanted, True)
    unavailable = scaled(rolling.get("maxUnavailable"), wanted, True)
    return Bounds(surge, 1 if not surge and not unavailable else unavailable, wanted)


class Pair(NamedTuple):
    """The pods of a node: at most one of the newest template and one of an older. `excess` where there are more."""

    new: Obj | None
    old: Obj | None
    excess: bool = False


def pair(daemon_set: Obj, pods: Sequence[Obj], hashed: str) -> Pair:
    living = [pod for pod in pods if not objects.is_deleting(pod)]
    new = [pod for pod in living if placement.is_updated(daemon_set, pod, hashed)]
    old = [pod for pod in living if not placement.is_updated(daemon_set, pod, hashed)]
    if len(new) > 1 or len(old) > 1:
        return Pair(None, None, True)
    return Pair(new[0] if new else None, old[0] if old else None)


class Update(NamedTuple):
    """What both kinds of update look at."""

    daemon_set: Obj
    pairs: Mapping[str, Pair]
    """By node; those that should run a pod and have none are among them."""
    should_run: Mapping[str, bool]
    now: float

    def available(self, pod: Obj) -> bool:
        minimum = int(self.daemon_set["spec"].get("minReadySeconds", 0))
        return objects.available_in(pod, minimum, self.now) == 0

    def replacing(self, maximum: int) -> Step:
        """Deletes old pods: those that are not available anyway, and others up to the bound."""
        unavailable, broken, candidates = 0, list[Obj](), list[Obj]()
        for new, old, excess in self.pairs.values():
            if excess or (new is None) == (old is None):
                unavailable += 1  # there are pods to be made or removed, which is not an update's business
            elif new is not None:
                unavailable += not self.available(new)
            elif old is not None and not self.available(old):
                broken.append(old)
                unavailable += 1
            elif old is not None:
                candidates.append(old)
        return Step([*broken, *candidates[: max(maximum - unavailable, 0)]], [])

    def surging(self, limits: Bounds) -> Step:
        """Makes new pods beside old ones, and deletes the old when the new are available."""
        step = Step([], [])
        surged = available = 0
        candidates, leaving = list[str](), list[Obj]()
        for node, (new, old, excess) in self.pairs.items():
            if excess:
                surged += 1
                continue
            first = old or new
            fine = first is not None and self.available(first)
            available += fine
            if old is None:
                continue
            if new is not None:
                if self.available(new):
                    step.delete.append(old)
                else:
                    surged += 1
            elif self.should_run.get(node, False):
                (candidates if fine else step.create_on).append(node)
            else:
                (leaving if fine else step.delete).append(old)
        # Where the set moves to other nodes, it leaves the old ones only as the new get available.
        step.delete.extend(leaving[: max(available - limits.wanted, 0)])
        step.create_on.extend(candidates[: max(limits.surge - surged, 0)])
        return step


def next_step(
    daemon_set: Obj, by_node: Mapping[str, Sequence[Obj]], should_run: Mapping[str, bool], hashed: str, now: float
) -> Step:
    limits = bounds(daemon_set, sum(should_run.values()))
    empty = [name for name, runs in should_run.items() if runs and name not in by_node]
    pairs = {name: pair(daemon_set, pods, hashed) for name, pods in by_node.items()}
    update = Update(daemon_set, {**pairs, **{name: Pair(None, None) for name in empty}}, should_run, now)
    return update.surging(limits) if limits.surge else update.replacing(limits.unavailable)
