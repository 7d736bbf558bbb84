"""What nodes may do: what the role system:node says, and of secrets, claims and accounts only those that their pods use.

Source: plugin/pkg/auth/authorizer/node. The graph from nodes to what their pods refer to is kept from the caches' changes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from navarch.apiserver.auth.interface import Attributes, Decision
from navarch.apiserver.auth.policy import defaults
from navarch.apiserver.auth.rbac import Rule
from navarch.apiserver.watchcache import CacheSet, Entry
from navarch.machinery.types import GroupResource, Obj

PREFIX, GROUP = "system:node:", "system:nodes"
NO_OPINION = Decision(False)
Reference = tuple[str, str, str]
"""(resource, namespace, name)."""
READ = frozenset(("get", "list", "watch"))
PODS, CLAIMS = GroupResource("", "pods"), GroupResource("", "persistentvolumeclaims")


def references_of(pod: Obj) -> Iterator[Reference]:
    """What a pod's node needs to read for it."""
    spec, namespace = pod["spec"], pod["metadata"].get("namespace", "")
    if account := spec.get("serviceAccountName"):
        yield "serviceaccounts", namespace, account
    for secret in spec.get("imagePullSecrets") or ():
        yield "secrets", namespace, secret.get("name", "")
    for volume in spec.get("volumes") or ():
        yield from ((kind, namespace, name) for kind, name in _of_volume(volume, pod["metadata"]["name"]))
    for field in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(field) or ():
            yield from ((kind, namespace, name) for kind, name in _of_container(container))
    for status in (pod.get("status") or {}).get("resourceClaimStatuses") or ():
        yield "resourceclaims", namespace, status.get("resourceClaimName", "")


def _of_volume(volume: Obj, pod_name: str) -> Iterator[tuple[str, str]]:
    for source in (volume, *((volume.get("projected") or {}).get("sources") or ())):
        if secret := source.get("secret"):
            yield "secrets", secret.get("secretName") or secret.get("name", "")
        if config_map := source.get("configMap"):
            yield "configmaps", config_map.get("name", "")
    if claim := volume.get("persistentVolumeClaim"):
        yield "persistentvolumeclaims", claim.get("claimName", "")
    if volume.get("ephemeral"):
        yield "persistentvolumeclaims", f"{pod_name}-{volume['name']}"
    for driver in ("azureFile", "cephfs", "csi", "flexVolume", "iscsi", "rbd", "scaleIO", "storageos"):
        source = volume.get(driver) or {}
        reference = source.get("secretRef") or source.get("nodePublishSecretRef") or {}
        if name := reference.get("name") or source.get("secretName"):
            yield "secrets", name


def _of_container(container: Obj) -> Iterator[tuple[str, str]]:
    for variable in container.get("env") or ():
        source = variable.get("valueFrom") or {}
        if secret := source.get("secretKeyRef"):
            yield "secrets", secret.get("name", "")
        if config_map := source.get("configMapKeyRef"):
            yield "configmaps", config_map.get("name", "")
    for source in container.get("envFrom") or ():
        if secret := source.get("secretRef"):
            yield "secrets", secret.get("name", "")
        if config_map := source.get("configMapRef"):
            yield "configmaps", config_map.get("name", "")


class NodeGraph:
    """Which node needs what, counted by pod."""

    def __init__(self, caches: CacheSet) -> None:
        self._needs: dict[str, Counter[Reference]] = {}
        self._claims = caches.get(CLAIMS)
        caches[PODS].on_change(self._changed)

    def _changed(self, entry: Entry | None, previous: Entry | None) -> None:
        before = self._of(previous)
        after = self._of(entry)
        if before == after:
            return
        if before is not None:
            node, references = before
            needs = self._needs[node]
            needs.subtract(references)
            for reference in references:
                if not needs[reference]:
                    del needs[reference]
            if not needs:
                del self._needs[node]
        if after is not None:
            node, references = after
            self._needs.setdefault(node, Counter()).update(references)

    @staticmethod
    def _of(entry: Entry | None) -> tuple[str, frozenset[Reference]] | None:
        node = entry.fields.get("spec.nodeName", "") if entry is not None else ""
        return (node, frozenset(references_of(entry.obj))) if node and entry is not None else None

    def needs(self, node: str, resource: str, namespace: str, name: str) -> bool:
        found = self._needs.get(node)
        if not found:
            return False
        if resource == "persistentvolumes":
            return any(self._volume(claim) == name for claim in found if claim[0] == "persistentvolumeclaims")
        return (resource, namespace, name) in found

    def _volume(self, claim: Reference) -> str:
        entry = self._claims.get(claim[1], claim[2]) if self._claims is not None else None
        return entry.obj["spec"].get("volumeName", "") if entry is not None else ""


class NodeAuthorizer:
    def __init__(self, caches: CacheSet) -> None:
        self._graph = NodeGraph(caches)
        role = next(
            d.object for d in defaults() if d.object["metadata"]["name"] == "system:node" and "rules" in d.object
        )
        self._rules = [Rule.of(rule) for rule in role["rules"]]

    def authorize(self, attributes: Attributes) -> Decision:
        user = attributes.user
        if not user.name.startswith(PREFIX) or GROUP not in user.groups:
            return NO_OPINION
        node = user.name.removeprefix(PREFIX)
        if attributes.is_resource and (why := self._refused(node, attributes)) is not None:
            return Decision(True) if why == "" else Decision(False, reason=why)
        return Decision(any(rule.allows(attributes) for rule in self._rules))

    def _refused(self, node: str, asked: Attributes) -> str | None:
        """ "" where the graph allows it, a reason where it does not; None where the role decides."""
        match asked.group, asked.resource:
            case "", "secrets" | "configmaps":
                return self._read(node, asked, READ)
            case "", "persistentvolumes":
                return self._read(node, asked, frozenset(("get",)))
            case "", "persistentvolumeclaims":
                verbs = frozenset(("get", "update", "patch")) if asked.subresource == "status" else frozenset(("get",))
                return self._read(node, asked, verbs)
            case "resource.k8s.io", "resourceclaims":
                return self._read(node, asked, frozenset(("get",)))
            case "", "serviceaccounts":
                if asked.subresource != "token" or asked.verb != "create":
                    return "can only create tokens for individual service accounts"
                return self._needed(node, asked)
            case "coordination.k8s.io", "leases":
                return self._lease(node, asked)
            case "storage.k8s.io", "csinodes":
                own = asked.name == node or (asked.verb == "create" and not asked.name)
                verbs = ("get", "create", "update", "patch", "delete")
                return (
                    ""
                    if own and asked.verb in verbs
                    else "can only access CSINode with the same name as the requesting node"
                )
            case _:
                return None

    def _read(self, node: str, asked: Attributes, verbs: frozenset[str]) -> str:
        if asked.verb not in verbs:
            return f"can only {', '.join(sorted(verbs))} individual resources of this type"
        if not asked.name:
            return "can only read resources of this type by name"
        return self._needed(node, asked)

    def _needed(self, node: str, asked: Attributes) -> str:
        if self._graph.needs(node, asked.resource, asked.namespace, asked.name):
            return ""
        return f"no relationship found between node '{node}' and this object"

    @staticmethod
    def _lease(node: str, asked: Attributes) -> str:
        if asked.verb not in ("get", "create", "update", "patch", "delete"):
            return "can only get, create, update, patch, or delete a node lease"
        if asked.namespace != "kube-node-lease":
            return 'can only access leases in the "kube-node-lease" system namespace'
        if asked.verb != "create" and asked.name != node:
            return "can only access node lease with the same name as the requesting node"
        return ""
