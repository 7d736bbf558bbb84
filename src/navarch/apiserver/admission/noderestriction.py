"""NodeRestriction: a kubelet writes only its own node, its own pods' status, its own lease, and what belongs to them.

Source: plugin/pkg/admission/noderestriction. As there it is asked before validation. Audiences of in-tree volumes that
upstream translates to CSI are not looked for."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping

from navarch.api.certificates.requests import KUBELET_CLIENT, KUBELET_SERVING, common_name, parse
from navarch.apiserver.admission.certificates import Authorize
from navarch.apiserver.admission.chain import BasePlugin, refuse
from navarch.apiserver.admission.interface import AdmissionRequest
from navarch.apiserver.admission.nodeobjects import audiences, named_object, unchanged_claim
from navarch.apiserver.admission.serviceaccount import MIRROR
from navarch.apiserver.auth.interface import Attributes
from navarch.apiserver.watchcache import CacheSet
from navarch.machinery import trees
from navarch.machinery.types import GroupResource, Obj

PODS = GroupResource("", "pods")
NODES = GroupResource("", "nodes")
ACCOUNTS = GroupResource("", "serviceaccounts")
LEASES = GroupResource("coordination.k8s.io", "leases")
CSI_NODES = GroupResource("storage.k8s.io", "csinodes")
CLAIMS = GroupResource("", "persistentvolumeclaims")
SLICES = GroupResource("resource.k8s.io", "resourceslices")
CERTIFICATES = GroupResource("certificates.k8s.io", "certificatesigningrequests")
ASK_AUDIENCE = "request-serviceaccounts-token-audience"
NODE_PREFIX = "system:node:"
NODE_GROUP = "system:nodes"
KUBELET_LABELS = frozenset(
    (
        "kubernetes.io/hostname",
        "topology.kubernetes.io/zone",
        "topology.kubernetes.io/region",
        "beta.kubernetes.io/instance-type",
        "node.kubernetes.io/instance-type",
        "failure-domain.beta.kubernetes.io/region",
        "failure-domain.beta.kubernetes.io/zone",
        "kubernetes.io/os",
        "kubernetes.io/arch",
        "beta.kubernetes.io/os",
        "beta.kubernetes.io/arch",
        "node.kubernetes.io/windows-build",
    )
)
KUBELET_LABEL_SPACES = ("kubelet.kubernetes.io", "node.kubernetes.io")


class NodeRestriction(BasePlugin):
    name = "NodeRestriction"

    def __init__(self, caches: CacheSet, authorize: Authorize) -> None:
        self._caches, self._authorize = caches, authorize
        self._pods = caches[PODS]
        self._nodes = caches[NODES]
        self._checks: dict[GroupResource, Callable[[AdmissionRequest, str], None]] = {
            PODS: self._check_pod,
            NODES: self._check_node,
            ACCOUNTS: self._check_token,
            LEASES: self._check_lease,
            CSI_NODES: self._check_csi_node,
            CLAIMS: _check_claim,
            SLICES: _check_slice,
            CERTIFICATES: _check_certificate,
        }

    def handles(self, request: AdmissionRequest) -> bool:
        return NODE_GROUP in request.user.groups

    async def admit(self, request: AdmissionRequest) -> None:
        if not request.user.name.startswith(NODE_PREFIX):
            raise refuse(request, f'could not determine node from user "{request.user.name}"')
        check = self._checks.get(request.resource)
        if check is not None:
            check(request, request.user.name[len(NODE_PREFIX) :])

    def _check_pod(self, request: AdmissionRequest, node: str) -> None:
        if request.subresource == "status":
            self._check_pod_status(request, node)
        elif request.subresource == "eviction":
            self._check_own(request, node, f"node {node} can only evict pods with spec.nodeName set to itself")
        elif request.subresource:
            why = f"unexpected pod subresource \"{request.subresource}\", only 'status' and 'eviction' are allowed"
            raise refuse(request, why)
        elif request.operation == "CREATE":
            self._check_mirror(request, node)
        elif request.operation == "DELETE":
            self._check_own(request, node, f'node "{node}" can only delete pods with spec.nodeName set to itself')
        else:
            raise refuse(
                request,
                f'unexpected operation "{request.operation}", node "{node}" can only create and delete mirror pods',
            )

    def _check_own(self, request: AdmissionRequest, node: str, why: str) -> None:
        entry = self._pods.get(request.namespace, request.name)
        if entry is not None and trees.get(entry.obj, "spec", "nodeName") != node:
            raise refuse(request, why)

    def _check_pod_status(self, request: AdmissionRequest, node: str) -> None:
        old, new = request.old, request.object
        if request.operation != "UPDATE" or old is None or new is None:
            raise refuse(request, f'unexpected operation "{request.operation}"')
        if trees.get(old, "spec", "nodeName") != node:
            raise refuse(request, f'node "{node}" can only update pod status for pods with spec.nodeName set to itself')
        if (old["metadata"].get("labels") or {}) != (new["metadata"].get("labels") or {}):
            raise refuse(request, f'node "{node}" cannot update labels through pod status')
        for field, words in (
            ("resourceClaimStatuses", "resource claim statues"),
            ("extendedResourceClaimStatus", "extended resource claim status"),
        ):
            if (trees.get(old, "status", field) or None) != (trees.get(new, "status", field) or None):
                raise refuse(request, f'node "{node}" cannot update {words}')

    def _check_mirror(self, request: AdmissionRequest, node: str) -> None:
        pod = request.object
        assert pod is not None
        if MIRROR not in (pod["metadata"].get("annotations") or {}):
            raise refuse(request, f'pod does not have "{MIRROR}" annotation, node "{node}" can only create mirror pods')
        if trees.get(pod, "spec", "nodeName") != node:
            raise refuse(request, f'node "{node}" can only create pods with spec.nodeName set to itself')
        owners: list[Obj] = pod["metadata"].get("ownerReferences") or []
        if len(owners) != 1:
            which = "a single" if owners else "an"
            raise refuse(request, f'node "{node}" can only create pods with {which} owner reference set to itself')
        owner = owners[0]
        if (owner.get("apiVersion"), owner.get("kind"), owner.get("name")) != ("v1", "Node", node):
            raise refuse(request, f'node "{node}" can only create pods with an owner reference set to itself')
        if not owner.get("controller"):
            raise refuse(request, f'node "{node}" can only create pods with a controller owner reference set to itself')
        if owner.get("blockOwnerDeletion"):
            raise refuse(request, f'node "{node}" must not set blockOwnerDeletion on an owner reference')
        entry = self._nodes.get("", node)
        if entry is None:
            raise refuse(request, f'error looking up node {node} to verify uid: node "{node}" not found')
        uid = entry.obj["metadata"].get("uid", "")
        if uid != owner.get("uid"):
            raise refuse(request, f"node {node} UID mismatch: expected {owner.get('uid', '')} got {uid}")
        if named := named_object(pod):
            raise refuse(request, f'node "{node}" can not create pods that reference {named}')

    def _check_node(self, request: AdmissionRequest, node: str) -> None:
        name = request.name
        if name != node:
            raise refuse(request, f'node "{node}" is not allowed to modify node "{name}"')
        new, old = request.object, request.old
        if new is not None and (source := trees.get(new, "spec", "configSource")):
            if request.operation == "CREATE":
                raise refuse(request, f'node "{node}" is not allowed to create pods with a non-nil configSource')
            if source != trees.get(old, "spec", "configSource"):
                raise refuse(
                    request, f'node "{node}" is not allowed to update configSource to a new non-nil configSource'
                )
        if request.operation == "CREATE" and new is not None:
            forbidden = _forbidden_labels(_labels(new))
            if forbidden:
                why = f'node "{node}" is not allowed to set the following labels: {", ".join(forbidden)}'
                raise refuse(request, why)
        if request.operation == "UPDATE" and new is not None and old is not None:
            if trees.get(new, "spec", "taints", default=[]) != trees.get(old, "spec", "taints", default=[]):
                raise refuse(request, f'node "{node}" is not allowed to modify taints')
            if (new["metadata"].get("ownerReferences") or []) != (old["metadata"].get("ownerReferences") or []):
                raise refuse(request, f'node "{node}" is not allowed to modify ownerReferences')
            changed = _changed(_labels(new), _labels(old))
            if forbidden := _forbidden_labels(changed):
                raise refuse(request, f"is not allowed to modify labels: {', '.join(forbidden)}")

    def _check_token(self, request: AdmissionRequest, node: str) -> None:
        if request.subresource != "token" or request.object is None:
            return
        bound = trees.get(request.object, "spec", "boundObjectRef")
        if not bound or bound.get("apiVersion") != "v1" or bound.get("kind") != "Pod" or not bound.get("name"):
            raise refuse(request, "node requested token not bound to a pod")
        if not bound.get("uid"):
            raise refuse(request, "node requested token with a pod binding without a uid")
        entry = self._pods.get(request.namespace, bound["name"])
        if entry is None:
            raise refuse(request, f'pod "{bound["name"]}" not found')
        if entry.obj["metadata"]["uid"] != bound["uid"]:
            raise refuse(
                request,
                f"the UID in the bound object reference ({bound['uid']}) does not match the UID in record. The object "
                "might have been deleted and then recreated",
            )
        if trees.get(entry.obj, "spec", "nodeName") != node:
            raise refuse(request, "node requested token bound to a pod scheduled on a different node")
        self._check_audience(request, entry.obj)

    def _check_audience(self, request: AdmissionRequest, pod: Obj) -> None:
        """A token is for an audience that a volume of the pod asks for, or that the node is authorized to ask for."""
        asked: list[str] = trees.get(request.object, "spec", "audiences", default=[])
        if len(asked) > 1:
            raise refuse(request, "node may only request 0 or 1 audiences")
        wanted = asked[0] if asked else ""
        if wanted in audiences(self._caches, pod):
            return
        question = Attributes(
            request.user, ASK_AUDIENCE, True, "", "", "v1", wanted, namespace=request.namespace, name=request.name
        )
        if not self._authorize(question).allowed:
            raise refuse(
                request,
                f'audience "{wanted}" not found in pod spec volume, {request.user.name} is not authorized to request '
                "tokens for this audience",
            )

    def _check_lease(self, request: AdmissionRequest, node: str) -> None:
        if request.namespace != "kube-node-lease":
            raise refuse(request, 'can only access leases in the "kube-node-lease" system namespace')
        if request.name != node:
            raise refuse(request, "can only access node lease with the same name as the requesting node")

    def _check_csi_node(self, request: AdmissionRequest, node: str) -> None:
        if request.name != node:
            raise refuse(request, "can only access CSINode with the same name as the requesting node")


def _check_claim(request: AdmissionRequest, node: str) -> None:
    if request.subresource != "status":
        raise refuse(request, "may only update PVC status")
    if request.operation != "UPDATE" or request.old is None or request.object is None:
        raise refuse(request, f'unexpected operation "{request.operation}"')
    if not unchanged_claim(request.old, request.object):
        why = "is not allowed to update fields other than status.quantity and status.conditions"
        raise refuse(request, f'node "{node}" {why}')


def _check_slice(request: AdmissionRequest, node: str) -> None:
    """Other requests are the node authorizer's to judge: it does not know what a new slice says, nor what one of many is."""
    judged = {"CREATE": request.object, "DELETE": request.old}.get(request.operation)
    if judged is not None and trees.get(judged, "spec", "nodeName") != node:
        verb = request.operation.lower()
        raise refuse(request, f"can only {verb} ResourceSlice with the same NodeName as the requesting node")


