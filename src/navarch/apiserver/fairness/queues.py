"""The queues of one priority level: shuffle sharding, and fair queuing for requests that take seats for a while.

A state machine: time is passed in, and whoever is dispatched is called. Source: KEP-1040, util/flowcontrol/fairqueuing's
doc.go and queueset.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

GUESS = 0.003
"""Seconds that a request is thought to take until it has."""


def deal(entropy: int, deck: int, hand: int) -> list[int]:
    """`hand` different cards of a deck, by the digits of a hash."""
    cards: list[int] = []
    for size in range(deck, deck - hand, -1):
        entropy, card = divmod(entropy, size)
        for before in sorted(cards):
            if card >= before:
                card += 1
        cards.append(card)
    return cards


class Queue:
    __slots__ = ("executing", "next", "seats", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[Ticket] = deque()
        self.executing = 0
        self.seats = 0
        """Of those that are executing."""
        self.next = 0.0
        """The virtual time at which its next request starts."""


class Ticket:
    """A request in a queue, and after its dispatch."""

    __slots__ = ("arrived", "dispatched", "go", "queue", "started", "width")

    def __init__(self, queue: Queue, width: int, arrived: float, go: Callable[[], None]) -> None:
        self.queue = queue
        self.width = width
        """Seats."""
        self.arrived = arrived
        """In virtual time."""
        self.go = go
        self.dispatched = False
        self.started = 0.0


class QueueSet:
    def __init__(self) -> None:
        self.hand_size = 1
        self.length_limit = 0
        self.waiting = 0
        self.waiting_seats = 0
        self._queues: list[Queue] = []
        self._active: dict[Queue, None] = {}
        """Queues where something waits or executes."""
        self._virtual = 0.0
        self._real = 0.0
        self._turn = 0
        self._wanted = 0

    def configure(self, queues: int, hand_size: int, length_limit: int) -> None:
        """Queues too many are used up: what waits in them goes first."""
        self.hand_size = hand_size
        self.length_limit = length_limit
        self._wanted = queues
        self._queues += [Queue() for _ in range(queues - len(self._queues))]

    @property
    def queues(self) -> Sequence[Queue]:
        return self._queues

    def _advance(self, now: float, limit: int) -> None:
        """Virtual time passes as fast as each queue is served."""
        passed, self._real = now - self._real, now
        if self._active:
            seats = self.waiting_seats + sum(queue.seats for queue in self._active)
            self._virtual += passed * min(seats, limit) / len(self._active)

    def enqueue(
        self, entropy: int, width: int, now: float, limit: int, full: bool, go: Callable[[], None]
    ) -> Ticket | None:
        """Joins the least loaded queue of the flow's hand; None where that is full and so are the seats (`full`)."""
        self._advance(now, limit)
        hand = deal(entropy, self._wanted, self.hand_size)
        self._turn += 1
        offset = self._turn % len(hand)
        chosen = min(
            (self._queues[index] for index in hand[offset:] + hand[:offset]),
            key=lambda queue: sum(ticket.width for ticket in queue.waiting),
        )
        if full and len(chosen.waiting) >= self.length_limit:
            return None
        if chosen not in self._active:
            self._active[chosen] = None
            chosen.next = self._virtual
        ticket = Ticket(chosen, width, self._virtual, go)
        chosen.waiting.append(ticket)
        self.waiting += 1
        self.waiting_seats += width
        self._bound(chosen)
        return ticket

    def dispatch(self, now: float, limit: int, free: Callable[[int], bool]) -> Ticket | None:
        """Takes out the request whose turn it is, where `free` has its seats; None where nothing waits or it must wait."""
        self._advance(now, limit)
        ready = [queue for queue in self._active if queue.waiting]
        if not ready:
            return None
        queue = min(ready, key=lambda q: q.next + GUESS * q.waiting[0].width)
        ticket = queue.waiting[0]
        if not free(ticket.width):
            return None
        self._take(ticket)
        ticket.dispatched = True
        ticket.started = now
        queue.executing += 1
        queue.seats += ticket.width
        queue.next += GUESS * ticket.width
        # of queues with the same time, the one served last comes last
        self._active.pop(queue)
        self._active[queue] = None
        self._bound(queue)
        return ticket

    def give_up(self, ticket: Ticket, now: float, limit: int) -> None:
        """A request that waits no longer."""
        self._advance(now, limit)
        self._take(ticket)
        self._bound(ticket.queue)
        self._rest(ticket.queue)

    def finish(self, ticket: Ticket, now: float, limit: int) -> None:
        """A dispatched request is over: its queue is charged what it really took."""
        self._advance(now, limit)
        queue = ticket.queue
        queue.executing -= 1
        queue.seats -= ticket.width
        queue.next -= (GUESS - (now - ticket.started)) * ticket.width
        self._bound(queue)
        self._rest(queue)

    def _take(self, ticket: Ticket) -> None:
        ticket.queue.waiting.remove(ticket)
        self.waiting -= 1
        self.waiting_seats -= ticket.width

    def _bound(self, queue: Queue) -> None:
        """No request starts, in virtual time, before it came."""
        if queue.waiting:
            queue.next = max(queue.next, queue.waiting[0].arrived)

    def _rest(self, queue: Queue) -> None:
        if not queue.waiting and not queue.executing:
            self._active.pop(queue, None)
            if len(self._queues) > self._wanted and self._queues[-1] is queue:
                self._queues.pop()
