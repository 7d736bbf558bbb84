"""What an autoscaler does, from its target's scale and what was measured. Pure, but for the history that it notes.

Source: podautoscaler/horizontal.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from navarch.api.autoscaling.rules import SOURCES
from navarch.client.interface import Resource
from navarch.controllers import objects
from navarch.controllers.autoscaling import calculator as calc
from navarch.controllers.autoscaling.calculator import CannotTell, Proposal, Tolerances
from navarch.controllers.autoscaling.limits import Bounds, History, limit
from navarch.controllers.autoscaling.measuring import Measured
from navarch.controlloop.plan import Action, Call, Emit, Plan, Update
from navarch.machinery import selectors
from navarch.machinery.clock import rfc3339
from navarch.machinery.quantity import NANO, Quantity
from navarch.machinery.types import Key, Obj

AUTOSCALERS = Resource("autoscaling", "v2", "horizontalpodautoscalers")
SYNC_SECONDS = 15.0
REASONS = {
    "Resource": "FailedGetResourceMetric",
    "ContainerResource": "FailedGetContainerResourceMetric",
    "Pods": "FailedGetPodsMetric",
    "Object": "FailedGetObjectMetric",
    "External": "FailedGetExternalMetric",
}


@dataclass(frozen=True, slots=True)
class Target:
    resource: Resource
    scale: Obj

    @property
    def wanted(self) -> int:
        return int((self.scale.get("spec") or {}).get("replicas") or 0)

    @property
    def there(self) -> int:
        return int((self.scale.get("status") or {}).get("replicas") or 0)

    @property
    def selector(self) -> str:
        return (self.scale.get("status") or {}).get("selector") or ""


@dataclass(frozen=True, slots=True)
class Observed:
    autoscaler: Obj
    target: Target
    pods: Sequence[Obj]
    """Those that the target's selector selects."""
    measured: Sequence[Measured | CannotTell]
    """Of each of the autoscaler's metrics."""
    rivals: Sequence[Key] = ()
    """All autoscalers of these pods, where there is another."""


@dataclass(slots=True)
class Draft:
    """An autoscaler's next status, and what else is to happen."""

    autoscaler: Obj
    now: float
    conditions: list[Obj] = field(default_factory=list[Obj])
    actions: list[Action] = field(default_factory=list[Action])

    def condition(self, kind: str, holds: bool, reason: str, message: str) -> None:
        made = {"type": kind, "status": "True" if holds else "False", "reason": reason, "message": message}
        self.conditions = objects.with_condition(self.conditions, made, self.now)

    def warn(self, reason: str, message: str) -> None:
        self.actions.append(Emit(self.autoscaler, "Warning", reason, message))

    def written(self, current: int | None, desired: int | None, metrics: Sequence[Obj], scaled: bool) -> Update | None:
        """The status; None stands for what it was."""
        old: Obj = self.autoscaler.get("status") or {}
        status: Obj = {"conditions": self.conditions}
        if current is None:
            kept = ("currentReplicas", "desiredReplicas", "currentMetrics", "lastScaleTime", "observedGeneration")
            status |= {name: old[name] for name in kept if name in old}
        else:
            status["currentReplicas"] = current
            status["desiredReplicas"] = old.get("desiredReplicas", 0) if desired is None else desired
            if metrics:
                status["currentMetrics"] = list(metrics)
            stamp = rfc3339(self.now) if scaled else old.get("lastScaleTime")
            if stamp:
                status["lastScaleTime"] = stamp
        return objects.status_update(AUTOSCALERS, self.autoscaler, status)

    def plan(self, write: Update | None, *reasons: str) -> Plan:
        actions = [*self.actions, *([write] if write is not None else [])]
        return Plan(actions, requeue_after=SYNC_SECONDS, reasons=list(reasons))


def draft(autoscaler: Obj, now: float) -> Draft:
    return Draft(autoscaler, now, list((autoscaler.get("status") or {}).get("conditions") or ()))


def no_scale(autoscaler: Obj, message: str, now: float) -> Plan:
    """The target's scale cannot be read."""
    made = draft(autoscaler, now)
    made.warn("FailedGetScale", message)
    why = f"the HPA controller was unable to get the target's current scale: {message}"
    made.condition("AbleToScale", False, "FailedGetScale", why)
    return made.plan(made.written(None, None, (), False), message)


