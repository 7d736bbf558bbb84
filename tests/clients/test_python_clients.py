"""The Python clients `kubernetes` and `kr8s` over TLS, as their documents show them."""

from __future__ import annotations

import threading
from collections.abc import Generator
from typing import Any

import kr8s
import pytest
from kr8s.objects import ConfigMap, Deployment, Pod
from kubernetes import client, config, dynamic, utils, watch
from kubernetes.client.exceptions import ApiException
from tests.support.processes import Processes

pytestmark = pytest.mark.slow

LABELS = {"app": "web"}
DEPLOYMENT = {
    "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
    "spec": {
        "replicas": 2, "selector": {"matchLabels": LABELS},
        "template": {"metadata": {"labels": LABELS}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}},
    },
}  # fmt: skip


@pytest.fixture
def api(server: Processes, nodes: None) -> Generator[client.ApiClient]:
    with config.new_client_from_config(str(server.kubeconfig)) as made:
        yield made


def test_kubernetes_typed(api: client.ApiClient, namespace: str) -> None:
    core, apps = client.CoreV1Api(api), client.AppsV1Api(api)
    assert client.VersionApi(api).get_code().minor == "36"
    assert {"default", namespace} <= {n.metadata.name for n in core.list_namespace().items}
    apps.create_namespaced_deployment(namespace, DEPLOYMENT)
    for event in watch.Watch().stream(core.list_namespaced_pod, namespace, timeout_seconds=60):
        pods = core.list_namespaced_pod(namespace, label_selector="app=web").items
        if [p.status.phase for p in pods] == ["Running"] * 2:
            break
        assert event["type"] in ("ADDED", "MODIFIED", "DELETED")
    else:
        raise AssertionError("the pods did not get running")
    scale = apps.patch_namespaced_deployment_scale("web", namespace, {"spec": {"replicas": 1}})
    assert scale.spec.replicas == 1
    found = apps.read_namespaced_deployment("web", namespace)
    found.metadata.annotations = {"note": "x"}
    found.metadata.resource_version = "1"
    with pytest.raises(ApiException) as caught:
        apps.replace_namespaced_deployment("web", namespace, found)
    assert (caught.value.status, caught.value.reason) == (409, "Conflict")
    core.delete_collection_namespaced_pod(namespace, grace_period_seconds=0)
    apps.delete_namespaced_deployment("web", namespace, propagation_policy="Foreground")


def test_kubernetes_dynamic_and_utils(api: client.ApiClient, namespace: str) -> None:
    utils.create_from_dict(
        api, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}, namespace=namespace
    )
    found = dynamic.DynamicClient(api)
    maps = found.resources.get(api_version="v1", kind="ConfigMap")
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "v"}}
    applied = found.server_side_apply(maps, body=body, name="a", namespace=namespace, field_manager="test")
    assert applied.data.to_dict() == {"k": "v"}
    assert "test" in {f.manager for f in applied.metadata.managedFields}
    listed = maps.get(namespace=namespace, field_selector="metadata.name=a")
    assert [item.metadata.name for item in listed.items] == ["a"]
    maps.delete(name="a", namespace=namespace)


def test_kubernetes_pages_and_watches_from_a_revision(api: client.ApiClient, namespace: str) -> None:
    core = client.CoreV1Api(api)
    for number in range(7):
        core.create_namespaced_config_map(namespace, {"metadata": {"name": f"m-{number}", "labels": LABELS}})
    names: list[str] = []
    page: Any = None
    while page is None or page.metadata._continue:
        following = page.metadata._continue if page else None
        page = core.list_namespaced_config_map(namespace, limit=3, _continue=following, label_selector="app=web")
        names += [item.metadata.name for item in page.items]
    assert names == [f"m-{number}" for number in range(7)]

    revision = page.metadata.resource_version
    changing = threading.Thread(target=core.delete_namespaced_config_map, args=("m-3", namespace))
    changing.start()
    stream = watch.Watch().stream(
        core.list_namespaced_config_map, namespace, resource_version=revision, timeout_seconds=30
    )
    event = next(iter(stream))
    assert (event["type"], event["object"].metadata.name) == ("DELETED", "m-3")
    changing.join(10)


def test_kr8s(server: Processes, nodes: None, namespace: str) -> None:
    api = kr8s.api(kubeconfig=str(server.kubeconfig), namespace=namespace)
    assert api.version()["minor"] == "36"
    deployment = Deployment(DEPLOYMENT, namespace=namespace, api=api)
    deployment.create()
    deployment.wait("condition=Available", timeout=60)
    assert len(deployment.pods()) == 2
    deployment.scale(3)
    deployment.wait("jsonpath='{.status.readyReplicas}'=3", timeout=60)
    pod = deployment.pods()[0]
    assert pod.ready() and isinstance(pod, Pod)
    pod.label(picked="yes")
    assert [p.name for p in api.get("pods", label_selector={"picked": "yes"})] == [pod.name]
    made = ConfigMap({"metadata": {"name": "settings"}, "data": {"a": "1"}}, namespace=namespace, api=api)
    made.create()
    made.patch({"data": {"a": "2"}})
    made.refresh()
    assert made.data.a == "2"
    made.delete()
    assert not made.exists()
    deployment.delete()
    assert "Deployment" in {r["kind"] for r in api.api_resources()}
