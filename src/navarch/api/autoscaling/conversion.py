"""Horizontal pod autoscalers in their older versions. Source: apis/autoscaling's conversions.

v1 and v2beta1 write a metric's parts side by side where v2 nests them; what an older version has no field for is
carried in annotations, which no other version shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from navarch.api.autoscaling import behavior
from navarch.api.schemas import schema
from navarch.machinery.apply.elements import HTML_ESCAPES
from navarch.machinery.decode import normalise
from navarch.machinery.errors import StatusError
from navarch.machinery.quantity import Quantity
from navarch.machinery.schema import Schema
from navarch.machinery.types import Obj

CPU_SHARE = 80
"""Percent of what is requested: the target where no metric is named."""
_PREFIX = "autoscaling.alpha.kubernetes.io/"
METRICS, MEASURED, CONDITIONS = f"{_PREFIX}metrics", f"{_PREFIX}current-metrics", f"{_PREFIX}conditions"
BEHAVIOR = f"{_PREFIX}behavior"
TOLERANCES = {"scaleDown": f"{_PREFIX}scale-down-tolerance", "scaleUp": f"{_PREFIX}scale-up-tolerance"}
CARRIERS = frozenset((METRICS, MEASURED, CONDITIONS, BEHAVIOR, *TOLERANCES.values()))
_V1, _V2 = "io.k8s.api.autoscaling.v1.", "io.k8s.api.autoscaling.v2."


def without_carried(obj: Obj) -> Obj:
    """Drops the annotations that carry fields; changes `obj`."""
    annotations: dict[str, str] = obj["metadata"].get("annotations") or {}
    if not CARRIERS.isdisjoint(annotations):
        obj["metadata"]["annotations"] = kept = {k: v for k, v in annotations.items() if k not in CARRIERS}
        if not kept:
            del obj["metadata"]["annotations"]
    return obj


def _carrying(obj: Obj, carried: Mapping[str, Any]) -> Obj:
    """The metadata of an object whose annotations carry these as Go's JSON, and nothing else of the kind."""
    metadata: Obj = obj["metadata"]
    annotations = {k: v for k, v in (metadata.get("annotations") or {}).items() if k not in CARRIERS}
    annotations |= {k: v if isinstance(v, str) else _json(v) for k, v in carried.items()}
    shown = {**metadata, "annotations": annotations}
    if not annotations:
        del shown["annotations"]
    return shown


def _json(tree: Any) -> str:
    return orjson.dumps(tree).decode().translate(HTML_ESCAPES)


def _ordered(shape: Schema, tree: Any) -> Any:
    """A tree with its fields in the order of their type, as Go writes them."""
    if isinstance(tree, list) and shape.items is not None:
        return [_ordered(shape.items, item) for item in tree]
    if not isinstance(tree, dict):
        return tree
    if shape.type == "object":
        return {name: _ordered(field.schema, tree[name]) for name, field in shape.fields.items() if name in tree}
    return dict(sorted(tree.items()))


def _carried(obj: Obj, annotation: str) -> Any:
    """What an annotation carries; None where there is none, or none that can be read."""
    text = (obj["metadata"].get("annotations") or {}).get(annotation)
    try:
        return orjson.loads(text) if text else None
    except orjson.JSONDecodeError:
        return None


def _list_of(definition: str, items: Any) -> list[Obj] | None:
    """A carried list, each item brought into form; None where it is no such list."""
    if not isinstance(items, list):
        return None
    try:
        return [normalise(schema(definition), item) for item in items]
    except StatusError:
        return None


# -- metrics


def _identity(name: str, selector: str) -> dict[str, str]:
    return {name: "metric.name", selector: "metric.selector"}


_CONSUMED = {
    "name": "name",
    "container": "container",
    "targetAverageUtilization": "target.averageUtilization",
    "targetAverageValue": "target.averageValue",
    "currentAverageUtilization": "current.averageUtilization",
    "currentAverageValue": "current.averageValue",
}
_PLACES: dict[str, dict[str, str]] = {
    "object": {
        **_identity("metricName", "selector"),
        "target": "describedObject",
        "targetValue": "target.value",
        "averageValue": "target.averageValue",
    },
    "pods": {
        **_identity("metricName", "selector"),
        "targetAverageValue": "target.averageValue",
        "currentAverageValue": "current.averageValue",
    },
    "external": {
        **_identity("metricName", "metricSelector"),
        "targetValue": "target.value",
        "targetAverageValue": "target.averageValue",
        "currentValue": "current.value",
        "currentAverageValue": "current.averageValue",
    },
    "resource": _CONSUMED,
    "containerResource": _CONSUMED,
}
"""Where v2 keeps the fields of the older versions, by source; `averageValue` of an object's status is `current`'s."""
_OBJECT_STATUS = {
    **_identity("metricName", "selector"),
    "target": "describedObject",
    "currentValue": "current.value",
    "averageValue": "current.averageValue",
}


