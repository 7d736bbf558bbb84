"""An operator on kopf: a ConfigMap labelled `kind=site` becomes a Deployment, and hears when it is up."""

import os
from typing import Any

import kopf
import kubernetes

SITES = {"kind": "site"}


@kopf.on.login()
def login(**_: Any) -> kopf.ConnectionInfo | None:
    kubernetes.config.load_kube_config(os.environ["KUBECONFIG"])
    return kopf.login_with_kubeconfig(**_)


@kopf.on.create("configmaps", labels=SITES)
@kopf.on.update("configmaps", labels=SITES)
def deploy(name: str, namespace: str, body: kopf.Body, **_: Any) -> None:
    labels = {"site": name}
    container = {"name": "web", "image": body["data"].get("image", "nginx")}
    deployment: dict[str, Any] = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "replicas": int(body["data"].get("replicas", "1")),
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }
    kopf.adopt(deployment)
    client = kubernetes.dynamic.DynamicClient(kubernetes.client.ApiClient())
    deployments = client.resources.get(api_version="apps/v1", kind="Deployment")
    deployments.server_side_apply(body=deployment, name=name, namespace=namespace, field_manager="site-operator")


@kopf.on.field("apps", "v1", "deployments", field="status.readyReplicas", labels={"site": kopf.PRESENT})
def tell(name: str, namespace: str, new: int | None, **_: Any) -> None:
    ready = {"metadata": {"annotations": {"site/ready": str(new or 0)}}}
    kubernetes.client.CoreV1Api().patch_namespaced_config_map(name, namespace, ready)
