"""Priority and fairness, decided purely: which schema, which queue, whose turn, how many seats."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from navarch.api.flowcontrol import bootstrap
from navarch.apiserver.fairness import allocation, matching, work
from navarch.apiserver.fairness.allocation import Asking, Bounds
from navarch.apiserver.fairness.levels import Level
from navarch.apiserver.fairness.queues import deal
from navarch.apiserver.filters.limits import RetryAfter
from navarch.apiserver.filters.request_info import request_info
from navarch.apiserver.request import Request, User

EVERYBODY = ("system:authenticated",)
CONTROLLER = User("system:kube-controller-manager", groups=EVERYBODY)
NODE = User("system:node:a", groups=("system:nodes", *EVERYBODY))
ACCOUNT = User("system:serviceaccount:team:app", groups=("system:serviceaccounts", *EVERYBODY))
SYSTEM_ACCOUNT = User("system:serviceaccount:kube-system:job-controller", groups=("system:serviceaccounts", *EVERYBODY))
JANE = User("jane", groups=EVERYBODY)
LEASE = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/a"
PODS = "/api/v1/namespaces/team/pods"
SCHEMAS = [
    {"metadata": {"name": name}, "spec": spec}
    for name, spec in (*bootstrap.MANDATORY_SCHEMAS.items(), *bootstrap.SUGGESTED_SCHEMAS.items())
]


@pytest.mark.parametrize(
    ("user", "method", "path", "schema", "flow"),
    [
        (User("root", groups=("system:masters",)), "GET", PODS, "exempt", ""),
        (JANE, "GET", "/readyz", "probes", ""),
        (JANE, "GET", "/readyz/etcd", "probes", ""),
        (JANE, "GET", "/readyzzz", "global-default", "jane"),
        (JANE, "POST", PODS, "global-default", "jane"),
        (CONTROLLER, "PUT", LEASE, "system-leader-election", CONTROLLER.name),
        (CONTROLLER, "DELETE", LEASE, "kube-controller-manager", "kube-node-lease"),
        (SYSTEM_ACCOUNT, "POST", PODS, "kube-system-service-accounts", "team"),
        (ACCOUNT, "POST", PODS, "service-accounts", ACCOUNT.name),
        (NODE, "PATCH", "/api/v1/nodes/a/status", "system-node-high", NODE.name),
        (NODE, "PUT", LEASE, "system-node-high", NODE.name),
        (NODE, "PATCH", f"{PODS}/a/status", "system-nodes", NODE.name),
        (User("system:anonymous", groups=("system:unauthenticated",)), "GET", "/version", "global-default", None),
    ],
)
def test_requests_belong_to_the_default_flow_schemas(
    user: User, method: str, path: str, schema: str, flow: str
) -> None:
    info = request_info(Request(method, path, "", {}, b"", None))  # type: ignore[arg-type]
    found = next(s for s in matching.ordered(SCHEMAS) if matching.matches(s, user, info))
    assert found["metadata"]["name"] == schema
    assert flow is None or matching.distinguisher(found, user, info) == flow


@given(st.integers(0, 2**64 - 1), st.integers(1, 128), st.data())
def test_hands_are_of_different_cards(entropy: int, deck: int, data: Any) -> None:
    size = data.draw(st.integers(1, min(deck, 10)))
    hand = deal(entropy, deck, size)
    assert len(set(hand)) == size
    assert all(0 <= card < deck for card in hand)


def test_all_hands_are_dealt_alike() -> None:
    hands = Counter(tuple(deal(entropy, 5, 2)) for entropy in range(20 * 50))
    assert len(hands) == 20
    assert set(hands.values()) == {50}


def level(seats: int, queues: int, hand: int, length: int) -> Level:
    made = Level("test")
    queuing = {"queues": queues, "handSize": hand, "queueLengthLimit": length}
    limited = {"limitResponse": {"type": "Queue", "queuing": queuing}}
    made.configure({"metadata": {}, "spec": {"type": "Limited", "limited": limited}}, Bounds(seats, seats, seats))
    return made


class Sim:
    """Requests of one second each at a level, and the order in which they are let in."""

    def __init__(self, level: Level) -> None:
        self.level = level
        self.order: list[str] = []
        self.running: list[Any] = []
        self.refused: list[str] = []

    def ask(self, flow: str, entropy: int, now: float, width: int = 1) -> None:
        tickets: list[Any] = []
        ticket = self.level.wait(entropy, width, now, lambda: self._go(flow, tickets))
        tickets.append(ticket)
        if ticket is None:
            self.refused.append(flow)

    def _go(self, flow: str, tickets: list[Any]) -> None:
        self.order.append(flow)
        self.running.append(tickets)

    def end_first(self, now: float) -> None:
        (ticket,) = self.running.pop(0)
        self.level.queues.finish(ticket, now, self.level.limit)
        self.level.leave(ticket.width, now)


def test_a_small_flow_does_not_wait_for_a_large_one() -> None:
    sim = Sim(level(1, 8, 1, 100))
    for _ in range(50):
        sim.ask("large", 1, 0.0)
    sim.ask("small", 2, 0.0)
    sim.ask("small", 2, 0.0)
    for second in range(1, 6):
        sim.end_first(float(second))
    assert sim.order[:5].count("small") == 2


def test_flows_that_always_ask_get_equal_parts() -> None:
    sim = Sim(level(2, 8, 1, 1000))
    for _ in range(300):
        sim.ask("a", 1, 0.0)
        sim.ask("b", 2, 0.0)
        sim.ask("c", 3, 0.0)
    for half in range(1, 300):
        sim.end_first(half / 2)
    counts = Counter(sim.order)
    assert max(counts.values()) - min(counts.values()) <= 2


def test_seats_are_never_overdrawn_and_full_queues_refuse() -> None:
    sim = Sim(level(10, 2, 1, 5))
    for number in range(40):
        sim.ask(str(number % 2), number % 2, 0.0, width=3)
        assert sim.level.seats <= 10
    assert len(sim.order) == 3
    assert sim.level.seats == 9
    assert len(sim.refused) == 0  # one seat is free: nobody is refused
    sim.ask("last", 0, 0.0)
    assert sim.level.seats == 9  # the wide ones before it go first
    for second in range(1, 15):
        sim.end_first(float(second))
    assert sim.level.seats <= 10
    full = Sim(level(1, 1, 1, 2))
    for _ in range(5):
        full.ask("x", 0, 0.0)
    assert (len(full.order), len(full.refused)) == (1, 2)


def test_what_is_wider_than_its_level_goes_alone() -> None:
    sim = Sim(level(2, 1, 1, 10))
    sim.ask("narrow", 0, 0.0)
    sim.ask("wide", 0, 0.0, width=5)
    assert sim.order == ["narrow"]
    sim.end_first(1.0)
    assert sim.order == ["narrow", "wide"]
    sim.ask("narrow", 0, 1.0)
    assert len(sim.order) == 2
    sim.end_first(2.0)
    assert sim.order[-1] == "narrow"


@pytest.mark.parametrize(
    ("watchers", "most", "taken"),
    [
        (0, 10, (1, 0)),
        (9, 10, (1, 0)),
        (10, 10, (1, 0.005)),
        (45, 10, (5, 0.005)),
        (1000, 10, (10, 0.05)),
        (45, 1, (1, 0.025)),
    ],
)
def test_writes_take_seats_for_who_watches(watchers: int, most: int, taken: tuple[int, float]) -> None:
    assert work.of_write(watchers, most) == taken


@pytest.mark.parametrize(
    ("objects", "size", "limit", "seats"),
    [
        (0, 0, 0, 1),
        (100, 1000, 0, 1),
        (101, 1000, 0, 2),
        (5000, 1000, 0, 10),
        (5000, 1000, 300, 3),
        (5000, 1000, 9000, 10),
    ],
)
def test_lists_take_seats_for_what_they_hold(objects: int, size: int, limit: int, seats: int) -> None:
    assert work.of_list(objects, size, limit, 50) == (seats, 0)


def test_one_request_takes_a_part_of_its_level_at_most() -> None:
    assert [work.most_seats(*given) for given in ((100, 1), (100, 6), (100, 10), (3, 8), (0, 1))] == [15, 15, 10, 1, 1]


def test_the_default_levels_share_the_seats_as_upstream_documents_it() -> None:
    specs = {**bootstrap.MANDATORY_LEVELS, **bootstrap.SUGGESTED_LEVELS}
    found = allocation.bounds(specs, 600)
    # from the table of nominal and lendable limits in the documentation, for 600
    assert {name: (own.nominal, own.minimum) for name, own in found.items()} == {
        "catch-all": (13, 13), "exempt": (0, 0), "system": (74, 50), "node-high": (98, 73), "leader-election": (25, 25),
        "workload-high": (98, 49), "workload-low": (245, 24), "global-default": (49, 24),
    }  # fmt: skip


def test_levels_borrow_what_others_do_not_need() -> None:
    calm = Asking(False, Bounds(100, 50, 300), 0, 0.0)
    busy = Asking(False, Bounds(100, 50, 300), 100, 150.0)
    exempt = Asking(True, Bounds(0, 0, 0), 20, 20.0)
    found = allocation.limits({"calm": calm, "busy": busy, "exempt": exempt})
    assert found == {"calm": 50, "busy": 150, "exempt": 20}
    assert allocation.limits({"a": calm, "b": calm}) == {"a": 100, "b": 100}


@given(
    st.lists(st.tuples(st.floats(0, 500), st.integers(0, 100), st.integers(0, 400)), min_size=1, max_size=8),
    st.integers(1, 1000),
)
def test_fair_parts_are_within_their_bounds(raw: list[tuple[float, int, int]], total: int) -> None:
    items = [(max(target, low), float(low), float(low + more)) for target, low, more in raw]
    dealt = allocation.fair(total, items)
    assert all(low - 1e-6 <= part <= high + 1e-6 for part, (_, low, high) in zip(dealt, items, strict=True))
    lows, highs = sum(low for _, low, _ in items), sum(high for _, _, high in items)
    assert sum(dealt) == pytest.approx(min(max(total, lows), highs), abs=0.01)


def test_clients_come_back_the_later_the_more_are_refused() -> None:
    retry = RetryAfter()
    now, told = 0.0, list[int]()
    for _ in range(400):
        told.append(retry.after("level", now))
        now += 0.05
    assert told[0] == 1
    assert max(told) > 4
    assert retry.after("other", now) == 1
    for _ in range(10):
        now += 100
        last = retry.after("level", now)
    assert last == 1
