"""The pytest plugin: a cluster for a test.

    def test_settings(cluster):
        cluster.client.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}})

    @pytest.mark.cluster(nodes=2)  # what `Cluster` takes
    def test_rollout(cluster): ...

Each test gets its own. A fixture of one's own shares one: `with Cluster(nodes=2) as cluster: yield cluster`.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from navarch.testing.cluster import Cluster


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "cluster(controllers, scheduler, nodes, beside): what the fixture `cluster` has")


@pytest.fixture
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A Kubernetes API server of the test's own (`navarch.testing.Cluster`)."""
    marker = request.node.get_closest_marker("cluster")
    with Cluster(**(marker.kwargs if marker else {})) as running:
        yield running
