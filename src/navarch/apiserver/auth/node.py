"""What nodes may do: their own Node and pods, of secrets, claims and accounts those that their pods use, and what the role
system:node says of everything else.

Source: plugin/pkg/auth/authorizer/node. The graph from nodes to what their pods refer to is kept from the caches' changes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from typing import Any

from navarch.apiserver.auth.interface import Attributes, Decision
from navarch.apiserver.auth.policy import defaults
from navarch.apiserver.auth.rbac import Rule
from navarch.apiserver.watchcache import CacheSet, Entry
from navarch.machinery.selectors import parse_field_selector
from navarch.machinery.types import GroupResource, Obj

PREFIX, GROUP = "system:node:", "system:nodes"
YES, NO_OPINION = Decision(True), Decision(False)
Reference = tuple[str, str, str]
"""(resource, namespace, name)."""
MIRROR = "kubernetes.io/config.mirror"
PODS, VOLUMES = GroupResource("", "pods"), GroupResource("", "persistentvolumes")
OWN_VERBS = frozenset(("get", "create", "update", "patch", "delete"))
DRIVERS_WITH_SECRETS = ("cephfs", "cinder", "flexVolume", "iscsi", "rbd", "scaleIO", "storageos")


def references_of(pod: Obj) -> Iterator[Reference]:
    """What a pod's node needs to read for it. Of a mirror pod nothing: its node has made it, and chose what it names."""
    if MIRROR not in (pod["metadata"].get("annotations") or {}):
        yield from named_by(pod)


def named_by(pod: Obj) -> Iterator[Reference]:
    """What a pod refers to."""
    spec, metadata = pod["spec"], pod["metadata"]
    namespace = metadata.get("namespace", "")
    if account := spec.get("serviceAccountName"):
        yield "serviceaccounts", namespace, account
    for secret in spec.get("imagePullSecrets") or ():
        yield "secrets", namespace, secret.get("name", "")
    for volume in spec.get("volumes") or ():
        yield from ((kind, namespace, name) for kind, name in _of_volume(volume, metadata.get("name", "")))
    for field in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(field) or ():
            yield from ((kind, namespace, name) for kind, name in _of_container(container))
    yield from (("resourceclaims", namespace, name) for name in _resource_claims(pod))


def _resource_claims(pod: Obj) -> Iterator[str]:
    status = pod.get("status") or {}
    made = {s.get("name"): s.get("resourceClaimName") for s in status.get("resourceClaimStatuses") or ()}
    for claim in pod["spec"].get("resourceClaims") or ():
        if name := claim.get("resourceClaimName") or made.get(claim.get("name")):
            yield name
    if name := (status.get("extendedResourceClaimStatus") or {}).get("resourceClaimName"):
        yield name


def _of_volume(volume: Obj, pod_name: str) -> Iterator[tuple[str, str]]:
    for source in (volume, *((volume.get("projected") or {}).get("sources") or ())):
        if secret := source.get("secret"):
            yield "secrets", secret.get("secretName") or secret.get("name", "")
        if config_map := source.get("configMap"):
            yield "configmaps", config_map.get("name", "")
    if claim := volume.get("persistentVolumeClaim"):
        yield "persistentvolumeclaims", claim.get("claimName", "")
    if volume.get("ephemeral"):
        yield "persistentvolumeclaims", f"{pod_name}-{volume.get('name', '')}"
    if name := (volume.get("azureFile") or {}).get("secretName"):
        yield "secrets", name
    if name := ((volume.get("csi") or {}).get("nodePublishSecretRef") or {}).get("name"):
        yield "secrets", name
    for driver in DRIVERS_WITH_SECRETS:
        if name := ((volume.get(driver) or {}).get("secretRef") or {}).get("name"):
            yield "secrets", name


