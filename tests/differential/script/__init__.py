"""The script: areas of steps, played in this order."""

from __future__ import annotations

from tests.differential.script import (
    access,
    apply,
    custom,
    discovery,
    explored,
    kinds,
    patches,
    protocol,
    reads,
    setup,
    updates,
    validation,
    writes,
)
from tests.differential.steps import Step

AREAS = {
    "setup": setup,
    "discovery": discovery,
    "kinds": kinds,
    "access": access,
    "apply": apply,
    "protocol": protocol,
    "reads": reads,
    "writes": writes,
    "patches": patches,
    "validation": validation,
    "updates": updates,
    "custom": custom,
    "explored": explored,
}


def areas() -> dict[str, list[Step]]:
    return {name: list(area.steps()) for name, area in AREAS.items()}
