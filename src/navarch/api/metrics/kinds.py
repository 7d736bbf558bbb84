"""NodeMetrics and PodMetrics: never stored, found out when they are read. Source: the metrics server."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from navarch.api.columns import NAME
from navarch.api.kind import Column, Kind, Version
from navarch.api.metrics.samples import GROUP, VERSION
from navarch.machinery.quantity import Quantity
from navarch.machinery.types import Obj

COLUMNS = (
    NAME,
    Column(name="cpu", description="Cores in use."),
    Column(name="memory", description="Memory in use."),
    Column(name="window", description="What the use of CPU time is the mean of."),
)


def _sum(usages: Iterable[Obj], name: str) -> str:
    return str(sum((Quantity.of(used.get(name, "0")) for used in usages), Quantity(0)))


def _cells(obj: Obj, usages: list[Obj]) -> list[Any]:
    return [obj["metadata"]["name"], _sum(usages, "cpu"), _sum(usages, "memory"), obj.get("window", "")]


def node_row(obj: Obj, now: float) -> list[Any]:
    return _cells(obj, [obj.get("usage") or {}])


def pod_row(obj: Obj, now: float) -> list[Any]:
    return _cells(obj, [one.get("usage") or {} for one in obj.get("containers") or ()])


def _kind(kind: str, plural: str, namespaced: bool, row: Any) -> Kind:
    definition = f"io.k8s.metrics.pkg.apis.metrics.v1beta1.{kind}"
    return Kind(
        kind=kind,
        plural=plural,
        namespaced=namespaced,
        versions=(Version(group=GROUP, version=VERSION, definition=definition),),
        verbs=("get", "list"),
        ephemeral=True,
        columns=COLUMNS,
        row=row,
    )


NODES = _kind("NodeMetrics", "nodes", False, node_row)
PODS = _kind("PodMetrics", "pods", True, pod_row)
KINDS = (NODES, PODS)
