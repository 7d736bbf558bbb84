"""An operator on kopf: a Site becomes a Deployment, and its status says how many pods are ready."""

import os
from typing import Any

import kopf
import kubernetes

SITE = ("example.com", "v1", "sites")


@kopf.on.login()
def login(**kwargs: Any) -> kopf.ConnectionInfo | None:
    kubernetes.config.load_kube_config(os.environ["KUBECONFIG"])
    return kopf.login_with_kubeconfig(**kwargs)


@kopf.on.create(*SITE)
@kopf.on.update(*SITE)
def deploy(name: str, namespace: str, spec: kopf.Spec, **_: Any) -> None:
    labels = {"site": name}
    container = {"name": "web", "image": spec["image"]}
    deployment: dict[str, Any] = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "replicas": spec["replicas"],
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }
    kopf.adopt(deployment)
    client = kubernetes.dynamic.DynamicClient(kubernetes.client.ApiClient())
    deployments = client.resources.get(api_version="apps/v1", kind="Deployment")
    deployments.server_side_apply(body=deployment, name=name, namespace=namespace, field_manager="site-operator")


@kopf.on.field("deployments", field="status.readyReplicas", labels={"site": kopf.PRESENT})
def tell(name: str, namespace: str, new: int | None, **_: Any) -> None:
    sites = kubernetes.client.CustomObjectsApi()
    sites.patch_namespaced_custom_object_status(*SITE[:2], namespace, SITE[2], name, {"status": {"ready": new or 0}})
