"""Nodes say how hot they are in a label."""

from __future__ import annotations

from typing import Any

LABEL = "example.com/temperature"


class CoolNodes:
    name = "CoolNodes"
    reason = "node(s) were too hot"
    normalise = "inverse"
    """The lowest raw score is the best."""
    filters = True

    def __init__(self, weight: int, args: dict[str, Any]) -> None:
        self.weight = weight
        self._hottest = int(args.get("hottest", 80))

    def prepare(self, pod: dict[str, Any]) -> int:
        """Worked out once for all pods with the same placement."""
        return self._hottest

    def passes(self, prepared: int, node: dict[str, Any]) -> bool:
        return temperature(node) <= prepared

    def score(self, prepared: int, node: dict[str, Any]) -> int:
        return temperature(node)


def temperature(node: dict[str, Any]) -> int:
    return int(node["metadata"].get("labels", {}).get(LABEL, 20))
