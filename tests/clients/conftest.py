"""Fixtures: an API server with controllers and scheduler as a process, shared by the session's clients."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest
from tests.support.processes import Processes


@pytest.fixture
def processes(tmp_path: Path) -> Generator[Processes]:
    made = Processes(tmp_path)
    yield made
    made.stop()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Processes]:
    made = Processes(tmp_path_factory.mktemp("server"))
    try:
        made.api_server("--controllers", "--scheduler")
        yield made
    finally:
        made.stop()
