"""The operator tested on a real API server, with hollow nodes for its pods. Run: pytest examples/testing"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from kopf.testing import KopfRunner

from navarch.machinery.errors import StatusError
from navarch.testing import Cluster

HERE = Path(__file__).parent
SITE = """
apiVersion: example.com/v1
kind: Site
metadata: {name: shop}
spec: {replicas: 3}
"""


@pytest.fixture
def operator(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    cluster.client.apply((HERE / "crd.yaml").read_text())
    cluster.client.wait(lambda: cluster.client.raw("GET", "/apis/example.com/v1"))
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))
    with KopfRunner(["run", "--all-namespaces", str(HERE / "site_operator.py")]):
        yield


@pytest.mark.cluster(nodes=2)
def test_a_site_is_deployed_and_told_when_it_is_up(cluster: Cluster, operator: None) -> None:
    client = cluster.client
    (site,) = client.apply(SITE)
    client.wait(lambda: client.get("site", "shop").get("status", {}).get("ready") == 3)
    deployment = client.get("deployment", "shop")
    assert deployment["metadata"]["ownerReferences"][0]["uid"] == site["metadata"]["uid"]
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == "nginx"

    client.patch("site", "shop", {"spec": {"replicas": 1}})
    client.wait(lambda: client.get("site", "shop")["status"]["ready"] == 1)
    client.wait(lambda: len(client.list("pods", labels="site=shop")) == 1)

    client.delete("site", "shop")
    client.wait(lambda: not client.list("deployments") and not client.list("pods"))


def test_sites_are_checked(cluster: Cluster) -> None:
    cluster.client.apply((HERE / "crd.yaml").read_text())
    cluster.client.wait(lambda: cluster.client.raw("GET", "/apis/example.com/v1"))
    with pytest.raises(StatusError, match="should be greater than or equal to 0"):
        cluster.client.apply(SITE.replace("3", "-1"))
