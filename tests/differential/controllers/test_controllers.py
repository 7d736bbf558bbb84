"""The same scenarios, the same cluster: our controllers against what a real kube-controller-manager was recorded to make of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.differential import recording
from tests.differential.compare import Expected, differences
from tests.differential.controllers import ours
from tests.differential.controllers.scenario import scenarios

HERE = Path(__file__).parent
EXPECTED = HERE / "expected.yaml"
NAMES = [scenario.name for scenario in scenarios()]


@pytest.fixture(scope="module")
def recorded() -> dict[str, Any]:
    return recording.read(HERE / "recorded")


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    return ours.play(scenarios())


def test_every_scenario_is_recorded(recorded: dict[str, Any]):
    assert set(NAMES) == set(recorded)


@pytest.mark.parametrize("name", NAMES)
def test_scenario(name: str, recorded: dict[str, Any], results: dict[str, Any]):
    expected = Expected.load(EXPECTED)
    found = [str(d) for d in differences(recorded[name], results[name]) if not expected.covers(name, d)]
    assert not found, f"{name} comes out otherwise:\n  " + "\n  ".join(found)
