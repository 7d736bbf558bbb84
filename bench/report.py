"""Figures as a table for people, and as data."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson


@dataclass
class Report:
    """Rows of figures: the first column names what was measured."""

    title: str
    columns: list[str]
    rows: list[list[Any]] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    label: str = ""
    """Stands before every line, where several reports are printed in turn."""

    def add(self, *cells: Any) -> None:
        self.rows.append(list(cells))
        print(f"  {self.label}{self._line(list(cells))}", flush=True)

    def begin(self) -> None:
        print(f"\n{self.title}")
        print(f"  {' ' * len(self.label)}{self._line(self.columns)}", flush=True)

    def _line(self, cells: list[Any]) -> str:
        shown = [_show(cell) for cell in cells]
        return "  ".join([f"{shown[0]:<28}", *(f"{cell:>12}" for cell in shown[1:])])

    def data(self) -> dict[str, Any]:
        return {
            "title": self.title,
            "facts": self.facts,
            "rows": [dict(zip(self.columns, row, strict=False)) for row in self.rows],
        }


def _show(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.1f}" if value < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def percentile(values: list[float], share: float) -> float:
    """By nearest rank."""
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else 0.0


def median(values: list[float]) -> float:
    return statistics.median(values) if values else 0.0


def write_json(path: Path | None, reports: list[Report]) -> None:
    if path:
        path.write_bytes(orjson.dumps([r.data() for r in reports], option=orjson.OPT_INDENT_2))
