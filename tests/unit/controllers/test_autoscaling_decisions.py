"""Autoscalers' numbers, by table: replicas from values, limits and policies, and a whole day of load."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from navarch.api.autoscaling import behavior as behaviors
from navarch.client.resources import DEPLOYMENTS
from navarch.controllers import objects
from navarch.controllers.autoscaling import calculator as calc
from navarch.controllers.autoscaling.calculator import CannotTell, PodValue, Tolerances
from navarch.controllers.autoscaling.decision import Observed, Target, decide
from navarch.controllers.autoscaling.limits import Bounds, History, limit
from navarch.controllers.autoscaling.measuring import of_containers, seconds_of
from navarch.controlloop.plan import Call, Emit, Update
from navarch.machinery.clock import rfc3339
from navarch.machinery.types import Key, Obj

NOW = 1_790_000_000.0
T = Tolerances()


def pod(
    name: str, request: str = "1", phase: str = "Running", ready: bool = True, age: float = 3600, **meta: Any
) -> Obj:
    start = rfc3339(NOW - age)
    condition = {"type": "Ready", "status": "True" if ready else "False", "lastTransitionTime": start}
    container = {"name": "c", "resources": {"requests": {"cpu": request}} if request else {}}
    return {
        "metadata": {"name": name, "namespace": "ns", "labels": {"app": "web"}, **meta},
        "spec": {"containers": [container]},
        "status": {"phase": phase, "startTime": start, "conditions": [condition]},
    }


def pods(count: int, **more: Any) -> list[Obj]:
    return [pod(f"p{number}", **more) for number in range(count)]


def values(*millis: int) -> dict[str, PodValue]:
    return {f"p{number}": PodValue(milli, NOW, 15) for number, milli in enumerate(millis)}


@pytest.mark.parametrize(
    ("found", "used", "current", "target", "replicas", "utilization"),
    [
        (pods(3), values(300, 500, 700), 3, 30, 5, 50),  # up
        (pods(3), values(300, 300, 300), 3, 50, 2, 30),  # down
        (pods(3), values(500, 520, 540), 3, 50, 3, 52),  # within the tolerance
        (pods(3), values(1000, 1000, 1000), 3, 50, 6, 100),
        ([*pods(2), pod("p2", phase="Pending")], values(900, 900), 3, 50, 4, 90),  # a pending pod dampens the rise
        ([*pods(2), pod("p2", phase="Pending")], values(100, 100), 3, 50, 1, 10),  # and is no matter for the fall
        (pods(3), values(900, 900), 3, 50, 4, 90),  # one is missing: it is taken to use nothing
        (pods(3), values(600, 600), 3, 50, 3, 60),  # so there is too little left of the rise
        (pods(3), values(100, 100), 3, 50, 3, 10),  # or all it requests
        (pods(4), values(100, 100, 100), 4, 50, 3, 10),
        ([*pods(3), pod("p3", phase="Failed")], values(500, 500, 500, 9000), 3, 50, 3, 50),  # failed pods do not count
        ([*pods(3), pod("p3", deletionTimestamp="x")], values(900, 900, 900, 0), 3, 50, 6, 90),
        ([*pods(2), pod("p2", ready=False, age=60)], values(900, 900, 2000), 3, 50, 4, 90),  # warming up
        ([*pods(2), pod("p2", age=10)], values(900, 900, 2000), 3, 50, 4, 90),  # its first window is not over
        ([*pods(2), pod("p2", ready=False)], values(500, 500, 500), 3, 50, 3, 50),  # never was ready
    ],
)
def test_replicas_by_utilization(
    found: list[Obj], used: dict[str, PodValue], current: int, target: int, replicas: int, utilization: int
) -> None:
    made = calc.by_utilization(used, found, current, target, "cpu", "", T, NOW)
    assert (made.replicas, made.utilization) == (replicas, utilization)


@pytest.mark.parametrize(
    ("found", "used", "container", "message"),
    [
        ([], values(1), "", "no pods returned by selector while calculating replica count"),
        (
            pods(1, ready=False, age=1),
            values(1),
            "",
            "did not receive metrics for targeted pods (pods might be unready)",
        ),
        (pods(1, request=""), values(1), "", "missing request for cpu in container c of Pod p0"),
        (pods(1), values(1), "d", "container d not found in Pod p0"),
    ],
)
def test_what_cannot_be_told(found: list[Obj], used: dict[str, PodValue], container: str, message: str) -> None:
    with pytest.raises(CannotTell) as raised:
        calc.by_utilization(used, found, 1, 50, "cpu", container, T, NOW)
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("found", "used", "current", "target", "replicas"),
    [
        (pods(3), values(20000, 10000, 30000), 3, 15000, 4),
        (pods(5), values(10000, 10000, 10000, 10000, 10000), 5, 20000, 3),
        (pods(3), values(20000, 21000, 21000), 3, 20000, 3),
        (pods(3), values(50000, 50000), 3, 20000, 5),  # one is missing: 0
        (pods(4), values(1000, 1000), 4, 20000, 3),  # two are missing: the target
    ],
)
def test_replicas_by_average(
    found: list[Obj], used: dict[str, PodValue], current: int, target: int, replicas: int
) -> None:
    assert calc.by_average(used, found, current, target, "", T, NOW).replicas == replicas


def test_replicas_by_one_value() -> None:
    assert calc.by_value(20000, pods(3), 3, 15000, T) == (4, 20000, None)
    assert calc.by_value(8600, pods(3), 3, 4400, T).replicas == 6
    assert calc.by_value(4600, pods(3), 3, 4400, T).replicas == 3
    assert calc.by_value(10000, [], 0, 4000, T).replicas == 3
    assert calc.by_value(2**63 - 1, pods(3), 3, 1, T).replicas == 2**31 - 1
    assert calc.by_value_per_pod(8600, 3, 2150, T) == (4, 2867, None)
    assert calc.by_value_per_pod(6500, 3, 2150, T) == (3, 2167, None)
    with pytest.raises(CannotTell, match="unable to calculate ready pods"):
        calc.by_value(8600, [], 3, 4400, T)


def test_pod_level_requests_and_sidecars() -> None:
    found = pod("p0")
    found["spec"]["initContainers"] = [
        {"name": "s", "restartPolicy": "Always", "resources": {"requests": {"cpu": "500m"}}},
        {"name": "i", "resources": {}},
    ]
    assert calc.requested(found, "", "cpu") == 1500
    assert calc.requested(found, "s", "cpu") == 500
    found["spec"]["resources"] = {"requests": {"cpu": "4"}}
    assert calc.requested(found, "", "cpu") == 4000
    with pytest.raises(CannotTell, match="missing pod-level request for memory in Pod p0"):
        calc.requested(found, "", "memory")


def test_the_words_of_the_metrics_api() -> None:
    containers = [{"name": "a", "usage": {"cpu": "1500u"}}, {"name": "b", "usage": {"cpu": "250m"}}]
    assert of_containers(containers, "cpu", "") == 252
    assert of_containers(containers, "cpu", "b") == 250
    assert of_containers(containers, "memory", "") is None
    assert of_containers([], "cpu", "") is None
    assert seconds_of("1m30.5s") == 90.5


# -- limits


@pytest.mark.parametrize(
    ("bounds", "desired", "recent", "replicas", "able", "limited"),
    [
        (Bounds(1, 10, 3), 5, [], 5, "ReadyForNewScale", "DesiredWithinRange"),
        (Bounds(1, 10, 3), 12, [], 6, "ReadyForNewScale", "ScaleUpLimit"),
        (Bounds(1, 10, 1), 9, [], 4, "ReadyForNewScale", "ScaleUpLimit"),
        (Bounds(1, 5, 3), 9, [], 5, "ReadyForNewScale", "TooManyReplicas"),
        (Bounds(2, 5, 3), 1, [], 2, "ReadyForNewScale", "TooFewReplicas"),
        (Bounds(1, 10, 8), 2, [(7, 200), (9, 400)], 7, "ScaleDownStabilized", "DesiredWithinRange"),
        (Bounds(1, 10, 8), 2, [(9, 400)], 2, "ReadyForNewScale", "DesiredWithinRange"),
    ],
)
def test_limits_without_a_behavior(
    bounds: Bounds, desired: int, recent: list[tuple[int, float]], replicas: int, able: str, limited: str
) -> None:
    history = History([(number, NOW - ago) for number, ago in recent])
    found = limit(None, bounds, desired, history, NOW)
    assert (found.replicas, found.able[0], found.limited[1]) == (replicas, able, limited)
    assert found.limited[0] == (limited != "DesiredWithinRange")
    assert history.recommended[-1] == (desired, NOW)


def filled(**rules: Any) -> Obj:
    made: Obj = {name: dict(value) for name, value in rules.items()}
    behaviors.fill(made)
    return made


UP = {
    "policies": [
        {"type": "Pods", "value": 2, "periodSeconds": 60},
        {"type": "Percent", "value": 20, "periodSeconds": 60},
    ]
}
DOWN = {**UP, "stabilizationWindowSeconds": 0}


@pytest.mark.parametrize(
    ("rules", "current", "desired", "added", "removed", "replicas", "limited"),
    [
        ({"scaleUp": UP}, 10, 20, [], [], 12, "ScaleUpLimit"),
        ({"scaleUp": UP}, 100, 200, [], [], 120, "ScaleUpLimit"),
        ({"scaleUp": {**UP, "selectPolicy": "Min"}}, 100, 200, [], [], 102, "ScaleUpLimit"),
        ({"scaleUp": {**UP, "selectPolicy": "Disabled"}}, 10, 20, [], [], 10, "ScaleUpLimit"),
        ({"scaleUp": UP}, 10, 20, [(2, 30)], [], 10, "ScaleUpLimit"),
        ({"scaleUp": UP}, 10, 20, [(2, 90)], [], 12, "ScaleUpLimit"),
        ({"scaleUp": UP}, 10, 20, [], [(3, 30)], 16, "ScaleUpLimit"),
        ({"scaleUp": UP}, 10, 11, [], [], 11, "DesiredWithinRange"),
        ({"scaleDown": DOWN}, 10, 2, [], [], 8, "ScaleDownLimit"),
        ({"scaleDown": DOWN}, 100, 2, [], [], 80, "ScaleDownLimit"),
        ({"scaleDown": {**DOWN, "selectPolicy": "Min"}}, 100, 2, [], [], 98, "ScaleDownLimit"),
        ({"scaleDown": {**DOWN, "selectPolicy": "Disabled"}}, 10, 2, [], [], 10, "ScaleDownLimit"),
        ({"scaleDown": DOWN}, 10, 2, [], [(2, 30)], 9, "ScaleDownLimit"),
        ({"scaleDown": {"stabilizationWindowSeconds": 0}}, 10, 0, [], [], 1, "TooFewReplicas"),
        ({"scaleUp": {}}, 100, 900, [], [], 200, "ScaleUpLimit"),
    ],
)
def test_policies_of_a_behavior(
    rules: dict[str, Obj],
    current: int,
    desired: int,
    added: list[tuple[int, float]],
    removed: list[tuple[int, float]],
    replicas: int,
    limited: str,
) -> None:
    history = History([], [(n, NOW - ago) for n, ago in added], [(n, NOW - ago) for n, ago in removed])
    found = limit(filled(**rules), Bounds(1, 1000, current), desired, history, NOW)
    assert (found.replicas, found.limited[1]) == (replicas, limited)


@pytest.mark.parametrize(
    ("up", "down", "recent", "current", "desired", "replicas", "able"),
    [
        (0, 300, [(5, 100)], 10, 4, 5, "ScaleDownStabilized"),
        (0, 300, [(12, 100)], 10, 4, 10, "ScaleDownStabilized"),
        (0, 0, [(12, 100)], 10, 4, 4, "ReadyForNewScale"),
        (120, 0, [(11, 100)], 10, 15, 11, "ScaleUpStabilized"),
        (120, 0, [(11, 130)], 10, 15, 15, "ReadyForNewScale"),
        (120, 0, [(5, 100)], 10, 15, 10, "ScaleUpStabilized"),
    ],
)
def test_windows_of_a_behavior(
    up: int, down: int, recent: list[tuple[int, float]], current: int, desired: int, replicas: int, able: str
) -> None:
    rules = filled(scaleUp={"stabilizationWindowSeconds": up}, scaleDown={"stabilizationWindowSeconds": down})
    history = History([(number, NOW - ago) for number, ago in recent])
    found = limit(rules, Bounds(1, 100, current), desired, history, NOW)
    assert (found.replicas, found.able[0]) == (replicas, able)


# -- decisions


CPU_HALF = {
    "type": "Resource",
    "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}},
}


def autoscaler(*metrics: Obj, status: Obj | None = None, **spec: Any) -> Obj:
    reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    made = {"scaleTargetRef": reference, "minReplicas": 1, "maxReplicas": 10, "metrics": list(metrics or [CPU_HALF])}
    meta = {"name": "h", "namespace": "ns", "uid": "h", "resourceVersion": "1"}
    return {"metadata": meta, "spec": {**made, **spec}, "status": status or {}}


def target(replicas: int, selector: str = "app=web") -> Target:
    scale = {"metadata": {"name": "web", "namespace": "ns"}, "spec": {"replicas": replicas}}
    return Target(DEPLOYMENTS, {**scale, "status": {"replicas": replicas, "selector": selector}})


def outcome(plan: Any) -> tuple[int | None, Obj, list[str]]:
    """(the new scale, the status, the events)."""
    scaled: int | None = None
    status: Obj = {}
    for action in plan.actions:
        if isinstance(action, Update) and action.subresource == "scale":
            scaled = action.object["spec"]["replicas"]
        elif isinstance(action, Update):
            status = action.object["status"]
    return scaled, status, [action.reason for action in plan.actions if isinstance(action, Emit)]


def condition(status: Obj, kind: str) -> tuple[str, str]:
    found = objects.condition_of(status, kind) or {}
    return found.get("status", ""), found.get("reason", "")


def test_a_busy_deployment_grows() -> None:
    seen = Observed(autoscaler(), target(3), pods(3), [values(1000, 1000, 1000)])
    plan = decide(seen, History(), NOW)
    scaled, status, events = outcome(plan)
    assert (scaled, events) == (6, ["SuccessfulRescale"])
    assert (status["currentReplicas"], status["desiredReplicas"]) == (3, 6)
    assert status["lastScaleTime"] == rfc3339(NOW)
    current = {"averageValue": "1", "averageUtilization": 100}
    assert status["currentMetrics"] == [{"type": "Resource", "resource": {"name": "cpu", "current": current}}]
    assert condition(status, "AbleToScale") == ("True", "SucceededRescale")
    assert condition(status, "ScalingActive") == ("True", "ValidMetricFound")
    assert condition(status, "ScalingLimited") == ("False", "DesiredWithinRange")
    assert plan.requeue_after == 15


@pytest.mark.parametrize(
    ("replicas", "scaled", "reason"),
    [
        (12, 10, "Current number of replicas above Spec.MaxReplicas"),
        (1, 2, "Current number of replicas below Spec.MinReplicas"),
    ],
)
def test_bounds_need_no_metrics(replicas: int, scaled: int, reason: str) -> None:
    plan = decide(Observed(autoscaler(minReplicas=2), target(replicas), [], []), History(), NOW)
    assert outcome(plan)[0] == scaled
    assert plan.reasons == [f"New size: {scaled}; reason: {reason}"]


def test_a_target_at_zero_is_left_alone() -> None:
    _, status, events = outcome(decide(Observed(autoscaler(), target(0), [], []), History(), NOW))
    assert condition(status, "ScalingActive") == ("False", "ScalingDisabled") and events == []


def test_the_most_that_any_metric_asks_for_counts_and_one_that_fails_prevents_only_a_fall() -> None:
    outside = {
        "type": "External",
        "external": {"metric": {"name": "queue"}, "target": {"type": "Value", "value": "10"}},
    }
    failure = CannotTell("unable to get external metric ns/queue/<nil>: unable to fetch metrics")
    both = autoscaler(CPU_HALF, outside)
    seen = Observed(both, target(3), pods(3), [values(600, 600, 600), 30000])
    assert outcome(decide(seen, History(), NOW))[0] == 6
    up = Observed(both, target(3), pods(3), [values(900, 900, 900), failure])
    scaled, status, events = outcome(decide(up, History(), NOW))
    assert (scaled, events) == (6, ["FailedGetExternalMetric", "SuccessfulRescale"])
    down = Observed(both, target(3), pods(3), [values(1, 1, 1), failure])
    scaled, status, events = outcome(decide(down, History(), NOW))
    assert (scaled, events) == (None, ["FailedGetExternalMetric", "FailedComputeMetricsReplicas"])
    assert condition(status, "ScalingActive") == ("False", "FailedGetExternalMetric")


@pytest.mark.parametrize(
    ("selector", "rivals", "reason"),
    [
        ("", [], "InvalidSelector"),
        ("app=web", [Key("ns", "h"), Key("ns", "i")], "AmbiguousSelector"),
    ],
)
def test_targets_must_have_pods_of_their_own(selector: str, rivals: Sequence[Key], reason: str) -> None:
    seen = Observed(autoscaler(), target(3, selector), pods(3), [values(1, 1, 1)], rivals)
    scaled, status, _ = outcome(decide(seen, History(), NOW))
    assert scaled is None and condition(status, "ScalingActive") == ("False", reason)


def test_a_scale_that_is_refused_is_told_and_not_noted() -> None:
    history = History()
    seen = Observed(autoscaler(behavior=filled()), target(3), pods(3), [values(1000, 1000, 1000)])
    plan = decide(seen, history, NOW)
    assert plan.on_error is not None
    scaled, status, events = outcome(plan.on_error(RuntimeError("no")))
    assert scaled is None and events == ["FailedRescale"]
    assert condition(status, "AbleToScale") == ("False", "FailedUpdateScale")
    assert "lastScaleTime" not in status and history.added == []


def test_a_day_of_load_needs_no_more_than_its_peak_and_goes_to_the_least_at_night() -> None:
    """15 seconds a step: traffic like a day's, with a burst at noon. Pods get ready 30 seconds after they are made."""
    behavior = filled(scaleDown={"policies": [{"type": "Pods", "value": 2, "periodSeconds": 60}]})
    run = Day(autoscaler(minReplicas=2, maxReplicas=40, behavior=behavior))
    run.until(24 * 3600)
    night = [replicas for at, replicas in run.seen if at < 4 * 3600]
    assert night[-1] == 2
    assert 18 <= max(replicas for _, replicas in run.seen) <= 24
    assert run.overloaded < 12 * 60, "seconds with more load than its pods can carry"
    falls = [(b - a) for (_, a), (_, b) in zip(run.seen, run.seen[1:], strict=False) if b < a]
    assert min(falls) >= -2
    turns = sum(x < y > z for (_, x), (_, y), (_, z) in zip(run.seen, run.seen[1:], run.seen[2:], strict=False))
    assert turns <= 2, "it does not swing"


