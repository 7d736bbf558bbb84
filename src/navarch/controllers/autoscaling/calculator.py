"""From what was measured to a number of replicas. All pure. Source: podautoscaler/replica_calculator.go.

Amounts are in thousandths (of cores, bytes, or whatever a metric counts), as upstream's are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from navarch.api.podspec.resources import is_sidecar
from navarch.api.quota import pod_amounts
from navarch.controllers import objects
from navarch.machinery.quantity import Quantity
from navarch.machinery.types import Obj

CPU_INITIALIZATION_SECONDS = 300.0
INITIAL_READINESS_SECONDS = 30.0
MAX_INT32, MAX_INT64 = 2**31 - 1, 2**63 - 1


class CannotTell(Exception):
    """Why there is no number."""


class PodValue(NamedTuple):
    value: int
    at: float = 0.0
    window: float = 0.0


Values = Mapping[str, PodValue]
"""By name of pod."""


class Tolerances(NamedTuple):
    down: float = 0.1
    up: float = 0.1

    def allow(self, ratio: float) -> bool:
        """Whether a ratio of what is used to what is wanted is near enough to change nothing."""
        return 1.0 - self.down <= ratio <= 1.0 + self.up


class Proposal(NamedTuple):
    replicas: int
    usage: int
    """What a pod uses on average, or what was measured altogether."""
    utilization: int | None = None
    """The same in percent of what the pods request."""


@dataclass(slots=True)
class Groups:
    ready: int = 0
    unready: set[str] = field(default_factory=set[str])
    missing: set[str] = field(default_factory=set[str])
    ignored: set[str] = field(default_factory=set[str])


def group(pods: Sequence[Obj], values: Values, resource: str, now: float) -> Groups:
    """Sorts pods by what their values are good for."""
    groups = Groups()
    for pod in pods:
        name, phase = pod["metadata"]["name"], objects.phase_of(pod)
        if objects.is_deleting(pod) or phase == "Failed":
            groups.ignored.add(name)
        elif phase == "Pending":
            groups.unready.add(name)
        elif name not in values:
            groups.missing.add(name)
        elif resource == "cpu" and _is_warming_up(pod, values[name], now):
            groups.unready.add(name)
        else:
            groups.ready += 1
    return groups


def _is_warming_up(pod: Obj, value: PodValue, now: float) -> bool:
    """Whether a pod's CPU time is that of its start: what it takes then says nothing of its load."""
    condition, status = objects.ready_condition(pod), pod.get("status") or {}
    if condition is None or not status.get("startTime"):
        return True
    started, changed = objects.time_of(status["startTime"]), objects.time_of(condition.get("lastTransitionTime"))
    not_ready = condition["status"] == "False"
    if started + CPU_INITIALIZATION_SECONDS > now:
        return not_ready or value.at < changed + value.window
    return not_ready and started + INITIAL_READINESS_SECONDS > changed


@dataclass(frozen=True, slots=True)
class Measure:
    """How the values of pods are told as one ratio."""

    ratio: Callable[[Mapping[str, int]], float]
    full: Callable[[str], int]
    """What a pod without a value is taken to use where fewer pods would do."""


def _replicas(
    values: Values, groups: Groups, current: int, tolerances: Tolerances, measure: Measure, known: Mapping[str, int]
) -> int:
    ratio = measure.ratio(known)
    with_unready = bool(groups.unready) and ratio > 1.0
    if not with_unready and not groups.missing:
        return current if tolerances.allow(ratio) else math.ceil(ratio * groups.ready)
    supposed = dict(known)
    if ratio < 1.0:
        supposed |= {name: measure.full(name) for name in groups.missing}
    elif ratio > 1.0:
        supposed |= dict.fromkeys(groups.missing, 0)
    if with_unready:
        supposed |= dict.fromkeys(groups.unready, 0)
    new = measure.ratio(supposed)
    if tolerances.allow(new) or (ratio < 1.0 < new) or (new < 1.0 < ratio):
        return current
    wanted = math.ceil(new * len(supposed))
    turned = (new < 1.0 and wanted > current) or (new > 1.0 and wanted < current)
    return current if turned else wanted


