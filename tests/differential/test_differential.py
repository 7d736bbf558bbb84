"""The same requests, the same answers: our server against what a real kube-apiserver was recorded to answer."""

from __future__ import annotations

from typing import Any

import pytest
from tests.differential import recording
from tests.differential.compare import Expected, differences
from tests.differential.here import our_server
from tests.differential.play import Player
from tests.differential.script import areas

STEPS = [step.id for steps in areas().values() for step in steps]
RECORDED = recording.read(recording.DIRECTORY)
EXPECTED = Expected.load()


@pytest.fixture(scope="module")
def answers() -> dict[str, dict[str, Any]]:
    with our_server() as endpoint:
        player = Player(endpoint, "here")
        for steps in areas().values():
            player.play(steps)
        return player.answers


def test_every_step_is_recorded():
    assert set(STEPS) == set(RECORDED)


@pytest.mark.parametrize("step", STEPS)
def test_answer(step: str, answers: dict[str, dict[str, Any]]):
    found = [str(d) for d in differences(RECORDED[step], answers[step]) if not EXPECTED.covers(step, d)]
    assert not found, f"{step} is answered otherwise:\n  " + "\n  ".join(found)
