"""Columns that many kinds share in `kubectl get`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from navarch.api.kind import Column
from navarch.machinery.types import Obj

NAME = Column(name="Name", format="name")
AGE = Column(name="Age")
NAME_AND_CREATION = (
    NAME,
    Column(name="Created At", type="date", description="When the object was created, by the server's clock."),
)
"""The columns of kinds that upstream has no printer for."""


def creation_row(obj: Obj, now: float) -> list[Any]:
    """Cells for NAME_AND_CREATION."""
    return [obj["metadata"]["name"], obj["metadata"].get("creationTimestamp")]


def first_few(items: Sequence[str], shown: int = 3, empty: str = "<none>") -> str:
    """A list in one cell: the first ones, and how many more there are."""
    if not items:
        return empty
    text = ",".join(items[:shown])
    return f"{text} + {len(items) - shown} more..." if len(items) > shown else text
