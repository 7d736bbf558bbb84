"""The scheduling queue: a state machine over pods that wait for a node. No clock of its own: time is passed in.

A pod is active (to be tried now, highest priority first, then oldest), backing off, unschedulable, or being tried. An
event that could help, in the opinion of what kept the pod off (scheduler/hints.py), moves it on; those that waited five
minutes are tried anyway. Where nothing is active, pods that only back off for not fitting are tried before their time.
Source: upstream's PriorityQueue; KEP-4247 (queueing hints), KEP-5142 (popping from back-off).
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from navarch.machinery.types import Key
from navarch.scheduler.hints import Happening
from navarch.scheduler.podinfo import PodInfo, Shape

FIRST_BACKOFF, MAX_BACKOFF = 1.0, 10.0
FLUSH_SECONDS = 300.0

Hint = Callable[[PodInfo, frozenset[str], Happening], bool]
"""Whether what happened may let a pod fit that these plugins kept off."""


@dataclass(slots=True)
class _Waiting:
    info: PodInfo
    since: float
    attempts: int = 0
    tried: float = 0.0
    place: str = "active"
    """active, backoff, unschedulable, or trying."""
    plugins: frozenset[str] | None = None
    """Who kept it off at the last attempt; None during an attempt of which nothing is known yet."""
    stirred: bool = False
    """Something happened during the attempt that counts for it."""
    error: bool = False
    """It backs off for an error, not for want of a node."""


class SchedulingQueue:
    def __init__(self, first_backoff: float = FIRST_BACKOFF, max_backoff: float = MAX_BACKOFF) -> None:
        self._first, self._most = first_backoff, max_backoff
        self._pods: dict[Key, _Waiting] = {}
        self._unschedulable: dict[Key, _Waiting] = {}
        self._trying: dict[Key, _Waiting] = {}
        self._active: list[tuple[int, float, int, Key, str]] = []
        self._backoff: list[tuple[float, int, Key, str]] = []
        self._order = itertools.count()

    def __len__(self) -> int:
        return len(self._pods)

    def counts(self) -> dict[str, int]:
        """Pods by place, for metrics."""
        found: dict[str, int] = {"active": 0, "backoff": 0, "unschedulable": 0, "trying": 0}
        for waiting in self._pods.values():
            found[waiting.place] += 1
        return found

    def get(self, key: Key) -> PodInfo | None:
        waiting = self._pods.get(key)
        return waiting.info if waiting else None

    # -- pods come and go

    def add(self, info: PodInfo, now: float) -> None:
        """A new pod, or a changed one, which may fit now."""
        known = self._pods.get(info.key)
        if known is None or known.info.uid != info.uid:
            self.remove(info.key)
            waiting = self._pods[info.key] = _Waiting(info, now)
            self._activate(waiting)
            return
        known.info = info
        if known.place == "unschedulable":
            self._move(known, now)
        elif known.place == "trying":
            known.stirred = True

    def refresh(self, info: PodInfo) -> None:
        """A pod that changed in nothing that matters for where it fits."""
        known = self._pods.get(info.key)
        if known is not None and known.info.uid == info.uid:
            known.info = info

    def remove(self, key: Key) -> None:
        """The pod is gone, or has a node."""
        waiting = self._pods.pop(key, None)
        if waiting is not None:
            self._leave(waiting)

    def pop(self, now: float) -> PodInfo | None:
        """The next pod to try, or None."""
        self._release(now)
        waiting = self._next_active() or self._next_backing_off()
        if waiting is None:
            return None
        self._try(waiting, now)
        return waiting.info

    def _try(self, waiting: _Waiting, now: float) -> None:
        waiting.tried = now
        waiting.attempts += 1
        waiting.plugins, waiting.stirred, waiting.error = None, False, False
        waiting.place = "trying"
        self._trying[waiting.info.key] = waiting

    def take(self, wanted: Callable[[PodInfo], bool], now: float) -> list[PodInfo]:
        """Pops all that are wanted of those that wait for anything, oldest first."""
        found = [w for w in self._pods.values() if w.place != "trying" and wanted(w.info)]
        for waiting in found:
            self._leave(waiting)
            self._try(waiting, now)
        return [waiting.info for waiting in sorted(found, key=lambda w: w.since)]

    def since(self, key: Key) -> float:
        """When a pod came; 0 where it is not here."""
        waiting = self._pods.get(key)
        return waiting.since if waiting else 0.0

    def hold(self, key: Key, plugins: frozenset[str]) -> None:
        """The attempt found no node, but goes on: room is being made. `failed` ends it."""
        waiting = self._pods.get(key)
        if waiting is not None:
            waiting.plugins = plugins

    def failed(self, key: Key, now: float, plugins: frozenset[str] = frozenset(), *, at_once: bool = False) -> None:
        """An attempt found no node because of these plugins (or, `at_once`, an error that has nothing to do with
        fitting)."""
        waiting = self._pods.get(key)
        if waiting is None or waiting.place != "trying":
            return
        self._leave(waiting)
        waiting.plugins, waiting.error = plugins, at_once
        if at_once or waiting.stirred:
            self._move(waiting, now)
        else:
            waiting.place = "unschedulable"
            self._unschedulable[key] = waiting

    def activate(self, key: Key) -> None:
        """Tries a pod at once, whatever it waits for."""
        waiting = self._pods.get(key)
        if waiting is not None and waiting.place in ("unschedulable", "backoff"):
            self._leave(waiting)
            self._activate(waiting)

    # -- what happens elsewhere

    def happened(self, happenings: Sequence[Happening], now: float, hint: Hint) -> None:
        """Moves on the pods that something may help. Pods alike that the same plugins kept off are asked for once."""
        answers: dict[tuple[Shape, frozenset[str]], bool] = {}
        for waiting in [*self._unschedulable.values(), *self._trying.values()]:
            if waiting.plugins is None:
                waiting.stirred = True
                continue
            group = (waiting.info.shape, waiting.plugins)
            helped = answers.get(group)
            if helped is None:
                helped = any(hint(waiting.info, waiting.plugins, one) for one in happenings)
                answers[group] = helped
            if helped and waiting.place == "trying":
                waiting.stirred = True
            elif helped:
                self._move(waiting, now)

    def next_wake(self) -> float | None:
        """When `pop` should be asked again though nothing happens."""
        times = [self._backoff[0][0]] if self._backoff else []
        waiting = [w.tried + FLUSH_SECONDS for w in self._unschedulable.values()]
        return min([*times, *waiting], default=None)

    def flush(self, now: float) -> None:
        """Tries again what has been unschedulable for long."""
        for waiting in [w for w in self._unschedulable.values() if now - w.tried >= FLUSH_SECONDS]:
            self._move(waiting, now)

    # -- places

    def _leave(self, waiting: _Waiting) -> None:
        key = waiting.info.key
        if self._unschedulable.get(key) is waiting:
            del self._unschedulable[key]
        if self._trying.get(key) is waiting:
            del self._trying[key]

    def _move(self, waiting: _Waiting, now: float) -> None:
        self._leave(waiting)
        ready = waiting.tried + min(self._first * 2 ** max(waiting.attempts - 1, 0), self._most)
        if ready <= now:
            self._activate(waiting)
        else:
            waiting.place = "backoff"
            heapq.heappush(self._backoff, (ready, next(self._order), waiting.info.key, waiting.info.uid))

    def _activate(self, waiting: _Waiting) -> None:
        waiting.place = "active"
        info = waiting.info
        heapq.heappush(self._active, (-info.priority, waiting.since, next(self._order), info.key, info.uid))

    def _next_active(self) -> _Waiting | None:
        while self._active:
            *_, key, uid = heapq.heappop(self._active)
            waiting = self._pods.get(key)
            if waiting and waiting.place == "active" and waiting.info.uid == uid:
                return waiting
        return None

    def _next_backing_off(self) -> _Waiting | None:
        """Errors wait out their time."""
        errors: list[tuple[float, int, Key, str]] = []
        found: _Waiting | None = None
        while self._backoff and found is None:
            entry = heapq.heappop(self._backoff)
            waiting = self._pods.get(entry[2])
            if waiting is None or waiting.place != "backoff" or waiting.info.uid != entry[3]:
                continue
            if waiting.error:
                errors.append(entry)
            else:
                found = waiting
        for entry in errors:
            heapq.heappush(self._backoff, entry)
        return found

    def _release(self, now: float) -> None:
        while self._backoff and self._backoff[0][0] <= now:
            _, _, key, uid = heapq.heappop(self._backoff)
            waiting = self._pods.get(key)
            if waiting and waiting.place == "backoff" and waiting.info.uid == uid:
                self._activate(waiting)
