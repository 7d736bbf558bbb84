"""Fixtures: an API server with controllers and scheduler as a process, shared by the session's clients."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Generator
from pathlib import Path

import pytest
from tests.support.processes import Processes

from navarch.client.http import HttpClient
from navarch.machinery.clock import RealWorld
from navarch.sim.hollow import HollowNodes


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


@pytest.fixture(scope="session")
def nodes(server: Processes) -> Generator[None]:
    """Two hollow nodes: pods get ready, and nothing listens where they say they are."""
    told, started = threading.Event(), threading.Event()

    async def live() -> None:
        client = HttpClient.from_kubeconfig(server.kubeconfig)
        hollow = HollowNodes(client, RealWorld(), 2)
        await hollow.start()
        started.set()
        while not told.is_set():
            await asyncio.sleep(0.1)
        await hollow.stop()
        await client.close()

    thread = threading.Thread(target=lambda: asyncio.run(live()), daemon=True)
    thread.start()
    assert started.wait(30)
    yield
    told.set()
    thread.join(30)


@pytest.fixture
def namespace(server: Processes, request: pytest.FixtureRequest) -> Generator[str]:
    """A namespace for one test, with the account that pods need."""
    name = re.sub("[^a-z0-9]+", "-", request.node.name.lower())[:50].strip("-")
    server.kubectl("create", "namespace", name)
    server.kubectl("wait", "--for=create", "serviceaccount/default", "-n", name, "--timeout=20s")
    yield name
    server.kubectl("delete", "namespace", name, "--wait=false")