def _places(field: str, status: bool) -> dict[str, str]:
    return _OBJECT_STATUS if status and field == "object" else _PLACES[field]


def _nested(metric: Obj, status: bool = False) -> Obj:
    """A metric (or its status) of an older version as v2 has it."""
    made: Obj = {"type": metric.get("type", "")}
    for field in _PLACES:
        flat: Obj | None = metric.get(field)
        if flat is None:
            continue
        source: Obj = {}
        for name, place in _places(field, status).items():
            if (value := flat.get(name)) is not None:
                outer, _, inner = place.partition(".")
                if inner:
                    source.setdefault(outer, {})[inner] = value
                else:
                    source[outer] = value
        if not status:
            _typed(field, source.setdefault("target", {}))
        made[field] = source
    return normalise(schema(f"{_V2}MetricStatus" if status else f"{_V2}MetricSpec"), made)


def _typed(field: str, target: Obj) -> None:
    """Says what kind of target it is: the older versions only had the fields for it."""
    average = target.get("averageValue")
    if field in ("resource", "containerResource"):
        target["type"] = "AverageValue" if target.get("averageUtilization") is None else "Utilization"
    elif field == "pods" or (field == "external" and target.get("value") is None):
        target["type"] = "AverageValue"
    elif field == "external" or average is None:
        target["type"] = "Value"
    else:
        target["type"] = "AverageValue"
        if Quantity.of(target.get("value", "0")).sign == 0:
            target.pop("value", None)


def _flat(metric: Obj, status: bool = False) -> Obj:
    """A metric (or its status) of v2 as the older versions have it."""
    made: Obj = {"type": metric.get("type", "")}
    for field in _PLACES:
        source: Obj | None = metric.get(field)
        if source is None:
            continue
        flat: Obj = {}
        for name, place in _places(field, status).items():
            outer, _, inner = place.partition(".")
            value = source.get(outer)
            if (value := (value or {}).get(inner) if inner else value) is not None:
                flat[name] = dict(value) if isinstance(value, dict) else value
        made[field] = flat
    shape = schema(f"{_V1}MetricStatus" if status else f"{_V1}MetricSpec")
    return _ordered(shape, normalise(shape, made))


def _cpu_share(metric: Obj, part: str) -> int | None:
    """The share of the processors' request in a metric of v2."""
    resource: Obj = metric.get("resource") or {}
    if metric.get("type") != "Resource" or resource.get("name") != "cpu":
        return None
    return (resource.get(part) or {}).get("averageUtilization")


def cpu_target(share: int) -> Obj:
    target = {"type": "Utilization", "averageUtilization": share}
    return {"type": "Resource", "resource": {"name": "cpu", "target": target}}


def _behavior_in(obj: Obj) -> None:
    if (found := behavior.read(_carried(obj, BEHAVIOR))) is not None:
        obj["spec"]["behavior"] = found


# -- versions


def from_v1(obj: Obj) -> Obj:
    spec: Obj = obj["spec"]
    share = spec.pop("targetCPUUtilizationPercentage", None)
    metrics = [] if share is None else [cpu_target(share)]
    if (others := _list_of(f"{_V1}MetricSpec", _carried(obj, METRICS))) is not None:
        metrics = [_nested(metric) for metric in others] + metrics
    spec["metrics"] = metrics or [cpu_target(CPU_SHARE)]
    _behavior_in(obj)
    status: Obj = obj.get("status") or {}
    measured = status.pop("currentCPUUtilizationPercentage", None)
    if measured is not None:
        current = {"averageUtilization": measured}
        status["currentMetrics"] = [{"type": "Resource", "resource": {"name": "cpu", "current": current}}]
    if (carried := _list_of(f"{_V1}MetricStatus", _carried(obj, MEASURED))) is not None:
        status["currentMetrics"] = [_nested(metric, status=True) for metric in carried]
    conditions = _list_of(f"{_V1}HorizontalPodAutoscalerCondition", _carried(obj, CONDITIONS))
    if conditions is not None:
        status["conditions"] = conditions
    return _of_v2(without_carried(obj))


