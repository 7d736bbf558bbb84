"""The script: areas of steps, played in this order."""

from __future__ import annotations

from tests.differential.script import access, apply, kinds, setup
from tests.differential.steps import Step


def areas() -> dict[str, list[Step]]:
    return {
        "setup": list(setup.steps()),
        "kinds": list(kinds.steps()),
        "access": list(access.steps()),
        "apply": list(apply.steps()),
    }
