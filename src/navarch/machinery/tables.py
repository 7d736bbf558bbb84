"""metav1.Table: what `kubectl get` prints, and the words that columns use for durations and absent values.

Sources: apimachinery util/duration, apis/meta/v1 Table, and apiserver's handlers/response.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal, Protocol

from navarch.machinery.clock import parse_time
from navarch.machinery.types import Obj

Row = Callable[[Obj, float], list[Any]]
"""(object, now in seconds since the epoch) -> one cell for each of the kind's columns."""
IncludeObject = Literal["None", "Metadata", "Object"]

UNKNOWN: Final = "<unknown>"
NONE: Final = "<none>"
INVALID: Final = "<invalid>"

NAME_DESCRIPTION: Final = (
    "Name must be unique within a namespace. Is required when creating resources, although some resources may allow "
    "a client to request the generation of an appropriate name automatically. Name is primarily intended for creation "
    "idempotence and configuration definition. Cannot be updated. More info: "
    "https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names"
)
AGE_DESCRIPTION: Final = (
    "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed "
    "to be set in happens-before order across separate operations. Clients may not set this value. It is represented "
    "in RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info: "
    "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata"
)
_DESCRIPTIONS: Final = {"Name": NAME_DESCRIPTION, "Age": AGE_DESCRIPTION}


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of `kubectl get`. `type` and `format` are those of metav1.TableColumnDefinition; priority 1 is -o wide."""

    name: str
    type: str = "string"
    format: str = ""
    description: str = ""
    priority: int = 0


class Printed(Protocol):
    """What a table needs of a kind."""

    @property
    def columns(self) -> Sequence[Column]:
        """Empty: NAME and AGE. Name must be the first column."""
        ...

    @property
    def row(self) -> Row | None: ...


_DAY: Final = 24
_YEAR: Final = 365


def duration(seconds: float) -> str:
    """A length of time in two or three significant figures: `5d21h`, `3m2s`, `90s`."""
    whole = int(seconds)
    if whole < -1:
        return INVALID
    if whole < 0:
        return "0s"
    if whole < 120:
        return f"{whole}s"
    minutes = whole // 60
    if minutes < 10:
        return _pair(minutes, "m", whole % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    hours = minutes // 60
    if hours < 8:
        return _pair(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    days = hours // _DAY
    if days < 8:
        return _pair(days, "d", hours % _DAY, "h")
    if days < 2 * _YEAR:
        return f"{days}d"
    if days < 8 * _YEAR:
        return _pair(days // _YEAR, "y", days % _YEAR, "d")
    return f"{days // _YEAR}y"


def _pair(large: int, large_unit: str, small: int, small_unit: str) -> str:
    return f"{large}{large_unit}{small}{small_unit}" if small else f"{large}{large_unit}"


def age(timestamp: str | None, now: float) -> str:
    """How long ago an RFC 3339 time was; `<unknown>` for none or a broken one."""
    if not timestamp:
        return UNKNOWN
    try:
        return duration(now - _seconds(timestamp))
    except ValueError:
        return UNKNOWN


@lru_cache(maxsize=4096)
def _seconds(timestamp: str) -> float:
    return parse_time(timestamp)


def age_of(obj: Obj, now: float) -> str:
    return age(obj["metadata"].get("creationTimestamp"), now)


def label_text(labels: dict[str, str] | None) -> str:
    """Labels as one cell: `a=b,c=d` in order of key, `<none>` where there are none."""
    return ",".join(f"{k}={v}" for k, v in sorted(labels.items())) if labels else NONE


def column_definitions(kind: Printed) -> list[Obj]:
    """The columnDefinitions of a kind."""
    if not kind.columns:
        return [_definition("Name", "string", "name", "", 0), _definition("Age", "string", "", "", 0)]
    return [_column(column) for column in kind.columns]


def _column(column: Column) -> Obj:
    format = column.format or ("name" if column.name == "Name" else "")
    return _definition(column.name, column.type, format, column.description, column.priority)


def _definition(name: str, type: str, format: str, description: str, priority: int) -> Obj:
    return {
        "name": name,
        "type": type,
        "format": format,
        "description": description or _DESCRIPTIONS.get(name, ""),
        "priority": priority,
    }


def cells_of(kind: Printed, obj: Obj, now: float) -> list[Any]:
    """One cell for each column of the kind."""
    if kind.row is not None:
        return kind.row(obj, now)
    return [obj["metadata"].get("name", ""), age_of(obj, now)]


def row_of(kind: Printed, obj: Obj, now: float, include: IncludeObject = "Metadata") -> Obj:
    """A TableRow; `include` says how much of the object it carries."""
    return {"cells": cells_of(kind, obj, now), "object": _included(obj, include)}


def _included(obj: Obj, include: IncludeObject) -> Obj | None:
    if include == "None":
        return None
    if include == "Object":
        return obj
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj["metadata"]}


def table(
    kind: Printed,
    objs: Iterable[Obj],
    now: float,
    include: IncludeObject = "Metadata",
    metadata: Obj | None = None,
    headers: bool = True,
) -> Obj:
    """A Table of objects; `metadata` is its ListMeta. Without `headers` the columns are left out (later watch events)."""
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata or {},
        "columnDefinitions": column_definitions(kind) if headers else None,
        "rows": [row_of(kind, obj, now, include) for obj in objs],
    }