def _known(values: Values, groups: Groups) -> dict[str, int]:
    left_out = groups.ignored | groups.unready
    known = {name: value.value for name, value in values.items() if name not in left_out}
    if not known:
        raise CannotTell("did not receive metrics for targeted pods (pods might be unready)")
    return known


def _some(pods: Sequence[Obj]) -> None:
    if not pods:
        raise CannotTell("no pods returned by selector while calculating replica count")


def by_utilization(
    values: Values,
    pods: Sequence[Obj],
    current: int,
    target: int,
    resource: str,
    container: str,
    tolerances: Tolerances,
    now: float,
) -> Proposal:
    """`target` is in percent of what the pods request. Raises CannotTell."""
    _some(pods)
    groups = group(pods, values, resource, now)
    known = _known(values, groups)
    requests = {pod["metadata"]["name"]: requested(pod, container, resource) for pod in pods}

    def utilization(of: Mapping[str, int]) -> int:
        total = sum(requests[name] for name in of if name in requests)
        if not total:
            raise CannotTell("no metrics returned matched known pods")
        return sum(value for name, value in of.items() if name in requests) * 100 // total

    measure = Measure(lambda of: utilization(of) / target, lambda name: requests[name] * max(100, target) // 100)
    replicas = _replicas(values, groups, current, tolerances, measure, known)
    matched = [value for name, value in known.items() if name in requests]
    return Proposal(replicas, sum(matched) // len(matched), utilization(known))


def by_average(
    values: Values, pods: Sequence[Obj], current: int, target: int, resource: str, tolerances: Tolerances, now: float
) -> Proposal:
    """`target` is what a pod is to use; `resource` is "" for anything else than a resource. Raises CannotTell."""
    _some(pods)
    groups = group(pods, values, resource, now)
    known = _known(values, groups)
    measure = Measure(lambda of: sum(of.values()) // len(of) / target, lambda name: target)
    replicas = _replicas(values, groups, current, tolerances, measure, known)
    return Proposal(replicas, sum(known.values()) // len(known))


def by_value(usage: int, pods: Sequence[Obj], current: int, target: int, tolerances: Tolerances) -> Proposal:
    """One value for all pods, to be at `target`. Raises CannotTell."""
    ratio = usage / target
    if not current:
        return Proposal(min(math.ceil(ratio), MAX_INT32), usage)
    if tolerances.allow(ratio):
        return Proposal(current, usage)
    if not pods:
        raise CannotTell("unable to calculate ready pods: no pods returned by selector while calculating replica count")
    ready = sum(objects.phase_of(pod) == "Running" and objects.is_ready(pod) for pod in pods)
    return Proposal(min(math.ceil(ratio * ready), MAX_INT32), usage)


def by_value_per_pod(usage: int, replicas: int, target: int, tolerances: Tolerances) -> Proposal:
    """One value for all pods, to be at `target` for each of them."""
    ratio = usage / (target * replicas) if replicas else math.inf
    wanted = replicas if tolerances.allow(ratio) else min(math.ceil(usage / target), MAX_INT32)
    return Proposal(wanted, math.ceil(usage / replicas) if replicas else usage)


def requested(pod: Obj, container: str, resource: str) -> int:
    """What a pod, or one of its containers, requests. Raises CannotTell where it does not say."""
    name, spec = pod["metadata"]["name"], pod["spec"]
    if not container and (spec.get("resources") or {}).get("requests"):
        if (amount := pod_amounts(pod, "requests").get(resource)) is None:
            raise CannotTell(f"missing pod-level request for {resource} in Pod {name}")
        return amount.milli()
    total = 0
    for one in [*spec["containers"], *filter(is_sidecar, spec.get("initContainers") or ())]:
        if container not in ("", one["name"]):
            continue
        asked = ((one.get("resources") or {}).get("requests") or {}).get(resource)
        if asked is None:
            raise CannotTell(f"missing request for {resource} in container {one['name']} of Pod {name}")
        total += Quantity.of(asked).milli()
        if container:
            return total
    if container:
        raise CannotTell(f"container {container} not found in Pod {name}")
    return total
