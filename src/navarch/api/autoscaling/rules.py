"""What a HorizontalPodAutoscaler must be. Source: apis/autoscaling/validation and the kind's strategy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from navarch.api.podspec import checks
from navarch.api.podspec.quantities import container_resource_name
from navarch.api.resourcenames import non_negative
from navarch.machinery import names
from navarch.machinery.errors import FieldErrors
from navarch.machinery.quantity import Quantity
from navarch.machinery.types import Obj

MAX_PERIOD, MAX_WINDOW = 1800, 3600
"""Seconds."""
SELECTS = ("Disabled", "Max", "Min")
POLICIES = ("Percent", "Pods")
SOURCES = {
    "Object": "object",
    "External": "external",
    "Pods": "pods",
    "Resource": "resource",
    "ContainerResource": "containerResource",
}
"""Types of metrics and the fields that hold their sources, in the order in which these are judged."""


@dataclass(frozen=True, slots=True)
class Leniency:
    """What an object may have because it had it already, or because of what it scales."""

    zero_replicas: bool = False
    any_target_version: bool = False
    target_without_group: bool = False
    any_object_version: bool = False


def validate_create(obj: Obj, errs: FieldErrors) -> None:
    target = obj["spec"].get("scaleTargetRef") or {}
    _spec(obj["spec"], Leniency(target_without_group=target.get("kind") == "ReplicationController"), errs)


def validate_update(new: Obj, old: Obj, errs: FieldErrors) -> None:
    target: Obj = new["spec"].get("scaleTargetRef") or {}
    was: Obj = old["spec"].get("scaleTargetRef") or {}
    described = [
        metric["object"].get("describedObject") or {}
        for metric in old["spec"].get("metrics") or ()
        if metric.get("type") == "Object" and metric.get("object") is not None
    ]
    lenient = Leniency(
        zero_replicas=old["spec"].get("minReplicas") == 0,
        any_target_version=all(target.get(field, "") == was.get(field, "") for field in ("apiVersion", "kind")),
        target_without_group=target.get("kind") == "ReplicationController",
        any_object_version=any(_version_wrong(d.get("apiVersion", ""), groupless=True) for d in described),
    )
    _spec(new["spec"], lenient, errs)


def validate_status_update(new: Obj, old: Obj, errs: FieldErrors) -> None:
    checks.non_negative(errs, "status", new.get("status") or {}, "currentReplicas", "desiredReplicas")


def _spec(spec: Obj, lenient: Leniency, errs: FieldErrors) -> None:
    least, most = spec.get("minReplicas"), spec.get("maxReplicas") or 0
    lowest = 0 if lenient.zero_replicas else 1
    if least is not None and least < lowest:
        errs.invalid("spec.minReplicas", least, f"must be greater than or equal to {lowest}")
    if most == 0:
        errs.required("spec.maxReplicas", "must be set and greater than 0")
    elif most < 0:
        errs.invalid("spec.maxReplicas", most, "must be greater than or equal to 1")
    if least is not None and most < least:
        errs.invalid("spec.maxReplicas", most, "must be greater than or equal to `minReplicas`")
    wrong = "" if lenient.any_target_version else _reference_version(spec, lenient.target_without_group)
    _reference(spec.get("scaleTargetRef") or {}, "spec.scaleTargetRef", wrong, errs)
    metrics: Sequence[Obj] = spec.get("metrics") or ()
    for index, metric in enumerate(metrics):
        _metric(metric, f"spec.metrics[{index}]", lenient, errs)
    if least == 0 and not any(metric.get("type") in ("Object", "External") for metric in metrics):
        message = "must specify at least one Object or External metric to support scaling to zero replicas"
        errs.forbidden("spec.metrics", message)
    behavior: Obj = spec.get("behavior") or {}
    for direction in ("scaleUp", "scaleDown"):
        if (rules := behavior.get(direction)) is not None:
            _scaling(rules, f"spec.behavior.{direction}", errs)


def _reference_version(spec: Obj, groupless: bool) -> str:
    return _version_wrong((spec.get("scaleTargetRef") or {}).get("apiVersion", ""), groupless)


def _version_wrong(version: str, groupless: bool) -> str:
    """What is wrong with an apiVersion; empty: nothing. `groupless`: the core group will do."""
    if version not in ("", "/"):
        if version.count("/") > 1:
            return f"unexpected GroupVersion string: {version}"
        if version.rpartition("/")[0]:
            return ""
    return "" if groupless else "apiVersion must specify API group"


def _reference(reference: Obj, path: str, version_wrong: str, errs: FieldErrors) -> None:
    for field in ("kind", "name"):
        if not (value := reference.get(field, "")):
            errs.required(f"{path}.{field}")
        else:
            checks.named(errs, f"{path}.{field}", value, names.path_segment)
    if version_wrong:
        errs.invalid(f"{path}.apiVersion", reference.get("apiVersion", ""), version_wrong)


# -- metrics


def _metric(metric: Obj, path: str, lenient: Leniency, errs: FieldErrors) -> None:
    kind = metric.get("type", "")
    if not kind:
        errs.required(f"{path}.type", "must specify a metric source type")
    if kind not in SOURCES:
        errs.not_supported(f"{path}.type", kind, SOURCES)
    present = [field for field in SOURCES.values() if metric.get(field) is not None]
    if present:
        _CHECKS[present[0]](metric[present[0]], f"{path}.{present[0]}", lenient, errs)
    expected = SOURCES.get(kind, "")
    if not expected:
        errs.not_supported(f"{path}.type", kind, SOURCES)
    elif expected not in present:
        errs.required(f"{path}.{expected}", "must populate information for the given metric source")
    if len(present) != 1:
        for field in present:
            if field != expected:
                errs.forbidden(f"{path}.{field}", "must populate the given metric source only")


def _object(source: Obj, path: str, lenient: Leniency, errs: FieldErrors) -> None:
    described: Obj = source.get("describedObject") or {}
    wrong = "" if lenient.any_object_version else _version_wrong(described.get("apiVersion", ""), groupless=True)
    _reference(described, f"{path}.describedObject", wrong, errs)
    target = _measured(source, path, errs)
    if target.get("value") is None and target.get("averageValue") is None:
        errs.required(f"{path}.target.averageValue", "must set either a target value or averageValue")


def _external(source: Obj, path: str, lenient: Leniency, errs: FieldErrors) -> None:
    target = _measured(source, path, errs)
    value, average = target.get("value"), target.get("averageValue")
    if value is None and average is None:
        message = "must set either a target value for metric or a per-pod target"
        errs.required(f"{path}.target.averageValue", message)
    if value is not None and average is not None:
        message = "may not set both a target value for metric and a per-pod target"
        errs.forbidden(f"{path}.target.value", message)


def _pods(source: Obj, path: str, lenient: Leniency, errs: FieldErrors) -> None:
    target = _measured(source, path, errs)
    if target.get("averageValue") is None:
        errs.required(f"{path}.target.averageValue", "must specify a positive target averageValue")


def _resource(source: Obj, path: str, lenient: Leniency, errs: FieldErrors) -> None:
    if not source.get("name"):
        errs.required(f"{path}.name", "must specify a resource name")
    _consumed(source, path, errs)


def _container_resource(source: Obj, path: str, lenient: Leniency, errs: FieldErrors) -> None:
    if not (name := source.get("name", "")):
        errs.required(f"{path}.name", "must specify a resource name")
    else:
        container_resource_name(name, f"{path}.name", errs)
    if not (container := source.get("container", "")):
        errs.required(f"{path}.container", "must specify a container")
    else:
        checks.named(errs, f"{path}.container", container, names.dns1123_label)
    _consumed(source, path, errs)


_CHECKS: dict[str, Callable[[Obj, str, Leniency, FieldErrors], None]] = {
    "object": _object,
    "external": _external,
    "pods": _pods,
    "resource": _resource,
    "containerResource": _container_resource,
}


def _measured(source: Obj, path: str, errs: FieldErrors) -> Obj:
    """Judges the metric and the target of a source; returns the target."""
    if not (name := (source.get("metric") or {}).get("name", "")):
        errs.required(f"{path}.metric.name", "must specify a metric name")
    else:
        checks.named(errs, f"{path}.metric.name", name, names.path_segment)
    target: Obj = source.get("target") or {}
    _target(target, f"{path}.target", errs)
    return target


def _consumed(source: Obj, path: str, errs: FieldErrors) -> None:
    """Of a resource either a share of the request or an amount is the target."""
    target: Obj = source.get("target") or {}
    _target(target, f"{path}.target", errs)
    share, amount = target.get("averageUtilization"), target.get("averageValue")
    if share is None and amount is None:
        message = "must set either a target raw value or a target utilization"
        errs.required(f"{path}.target.averageUtilization", message)
    if share is not None and amount is not None:
        message = "may not set both a target raw value and a target utilization"
        errs.forbidden(f"{path}.target.averageValue", message)


def _target(target: Obj, path: str, errs: FieldErrors) -> None:
    kind = target.get("type", "")
    if not kind:
        errs.required(f"{path}.type", "must specify a metric target type")
    if kind not in ("Utilization", "Value", "AverageValue"):
        errs.invalid(f"{path}.type", kind, "must be either Utilization, Value, or AverageValue")
    for field in ("value", "averageValue"):
        if (text := target.get(field)) is not None and (value := Quantity.of(text)).sign <= 0:
            errs.invalid(f"{path}.{field}", str(value), "must be positive")
    share = target.get("averageUtilization")
    if share is not None and share < 1:
        errs.invalid(f"{path}.averageUtilization", share, "must be greater than 0")


# -- behavior


def _scaling(rules: Obj, path: str, errs: FieldErrors) -> None:
    window, at = rules.get("stabilizationWindowSeconds") or 0, f"{path}.stabilizationWindowSeconds"
    if window < 0:
        errs.invalid(at, window, "must be greater than or equal to zero")
    if window > MAX_WINDOW:
        errs.invalid(at, window, f"must be less than or equal to {MAX_WINDOW}")
    if (select := rules.get("selectPolicy")) is not None and select not in SELECTS:
        errs.not_supported(f"{path}.selectPolicy", select, SELECTS)
    policies: Sequence[Obj] = rules.get("policies") or ()
    if not policies:
        errs.required(f"{path}.policies", "must specify at least one Policy")
    for index, policy in enumerate(policies):
        _policy(policy, f"{path}.policies[{index}]", errs)
    if (tolerance := rules.get("tolerance")) is not None:
        non_negative(tolerance, f"{path}.tolerance", errs)


def _policy(policy: Obj, path: str, errs: FieldErrors) -> None:
    if (kind := policy.get("type", "")) not in POLICIES:
        errs.not_supported(f"{path}.type", kind, POLICIES)
    for field in ("value", "periodSeconds"):
        if (number := policy.get(field) or 0) <= 0:
            errs.invalid(f"{path}.{field}", number, "must be greater than zero")
    if (period := policy.get("periodSeconds") or 0) > MAX_PERIOD:
        errs.invalid(f"{path}.periodSeconds", period, f"must be less than or equal to {MAX_PERIOD}")