def secrets_of_volume(volume: Obj) -> Iterator[tuple[str, str]]:
    """(namespace, name) of the secrets that a node needs to mount a persistent volume."""
    spec = volume["spec"]
    own = (spec.get("claimRef") or {}).get("namespace", "")
    azure, csi = spec.get("azureFile") or {}, spec.get("csi") or {}
    if name := azure.get("secretName"):
        yield azure.get("secretNamespace") or own, name
    references = [((spec.get(driver) or {}).get("secretRef") or {}) for driver in DRIVERS_WITH_SECRETS]
    references += [csi.get(f"node{step}SecretRef") or {} for step in ("Publish", "Stage", "Expand")]
    for reference in references:
        if name := reference.get("name"):
            yield reference.get("namespace") or own, name


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
    """Which node needs what, counted by pod; and which claims stand between a secret and the nodes that need it."""

    def __init__(self, caches: CacheSet) -> None:
        self._needs: dict[str, Counter[Reference]] = {}
        self._claims_of_secret: dict[tuple[str, str], Counter[Reference]] = {}
        self._caches = caches
        self._volumes = caches.get(VOLUMES)
        caches[PODS].on_change(self._pod_changed)
        if self._volumes is not None:
            self._volumes.on_change(self._volume_changed)

    # -- following the caches

    def _pod_changed(self, entry: Entry | None, previous: Entry | None) -> None:
        before, after = _needed_by(previous), _needed_by(entry)
        if before == after:
            return
        if before is not None:
            node, references = before
            _less(self._needs, node, references)
        if after is not None:
            node, references = after
            self._needs.setdefault(node, Counter()).update(references)

    def _volume_changed(self, entry: Entry | None, previous: Entry | None) -> None:
        for secret, claim in _volume_secrets(previous):
            _less(self._claims_of_secret, secret, (claim,))
        for secret, claim in _volume_secrets(entry):
            self._claims_of_secret.setdefault(secret, Counter()).update((claim,))

    # -- asking

    def needs(self, node: str, resource: str, namespace: str, name: str) -> bool:
        found = self._needs.get(node)
        if not found:
            return False
        if (resource, namespace, name) in found:
            return True
        if resource == "secrets":
            return any(claim in found for claim in self._claims_of_secret.get((namespace, name), ()))
        if resource == "persistentvolumes":
            entry = self._volumes.get("", name) if self._volumes is not None else None
            return entry is not None and _claim_of(entry.obj) in found
        return False

    def owns(self, node: str, resource: GroupResource, namespace: str, name: str) -> bool:
        """Whether an object's spec.nodeName is the node."""
        cache = self._caches.get(resource)
        entry = cache.get(namespace, name) if cache is not None else None
        return entry is not None and entry.obj["spec"].get("nodeName", "") == node


def _less(counters: dict[Any, Counter[Reference]], key: Any, references: Collection[Reference]) -> None:
    counter = counters[key]
    counter.subtract(references)
    for reference in references:
        if not counter[reference]:
            del counter[reference]
    if not counter:
        del counters[key]


def _needed_by(entry: Entry | None) -> tuple[str, frozenset[Reference]] | None:
    """None where it is on no node, or needs nothing."""
    node = entry.fields.get("spec.nodeName", "") if entry is not None else ""
    references = frozenset(references_of(entry.obj)) if node and entry is not None else frozenset[Reference]()
    return (node, references) if references else None


def _claim_of(volume: Obj) -> Reference:
    claim = volume["spec"].get("claimRef") or {}
    return "persistentvolumeclaims", claim.get("namespace", ""), claim.get("name", "")


