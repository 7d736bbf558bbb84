"""The clients `kubernetes_asyncio` and `lightkube` over TLS, as their documents show them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import lightkube
import pytest
from kubernetes_asyncio import client, config, dynamic, watch
from kubernetes_asyncio.client.exceptions import ApiException
from lightkube.codecs import load_all_yaml
from lightkube.core.exceptions import ApiError
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import ConfigMap, Pod
from lightkube.types import CascadeType, PatchType
from tests.support.processes import Processes

pytestmark = pytest.mark.slow

LABELS = {"app": "web"}
DEPLOYMENT: dict[str, Any] = {
    "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
    "spec": {
        "replicas": 2, "selector": {"matchLabels": LABELS},
        "template": {"metadata": {"labels": LABELS}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}},
    },
}  # fmt: skip
YAML = """
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {a: "1"}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: nginx}]}
"""


@pytest.fixture
async def api(server: Processes, nodes: None) -> AsyncIterator[client.ApiClient]:
    made = await config.new_client_from_config(str(server.kubeconfig))
    async with made:
        yield made


async def test_kubernetes_asyncio_typed(api: client.ApiClient, namespace: str) -> None:
    core, apps = client.CoreV1Api(api), client.AppsV1Api(api)
    assert (await client.VersionApi(api).get_code()).minor == "36"
    await apps.create_namespaced_deployment(namespace, DEPLOYMENT)
    async with asyncio.timeout(60), watch.Watch() as stream:
        async for event in stream.stream(core.list_namespaced_pod, namespace):
            assert event["type"] in ("ADDED", "MODIFIED")
            pods = await core.list_namespaced_pod(namespace, label_selector="app=web")
            if [p.status.phase for p in pods.items] == ["Running"] * 2:
                break
    scale = await apps.patch_namespaced_deployment_scale("web", namespace, {"spec": {"replicas": 1}})
    assert scale.spec.replicas == 1
    with pytest.raises(ApiException) as caught:
        await core.read_namespaced_config_map("missing", namespace)
    assert (caught.value.status, caught.value.reason) == (404, "Not Found")
    tasks = [core.create_namespaced_config_map(namespace, {"metadata": {"name": f"m-{n}"}}) for n in range(20)]
    assert len({made.metadata.uid for made in await asyncio.gather(*tasks)}) == 20
    await core.delete_collection_namespaced_config_map(namespace)
    await apps.delete_namespaced_deployment("web", namespace, propagation_policy="Foreground")


async def test_kubernetes_asyncio_dynamic(api: client.ApiClient, namespace: str) -> None:
    found = await dynamic.DynamicClient(api)
    maps = await found.resources.get(api_version="v1", kind="ConfigMap")
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "v"}}
    applied = await found.server_side_apply(maps, body=body, name="a", namespace=namespace, field_manager="test")
    assert applied.data.k == "v"
    listed = await maps.get(namespace=namespace, field_selector="metadata.name=a")
    assert [item.metadata.name for item in listed.items] == ["a"]
    await maps.delete(name="a", namespace=namespace)


def test_lightkube(server: Processes, nodes: None, namespace: str) -> None:
    kube = lightkube.Client(
        config=lightkube.KubeConfig.from_file(str(server.kubeconfig)), namespace=namespace, field_manager="lightkube"
    )
    for obj in load_all_yaml(YAML):
        kube.apply(obj)
    kube.wait(Deployment, "web", for_conditions=["Available"])
    assert len(list(kube.list(Pod, labels=LABELS))) == 2
    found = kube.get(Deployment, "web")
    found.spec.replicas = 3
    found.metadata.managedFields = None
    assert kube.replace(found).spec.replicas == 3
    changed = kube.patch(ConfigMap, "settings", {"data": {"b": "2"}}, patch_type=PatchType.MERGE)
    assert changed.data == {"a": "1", "b": "2"}
    scaled = kube.patch(Deployment.Scale, "web", {"spec": {"replicas": 1}})
    assert scaled.spec.replicas == 1
    with pytest.raises(ApiError) as caught:
        kube.create(ConfigMap(metadata=ObjectMeta(name="settings")))
    assert (caught.value.status.code, caught.value.status.reason) == (409, "AlreadyExists")
    revision = kube.get(ConfigMap, "settings").metadata.resourceVersion
    kube.delete(ConfigMap, "settings")
    event, gone = next(iter(kube.watch(ConfigMap, resource_version=revision, server_timeout=30)))
    assert (event, gone.metadata.name) == ("DELETED", "settings")
    kube.delete(Deployment, "web", cascade=CascadeType.FOREGROUND)


async def test_lightkube_asyncio(server: Processes, namespace: str) -> None:
    kube = lightkube.AsyncClient(
        config=lightkube.KubeConfig.from_file(str(server.kubeconfig)), namespace=namespace, field_manager="lightkube"
    )
    made = await kube.create(ConfigMap(metadata=ObjectMeta(generateName="m-", labels=LABELS), data={"a": "1"}))
    assert [m.metadata.name async for m in kube.list(ConfigMap, labels=LABELS)] == [made.metadata.name]
    async for event, changed in kube.watch(ConfigMap, labels=LABELS, server_timeout=30):
        assert (event, changed.metadata.uid) == ("ADDED", made.metadata.uid)
        break
    await kube.deletecollection(ConfigMap)
    assert [m async for m in kube.list(ConfigMap, labels=LABELS)] == []
    await kube.close()
