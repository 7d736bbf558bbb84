"""HorizontalPodAutoscaler: as many replicas as what is measured asks for. Source: apis/autoscaling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from navarch.api.autoscaling import behavior, conversion, rules
from navarch.api.kind import Column, Kind, Version, status_of
from navarch.api.podspec.printing import AGE, NAME
from navarch.api.retired import retired
from navarch.machinery.tables import NONE, UNKNOWN, age_of
from navarch.machinery.types import Obj

SHOWN = 2
"""So many metrics are shown; of the others only how many there are."""
KIND_NAME = "HorizontalPodAutoscaler"


def defaults(obj: Obj) -> None:
    least_one(obj)
    spec = obj["spec"]
    if not spec.get("metrics"):
        spec["metrics"] = [conversion.cpu_target(conversion.CPU_SHARE)]
    if (scaling := spec.get("behavior")) is not None:
        behavior.fill(scaling)


def least_one(obj: Obj) -> None:
    """All that v1 defaults before its metrics are known."""
    spec = obj.setdefault("spec", {})
    if spec.get("minReplicas") is None:
        spec["minReplicas"] = 1


# -- printing


def _average(target: Obj, current: Obj | None, suffix: str = "") -> str:
    """The averages wanted and measured."""
    return f"{_shown(current, 'averageValue')}/{target['averageValue']}{suffix}"


def _shown(current: Obj | None, field: str) -> str:
    return UNKNOWN if current is None else str(current.get(field, "<nil>"))


def _share(number: int | None, absent: str) -> str:
    return absent if number is None else f"{number}%"


def _cell(metric: Obj, measured: Obj) -> str:
    """One metric: what is measured, and what is wanted."""
    field = rules.SOURCES.get(metric.get("type", ""))
    if field is None:
        return "<unknown type>"
    source: Obj = metric.get(field) or {}
    target: Obj = source.get("target") or {}
    current: Obj | None = None if (status := measured.get(field)) is None else status.get("current") or {}
    by_average = target.get("averageValue") is not None
    match field:
        case "pods":
            return f"{_shown(current, 'averageValue')}/{target.get('averageValue', '<nil>')}"
        case "object" | "external" if by_average:
            return _average(target, current if (current or {}).get("averageValue") is not None else None, " (avg)")
        case "object" | "external":
            return f"{_shown(current, 'value')}/{target.get('value', '<nil>')}"
        case _ if by_average:
            return f"{source.get('name', '')}: {_average(target, current)}"
        case _:
            is_share = _share((current or {}).get("averageUtilization"), UNKNOWN)
            return f"{source.get('name', '')}: {is_share}/{_share(target.get('averageUtilization'), '<auto>')}"


def _targets(metrics: Sequence[Obj], measured: Sequence[Obj]) -> str:
    if not metrics:
        return NONE
    padded = [*measured, *({} for _ in metrics[len(measured) :])]
    cells = [_cell(metric, status) for metric, status in zip(metrics[:SHOWN], padded, strict=False)]
    more = len(metrics) - SHOWN
    return ", ".join(cells) + (f" + {more} more..." if more > 0 else "")


def row(obj: Obj, now: float) -> list[Any]:
    spec, status = obj["spec"], obj.get("status") or {}
    target = spec.get("scaleTargetRef") or {}
    least = spec.get("minReplicas")
    return [
        obj["metadata"]["name"],
        f"{target.get('kind', '')}/{target.get('name', '')}",
        _targets(spec.get("metrics") or (), status.get("currentMetrics") or ()),
        "<unset>" if least is None else str(least),
        spec.get("maxReplicas", 0),
        status.get("currentReplicas", 0),
        age_of(obj, now),
    ]


_JUDGED: dict[str, Any] = {"validate_create": rules.validate_create}
KIND = Kind(
    kind=KIND_NAME,
    plural="horizontalpodautoscalers",
    short_names=("hpa",),
    categories=("all",),
    versions=(
        Version(
            group="autoscaling",
            version="v2",
            definition="io.k8s.api.autoscaling.v2.HorizontalPodAutoscaler",
            decode=conversion.without_carried,
            **_JUDGED,
        ),
        Version(
            group="autoscaling",
            version="v1",
            definition="io.k8s.api.autoscaling.v1.HorizontalPodAutoscaler",
            defaults=least_one,
            decode=conversion.from_v1,
            encode=conversion.to_v1,
            **_JUDGED,
        ),
        retired(
            "autoscaling",
            "v2beta2",
            KIND_NAME,
            "1.23",
            "1.26",
            "autoscaling/v2",
            decode=conversion.from_v2beta2,
            encode=conversion.to_v2beta2,
            **_JUDGED,
        ),
        retired(
            "autoscaling",
            "v2beta1",
            KIND_NAME,
            "1.22",
            "1.25",
            "autoscaling/v2",
            defaults=least_one,
            decode=conversion.from_v2beta1,
            encode=conversion.to_v2beta1,
            **_JUDGED,
        ),
    ),
    subresources=(status_of(KIND_NAME),),
    defaults=defaults,
    validate_update=rules.validate_update,
    validate_status_update=rules.validate_status_update,
    columns=(
        NAME,
        Column(name="Reference", description="What is scaled."),
        Column(name="Targets", description="What is measured, and what it should be."),
        Column(name="MinPods", description="The fewest replicas."),
        Column(name="MaxPods", description="The most replicas."),
        Column(name="Replicas", description="How many replicas there are."),
        AGE,
    ),
    row=row,
)
