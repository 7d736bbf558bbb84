"""Storage of a fresh cluster: a default class whose volumes are folders of the node, as kind, k3s and minikube have one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from navarch.client.informer import InformerFactory
from navarch.client.interface import Client, Resource
from navarch.client.resources import STORAGE_CLASSES
from navarch.cluster.pki import LOCAL_VOLUMES
from navarch.controlloop.loop import ControllerLoop
from navarch.kubelet.volumes.provisioner import PROVISIONER, LocalProvisioner
from navarch.machinery.clock import World
from navarch.machinery.errors import StatusError
from navarch.machinery.types import Obj

ROLES = Resource("rbac.authorization.k8s.io", "v1", "clusterroles", namespaced=False)
BINDINGS = Resource("rbac.authorization.k8s.io", "v1", "clusterrolebindings", namespaced=False)


def _rule(group: str, resources: str, verbs: str) -> Obj:
    return {"apiGroups": [group], "resources": resources.split(), "verbs": verbs.split()}


ROLE: Obj = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "ClusterRole",
    "metadata": {"name": LOCAL_VOLUMES},
    "rules": [
        _rule("", "persistentvolumes", "get list watch create patch delete"),
        _rule("", "persistentvolumeclaims", "get list watch patch"),
        _rule("", "persistentvolumeclaims/status", "patch"),
        _rule("storage.k8s.io", "storageclasses", "get list watch"),
        _rule("", "events", "create patch"),
    ],
}
BINDING: Obj = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "ClusterRoleBinding",
    "metadata": {"name": LOCAL_VOLUMES},
    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": LOCAL_VOLUMES},
    "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": LOCAL_VOLUMES}],
}
STANDARD: Obj = {
    "apiVersion": "storage.k8s.io/v1",
    "kind": "StorageClass",
    "metadata": {"name": "standard", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
    "provisioner": PROVISIONER,
    "reclaimPolicy": "Delete",
    "volumeBindingMode": "WaitForFirstConsumer",
    "allowVolumeExpansion": True,
}


async def publish(api: Client) -> None:
    """Gives a fresh cluster its class, once: who deletes it, or makes another the default, does so for good. The role comes
    last, and says that all is done; it is kept up to date."""
    try:
        found = await api.get(ROLES, LOCAL_VOLUMES)
    except StatusError as error:
        if error.code != 404:
            raise
    else:
        if found.get("rules") != ROLE["rules"]:
            await api.update(ROLES, {**found, "rules": ROLE["rules"]})
        return
    for resource, obj in ((STORAGE_CLASSES, STANDARD), (BINDINGS, BINDING), (ROLES, ROLE)):
        try:
            await api.create(resource, obj)
        except StatusError as error:
            if error.reason != "AlreadyExists":
                raise


class LocalVolumes:
    """The provisioner of one node. `start()` returns when it knows the claims and volumes there are."""

    def __init__(self, node: str, root: Path, client: Client, world: World) -> None:
        self._informers = InformerFactory(client, world)
        self._loop: ControllerLoop[Any] = ControllerLoop(
            LocalProvisioner((node,), root), client, self._informers, world, concurrency=2
        )

    async def start(self) -> None:
        self._informers.start()
        await self._loop.start()

    async def stop(self) -> None:
        await self._loop.stop()
        await self._informers.stop()