def load(at: float) -> float:
    """Cores in use: little at night, 8 in the day, 10 at noon for ten minutes."""
    hours = at / 3600
    return (
        0.2 + 4 * (1 - math.cos(2 * math.pi * max(0.0, hours - 6) / 16)) * (6 <= hours <= 22) + 2 * (12 <= hours < 12.2)
    )


class Day:
    """An autoscaler and its target, a step at a time."""

    def __init__(self, found: Obj) -> None:
        self.autoscaler, self.history = found, History()
        self.made: list[float] = [-3600.0, -3600.0]
        """When each pod was made."""
        self.seen: list[tuple[float, int]] = []
        self.overloaded = 0.0

    def until(self, end: float) -> None:
        at = 0.0
        while at < end:
            self.step(at)
            at += 15

    def step(self, at: float) -> None:
        ready = [made for made in self.made if at - made >= 30]
        each = load(at) / len(ready)
        self.overloaded += 15 * (each > 1)
        used = {
            f"p{n}": PodValue(int(1000 * min(each, 1)), NOW + at, 15) for n in range(len(self.made)) if n < len(ready)
        }
        found = [self.pod(n, made, at) for n, made in enumerate(self.made)]
        plan = decide(Observed(self.autoscaler, target(len(self.made)), found, [used]), self.history, NOW + at)
        for action in plan.actions:
            if isinstance(action, Update) and action.subresource == "scale":
                wanted = action.object["spec"]["replicas"]
                self.made = [*self.made[:wanted], *[at] * (wanted - len(self.made))]
            elif isinstance(action, Update):
                self.autoscaler = action.object
            elif isinstance(action, Call):
                run: Callable[[], Any] = action.run
                run()
        self.seen.append((at, len(self.made)))

    @staticmethod
    def pod(number: int, made: float, at: float) -> Obj:
        found = pod(f"p{number}", ready=at - made >= 30, phase="Running" if at - made >= 5 else "Pending")
        found["status"]["startTime"] = rfc3339(NOW + made)
        found["status"]["conditions"][0]["lastTransitionTime"] = rfc3339(NOW + made + (30 if at - made >= 30 else 0))
        return found