def decide(observed: Observed, history: History, now: float) -> Plan:
    autoscaler, target = observed.autoscaler, observed.target
    spec, current, made = autoscaler["spec"], target.wanted, draft(autoscaler, now)
    made.condition(
        "AbleToScale", True, "SucceededGetScale", "the HPA controller was able to get the target's current scale"
    )
    if not history.recommended:
        history.recommended.append((current, now))
    least, most = int(spec.get("minReplicas") or 0) if spec.get("minReplicas") is not None else 1, spec["maxReplicas"]
    if current == 0:
        why = "scaling is disabled since the replica count of the target is zero"
        made.condition("ScalingActive", False, "ScalingDisabled", why)
        return made.plan(made.written(0, 0, (), False), why)
    if current > most:
        return _rescale(observed, made, most, "Current number of replicas above Spec.MaxReplicas", (), history)
    if current < least:
        return _rescale(observed, made, least, "Current number of replicas below Spec.MinReplicas", (), history)
    try:
        desired, name, metrics = _proposed(observed, made)
    except _Failed as failed:
        made.warn("FailedComputeMetricsReplicas", str(failed))
        return made.plan(made.written(current, None, failed.metrics, False), str(failed))
    reason = f"{name} above target" if desired > current else "All metrics below target"
    bounded = limit(spec.get("behavior"), Bounds(least, most, current), desired, history, now)
    made.condition("AbleToScale", True, *bounded.able)
    made.condition("ScalingLimited", *bounded.limited)
    if bounded.replicas == current:
        told = f"{desired} replicas are asked for, {current} it is: {bounded.limited[2]}"
        return made.plan(made.written(current, current, metrics, False), told)
    return _rescale(observed, made, bounded.replicas, reason if desired != current else "", metrics, history)


def _rescale(
    observed: Observed, made: Draft, desired: int, reason: str, metrics: Sequence[Obj], history: History
) -> Plan:
    target, spec, now = observed.target, observed.autoscaler["spec"], made.now
    current = target.wanted
    scale = {**target.scale, "spec": {**(target.scale.get("spec") or {}), "replicas": desired}}
    before = Draft(made.autoscaler, now, list(made.conditions))

    def failed(error: Exception) -> Plan:
        before.warn("FailedRescale", f"New size: {desired}; reason: {reason}; error: {error}")
        why = f"the HPA controller was unable to update the target scale: {error}"
        before.condition("AbleToScale", False, "FailedUpdateScale", why)
        return before.plan(before.written(current, None, metrics, False))

    def note() -> None:
        history.scaled(spec.get("behavior"), current, desired, now)

    message = f"New size: {desired}; reason: {reason}"
    why = f"the HPA controller was able to update the target scale to {desired}"
    made.condition("AbleToScale", True, "SucceededRescale", why)
    made.actions += [
        Update(target.resource, scale, "scale"),
        Call("note the change", note),
        Emit(made.autoscaler, "Normal", "SuccessfulRescale", message),
    ]
    plan = made.plan(made.written(current, desired, metrics, True), message)
    plan.on_error = failed
    return plan


class _Failed(Exception):
    """No number can be told; `metrics` are the statuses of those that could be read."""

    def __init__(self, message: str, metrics: Sequence[Obj]) -> None:
        super().__init__(message)
        self.metrics = metrics


def _proposed(observed: Observed, made: Draft) -> tuple[int, str, Sequence[Obj]]:
    """The most that any metric asks for, its name, and the metrics' statuses. Raises _Failed."""
    _check_selector(observed, made)
    current, best, name = observed.target.wanted, 0, ""
    statuses: list[Obj] = []
    failures: list[tuple[str, str, str]] = []
    for spec, measured in zip(observed.autoscaler["spec"].get("metrics") or (), observed.measured, strict=True):
        try:
            proposal = _proposal(observed, spec, measured, made.now)
        except CannotTell as why:
            wrapped = _wrapped(spec, str(why))
            kind = REASONS.get(spec.get("type", ""), "InvalidMetricSourceType")
            made.warn(kind, wrapped[0])
            failures.append((kind, *wrapped))
            statuses.append({"type": ""})
            continue
        statuses.append(_status(spec, proposal))
        if best == 0 or proposal.replicas > best:
            best, name = proposal.replicas, _name(spec)
    if failures and (len(failures) >= len(statuses) or best < current):
        kind, inner, outer = failures[0]
        made.condition("ScalingActive", False, kind, f"the HPA was unable to compute the replica count: {inner}")
        count = f"{len(failures)} invalid out of {len(statuses)}"
        raise _Failed(f"invalid metrics ({count}), first error is: {outer}", statuses)
    why = f"the HPA was able to successfully calculate a replica count from {name}"
    made.condition("ScalingActive", True, "ValidMetricFound", why)
    return best, name, statuses


def _check_selector(observed: Observed, made: Draft) -> None:
    selector = observed.target.selector
    if not selector:
        made.warn("SelectorRequired", "selector is required")
        why = "the HPA target's scale is missing a selector"
        made.condition("ScalingActive", False, "InvalidSelector", why)
        raise _Failed("selector is required", ())
    if len(observed.rivals) > 1:
        others = " ".join(f"{key}" for key in observed.rivals)
        why = f"pods by selector {selector} are controlled by multiple HPAs: [{others}]"
        made.warn("AmbiguousSelector", why)
        made.condition("ScalingActive", False, "AmbiguousSelector", why)
        raise _Failed(why, ())


