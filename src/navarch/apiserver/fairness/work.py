"""How much work a request is thought to be: the seats that it takes, and for how long after it. Pure.

Source: apiserver's util/flowcontrol/request (list and mutating work estimators), KEP-1040.
"""

from __future__ import annotations

import math
from typing import NamedTuple

BYTES_A_SEAT = 100_000
LIST_BYTES = 1_000_000
"""The most of a list that is held at once: answers are written piece by piece."""
LIST_SEATS = 100
WRITE_SEATS = 10
SHARE = 0.15
"""Of a level's seats that one request may take."""
WATCHERS_A_SEAT = 10
EVENT_SECONDS = 0.005
"""That a seat is taken by the delivery of an event."""


class Work(NamedTuple):
    """Seats, and for how many seconds after the answer they stay taken."""

    seats: int
    after: float = 0.0


ONE = Work(1)


def most_seats(seats: int, hand: int) -> int:
    """How many seats of a level one request may take, where its flow has a hand of so many queues."""
    return max(1, min(math.ceil(seats * SHARE), seats // max(hand, 1)))


def of_list(objects: int, average: int, limit: int, most: int) -> Work:
    """A list of as many objects of an average size in bytes."""
    held = min(min(objects, limit or objects) * average, LIST_BYTES)
    return Work(max(1, min(math.ceil(held / BYTES_A_SEAT), most, LIST_SEATS)))


def of_write(watchers: int, most: int) -> Work:
    """A write that so many watchers see. The more there are, the longer the delivery takes: in more seats than `most` it
    would block others, so it takes longer instead."""
    if watchers < WATCHERS_A_SEAT:
        return ONE
    wanted = math.ceil(watchers / WATCHERS_A_SEAT)
    seats = max(1, min(wanted, most, WRITE_SEATS))
    return Work(seats, wanted * EVENT_SECONDS / seats)
