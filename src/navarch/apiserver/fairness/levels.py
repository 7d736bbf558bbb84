"""Priority levels at work: seats, what is asked of them, and the queues before them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field

from navarch.apiserver.fairness.allocation import Asking, Bounds, Demand, smoothed
from navarch.apiserver.fairness.queues import QueueSet, Ticket
from navarch.apiserver.fairness.work import most_seats
from navarch.machinery.types import Obj

DURATIONS = (0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0)


@dataclass(slots=True)
class Counts:
    """What a flow schema's requests have done, for metrics."""

    dispatched: int = 0
    executing: int = 0
    seats: int = 0
    """Of those that wait for something but their turn."""
    waiting: int = 0
    rejected: dict[str, int] = field(default_factory=dict[str, int])
    """By reason."""
    slow: list[int] = field(default_factory=lambda: [0] * (len(DURATIONS) + 1))
    """How many took as long as each of DURATIONS, at most; the last: longer."""
    seconds: float = 0.0

    def took(self, seconds: float) -> None:
        self.slow[bisect_left(DURATIONS, seconds)] += 1
        self.seconds += seconds


class Level:
    def __init__(self, name: str) -> None:
        self.name = name
        self.uid = ""
        self.exempt = False
        self.queuing = False
        self.limit = 0
        """Seats that it has now."""
        self.bounds = Bounds(0, 0, 0)
        self.most = 1
        """Seats that one request may take."""
        self.seats = 0
        """Seats in use."""
        self.executing = 0
        self.queues = QueueSet()
        self.smoothed = 0.0
        self._peak = 0
        self._sum = self._squares = 0.0
        self._begun = self._noted = 0.0

    def configure(self, obj: Obj, bounds: Bounds) -> None:
        spec = obj["spec"]
        self.uid = obj["metadata"].get("uid", "")
        self.exempt = spec["type"] == "Exempt"
        if self.bounds != bounds:
            self.bounds = bounds
            self.limit = bounds.nominal
        response = (spec.get("limited") or {}).get("limitResponse") or {}
        self.queuing = response.get("type") == "Queue"
        if self.queuing:
            queuing = response["queuing"]
            self.queues.configure(queuing["queues"], queuing["handSize"], queuing["queueLengthLimit"])
        self.most = most_seats(bounds.nominal, self.queues.hand_size if self.queuing else 1)

    @property
    def open(self) -> bool:
        """Whether a request of one seat need not wait."""
        return self.exempt or (self.seats < self.limit and not self.queues.waiting)

    def free(self, width: int) -> bool:
        """Whether so many seats are free. What is wider than the level goes alone."""
        return self.seats == 0 if width > self.limit else self.seats + width <= self.limit

    def take(self, width: int, now: float) -> None:
        self.note(now)
        self.seats += width
        self.executing += 1
        demand = self.seats + self.queues.waiting_seats
        if demand > self._peak:
            self._peak = demand

    def leave(self, width: int, now: float) -> None:
        """Frees seats, and lets in who waits for them."""
        self.note(now)
        self.seats -= width
        self.executing -= 1
        if self.queues.waiting:
            self.let_in(now)

    def wait(self, entropy: int, width: int, now: float, go: Callable[[], None]) -> Ticket | None:
        """Joins a queue; `go` is called when it is its turn, perhaps at once. None: there is no room."""
        self.note(now)
        ticket = self.queues.enqueue(entropy, width, now, self.limit, self.seats >= self.limit, go)
        self.let_in(now)
        return ticket

    def let_in(self, now: float) -> None:
        while ticket := self.queues.dispatch(now, self.limit, self.free):
            self.take(ticket.width, now)
            ticket.go()

    # -- what is asked of it

    def note(self, now: float) -> None:
        """The demand as it was until now."""
        demand = self.seats + self.queues.waiting_seats
        if demand:
            work = demand * (now - self._noted)
            self._sum += work
            self._squares += demand * work
            if demand > self._peak:
                self._peak = demand
        self._noted = now

    def asking(self, now: float) -> Asking:
        """The demand since the last time this was asked."""
        self.note(now)
        passed = now - self._begun
        mean = self._sum / passed if passed > 0 else 0.0
        variance = self._squares / passed - mean * mean if passed > 0 else 0.0
        seen = Demand(self._peak, mean, max(variance, 0.0) ** 0.5)
        self.smoothed = smoothed(self.smoothed, seen)
        self._begun, self._sum, self._squares = now, 0.0, 0.0
        self._peak = self.seats + self.queues.waiting_seats
        return Asking(self.exempt, self.bounds, seen.peak, self.smoothed)