def tolerances_of(autoscaler: Obj) -> Tolerances:
    behavior = autoscaler["spec"].get("behavior") or {}
    found = [(behavior.get(direction) or {}).get("tolerance") for direction in ("scaleDown", "scaleUp")]
    down, up = (0.1 if text is None else Quantity.of(text).nano / NANO for text in found)
    return Tolerances(down, up)


def _milli(text: str) -> int:
    return Quantity.of(text).milli()


def _proposal(observed: Observed, spec: Obj, measured: Measured | CannotTell, now: float) -> Proposal:
    """Raises CannotTell."""
    if isinstance(measured, CannotTell):
        raise measured
    kind, tolerances, target = spec["type"], tolerances_of(observed.autoscaler), observed.target
    source: Obj = spec[SOURCES[kind]]
    goal, current = source.get("target") or {}, target.wanted
    average, value, share = (goal.get(name) for name in ("averageValue", "value", "averageUtilization"))
    if isinstance(measured, Mapping):
        name = source.get("name", "") if kind != "Pods" else ""
        if average is not None:
            return calc.by_average(measured, observed.pods, current, _milli(average), name, tolerances, now)
        if share is None:
            raise CannotTell(
                "invalid resource metric source: neither an average utilization target nor an average value (usage) "
                "target was set"
            )
        container = source.get("container", "")
        return calc.by_utilization(measured, observed.pods, current, share, name, container, tolerances, now)
    if kind == "External" and average is not None:
        return calc.by_value_per_pod(measured, target.there, _milli(average), tolerances)
    if value is not None and (kind == "External" or goal.get("type") == "Value"):
        return calc.by_value(measured, observed.pods, current, _milli(value), tolerances)
    if average is not None and goal.get("type") == "AverageValue":
        return calc.by_value_per_pod(measured, target.there, _milli(average), tolerances)
    what = kind.lower()
    raise CannotTell(f"invalid {what} metric source: neither a value target nor an average value target was set")


def _status(spec: Obj, proposal: Proposal) -> Obj:
    kind = spec["type"]
    source: Obj = spec[SOURCES[kind]]
    goal, name = source.get("target") or {}, source.get("name", "")
    amount = str(Quantity(proposal.usage * NANO // 1000, "BinarySI" if name == "memory" else "DecimalSI"))
    current: Obj = {"averageValue": amount}
    if proposal.utilization is not None:
        current["averageUtilization"] = proposal.utilization
    elif kind in ("Object", "External") and goal.get("averageValue") is None:
        current = {"value": amount}
    kept = ("name", "container", "metric", "describedObject")
    return {"type": kind, SOURCES[kind]: {**{f: source[f] for f in kept if f in source}, "current": current}}


def _name(spec: Obj) -> str:
    """What events call a metric."""
    kind, source = spec["type"], spec[SOURCES[spec["type"]]]
    goal = source.get("target") or {}
    metric: Obj = source.get("metric") or {}
    match kind:
        case "Resource" | "ContainerResource":
            if goal.get("averageValue") is not None:
                return f"{source['name']} resource"
            what = "container resource" if kind == "ContainerResource" else "resource"
            return f"{source['name']} {what} utilization (percentage of request)"
        case "Pods":
            return f"pods metric {metric['name']}"
        case "Object" if goal.get("type") == "Value":
            return f"{source['describedObject']['kind']} metric {metric['name']}"
        case _:
            selector = metric.get("selector")
            shown = "nil" if selector is None else selectors.shown(selector)
            return f"external metric {metric['name']}({shown})"


def _wrapped(spec: Obj, why: str) -> tuple[str, str]:
    """(what the condition says, what the sum of failures says)."""
    kind = spec.get("type", "")
    source: Obj = spec.get(SOURCES.get(kind, "")) or {}
    goal, name = source.get("target") or {}, source.get("name", "")
    metric = (source.get("metric") or {}).get("name", "")
    if kind in ("Resource", "ContainerResource"):
        if not why.startswith("invalid resource"):
            why = f"failed to get {name} {'usage' if goal.get('averageValue') is not None else 'utilization'}: {why}"
        if kind == "Resource":
            return why, f"failed to get {name} resource metric value: {why}"
        return why, f"failed to get {source.get('container', '')} container metric value: {why}"
    if kind == "Pods":
        return why, f"failed to get pods metric value: {why}"
    if kind == "Object":
        if goal.get("type") == "AverageValue":
            why = f"failed to get {metric} object metric: {why}"
        return why, f"failed to get object metric value: {why}"
    if kind == "External":
        if goal.get("averageValue") is not None:
            why = f"failed to get {metric} external metric: {why}"
        elif goal.get("value") is not None:
            why = f"failed to get external metric {metric}: {why}"
        return why, f"failed to get {metric} external metric value: {why}"
    return why, why
