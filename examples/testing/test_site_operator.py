"""The operator tested on a real API server, with hollow nodes for its pods. Run: pytest examples/testing"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from kopf.testing import KopfRunner

from navarch.testing import Cluster

SITE = """
apiVersion: v1
kind: ConfigMap
metadata: {name: shop, labels: {kind: site}}
data: {replicas: "3", image: nginx}
"""


@pytest.fixture
def operator(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))
    with KopfRunner(["run", "--all-namespaces", str(Path(__file__).with_name("site_operator.py"))]):
        yield


@pytest.mark.cluster(nodes=2)
def test_a_site_is_deployed_and_told_when_it_is_up(cluster: Cluster, operator: None) -> None:
    client = cluster.client
    client.apply(SITE)
    site = client.wait(lambda: up(cluster, "3"))
    deployment = client.get("deployment", "shop")
    assert deployment["metadata"]["ownerReferences"][0]["uid"] == site["metadata"]["uid"]
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == "nginx"

    client.patch("configmap", "shop", {"data": {"replicas": "1"}})
    client.wait(lambda: up(cluster, "1"))
    client.wait(lambda: len(client.list("pods", labels="site=shop")) == 1)

    client.delete("configmap", "shop")
    client.wait(lambda: not client.list("deployments") and not client.list("pods"))


def up(cluster: Cluster, ready: str) -> dict | None:
    site = cluster.client.get("configmap", "shop")
    return site if site["metadata"].get("annotations", {}).get("site/ready") == ready else None
