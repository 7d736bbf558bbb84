"""Who may do what: roles and bindings, escalation, impersonation, nodes, reviews, tokens."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.differential.steps import MERGE, PROTOBUF, YAML, Script, Step

RBAC = "/apis/rbac.authorization.k8s.io/v1"
AUTHORIZATION, AUTHENTICATION = "/apis/authorization.k8s.io/v1", "/apis/authentication.k8s.io/v1"
HERE = "/api/v1/namespaces/{ns}"
GROUP = "rbac.authorization.k8s.io"


def acting(user: str, *groups: str, **extra: str) -> dict[str, str]:
    headers = {"Impersonate-User": user}
    if groups:
        headers["Impersonate-Group"] = groups[0]
    return headers | {f"Impersonate-Extra-{key}": value for key, value in extra.items()}


def rule(verbs: str, resources: str, group: str = "", names: str = "") -> dict[str, Any]:
    made: dict[str, Any] = {"apiGroups": [group], "resources": resources.split(), "verbs": verbs.split()}
    return {**made, "resourceNames": names.split()} if names else made


def role(name: str, *rules: dict[str, Any], kind: str = "Role") -> dict[str, Any]:
    return {"apiVersion": f"{GROUP}/v1", "kind": kind, "metadata": {"name": name}, "rules": list(rules)}


def binding(name: str, kind: str, role_name: str, *subjects: dict[str, str]) -> dict[str, Any]:
    reference = {"apiGroup": GROUP, "kind": kind, "name": role_name}
    return {"metadata": {"name": name}, "roleRef": reference, "subjects": list(subjects)}


def user(name: str) -> dict[str, str]:
    return {"kind": "User", "name": name, "apiGroup": GROUP}


PAM, PAT = acting("{ns}-pam"), acting("{ns}-pat")
ROLES, BINDINGS = f"{RBAC}/namespaces/{{ns}}/roles", f"{RBAC}/namespaces/{{ns}}/rolebindings"
CLUSTER_ROLES, CLUSTER_BINDINGS = f"{RBAC}/clusterroles", f"{RBAC}/clusterrolebindings"


def steps() -> Iterator[Step]:
    for area in (_escalation, _refusals, _impersonation, _nodes, _reviews, _tokens):
        yield from area()


def _escalation() -> list[Step]:
    add = Script("escalation")
    manages = rule("create update patch get delete", "roles rolebindings clusterroles clusterrolebindings", GROUP)
    add("pam", "POST", CLUSTER_ROLES, role("{ns}-pam", manages, rule("get list", "pods"), kind="ClusterRole"))
    add("pam-bound", "POST", CLUSTER_BINDINGS, binding("{ns}-pam", "ClusterRole", "{ns}-pam", user("{ns}-pam")))
    add("fine", "POST", ROLES, role("fine", rule("get", "pods")), headers=PAM)
    wanted = role("more", rule("get delete", "pods secrets"), rule("get", "configmaps", names="a b"))
    add("more", "POST", ROLES, wanted, headers=PAM)
    add("urls", "POST", CLUSTER_ROLES, {
        **role("{ns}-urls", kind="ClusterRole"), "rules": [{"nonResourceURLs": ["/x", "/y*"], "verbs": ["get", "post"]}],
    }, headers=PAM)  # fmt: skip
    add("grow", "PATCH", f"{ROLES}/fine", {"rules": [rule("*", "*", "*")]}, type=MERGE, headers=PAM)
    add("label", "PATCH", f"{ROLES}/fine", {"metadata": {"labels": {"a": "b"}}}, type=MERGE, headers=PAM)
    add("put-new", "PUT", f"{ROLES}/put-new", role("put-new", rule("delete", "nodes")), headers=PAM)
    add("aggregate", "POST", CLUSTER_ROLES, {
        **role("{ns}-sum", kind="ClusterRole"),
        "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]},
    }, headers=PAM)  # fmt: skip
    add("bind-admin", "POST", BINDINGS, binding("b", "ClusterRole", "cluster-admin", user("x")), headers=PAM)
    add("bind-fine", "POST", BINDINGS, binding("fine", "Role", "fine", user("{ns}-pat")), headers=PAM)
    add("bind-nothing", "POST", BINDINGS, binding("n", "Role", "nothing", user("x")), headers=PAM)
    add("bind-no-cluster-role", "POST", CLUSTER_BINDINGS, binding("{ns}-n", "ClusterRole", "{ns}-no"), headers=PAM)
    add("bind-odd", "POST", BINDINGS, binding("o", "Pod", "p", user("x")))
    add("rebind", "PATCH", f"{BINDINGS}/fine", {"roleRef": {"name": "other"}}, type=MERGE)
    add("delete", "DELETE", f"{BINDINGS}/none", headers=PAM)
    return add.steps


def _refusals() -> list[Step]:
    add = Script("refusals")
    for id, method, path in (
        ("list", "GET", f"{HERE}/secrets"),
        ("list-all", "GET", "/api/v1/secrets"),
        ("get", "GET", f"{HERE}/secrets/x"),
        ("create", "POST", f"{HERE}/pods"),
        ("status", "PATCH", f"{HERE}/pods/x/status"),
        ("group", "GET", "/apis/apps/v1/namespaces/{ns}/deployments/x"),
        ("unknown", "GET", "/apis/example.com/v1/things"),
        ("namespace", "GET", HERE),
        ("node", "GET", "/api/v1/nodes/<x>&y"),
        ("watch", "GET", f"{HERE}/secrets?watch=1"),
        ("collection", "DELETE", f"{HERE}/secrets"),
        ("url", "GET", "/metrics"),
        ("root", "GET", "/"),
        ("odd-url", "POST", "/nothing/there"),
        ("exec", "GET", f"{HERE}/pods/x/exec?command=ls"),
        ("allowed", "GET", f"{HERE}/pods"),
        ("allowed-url", "GET", "/apis/coordination.k8s.io"),
        ("not-there", "GET", f"{HERE}/pods/x"),
    ):
        add(id, method, path, {} if method == "PATCH" else None, type=MERGE if method == "PATCH" else "", headers=PAT)
    add("protobuf", "GET", f"{HERE}/secrets", accept=PROTOBUF, headers=PAT)
    add("yaml", "GET", f"{HERE}/secrets", accept=YAML, headers=PAT)
    return add.steps


def _impersonation() -> list[Step]:
    add = Script("impersonation")
    who = f"{AUTHENTICATION}/selfsubjectreviews"
    for id, headers in (
        ("user", acting("ann")),
        ("groups", acting("ann", "staff")),
        ("uid", {**acting("ann"), "Impersonate-Uid": "7"}),
        ("extra", {**acting("ann"), "Impersonate-Extra-Acme.com%2fScopes": "read"}),
        ("account", acting("system:serviceaccount:{ns}:default")),
        ("account-groups", acting("system:serviceaccount:{ns}:default", "staff")),
        ("odd-account", acting("system:serviceaccount:{ns}")),
        ("unauthenticated", acting("ann", "system:unauthenticated")),
        ("authenticated", acting("ann", "system:authenticated")),
        ("anonymous", acting("system:anonymous")),
        ("group-only", {"Impersonate-Group": "staff"}),
        ("uid-only", {"Impersonate-Uid": "7"}),
        ("extra-only", {"Impersonate-Extra-a": "b"}),
    ):
        add(id, "POST", who, {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}, headers=headers)
    return add.steps


def _nodes() -> list[Step]:
    add = Script("nodes-own")
    node = acting("system:node:{ns}-n", "system:nodes")
    add("node", "POST", "/api/v1/nodes", {"metadata": {"name": "{ns}-n"}})
    pod = {
        "nodeName": "{ns}-n",
        "containers": [{"name": "c", "image": "i"}],
        "volumes": [{"name": "v", "secret": {"secretName": "needed"}}],
    }
    add("pod", "POST", f"{HERE}/pods", {"metadata": {"name": "on-node"}, "spec": pod})
    for id, path in (
        ("own", "/api/v1/nodes/{ns}-n"),
        ("other", "/api/v1/nodes/other"),
        ("all", "/api/v1/nodes"),
        ("own-pods", "/api/v1/pods?fieldSelector=spec.nodeName%3D{ns}-n"),
        ("all-pods", "/api/v1/pods"),
        ("others-pods", "/api/v1/pods?fieldSelector=spec.nodeName%3Dother"),
        ("pod-read", f"{HERE}/pods/on-node"),
        ("pod-not-there", f"{HERE}/pods/none"),
        ("secrets", f"{HERE}/secrets"),
        ("secret-other", f"{HERE}/secrets/other"),
        ("config-map", f"{HERE}/configmaps/other"),
        ("claim", f"{HERE}/persistentvolumeclaims/x"),
        ("claims", f"{HERE}/persistentvolumeclaims"),
        ("volume", "/api/v1/persistentvolumes/x"),
        ("account", f"{HERE}/serviceaccounts/other"),
        ("account-list", f"{HERE}/serviceaccounts"),
        ("lease", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{ns}-n"),
        ("lease-other", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/other"),
        ("leases", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"),
        ("lease-here", "/apis/coordination.k8s.io/v1/namespaces/{ns}/leases/{ns}-n"),
        ("csi", "/apis/storage.k8s.io/v1/csinodes/other"),
        ("attachment", "/apis/storage.k8s.io/v1/volumeattachments/x"),
        ("services", f"{HERE}/services"),
        ("deployments", "/apis/apps/v1/namespaces/{ns}/deployments"),
    ):
        add(id, "GET", path, headers=node)
    add("unnamed", "GET", "/api/v1/nodes", headers=acting("system:node:", "system:nodes"))
    add("no-member", "GET", "/api/v1/nodes/{ns}-n", headers=acting("system:node:{ns}-n", "system:authenticated"))
    add("delete-own", "DELETE", "/api/v1/nodes/{ns}-n", headers=node)
    return add.steps


def _reviews() -> list[Step]:
    add = Script("reviews")
    pods = {"verb": "get", "resource": "pods", "namespace": "{ns}"}
    self_review, review = f"{AUTHORIZATION}/selfsubjectaccessreviews", f"{AUTHORIZATION}/subjectaccessreviews"
    local = f"{AUTHORIZATION}/namespaces/{{ns}}/localsubjectaccessreviews"
    term = {"key": "spec.nodeName", "operator": "In", "values": ["{ns}-n"]}
    listing = {"verb": "list", "resource": "pods"}

    def ask(id: str, path: str, spec: Any, *, headers: Any = None, **more: Any) -> None:
        add(id, "POST", path, {"spec": spec, **more}, headers=headers)

    ask("self", self_review, {"resourceAttributes": pods})
    ask("self-pat", self_review, {"resourceAttributes": pods}, headers=PAT)
    ask("self-no", self_review, {"resourceAttributes": {**pods, "verb": "delete"}}, headers=PAT)
    ask("self-url", self_review, {"nonResourceAttributes": {"path": "/api", "verb": "get"}}, headers=PAT)
    ask("self-empty", self_review, {})
    ask(
        "both", review, {"user": "x", "resourceAttributes": pods, "nonResourceAttributes": {"path": "/", "verb": "get"}}
    )
    ask("nobody", review, {"resourceAttributes": pods})
    ask("named", review, {"user": "x", "resourceAttributes": pods}, metadata={"name": "n"})
    ask("user", review, {"user": "{ns}-pat", "resourceAttributes": pods})
    ask(
        "user-extra",
        review,
        {"user": "a", "uid": "1", "extra": {"k": ["v"]}, "groups": ["g"], "resourceAttributes": pods},
    )
    ask("masters", review, {"groups": ["system:masters"], "resourceAttributes": pods})
    ask("missing-role", review, {"user": "{ns}-lost", "resourceAttributes": pods})
    ask("unknown-field", review + "?fieldValidation=Strict", {"user": "x", "resourceAttributes": pods, "odd": 1})
    node = {"user": "system:node:{ns}-n", "groups": ["system:nodes"]}
    ask("fields", review, {**node, "resourceAttributes": {**listing, "fieldSelector": {"requirements": [term]}}})
    ask("fields-raw", review, {**node, "resourceAttributes": {**listing, "fieldSelector": {"rawSelector": "spec.nodeName={ns}-n"}}})  # fmt: skip
    ask("fields-both", review, {**node, "resourceAttributes": {**listing, "fieldSelector": {"rawSelector": "a=b", "requirements": [term]}}})  # fmt: skip
    ask("fields-none", review, {**node, "resourceAttributes": {**listing, "fieldSelector": {}}})
    ask("fields-odd", review, {**node, "resourceAttributes": {**listing, "fieldSelector": {"requirements": [term, {"key": "k", "operator": "Near"}]}}})  # fmt: skip
    ask("fields-bad", review, {**node, "resourceAttributes": {**listing, "fieldSelector": {"rawSelector": "a"}}})
    ask("labels-bad", review, {**node, "resourceAttributes": {**listing, "labelSelector": {"rawSelector": "a in"}}})
    ask("labels-odd", review, {**node, "resourceAttributes": {**listing, "labelSelector": {"requirements": [{"key": "a b", "operator": "In"}]}}})  # fmt: skip
    ask("local", local, {"user": "{ns}-pat", "resourceAttributes": pods})
    ask("local-other", local, {"user": "x", "resourceAttributes": {**pods, "namespace": "{other}"}})
    ask("local-url", local, {"user": "x", "nonResourceAttributes": {"path": "/", "verb": "get"}})
    ask("local-mismatch", local, {"user": "x", "resourceAttributes": pods}, metadata={"namespace": "{other}"})
    ask("rules", f"{AUTHORIZATION}/selfsubjectrulesreviews", {"namespace": "{ns}"}, headers=PAT)
    ask("rules-node", f"{AUTHORIZATION}/selfsubjectrulesreviews", {"namespace": "{ns}"}, headers=acting("system:node:n", "system:nodes"))  # fmt: skip
    ask("rules-nowhere", f"{AUTHORIZATION}/selfsubjectrulesreviews", {}, headers=PAT)
    add("whoami", "POST", f"{AUTHENTICATION}/selfsubjectreviews", {}, headers=PAT)
    add("get", "GET", review)
    add("get-one", "GET", f"{review}/x")
    add("put", "PUT", f"{review}/x", {})
    ask("protobuf", review, {"user": "x", "resourceAttributes": pods}, headers={"Accept": PROTOBUF})
    add("refused", "POST", review, {"spec": {"user": "x", "resourceAttributes": pods}}, headers=PAT)
    return add.steps


def _tokens() -> list[Step]:
    add = Script("tokens")
    token = f"{HERE}/serviceaccounts/default/token"
    add("plain", "POST", token, {"spec": {}})
    add("audience", "POST", token, {"spec": {"audiences": ["vault"], "expirationSeconds": 900}})
    add("short", "POST", token, {"spec": {"expirationSeconds": 5}})
    add("long", "POST", token, {"spec": {"expirationSeconds": 1 << 33}})
    add("no-account", "POST", f"{HERE}/serviceaccounts/none/token", {"spec": {}})
    add("named", "POST", token, {"metadata": {"name": "other"}, "spec": {}})
    ref = {"kind": "Pod", "apiVersion": "v1", "name": "on-node"}
    add("pod", "POST", token, {"spec": {"boundObjectRef": ref}})
    add("pod-uid", "POST", token, {"spec": {"boundObjectRef": {**ref, "uid": "wrong"}}})
    add("pod-gone", "POST", token, {"spec": {"boundObjectRef": {**ref, "name": "none"}}})
    add("odd-ref", "POST", token, {"spec": {"boundObjectRef": {**ref, "kind": "ConfigMap"}}})
    add("get", "GET", token)
    review = f"{AUTHENTICATION}/tokenreviews"
    own = add("for-review", "POST", token, {"spec": {"audiences": ["vault", "db"]}})
    ask = "{" + own + ":status.token}"
    add("review", "POST", review, {"spec": {"token": ask, "audiences": ["vault", "x"]}})
    add("review-wrong-audience", "POST", review, {"spec": {"token": ask}})
    add("review-nonsense", "POST", review, {"spec": {"token": "nonsense"}})
    add("review-nothing", "POST", review, {"spec": {}})
    add("use-wrong-audience", "GET", "/version", headers={"Authorization": "Bearer " + ask})
    mine = add("for-use", "POST", token, {"spec": {}})
    bearer = {"Authorization": "Bearer {" + mine + ":status.token}"}
    add("use", "POST", f"{AUTHENTICATION}/selfsubjectreviews", {}, headers=bearer)
    add("use-refused", "GET", f"{HERE}/secrets", headers=bearer)
    add("nonsense", "GET", "/version", headers={"Authorization": "Bearer nonsense"})
    add("basic", "GET", "/api/v1/pods", headers={"Authorization": "Basic YTpi"})
    return add.steps
