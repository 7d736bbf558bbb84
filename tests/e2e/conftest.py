"""Fixtures of the end-to-end tests: one network namespace and one cluster for the session."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import pytest
from tests.support.harness import Cluster, Network, build_archives, new_cluster


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "/e2e/" in str(item.path):
            item.add_marker(pytest.mark.node)


@pytest.fixture(scope="session")
def archives() -> Path:
    return build_archives()


@pytest.fixture(scope="session")
def network(archives: Path) -> Generator[Network]:
    if os.geteuid() != 0:
        pytest.skip("needs root: network namespaces and containers")
    made = Network()
    yield made
    made.leave()


@pytest.fixture(scope="session")
def cluster(network: Network, archives: Path, tmp_path_factory: pytest.TempPathFactory) -> Generator[Cluster]:
    """One cluster for the whole session; tests use namespaces or names of their own in it."""
    made = new_cluster("e2e", tmp_path_factory.mktemp("cluster"), archives)
    try:
        print(made.up())
        yield made
    finally:
        made.navarch("down", check=False)


@pytest.fixture
def namespace(cluster: Cluster, request: pytest.FixtureRequest) -> Generator[str]:
    """A namespace for one test; gone after it."""
    name = request.node.name.replace("_", "-").replace("[", "-").replace("]", "").lower()[:50].strip("-")
    cluster.kubectl("create", "namespace", name)
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false", check=False)