def _volume_secrets(entry: Entry | None) -> list[tuple[tuple[str, str], Reference]]:
    if entry is None or not entry.obj["spec"].get("claimRef"):
        return []
    claim = _claim_of(entry.obj)
    return [(secret, claim) for secret in dict.fromkeys(secrets_of_volume(entry.obj))]


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
        if not node:
            return _no(f'unknown node for user "{user.name}"')
        if attributes.is_resource and (decision := self._by_relation(node, attributes)) is not None:
            return decision
        return YES if any(rule.allows(attributes) for rule in self._rules) else NO_OPINION

    def _by_relation(self, node: str, asked: Attributes) -> Decision | None:
        """None where the role decides."""
        match asked.group, asked.resource:
            case "", "secrets" | "configmaps":
                return self._read(node, asked)
            case "", "persistentvolumeclaims" if asked.subresource == "status":
                if asked.verb not in ("update", "patch"):
                    return _no("can only get/update/patch this type")
                return self._needed(node, asked)
            case ("", "persistentvolumeclaims" | "persistentvolumes") | ("resource.k8s.io", "resourceclaims"):
                return _only_get(asked) or self._needed(node, asked)
            case "storage.k8s.io", "volumeattachments":
                return _only_get(asked) or self._owned(node, asked)
            case "", "serviceaccounts":
                return self._account(node, asked)
            case "coordination.k8s.io", "leases":
                return _lease(node, asked)
            case "storage.k8s.io", "csinodes":
                return _csi_node(node, asked)
            case "resource.k8s.io", "resourceslices":
                return self._slice(node, asked)
            case "", "nodes":
                return _node(node, asked)
            case "", "pods":
                return self._pod(node, asked)
            case "certificates.k8s.io", "podcertificaterequests":
                return NO_OPINION
            case _:
                return None

    def _read(self, node: str, asked: Attributes) -> Decision:
        if asked.verb not in ("get", "list", "watch"):
            return _no("can only read resources of this type")
        if asked.subresource:
            return _no("cannot read subresource")
        if not asked.namespace:
            return _no("can only read namespaced object of this type")
        return self._needed(node, asked)

    def _needed(self, node: str, asked: Attributes) -> Decision:
        if not asked.name:
            return _no("No Object name found")
        if self._graph.needs(node, asked.resource, asked.namespace, asked.name):
            return YES
        return _unrelated(node)

    def _owned(self, node: str, asked: Attributes) -> Decision:
        if not asked.name:
            return _no("No Object name found")
        resource = GroupResource(asked.group, asked.resource)
        return YES if self._graph.owns(node, resource, asked.namespace, asked.name) else _unrelated(node)

    def _account(self, node: str, asked: Attributes) -> Decision:
        if asked.verb == "get" and not asked.subresource:
            return self._read(node, asked)
        if asked.verb != "create" or not asked.name:
            return _no("can only create tokens for individual service accounts")
        if asked.subresource != "token":
            return _no("can only create token subresource of serviceaccount")
        return self._needed(node, asked)

    def _pod(self, node: str, asked: Attributes) -> Decision:
        match asked.subresource, asked.verb:
            case "", "get":
                return self._owned(node, asked)
            case "", "list" | "watch":
                if _selects(asked, "spec.nodeName", node):
                    return YES
                if asked.name:
                    return self._owned(node, asked)
                return _no("can only list/watch pods with spec.nodeName field selector")
            case ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create"):
                return YES  # NodeRestriction sees to it that the pod is the node's own
            case _:
                return NO_OPINION

    def _slice(self, node: str, asked: Attributes) -> Decision:
        if asked.subresource:
            return _no("cannot authorize ResourceSlice subresources")
        match asked.verb:
            case "create":
                return YES
            case "get" | "update" | "patch" | "delete":
                return self._owned(node, asked)
            case "watch" | "list" | "deletecollection":
                if _selects(asked, "spec.nodeName", node):
                    return YES
                return _no("can only list/watch/deletecollection resourceslices with nodeName field selector")
            case _:
                return _no(
                    "only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, patch, "
                    "delete, deletecollection"
                )


def _unrelated(node: str) -> Decision:
    return _no(f"no relationship found between node '{node}' and this object")


def _no(reason: str) -> Decision:
    return Decision(False, reason=reason)


def _selects(asked: Attributes, field: str, value: str) -> bool:
    """Whether a field selector narrows the request to one value of a field."""
    try:
        return parse_field_selector(asked.fields).exact().get(field) == value if asked.fields else False
    except ValueError:
        return False


def _only_get(asked: Attributes) -> Decision | None:
    if asked.verb != "get":
        return _no("can only get individual resources of this type")
    return _no("cannot get subresource") if asked.subresource else None


def _lease(node: str, asked: Attributes) -> Decision:
    if asked.verb not in OWN_VERBS:
        return _no("can only get, create, update, patch, or delete a node lease")
    if asked.namespace != "kube-node-lease":
        return _no('can only access leases in the "kube-node-lease" system namespace')
    if asked.verb != "create" and asked.name != node:
        return _no("can only access node lease with the same name as the requesting node")
    return YES


def _csi_node(node: str, asked: Attributes) -> Decision:
    if asked.verb not in OWN_VERBS:
        return _no("can only get, create, update, patch, or delete a CSINode")
    if asked.subresource:
        return _no("cannot authorize CSINode subresources")
    if asked.verb != "create" and asked.name != node:
        return _no("can only access CSINode with the same name as the requesting node")
    return YES


def _node(node: str, asked: Attributes) -> Decision:
    match asked.subresource, asked.verb:
        case ("", "create" | "update" | "patch") | ("status", "update" | "patch"):
            return YES  # NodeRestriction sees to it that it is the node's own
        case "", "get" | "list" | "watch":
            if asked.name == node:
                return YES
            if not asked.name:
                return _no(f"node '{node}' cannot read all nodes, only its own Node object")
            return _no(f"node '{node}' cannot read '{asked.name}', only its own Node object")
        case _:
            return NO_OPINION
