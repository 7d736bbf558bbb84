"""`navarch.testing.Cluster` as a test uses it."""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest

from navarch.machinery.errors import StatusError
from navarch.testing import Cluster

MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {k: v}"
DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: nginx}]}
"""


def test_a_cluster_is_there_within_with_and_gone_after_it() -> None:
    before = threading.active_count()
    with Cluster() as cluster:
        assert cluster.client.apply(MAP)[0]["data"] == {"k": "v"}
        address = urlsplit(cluster.url)
        directory = cluster.directory
        assert {path.stat().st_mode & 0o077 for path in directory.iterdir()} == {0}
    assert not directory.exists()
    assert threading.active_count() <= before
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((address.hostname, address.port)).close()
    with pytest.raises(RuntimeError, match="only within `with`"):
        _ = cluster.kubeconfig


def test_clusters_side_by_side_share_nothing() -> None:
    with ExitStack() as stack:
        clusters = [stack.enter_context(Cluster()) for _ in range(5)]
        for number, cluster in enumerate(clusters):
            cluster.client.apply(MAP.replace("k: v", f"k: v{number}"))
        found = [cluster.client.get("configmap", "a")["data"]["k"] for cluster in clusters]
        assert found == [f"v{number}" for number in range(5)]
        one, other = clusters[:2]
        address = urlsplit(one.url)
        trusting = ssl.create_default_context(cafile=str(other.ca))
        with (
            socket.create_connection((address.hostname, address.port)) as plain,
            pytest.raises(ssl.SSLCertVerificationError),
        ):
            trusting.wrap_socket(plain, server_hostname=address.hostname)


def test_a_cluster_can_be_entered_again_and_begins_empty() -> None:
    cluster = Cluster()
    for _ in range(2):
        with cluster:
            assert not cluster.client.list("configmaps", "default")
            cluster.client.apply(MAP)


@pytest.mark.parametrize("beside", [False, True], ids=["inside", "beside"])
def test_hollow_nodes_run_pods(beside: bool) -> None:
    with Cluster(nodes=2, beside=beside) as cluster:
        client = cluster.client
        client.apply(DEPLOYMENT)
        client.wait(lambda: client.get("deploy", "web").get("status", {}).get("readyReplicas") == 3)
        pods = client.list("po", "default", labels="app=web")
        assert {pod["spec"]["nodeName"] for pod in pods} <= {"hollow-0", "hollow-1"}
        client.delete("deployments.apps", "web")
        client.wait(lambda: not client.list("pods"))


def test_a_process_beside_ends_with_its_cluster() -> None:
    with Cluster(beside=True) as cluster:
        cluster.client.apply(MAP)
        address = urlsplit(cluster.url)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((address.hostname, address.port)).close()


def test_users_have_the_rights_that_rbac_gives_them() -> None:
    from navarch.client.http import HttpClient
    from navarch.testing.client import Client

    with Cluster() as cluster:
        jane = Client(HttpClient.from_kubeconfig(cluster.kubeconfig_for("jane", "readers")), cluster.ask)
        with pytest.raises(StatusError, match='User "jane" cannot list resource "configmaps"'):
            jane.list("configmaps")
        cluster.client.apply(
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "ClusterRoleBinding",
                "metadata": {"name": "readers"},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
                "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "readers"}],
            }
        )
        # without controllers nobody fills aggregated roles
        rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}]
        cluster.client.patch("clusterrole", "view", {"aggregationRule": None, "rules": rules})
        assert "a" not in {found["metadata"]["name"] for found in jane.list("configmaps")}
        cluster.ask(jane.close())


def test_the_client_knows_resources_by_all_their_names() -> None:
    with Cluster() as cluster:
        client = cluster.client
        names = ("deployments", "Deployment", "deploy", "deployment.apps", "deployments.v1.apps")
        assert {client.resource(name) for name in names} == {("apps", "v1", "deployments", True)}
        assert client.resource("node").namespaced is False
        with pytest.raises(LookupError, match="no resource 'widgets'"):
            client.resource("widgets")
        with pytest.raises(TimeoutError, match='configmaps "a" not found'):
            client.wait(lambda: client.get("configmap", "a"), seconds=0.05)
        with pytest.raises(StatusError, match="already exists"):
            for _ in range(2):
                client.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}})
        assert client.raw("GET", "/version")["minor"] == "36"
