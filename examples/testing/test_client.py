"""Code that uses the Python client `kubernetes`, tested on a real API server. Run: pytest examples/testing"""

import kubernetes
import pytest

from navarch.testing import Cluster


def scale_all(api: kubernetes.client.ApiClient, namespace: str, replicas: int) -> list[str]:
    """The code under test: scales every Deployment of a namespace; returns their names."""
    apps = kubernetes.client.AppsV1Api(api)
    names = [d.metadata.name for d in apps.list_namespaced_deployment(namespace).items]
    for name in names:
        apps.patch_namespaced_deployment_scale(name, namespace, {"spec": {"replicas": replicas}})
    return names


DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: nginx}]}
"""


def test_everything_is_scaled(cluster: Cluster) -> None:
    cluster.client.apply(DEPLOYMENT)
    with kubernetes.config.new_client_from_config(str(cluster.kubeconfig)) as api:
        assert scale_all(api, "default", 5) == ["web"]
    assert cluster.client.get("deployment", "web")["spec"]["replicas"] == 5


def test_a_user_without_rights_is_refused(cluster: Cluster) -> None:
    with (
        kubernetes.config.new_client_from_config(str(cluster.kubeconfig_for("jane", "developers"))) as api,
        pytest.raises(kubernetes.client.exceptions.ApiException, match="cannot list resource"),
    ):
        scale_all(api, "default", 5)


def test_without_pytest_s_fixture() -> None:
    with Cluster(nodes=1) as cluster:
        cluster.client.apply(DEPLOYMENT)
        pods = cluster.client.wait(lambda: cluster.client.list("pods", labels="app=web", fields="status.phase=Running"))
        assert pods[0]["spec"]["nodeName"] == "hollow-0"