def _check_certificate(request: AdmissionRequest, node: str) -> None:
    if request.operation != "CREATE" or request.subresource or request.object is None:
        return
    spec = request.object.get("spec") or {}
    if spec.get("signerName") not in (KUBELET_CLIENT, KUBELET_SERVING):
        return
    try:
        name = common_name(parse(base64.b64decode(spec.get("request", ""))))
    except (ValueError, binascii.Error) as err:
        raise refuse(request, f"unable to parse csr: {err}") from None
    if name != f"{NODE_PREFIX}{node}":
        raise refuse(request, f"can only create a node CSR with CN=system:node:{node}")


def _labels(obj: Obj) -> dict[str, str]:
    return obj["metadata"].get("labels") or {}


def _changed(new: Mapping[str, str], old: Mapping[str, str]) -> list[str]:
    return [k for k in {*new, *old} if new.get(k) != old.get(k)]


def _forbidden_labels(keys: Mapping[str, str] | list[str]) -> list[str]:
    """The keys that are kubernetes' own and not a kubelet's to set."""
    found: list[str] = []
    for key in keys:
        space = key.partition("/")[0] if "/" in key else ""
        if space == "node-restriction.kubernetes.io" or space.endswith(".node-restriction.kubernetes.io"):
            found.append(key)
        elif _in(space, "kubernetes.io") or _in(space, "k8s.io"):
            allowed = key in KUBELET_LABELS or any(_in(space, s) for s in KUBELET_LABEL_SPACES)
            if not allowed:
                found.append(key)
    return sorted(found)


def _in(space: str, domain: str) -> bool:
    return space == domain or space.endswith("." + domain)
