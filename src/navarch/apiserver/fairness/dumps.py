"""What goes on in the priority levels, as /debug/api_priority_and_fairness tells it: comma-separated lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from navarch.apiserver.request import Handler, Request, Response

if TYPE_CHECKING:
    from navarch.apiserver.fairness.fairness import Fairness

ROOT = "/debug/api_priority_and_fairness/"


def handlers(fairness: Fairness) -> dict[str, Handler]:
    """By path."""
    dumps: dict[str, Callable[[Fairness], Iterator[str]]] = {
        "dump_priority_levels": levels,
        "dump_queues": queues,
        "dump_requests": requests,
    }
    return {ROOT + name: _handler(fairness, dump) for name, dump in dumps.items()}


def _handler(fairness: Fairness, dump: Callable[[Fairness], Iterator[str]]) -> Handler:
    def handle(request: Request) -> Response:
        return Response(200, "".join(f"{line}\n" for line in dump(fairness)).encode(), "text/plain; charset=utf-8")

    return handle


def levels(fairness: Fairness) -> Iterator[str]:
    yield (
        "PriorityLevelName, ActiveQueues, IsIdle, IsQuiescing, WaitingRequests, ExecutingRequests, DispatchedRequests, "
        "RejectedRequests, TimedoutRequests, CancelledRequests"
    )
    for name in sorted(fairness.levels):
        level = fairness.levels[name]
        active = sum(1 for queue in level.queues.queues if queue.waiting or queue.executing)
        idle = str(not level.queues.waiting and not level.executing).lower()
        counts = [counts for (own, _), counts in fairness.counts.items() if own == name]
        late = sum(c.rejected.get("time-out", 0) for c in counts)
        refused = sum(sum(c.rejected.values()) for c in counts)
        done = sum(c.dispatched for c in counts)
        yield f"{name}, {active}, {idle}, false, {level.queues.waiting}, {level.executing}, {done}, {refused}, {late}, 0"


def queues(fairness: Fairness) -> Iterator[str]:
    yield "PriorityLevelName, Index, PendingRequests, ExecutingRequests, SeatsInUse, NextDispatchR"
    for name in sorted(fairness.levels):
        for index, queue in enumerate(fairness.levels[name].queues.queues):
            yield f"{name}, {index}, {len(queue.waiting)}, {queue.executing}, {queue.seats}, {queue.next:.8f}ss"


def requests(fairness: Fairness) -> Iterator[str]:
    """Those that wait."""
    yield "PriorityLevelName, QueueIndex, RequestIndexInQueue, InitialSeats, ArriveR"
    for name in sorted(fairness.levels):
        for index, queue in enumerate(fairness.levels[name].queues.queues):
            for place, ticket in enumerate(queue.waiting):
                yield f"{name}, {index}, {place}, {ticket.width}, {ticket.arrived:.8f}ss"