def _of_v2(obj: Obj) -> Obj:
    """In the hub's order of fields, with what it always writes."""
    obj["status"] = normalise(schema(f"{_V2}HorizontalPodAutoscalerStatus"), obj.get("status") or {})
    return obj


def to_v1(obj: Obj) -> Obj:
    spec, status = dict(obj["spec"]), dict(obj.get("status") or {})
    carried: dict[str, Any] = {}
    metrics: list[Obj] = spec.pop("metrics", None) or []
    measured: list[Obj] = status.pop("currentMetrics", None) or []
    shares = [share for metric in metrics if (share := _cpu_share(metric, "target")) is not None]
    if shares:
        spec["targetCPUUtilizationPercentage"] = shares[0]
    if others := [_flat(metric) for metric in metrics if _cpu_share(metric, "target") is None]:
        carried[METRICS] = others
    used = [share for metric in measured if (share := _cpu_share(metric, "current")) is not None]
    if measured:
        carried[MEASURED] = [_flat(metric, status=True) for metric in measured]
    if (scaling := spec.pop("behavior", None)) is not None:
        carried[BEHAVIOR] = behavior.written(scaling)
    if conditions := status.pop("conditions", None):
        shape = schema(f"{_V1}HorizontalPodAutoscalerCondition")
        carried[CONDITIONS] = [_ordered(shape, condition) for condition in conditions]
    status.setdefault("currentReplicas", 0)
    if used:
        status["currentCPUUtilizationPercentage"] = used[-1]
    return {**obj, "metadata": _carrying(obj, carried), "spec": spec, "status": status}


def from_v2beta1(obj: Obj) -> Obj:
    spec: Obj = obj["spec"]
    status: Obj = obj.get("status") or {}
    spec["metrics"] = [_nested(metric) for metric in spec.get("metrics") or ()] or [cpu_target(CPU_SHARE)]
    if measured := status.get("currentMetrics"):
        status["currentMetrics"] = [_nested(metric, status=True) for metric in measured]
    _behavior_in(obj)
    return _of_v2(without_carried(obj))


def to_v2beta1(obj: Obj) -> Obj:
    spec, status = dict(obj["spec"]), dict(obj.get("status") or {})
    spec["metrics"] = [_flat(metric) for metric in spec.get("metrics") or ()]
    if measured := status.get("currentMetrics"):
        status["currentMetrics"] = [_flat(metric, status=True) for metric in measured]
    status.setdefault("currentReplicas", 0)
    status.setdefault("conditions", None)
    scaling = spec.pop("behavior", None)
    carried = {} if scaling is None else {BEHAVIOR: behavior.written(scaling)}
    return {**obj, "metadata": _carrying(obj, carried), "spec": spec, "status": status}


def from_v2beta2(obj: Obj) -> Obj:
    annotations: dict[str, str] = obj["metadata"].get("annotations") or {}
    for direction, annotation in TOLERANCES.items():
        rules = (obj.get("spec", {}).get("behavior") or {}).get(direction)
        if rules is not None and (text := annotations.get(annotation)):
            try:
                rules["tolerance"] = str(Quantity.parse(text))
            except ValueError:
                continue
    return _of_v2(without_carried(obj))


def to_v2beta2(obj: Obj) -> Obj:
    spec, carried = dict(obj["spec"]), dict[str, str]()
    status = dict(obj.get("status") or {})
    if scaling := spec.get("behavior"):
        spec["behavior"] = shown = dict(scaling)
        for direction, annotation in TOLERANCES.items():
            if (tolerance := (scaling.get(direction) or {}).get("tolerance")) is not None:
                carried[annotation] = str(tolerance)
                shown[direction] = {k: v for k, v in scaling[direction].items() if k != "tolerance"}
    status.setdefault("currentReplicas", 0)
    status.setdefault("conditions", None)
    return {**obj, "metadata": _carrying(obj, carried), "spec": spec, "status": status}
