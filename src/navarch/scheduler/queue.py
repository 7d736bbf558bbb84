"""The scheduling queue: a state machine over pods that wait for a node. No clock of its own: time is passed in.

A pod is active (to be tried now, highest priority first, then oldest), backing off, or unschedulable. An event that could
help moves the unschedulable ones on; those that waited five minutes are tried anyway. Source: upstream's PriorityQueue.
"""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass

from navarch.machinery.types import Key
from navarch.scheduler.podinfo import PodInfo

FIRST_BACKOFF, MAX_BACKOFF = 1.0, 10.0
FLUSH_SECONDS = 300.0


@dataclass(slots=True)
class _Waiting:
    info: PodInfo
    since: float
    attempts: int = 0
    tried: float = 0.0
    place: str = "active"
    """active, backoff, unschedulable, or trying."""
    moved: int = 0
    """The move number at which its attempt began: an event during the attempt counts for it."""


class SchedulingQueue:
    def __init__(self) -> None:
        self._pods: dict[Key, _Waiting] = {}
        self._active: list[tuple[int, float, int, Key, str]] = []
        self._backoff: list[tuple[float, int, Key, str]] = []
        self._order = itertools.count()
        self._moves = 0

    def __len__(self) -> int:
        return len(self._pods)

    def counts(self) -> dict[str, int]:
        """Pods by place, for metrics."""
        found: dict[str, int] = {"active": 0, "backoff": 0, "unschedulable": 0, "trying": 0}
        for waiting in self._pods.values():
            found[waiting.place] += 1
        return found

    def add(self, info: PodInfo, now: float) -> None:
        """A new pod, or a changed one, which may fit now."""
        known = self._pods.get(info.key)
        if known is None or known.info.uid != info.uid:
            self._pods[info.key] = _Waiting(info, now)
            self._activate(self._pods[info.key])
            return
        known.info = info
        if known.place == "unschedulable":
            self._move(known, now)

    def remove(self, key: Key) -> None:
        """The pod is gone, or has a node."""
        self._pods.pop(key, None)

    def pop(self, now: float) -> PodInfo | None:
        """The next pod to try, or None."""
        self._release(now)
        while self._active:
            *_, key, uid = heapq.heappop(self._active)
            waiting = self._pods.get(key)
            if waiting and waiting.place == "active" and waiting.info.uid == uid:
                waiting.place, waiting.tried, waiting.moved = "trying", now, self._moves
                waiting.attempts += 1
                return waiting.info
        return None

    def failed(self, key: Key, now: float, *, at_once: bool = False) -> None:
        """An attempt found no node (or, `at_once`, an error that has nothing to do with fitting)."""
        waiting = self._pods.get(key)
        if waiting is None:
            return
        waiting.place = "unschedulable"
        if at_once or waiting.moved != self._moves:
            self._move(waiting, now)

    def something_changed(self, now: float) -> None:
        """An event that could let an unschedulable pod fit."""
        self._moves += 1
        for waiting in self._pods.values():
            if waiting.place == "unschedulable":
                self._move(waiting, now)

    def next_wake(self) -> float | None:
        """When `pop` should be asked again though nothing happens."""
        times = [self._backoff[0][0]] if self._backoff else []
        waiting = [w.tried + FLUSH_SECONDS for w in self._pods.values() if w.place == "unschedulable"]
        return min([*times, *waiting], default=None)

    def flush(self, now: float) -> None:
        """Tries again what has been unschedulable for long."""
        for waiting in self._pods.values():
            if waiting.place == "unschedulable" and now - waiting.tried >= FLUSH_SECONDS:
                self._move(waiting, now)

    def _move(self, waiting: _Waiting, now: float) -> None:
        ready = waiting.tried + min(FIRST_BACKOFF * 2 ** max(waiting.attempts - 1, 0), MAX_BACKOFF)
        if ready <= now:
            self._activate(waiting)
        else:
            waiting.place = "backoff"
            heapq.heappush(self._backoff, (ready, next(self._order), waiting.info.key, waiting.info.uid))

    def _activate(self, waiting: _Waiting) -> None:
        waiting.place = "active"
        info = waiting.info
        heapq.heappush(self._active, (-info.priority, waiting.since, next(self._order), info.key, info.uid))

    def _release(self, now: float) -> None:
        while self._backoff and self._backoff[0][0] <= now:
            _, _, key, uid = heapq.heappop(self._backoff)
            waiting = self._pods.get(key)
            if waiting and waiting.place == "backoff" and waiting.info.uid == uid:
                self._activate(waiting)
