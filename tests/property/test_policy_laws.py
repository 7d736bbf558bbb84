"""Laws of autoscalers' limits, of disruption budgets, and of the turns in which lost nodes give up their pods."""

from __future__ import annotations

import itertools
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from navarch.api.autoscaling import behavior as behaviors
from navarch.controllers.autoscaling.limits import Bounds, History, limit
from navarch.controllers.disruption import Observed, Scaled, decide
from navarch.controllers.nodes.zones import RATE, Zones
from navarch.controlloop.plan import Update
from navarch.machinery.clock import rfc3339
from navarch.machinery.types import Obj

NOW = 1_790_000_000.0
SMALL = st.integers(0, 60)
EVENTS = st.lists(st.tuples(SMALL, st.integers(0, 900)), max_size=6)


def policies() -> st.SearchStrategy[list[Obj]]:
    policy = st.fixed_dictionaries(
        {
            "type": st.sampled_from(("Pods", "Percent")),
            "value": st.integers(1, 150),
            "periodSeconds": st.integers(1, 600),
        }
    )
    return st.lists(policy, min_size=1, max_size=3)


RULES = st.fixed_dictionaries(
    {
        "policies": policies(),
        "selectPolicy": st.sampled_from(("Max", "Min", "Disabled")),
        "stabilizationWindowSeconds": st.integers(0, 900),
    }
)


@given(RULES, RULES, SMALL, st.integers(1, 60), SMALL, SMALL, EVENTS, EVENTS, EVENTS)
def test_limits_never_turn_a_recommendation_round_nor_leave_the_bounds(
    up: Obj, down: Obj, least: int, room: int, at: int, desired: int, recommended: Any, added: Any, removed: Any
) -> None:
    found: Obj = {"scaleUp": up, "scaleDown": down}
    behaviors.fill(found)
    times = [[(count, NOW - ago) for count, ago in events] for events in (recommended, added, removed)]
    most = least + room
    current = least + at % (room + 1)
    made = limit(found, Bounds(least, most, current), desired, History(*times), NOW)
    assert least <= made.replicas <= most
    if desired >= current:
        assert current <= made.replicas <= max(current, desired)
        assert up["selectPolicy"] != "Disabled" or made.replicas == current
    else:
        assert desired <= made.replicas <= current or made.replicas == least
        assert down["selectPolicy"] != "Disabled" or made.replicas == current


PODS = st.lists(st.tuples(st.booleans(), st.booleans(), st.one_of(st.none(), st.integers(0, 300))), max_size=8)
SHARE = st.one_of(st.integers(0, 9), st.integers(0, 100).map(lambda percent: f"{percent}%"))


@given(PODS, st.sampled_from(("minAvailable", "maxUnavailable")), SHARE, st.integers(0, 10))
def test_budgets_allow_no_more_than_is_to_spare_and_come_to_rest(
    pods: list[tuple[bool, bool, int | None]], field: str, share: int | str, scale: int
) -> None:
    found: list[Obj] = []
    evicted: dict[str, str] = {}
    for number, (ready, deleting, ago) in enumerate(pods):
        owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "r", "controller": True}
        meta: Obj = {"name": f"p{number}", "namespace": "n", "uid": f"u{number}", "ownerReferences": [owner]}
        if deleting:
            meta["deletionTimestamp"] = rfc3339(NOW)
        if ago is not None:
            evicted[meta["name"]] = rfc3339(NOW - ago)
        conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
        found.append({"metadata": meta, "status": {"phase": "Running", "conditions": conditions}})
    budget: Obj = {
        "metadata": {"name": "b", "namespace": "n", "uid": "b", "generation": 1},
        "spec": {"selector": {}, field: share},
        "status": {"disruptedPods": evicted},
    }
    scales = {"r": Scaled("r", scale)}
    plan = decide(Observed(budget, found, scales), scales, NOW)
    (write,) = [action for action in plan.actions if isinstance(action, Update)]
    status = write.object["status"]
    allowed, healthy = status["disruptionsAllowed"], status["currentHealthy"]
    assert 0 <= allowed <= healthy
    assert not allowed or healthy - allowed >= status["desiredHealthy"]
    assert set(status.get("disruptedPods", {})) <= set(evicted)
    settled = decide(Observed(write.object, found, scales), scales, NOW)
    assert not [action for action in settled.actions if isinstance(action, Update)]


@given(st.integers(1, 30), st.lists(st.floats(0, 60), min_size=1, max_size=30))
def test_nodes_of_a_zone_give_up_their_pods_one_after_the_other(well: int, gaps: list[float]) -> None:
    zones, now = Zones(), NOW
    for number in range(well + len(gaps)):
        zones.note({"metadata": {"name": f"n{number}", "labels": {}}}, True)
    turns: dict[str, float] = {}
    for number, gap in enumerate(gaps):
        now += gap
        name = f"n{number}"
        for other in zones.note({"metadata": {"name": name, "labels": {}}}, False):
            if turns.get(other, 0) > now:
                del turns[other]
        turns[name] = zones.turn(name, now)
        assert turns[name] >= now
        assert zones.turn(name, now + 1) == turns[name] or turns[name] == float("inf")
    times = sorted(at for at in turns.values() if at < float("inf") and at > now)
    assert all(after - before >= 1 / RATE - 1e-6 for before, after in itertools.pairwise(times))
